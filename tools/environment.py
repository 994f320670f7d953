"""Make a virtual environment and install what a make target needs, once.

    python tools/environment.py .venv test demo

A stamp in the environment remembers what was installed for which pyproject.toml, so that a second
call costs nothing and needs no network. Runs on the standard library of any Python from 3.11 on.
"""

import sys

if sys.version_info < (3, 11):
    print("funcgrad needs Python 3.11 or newer, but this is " + sys.version.split()[0])
    sys.exit("Name another one, for example: make test PYTHON=python3.13")

import hashlib
import platform
import shutil
import subprocess
import tomllib
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = {"lint": ["ruff==0.17.5"], "types": ["mypy==2.4.1"]}
# On Linux the package index serves torch with several gigabytes of CUDA; this index has the CPU
# build.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH_CHOICES = ("torch==2.13.0", "torch")
LITTER = (".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", "build", "dist", "out")


def main(arguments: list[str]) -> int:
    """Bring the environment named first up to the extras named after it, or remove it."""
    folder, *wanted = arguments
    if wanted == ["--remove"]:
        remove(Path(folder))
        return 0
    environment = Path(folder)
    missing = [extra for extra in wanted if not is_fresh(environment, extra)]
    if missing:
        install(environment, missing)
        for extra in missing:
            stamp(environment, extra).write_text(fingerprint())
    return 0


def fingerprint() -> str:
    """What an installation depends on: this file, pyproject.toml and where the checkout lies."""
    sources = (ROOT / "pyproject.toml").read_bytes() + Path(__file__).read_bytes()
    return hashlib.sha256(sources + str(ROOT).encode()).hexdigest()


def stamp(environment: Path, extra: str) -> Path:
    """The file that says for which fingerprint an extra was installed."""
    return environment / f"installed-{extra}"


def is_fresh(environment: Path, extra: str) -> bool:
    """Was this extra installed for the present fingerprint, into an environment that still runs?"""
    mark = stamp(environment, extra)
    return python_in(environment).exists() and mark.exists() and mark.read_text() == fingerprint()


def python_in(environment: Path) -> Path:
    """The environment's interpreter."""
    windows = platform.system() == "Windows"
    return environment / ("Scripts/python.exe" if windows else "bin/python")


def install(environment: Path, extras: list[str]) -> None:
    """Create the environment if it is not there; install the package in place, with the extras."""
    if not python_in(environment).exists():
        print(f"creating {environment} with Python {platform.python_version()}", flush=True)
        venv.create(environment, with_pip=True, clear=environment.exists())
    requirements = [r for extra in extras for r in TOOLS.get(extra, [])] + declared(extras)
    if "torch" in requirements and not install_torch(environment):
        print("no torch for this Python: what compares with it is left out", flush=True)
        requirements.remove("torch")
    if set(extras) - {"lint"}:
        requirements += ["--editable", str(ROOT)]
    print("installing", ", ".join(extras), flush=True)
    if pip(environment, *requirements) != 0:
        sys.exit(1)


def declared(extras: list[str]) -> list[str]:
    """The requirements that pyproject.toml lists for these extras, each once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tables = project["optional-dependencies"]
    return list(dict.fromkeys(r for extra in extras for r in tables.get(extra, [])))


def install_torch(environment: Path) -> bool:
    """The CPU build of torch: the pinned version, or else the newest for this Python."""
    present = [str(python_in(environment)), "-c", "import torch"]
    if subprocess.call(present, stderr=subprocess.DEVNULL) == 0:
        return True
    print("installing torch (CPU build)", flush=True)
    on_linux = platform.system() == "Linux"
    cpu = ["--extra-index-url", TORCH_INDEX] if on_linux and is_reachable(TORCH_INDEX) else []
    return any(pip(environment, requirement, *cpu) == 0 for requirement in TORCH_CHOICES)


def is_reachable(url: str) -> bool:
    """Does a server answer there?"""
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False


def pip(environment: Path, *arguments: str) -> int:
    """The exit status of pip install in the environment."""
    command = [str(python_in(environment)), "-m", "pip", "install", "-qq", *arguments]
    return subprocess.call([*command, "--disable-pip-version-check"])


def remove(environment: Path) -> None:
    """Delete the environment and everything that tools left in the checkout."""
    for path in (environment, *(ROOT / name for name in LITTER), *ROOT.glob("*.egg-info")):
        shutil.rmtree(path, ignore_errors=True)
    for cache in ROOT.rglob("__pycache__"):
        shutil.rmtree(cache, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What is installed: two packages of Python files, and extras for what is optional."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from funcgrad.util import _EXTRAS

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("funcgrad", "funcgrad_nn")
EXTRAS = {"cuda13", "cuda12", "rocm", "nn", "viz", "data", "mpi", "demo", "bench", "test"}
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cudnn": "nvidia-cudnn-frontend",
    "cupy": "cupy-cuda13x",
    "cupyx": "cupy-cuda13x",
    "sklearn": "scikit-learn",
}
OPTIONAL = re.compile(r'\boptional\(\s*"(\w+)')


def named(requirements) -> set[str]:
    return {re.split(r"[\s<>=\[]", r)[0] for r in requirements}


EXTRA_REQUIREMENTS = PROJECT["project"]["optional-dependencies"]
REQUIRED = named(PROJECT["project"]["dependencies"])


def test_the_wheel_holds_the_two_packages():
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": [*PACKAGES]}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed_python(package):
    ignored = {"__pycache__", ".mypy_cache"}
    files = [p for p in (ROOT / package).rglob("*") if p.is_file() and not ignored & {*p.parts}]
    assert [p for p in files if p.suffix != ".py"] == [ROOT / package / "py.typed"]
    folders = {p.parent for p in files}
    assert not [f for f in folders if not (f / "__init__.py").exists()]


def test_extras():
    assert set(EXTRA_REQUIREMENTS) == EXTRAS
    assert named(EXTRA_REQUIREMENTS["nn"]) == {"safetensors", "tqdm"}
    assert REQUIRED == {"numpy", "ml_dtypes", "optree", "llvmlite", "scipy"}


def test_optional_modules_can_be_installed_by_an_extra():
    texts = [p.read_text(encoding="utf-8") for n in PACKAGES for p in (ROOT / n).rglob("*.py")]
    modules = {m for text in texts for m in OPTIONAL.findall(text)}
    modules -= sys.stdlib_module_names  # loaded late since they are slow to import
    assert {"cupy", "scipy", "tqdm"} <= modules
    offered = REQUIRED.union(*map(named, EXTRA_REQUIREMENTS.values()))
    assert {DISTRIBUTIONS.get(m, m) for m in modules} <= offered


@pytest.mark.parametrize("module, extra", sorted(_EXTRAS.items()))
def test_the_extra_that_an_error_advises_brings_the_module(module, extra):
    assert DISTRIBUTIONS.get(module, module) in named(EXTRA_REQUIREMENTS[extra])


def test_the_source_has_what_its_makefile_needs():
    include = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for needed in ("tools", "tests", "examples", "benchmarks", "Makefile", *PACKAGES):
        assert f"/{needed}" in include and (ROOT / needed).exists()

"""The public surface: every name resolves and is documented, and importing it costs little."""

import importlib
import inspect
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PUBLIC_MODULES = (
    "funcgrad",
    "funcgrad.numpy",
    "funcgrad.lax",
    "funcgrad.random",
    "funcgrad.nn",
    "funcgrad.tree",
    "funcgrad.tree_util",
    "funcgrad.flatten_util",
    "funcgrad.debug",
    "funcgrad.custom_batching",
    "funcgrad.custom_derivatives",
    "funcgrad.experimental",
    "funcgrad.experimental.checkify",
    "funcgrad_nn",
    "funcgrad_nn.data",
    "funcgrad_nn.functional",
    "funcgrad_nn.init",
    "funcgrad_nn.losses",
    "funcgrad_nn.metrics",
    "funcgrad_nn.optim",
    "funcgrad_nn.saving",
    "funcgrad_nn.training",
)
REQUIRED_AT_IMPORT = {"numpy", "ml_dtypes", "optree", "typing_extensions"}  # the last is optree's
TOO_HEAVY = {"asyncio", "multiprocessing", "unittest", "email", "http", "sqlite3", "ssl", "xml"}
OWN_BUDGET, LIBRARY_BUDGET = 180, 30  # modules executed at import: ours, the standard library's

IMPORTED = """
import sys
import numpy, ml_dtypes, optree
before = set(sys.modules)
import {package}
for name in set(sys.modules) - before:
    origin = getattr(sys.modules[name], "__file__", None) or ""
    print(name, "third-party" if "site-packages" in origin else "own")
"""


def public_names() -> list[tuple[str, str]]:
    return [
        (module, name)
        for module in PUBLIC_MODULES
        for name in getattr(importlib.import_module(module), "__all__", ["__all__"])
    ]


PUBLIC_NAMES = public_names()


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_D56_public_modules_list_their_names(module):
    names = importlib.import_module(module).__all__
    assert len(set(names)) == len(names), "a name is listed twice"
    assert inspect.getdoc(importlib.import_module(module)), "the module says what it is"


@pytest.mark.parametrize("module, name", PUBLIC_NAMES, ids=map(".".join, PUBLIC_NAMES))
def test_D56_public_names_resolve_and_are_documented(module, name):
    value = getattr(importlib.import_module(module), name)
    if isinstance(value, types.ModuleType | type) or callable(value):
        documentation = inspect.getdoc(value)
        assert documentation and documentation.strip(), f"{module}.{name} has no docstring"


def shows_itself(value) -> bool:
    """Whether it must have an example: errors, and records that functions return, need none."""
    record = isinstance(value, type) and issubclass(value, tuple | Exception)
    return callable(value) and not record


@pytest.mark.parametrize(
    "module, name",
    [pair for pair in PUBLIC_NAMES if pair[0].startswith("funcgrad_nn")],
    ids=lambda part: part,
)
def test_D55_all_of_funcgrad_nn_has_examples(module, name):
    """They are run by test_docs.py."""
    value = getattr(importlib.import_module(module), name)
    assert not shows_itself(value) or ">>>" in (value.__doc__ or ""), f"{module}.{name}"


def imported_by(package: str) -> dict[str, str]:
    """Modules that importing a package adds to those of the three libraries it needs, in a fresh
    process.
    """
    command = [sys.executable, "-c", IMPORTED.format(package=package)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return dict(line.split() for line in printed.splitlines())


@pytest.mark.parametrize("package", ["funcgrad", "funcgrad_nn"])
def test_D53_import_needs_required_packages_only(package):
    found = imported_by(package)
    tops = {name.partition(".")[0] for name, kind in found.items() if kind == "third-party"}
    assert tops - {"funcgrad", "funcgrad_nn"} <= REQUIRED_AT_IMPORT


def test_D53_import_works_without_optional_packages():
    """Importing must not depend on packages that the extras bring, nor on those needed later."""
    block = (
        "import sys\nfor name in {names!r}: sys.modules[name] = None\nimport funcgrad, funcgrad_nn"
    )
    names = [
        "llvmlite",
        "scipy",
        "cupy",
        "jax",
        "torch",
        "matplotlib",
        "tqdm",
        "safetensors",
        "graphviz",
    ]
    subprocess.run([sys.executable, "-c", block.format(names=names)], cwd=ROOT, check=True)


WITHOUT_LLVMLITE = """
import sys, warnings
sys.modules["llvmlite"] = None
import funcgrad as fg
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    print([float(fg.jit(f)(2.0)) for f in (lambda x: x + 1, lambda x: x * x)])
print(len(found), "pip install llvmlite" in str(found[0].message))
"""


def test_without_llvmlite_jit_says_so_once_and_works():
    command = [sys.executable, "-c", WITHOUT_LLVMLITE]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["[3.0, 4.0]", "1 True"]


def test_import_stays_small():
    """Time is measured by the benchmarks; here its cause is bounded: what is executed at import."""
    found = imported_by("funcgrad")
    own = [name for name in found if name.partition(".")[0] == "funcgrad"]
    assert len(own) <= OWN_BUDGET
    assert len(found) - len(own) <= LIBRARY_BUDGET, sorted(set(found) - set(own))
    assert not TOO_HEAVY & {name.partition(".")[0] for name in found}


def test_version_is_declared_once():
    text = (ROOT / "pyproject.toml").read_text()
    assert text.count("\nversion = ") == 1

"""The floors of the building: imports go downward only, at the top of a file, and no file is too
long.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE = 600

FLOORS = {
    **dict.fromkeys(("util", "config", "errors", "tree"), 0),
    "core": 1,
    "primitives": 2,
    "transforms": 3,
    "control": 4,
    **dict.fromkeys(("api", "numpy", "lax"), 5),
    **dict.fromkeys(("random", "testing", "nn", "scipy", "debug", "export", "experimental"), 6),
    **dict.fromkeys(("custom_batching", "custom_derivatives"), 6),
    **dict.fromkeys(
        (
            "ad_checkpoint",
            "tree_util",
            "flatten_util",
            "dtypes",
            "ops",
            "typing",
            "sparse",
            "experimental",
        ),
        6,
    ),
}
FRONT_DOOR = "funcgrad"
# Neighbours that may import each other in one direction.
SIDEWAYS = {
    ("errors", "config"),
    ("numpy", "api"),
    ("nn", "random"),
    ("scipy", "nn"),
}
PUBLIC = (
    "numpy", "lax", "random", "nn", "scipy", "tree", "tree_util", "flatten_util", "debug",
    "ad_checkpoint", "dtypes", "ops", "typing", "sparse", "experimental",
)  # fmt: skip
PUBLIC_TO_ANNEX = {FRONT_DOOR, *(f"funcgrad.{name}" for name in (*PUBLIC, "testing", "util"))}

# Third-party packages a plain import may name, and where; others come through util.optional.
THIRD_PARTY = {
    "numpy": ("",),
    "ml_dtypes": ("funcgrad.core.dtypes",),
    "optree": ("funcgrad.tree", "funcgrad.tree_util"),
    "llvmlite": ("funcgrad.backends.llvm",),
}
MAY_IMPORT_BY_NAME = {FRONT_DOOR, "funcgrad.core.backend", "funcgrad.util", "funcgrad_nn.util"}


def sources(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


LIBRARY = sources("funcgrad", "funcgrad_nn")
NAMES = {module_name(p) for p in LIBRARY}


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Every module or name imported, absolutely: `from a import b` gives a.b if that is a module,
    else a.
    """
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*above, *filter(None, [node.module])]) if node.level else node.module
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in NAMES else base


def room(module: str) -> str:
    """The part of the package a module belongs to: funcgrad.core.avals is in core."""
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] if top == "funcgrad" and rest else top


def is_allowed(importer: str, imported: str) -> bool:
    """May a room of funcgrad import another?"""
    if importer == imported:
        return True
    if importer == FRONT_DOOR or (importer, imported) in SIDEWAYS:
        return imported != "backends"
    if importer == "backends":
        return imported == "compiler" or FLOORS.get(imported, 9) <= 1
    if importer == "compiler":
        return FLOORS.get(imported, 9) <= 4
    if imported == "compiler":
        return FLOORS[importer] >= 5
    return imported in FLOORS and FLOORS[imported] < FLOORS[importer]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", LIBRARY, ids=module_id)
def test_imports_go_downward(path):
    module = module_name(path)
    if room(module) == FRONT_DOOR:
        return
    own = [
        i
        for i in imports(parsed(path), module, path.stem == "__init__")
        if i.startswith("funcgrad")
    ]
    if room(module) == "funcgrad_nn":
        wrong = [i for i in own if room(i) != "funcgrad_nn" and i not in PUBLIC_TO_ANNEX]
    else:
        assert room(module) in {*FLOORS, "compiler", "backends"}, "a room without a floor"
        # Within a package the front door's name is only the way to a module: `import
        # funcgrad.numpy`.
        wrong = [i for i in own if not is_allowed(room(module), room(i))]
    assert not wrong, f"{module} may not import {', '.join(sorted(set(wrong)))}"


@pytest.mark.parametrize("path", LIBRARY, ids=module_id)
def test_no_import_inside_a_function(path):
    late = [
        f"line {inner.lineno}"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert not late, f"imports inside functions: {late}"


@pytest.mark.parametrize("path", LIBRARY, ids=module_id)
def test_imports_by_name_stand_in_two_files(path):
    calls = [
        node.lineno
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.Attribute) and node.attr == "import_module")
        or (isinstance(node, ast.Name) and node.id in ("__import__", "import_module"))
    ]
    assert not calls or module_name(path) in MAY_IMPORT_BY_NAME, f"lines {calls}"


@pytest.mark.parametrize("path", LIBRARY, ids=module_id)
def test_third_party_imports_are_the_required_ones(path):
    module = module_name(path)
    for imported in imports(parsed(path), module, path.stem == "__init__"):
        top = imported.partition(".")[0]
        if top not in sys.stdlib_module_names and not top.startswith("funcgrad"):
            places = THIRD_PARTY.get(top, ())
            assert module.startswith(places), f"{module} imports {top}; use util.optional"


@pytest.mark.parametrize("path", [p for p in LIBRARY if "funcgrad_nn" in p.parts], ids=module_id)
def test_annex_imports_public_names(path):
    """What funcgrad_nn takes from a module of funcgrad stands in that module's `__all__`."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "funcgrad":
            public = declared_names(node.module)
            hidden = [a.name for a in node.names if a.name not in public]
            assert not hidden, f"{hidden} are not public in {node.module}"


def declared_names(module: str) -> set[str]:
    """The names of `__all__`, read without importing, and the public modules inside."""
    path = ROOT / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    inside = {n.rpartition(".")[2] for n in PUBLIC_TO_ANNEX if n.rpartition(".")[0] == module}
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return inside | set(ast.literal_eval(node.value))
    return inside if module != "funcgrad.util" else {"optional"}


EVERYTHING = sources("funcgrad", "funcgrad_nn", "tests", "benchmarks", "examples", "tools")


@pytest.mark.parametrize("path", EVERYTHING, ids=module_id)
def test_no_file_is_too_long(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines: split it by meaning"


def test_the_rules_can_fail():
    assert not is_allowed("core", "primitives")
    assert not is_allowed("api", "numpy")
    assert not is_allowed("compiler", "backends")
    assert not is_allowed("numpy", "backends")
    assert not is_allowed("control", "compiler")
    assert not is_allowed("backends", "primitives")
    assert not is_allowed("core", FRONT_DOOR)
    late = ast.parse("def f():\n    from funcgrad.core import avals")
    assert list(imports(late, "funcgrad.util", False)) == ["funcgrad.core.avals"]
    assert list(imports(ast.parse("from . import avals"), "funcgrad.core.array", False)) == [
        "funcgrad.core.avals"
    ]

"""What type checkers are told about arrays is what arrays have, and tracers hide none of it."""

import ast
import inspect
from collections.abc import Iterator

import pytest

from funcgrad.api import flat
from funcgrad.core import interface
from funcgrad.core.array import Array, ConcreteArray, Tracer

FROM_PYTHON = {"__hash__", "__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__"}
TRACERS = [v for v in vars(flat).values() if inspect.isclass(v) and issubclass(v, Tracer)]


def declared() -> set[str]:
    tree = ast.parse(inspect.getsource(interface.ArrayInterface))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def installed() -> set[str]:
    """What was put on arrays after their classes were made: none of it is written in array.py."""
    names = set()
    for kind in (Array, ConcreteArray):
        written = set(names_bound_in(parsed(kind)))
        slots = set(kind.__slots__)
        names |= {n for n in vars(kind) if n not in written | slots and not annotated(kind, n)}
    return names


def names_bound_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def parsed(kind: type) -> ast.Module:
    return ast.parse(inspect.getsource(kind))


def annotated(kind: type, name: str) -> bool:
    return name in FROM_PYTHON or name in ("__slots__", "__array_priority__", "__annotations__")


def test_declared_is_installed():
    assert not declared() - {*dir(Array), *dir(ConcreteArray)}


def test_installed_is_declared():
    ignored = {"__static_attributes__", "__annotate_func__", "__annotations_cache__"}
    lacking = installed() - ignored - declared()
    assert not lacking, "declare them in core/interface.py"


@pytest.mark.parametrize("kind", [*TRACERS, ConcreteArray], ids=lambda k: k.__name__)
def test_attributes_hide_no_method(kind):
    """A slot called `var` would take the place of `x.var()`."""
    slots = {s for base in kind.__mro__ for s in getattr(base, "__slots__", ())}
    assert TRACERS and not slots & declared()

"""What type checkers are told about arrays is what arrays have, and tracers hide none of it."""

import ast
import inspect

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
        written = {n.name for n in ast.walk(parsed(kind)) if isinstance(n, ast.FunctionDef)}
        slots = set(kind.__slots__)
        names |= {n for n in vars(kind) if n not in written | slots and not annotated(kind, n)}
    return names


def parsed(kind: type) -> ast.Module:
    return ast.parse(inspect.getsource(kind))


def annotated(kind: type, name: str) -> bool:
    return name in FROM_PYTHON or name in ("__slots__", "__array_priority__", "__annotations__")


def test_declared_is_installed():
    assert declared() <= {*dir(Array), *dir(ConcreteArray)}


def test_installed_is_declared():
    ignored = {"__static_attributes__", "__annotate_func__", "__annotations_cache__"}
    assert installed() - ignored <= declared()


@pytest.mark.parametrize("kind", [*TRACERS, ConcreteArray], ids=lambda k: k.__name__)
def test_attributes_hide_no_method(kind):
    """A slot called `var` would take the place of `x.var()`."""
    slots = {s for base in kind.__mro__ for s in getattr(base, "__slots__", ())}
    assert TRACERS and not slots & declared()

"""Programs as text that is the same in every process, for keys on disk.

Two programs with equal text are compiled to the same code. Constants of the program itself are only
known by their types, since they are inputs of the code; those of inner programs, and whatever else
may be written into code, by their values.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from funcgrad.core.avals import ShapedArray
from funcgrad.core.dtypes import KeyDtype
from funcgrad.core.jaxpr import Eqn, Jaxpr, Var
from funcgrad.core.primitive import Primitive
from funcgrad.util import blake2b

ROOMS = ("funcgrad.primitives.", "funcgrad.control.")
PLAIN = (bool, int, str, bytes, type(None))


class Unwritable(Exception):
    """Something is known by its identity only: a function, for example."""


class Canonical:
    """The text of a program. `arrays` are the constants of its inner programs, in order."""

    def __init__(self, jaxpr: Jaxpr) -> None:
        self.arrays: list[Any] = []
        self.text = "\n".join(self._program(jaxpr))

    def _program(self, jaxpr: Jaxpr) -> Iterator[str]:
        names = {v: n for n, v in enumerate(numbered(jaxpr))}
        yield f"{len(jaxpr.consts)} of {' '.join(str(v.aval) for v in jaxpr.inputs)}"
        for e in jaxpr.eqns:
            yield self._equation(e, names)
        yield self._atoms(jaxpr.outputs, names)

    def _equation(self, e: Eqn, names: dict[Var, int]) -> str:
        if e.effects:
            raise Unwritable("an effect")
        params = "".join([f" {name}={self.value(e.params[name])}" for name in sorted(e.params)])
        types = " ".join([str(o.aval) for o in e.outs])
        return f"{types} = {name_of(e.primitive)}{params} {self._atoms(e.args, names)}"

    def _atoms(self, atoms: Sequence[Any], names: dict[Var, int]) -> str:
        return " ".join([str(names[a]) if type(a) is Var else _literal(a) for a in atoms])

    def value(self, x: Any) -> str:
        """A parameter."""
        if type(x) in PLAIN:
            return repr(x)
        if isinstance(x, float):
            return x.hex()
        if isinstance(x, Jaxpr):
            return self._inner(x)
        if isinstance(x, enum.Enum):
            return f"{type(x).__name__}.{x.name}"
        if isinstance(x, (tuple, list)):
            name = type(x).__name__ if hasattr(x, "_fields") else ""
            return f"{name}({','.join(map(self.value, x))})"
        if isinstance(x, dict):
            return self.value(tuple(x.items()))
        if isinstance(x, frozenset):
            return f"{{{','.join(sorted(map(self.value, x)))}}}"
        return self._object(x)

    def _object(self, x: Any) -> str:
        if isinstance(x, (np.dtype, KeyDtype, ShapedArray)):
            return str(x)
        if isinstance(x, Primitive):
            return name_of(x)
        if isinstance(x, (np.generic, np.ndarray)):
            return _digest(x)
        if is_dataclass(x) and not isinstance(x, type):
            parts = [self.value(getattr(x, f.name)) for f in fields(x)]
            return f"{type(x).__name__}({','.join(parts)})"
        raise Unwritable(f"{type(x).__name__} as a parameter")

    def _inner(self, jaxpr: Jaxpr) -> str:
        held = []
        for c in jaxpr.consts:
            self.arrays.append(c._buffer)
            held.append(_digest(c._buffer))
        return f"[{' '.join(held)}\n" + "\n".join(self._program(jaxpr)) + "]"


_own: dict[Primitive, str] = {}


def name_of(primitive: Primitive) -> str:
    """Where the package defines an operation; those of others may mean anything tomorrow."""
    if primitive not in _own:
        for name, module in list(sys.modules.items()):
            if name.startswith(ROOMS):
                found = {p: n for n, p in vars(module).items() if isinstance(p, Primitive)}
                _own.update({p: f"{name}.{n}" for p, n in found.items() if p not in _own})
    if primitive not in _own:
        raise Unwritable(f"{primitive}, an operation of somebody else's")
    return _own[primitive]


def numbered(jaxpr: Jaxpr) -> list[Var]:
    """All variables of a program, in the order in which they are bound."""
    return [*jaxpr.inputs, *(o for e in jaxpr.eqns for o in e.outs)]


def _literal(a: Any) -> str:
    value = np.asarray(getattr(a.value, "_buffer", a.value))
    return f"{a.aval}:{value.dtype}:{value.tobytes().hex()}"


def _digest(array: Any) -> str:
    if not isinstance(array, (np.generic, np.ndarray)) or array.dtype.kind == "O":
        raise Unwritable("an array elsewhere")
    data = np.ascontiguousarray(array)
    digest = blake2b(data.tobytes(), digest_size=20).hexdigest()
    return f"{data.dtype}{array.shape}{digest}"

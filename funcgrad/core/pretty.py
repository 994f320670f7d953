"""The printed form of programs, in JAX's notation. Deterministic: tests and caches compare this
text.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator
from typing import Any

import numpy as np

from funcgrad.core import dtypes, jaxpr as _jaxpr
from funcgrad.core.array import ConcreteArray, to_host
from funcgrad.core.avals import ShapedArray
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Literal, Var

WIDTH = 100


def letters() -> Iterator[str]:
    """a, b, ..., z, ba, bb, ... as JAX names variables."""
    for n in itertools.count():
        name, rest = "", n
        while True:
            rest, digit = divmod(rest, 26)
            name = string.ascii_lowercase[digit] + name
            if rest == 0:
                break
        yield name


class Names:
    """Gives each variable a letter, in order of appearance; results that nobody reads are `_`."""

    def __init__(self, used: set[Var]) -> None:
        self.used, self.letters = used, letters()
        self.names: dict[Var, str] = {}

    def __call__(self, atom: Atom) -> str:
        if isinstance(atom, Literal):
            return f"{_scalar(atom.value)}:{_plain(atom.aval)}"
        if atom not in self.names:
            self.names[atom] = next(self.letters) if atom in self.used else "_"
        return self.names[atom]

    def typed(self, var: Var) -> str:
        return f"{self(var)}:{var.aval}"


def _plain(aval: ShapedArray) -> str:
    return str(aval).removeprefix("~")


def _scalar(value: Any) -> str:
    host = to_host(value._buffer) if isinstance(value, ConcreteArray) else value
    if isinstance(host, np.ndarray):
        host = host[()] if host.ndim == 0 else host.tolist()
    return str(host.item()) if isinstance(host, np.generic) else str(host)


def used_variables(jaxpr: Jaxpr) -> set[Var]:
    used = {a for e in jaxpr.eqns for a in e.args if isinstance(a, Var)}
    return used.union((o for o in jaxpr.outputs if isinstance(o, Var)), jaxpr.inputs)


def _param(value: Any, indent: str) -> str:
    if isinstance(value, Jaxpr):
        return print_jaxpr(value, indent)
    if type(value) is tuple and value and isinstance(value[0], Jaxpr):
        inner = indent + "  "
        parts = [f"\n{inner}{print_jaxpr(j, inner)}" for j in value]
        return "(" + "".join(parts) + f"\n{indent})"
    if isinstance(value, (np.dtype, dtypes.KeyDtype)):
        return str(value)
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return str(value)


def _programs_last(item: tuple[str, Any]) -> tuple[bool, str]:
    name, value = item
    return isinstance(value, Jaxpr) or (
        type(value) is tuple and bool(value) and isinstance(value[0], Jaxpr)
    ), name


def _params(eqn: Eqn, indent: str) -> str:
    shown = {k: v for k, v in sorted(eqn.params.items(), key=_programs_last) if v is not None}
    if not shown:
        return ""
    inner = indent + "  "
    texts = [f"{name}={_param(value, inner)}" for name, value in shown.items()]
    flat = " ".join(texts)
    if "\n" not in flat and len(flat) < WIDTH - len(indent) - 20:
        return f"[{flat}]"
    return "[\n" + "".join(f"{inner}{text}\n" for text in texts) + f"{indent}]"


def print_eqn(eqn: Eqn, names: Names, indent: str = "") -> str:
    """`b:f32[3] = sin a`"""
    left = " ".join(map(names.typed, eqn.outs)) + (" = " if eqn.outs else "")
    right = " ".join(map(names, eqn.args))
    return f"{left}{eqn.primitive.name}{_params(eqn, indent)} {right}".rstrip()


def print_jaxpr(jaxpr: Jaxpr, indent: str = "") -> str:
    """The whole program; on one line if it has at most one equation and fits."""
    names = Names(used_variables(jaxpr))
    consts = " ".join(map(names.typed, jaxpr.constvars))
    args = " ".join(map(names.typed, jaxpr.args))
    head = (
        "{ lambda " + (consts + " ; " if consts else "; ") + (args + ". let" if args else ". let")
    )
    body = indent + "    "
    eqns = [print_eqn(e, names, body) for e in jaxpr.eqns]
    outputs = ", ".join(map(names, jaxpr.outputs)) + ("," if len(jaxpr.outputs) == 1 else "")
    line = " ".join([head, *eqns, f"in ({outputs}) }}"])
    if len(eqns) <= 1 and "\n" not in line and len(line) + len(indent) <= WIDTH:
        return line
    lines = [head, *(body + e for e in eqns), f"{indent}  in ({outputs}) }}"]
    return "\n".join(lines)


_jaxpr.printer = print_jaxpr

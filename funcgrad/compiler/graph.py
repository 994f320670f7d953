"""A program as a graph for the compiler of kernels: who makes a value, who reads it, what it costs,
and which values lie in memory.

A *leaf* is a value that kernels load: an argument, a constant, what another kernel or a library
call has stored. Everything else is computed where it is read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from funcgrad.compiler.products import (
    TILED,
    Product,
    convolution_of,
    is_plain,
    product_of,
    transposed,
)
from funcgrad.compiler.scalar import Body, record, record_cached
from funcgrad.compiler.views import form_of
from funcgrad.core import dtypes, loops
from funcgrad.core.jaxpr import Eqn, Jaxpr, Var
from funcgrad.core.primitive import Primitive


class Same(loops.Form):
    """The elements of one operand, as a barrier hands them on."""

    operand: int


# What is computed element by element, where it is read.
PULLED = (loops.Map, loops.View, loops.Reshape, loops.Guarded, loops.Index, loops.Gather, Same)
REDUCED = (
    loops.Reduce, loops.ArgReduce, loops.Contract, loops.Window, loops.Scatter, loops.Convolve,
)  # fmt: skip
SMALL_PRODUCT = 1 << 10  # multiplications; larger products are made in tiles

COSTS = {
    "div": 3, "rem": 10, "sqrt": 4, "rsqrt": 6, "exp": 8, "exp2": 8, "expm1": 10, "log": 12,
    "log1p": 14, "tanh": 10, "logistic": 10, "sin": 12, "cos": 12, "tan": 16, "pow": 20, "erf": 10,
    "atan2": 20, "erf_inv": 16, "lgamma": 40, "digamma": 40, "cbrt": 12, "sinh": 12, "cosh": 12,
    "asin": 12, "acos": 12, "atan": 12, "asinh": 16, "acosh": 16, "atanh": 16, "erfc": 16,
}  # fmt: skip


class Definition(NamedTuple):
    """A value is result `number` of an equation, by this form."""

    eqn: Eqn
    number: int
    form: Any


class Rule(NamedTuple):
    """A scalar rule written down: its operations, and what its results are."""

    ops: Body
    results: tuple[Any, ...]

    @property
    def cost(self) -> int:
        return sum(COSTS.get(op.name, 1) for op in self.ops)


class Graph:
    """The program, with its forms."""

    def __init__(self, jaxpr: Jaxpr, native: Any) -> None:
        self.jaxpr = jaxpr
        self.definitions: dict[Var, Definition] = {}
        self.readers: dict[Var, list[Eqn]] = {}
        self.forms: dict[Eqn, Any] = {}
        self.rules: dict[Eqn, Rule] = {}
        self.native = native
        self._reads = Counter(
            a for atoms in (*(e.args for e in jaxpr.eqns), jaxpr.outputs) for a in atoms
        )
        for e in jaxpr.eqns:
            self._add(e)

    def _add(self, e: Eqn) -> None:
        form = self.forms[e] = self._form(e)
        for number, out in enumerate(e.outs):
            one = form[number] if isinstance(form, (list, tuple)) else form
            self.definitions[out] = Definition(e, number, one)
        for a in dict.fromkeys(a for a in e.args if type(a) is Var):
            self.readers.setdefault(a, []).append(e)
        if isinstance(form, loops.Map):
            record_ = record if form.scalar.__closure__ else record_cached
            self.rules[e] = Rule(*record_(form.scalar, tuple([a.aval.dtype for a in e.args])))

    def _form(self, e: Eqn) -> Any:
        """The form, if kernels can have the equation inside; None if it is for others to run."""
        if e.primitive.name == "optimization_barrier" and all(_is_plain(a.aval) for a in e.args):
            return [Same(i) for i in range(len(e.args))]
        if e.effects or type(e.primitive).evaluate is not Primitive.evaluate:
            return None
        if not all(_is_plain(a.aval) for a in (*e.args, *e.outs)):
            return None
        form: Any = form_of(e)
        parts = form if isinstance(form, (list, tuple)) else [form]
        if not all(isinstance(f, PULLED + REDUCED) for f in parts):
            return None
        if isinstance(form, loops.Contract) and _is_large(e, form) and is_plain(e):
            form = product_of(self.definitions, e, form) or form
            parts = [form]
        if isinstance(form, loops.View) and self._reads[e.args[0]] == 1:
            form = self._turned(e, form)
            parts = [form]
        if isinstance(form, loops.Convolve):
            found = convolution_of(self.definitions, e, form) if is_plain(e) else None
            return found if found is not None and self.native(e, found) else None
        return form if all(self.native(e, f) for f in parts) else None

    def _turned(self, e: Eqn, form: loops.View) -> Any:
        """A product that is only read in another order is made in that order."""
        made = self.definitions.get(e.args[0])  # type: ignore[arg-type]
        if made is None or not isinstance(made.form, Product):
            return form
        return transposed(made.form, e, form) or form

    def is_pulled(self, v: Any) -> bool:
        """Can the value be computed element by element?"""
        found = self.definitions.get(v)
        return found is not None and isinstance(found.form, PULLED)

    def is_reduced(self, v: Any) -> bool:
        """Is each element made of many?"""
        found = self.definitions.get(v)
        return found is not None and isinstance(found.form, (*REDUCED, *TILED))

    def cost(self, e: Eqn) -> int:
        """Additions that one element of the result stands for."""
        return self.rules[e].cost if e in self.rules else 0


def _is_large(e: Eqn, form: loops.Contract) -> bool:
    summed = math.prod(e.args[0].aval.shape[d] for d in form.lhs_contract)
    size = size_of(e.outs[0])
    return size > 1 and size * summed > SMALL_PRODUCT


def _is_plain(aval: Any) -> bool:
    known = all(isinstance(n, int) for n in aval.shape)
    return known and not dtypes.is_key(aval.dtype) and aval.dtype.kind != "O"


def variables(atoms: Iterable[Any]) -> list[Var]:
    """The variables among atoms, each once."""
    return list(dict.fromkeys(a for a in atoms if type(a) is Var))


def size_of(v: Any) -> int:
    """Elements."""
    return math.prod(v.aval.shape)


def bytes_of(v: Any) -> int:
    """Bytes."""
    return size_of(v) * v.aval.dtype.itemsize

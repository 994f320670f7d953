"""Functions that are written in the calls of NumPy, as code: their formulas are run through once,
with registers in place of arrays.

What looks at values becomes control flow: parts of a formula that are for some elements only are
skipped where no lane needs them, and series end when the last lane that counts has converged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import Builder, Type, Value
from funcgrad.backends.llvm.scalar import render
from funcgrad.backends.llvm.terms import Term, where as chosen
from funcgrad.compiler.graph import size_of
from funcgrad.compiler.special_tables import Lanes
from funcgrad.core import loops
from funcgrad.core.dtypes import float64
from funcgrad.core.jaxpr import Eqn

# Each is a function of the module: formulas call them at many places.
CALLED = ("exp", "log", "log1p", "sin", "tan")


class Element(Term):
    """An array in a formula: one register of it."""

    __slots__ = ()

    def __pow__(self, x: Any) -> Element:
        return Element(self.b, called(self.b, "pow", [self.value, self.like(x)]))

    def __setitem__(self, where: Term, x: Any) -> None:
        """Numbers where a condition holds."""
        self.value = chosen(where, x, self).value


def called(b: Builder, name: str, args: Sequence[Value]) -> Value:
    """A function of float64 numbers."""
    lanes = args[0].type.lanes

    def write(inner: Builder, *xs: Value) -> Any:
        return render(inner, name, xs, [float64] * len(xs), float64, lanes)

    types = [x.type for x in args]
    function = b.module.function(f"{name}_of_{lanes}_lanes", types, types[0], write)
    return b.call(function, types[0], args)


class Registers(Lanes):
    """NumPy's functions, of as many numbers as a register holds."""

    inf, nan = math.inf, math.nan

    def __init__(self, b: Builder) -> None:
        self.b = b
        self.type = Type("f64", b.module.target.lanes(8))
        self.active = b.const(1, self.type.of("i1"))  # lanes whose values count

    def __getattr__(self, name: str) -> Any:
        if name not in CALLED:
            raise AttributeError(name)
        return lambda x: Element(self.b, called(self.b, name, [x.value]))

    def number(self, x: Any) -> Element:
        """The same number in every lane."""
        return x if isinstance(x, Element) else Element(self.b, self.b.const(x, self.type))

    def sqrt(self, x: Element) -> Element:
        return Element(self.b, self.b.sqrt(x.value))

    def floor(self, x: Element) -> Element:
        return Element(self.b, self.b.floor(x.value))

    def rint(self, x: Element) -> Element:
        return Element(self.b, self.b.roundeven(x.value))

    def abs(self, x: Element) -> Element:
        return Element(self.b, self.b.fabs(x.value))

    def maximum(self, x: Element, y: Any) -> Element:
        """The larger one; NaN if either is."""
        y = self.number(y)
        return self.where((x > y) | (x != x), x, y)

    def isfinite(self, x: Element) -> Element:
        return self.abs(x) < math.inf  # type: ignore[return-value]

    def isinf(self, x: Element) -> Element:
        return self.abs(x) == math.inf  # type: ignore[return-value]

    def isnan(self, x: Element) -> Element:
        return x != x  # type: ignore[return-value]

    def where(self, condition: Term, yes: Any, no: Any) -> Element:
        return chosen(condition, self.number(yes), no)  # type: ignore[return-value]

    def full_like(self, x: Element, value: float) -> Element:
        """A new one, which may be written to."""
        return Element(self.b, self.b.const(value, self.type))

    def zeros_like(self, x: Element) -> Element:
        return self.full_like(x, 0.0)

    def ones_like(self, x: Element) -> Element:
        return self.full_like(x, 1.0)

    empty_like = zeros_like

    # ---- what looks at values

    def polynomial(self, coefficients: Sequence[float], x: Element) -> Element:
        """By Horner's rule, the lowest power first."""
        return Element(self.b, self.b.polynomial(x.value, tuple(reversed(coefficients))))

    def fill(self, out: Element, where: Term, function: Callable[..., Any], *xs: Element) -> None:
        """out[where] = function(xp, *xs[where]), if a lane needs it."""
        b, before = self.b, self.active
        self.active = b.and_(before, where.value)

        def run() -> list[Value]:
            found = function(self, *xs)
            return [b.select(where.value, found.value, out.value)]

        start = out.value
        (out.value,) = b.branch(b.any(self.active), run, lambda: [start])
        self.active = before

    def until_converged(
        self, state: Sequence[Element], step: Callable[..., Any], limit: int
    ) -> list[Element]:
        """Steps until all lanes have finished; a lane that has stays as it is."""
        b = self.b

        def going(carried: list[Value]) -> Value:
            few = b.fcmp("ole", b.extract(carried[1], 0), b.const(float(limit), Type("f64")))
            return b.and_(b.any(carried[0]), few)

        def turn(carried: list[Value]) -> list[Value]:
            unfinished, count = carried[:2]
            new, change = step(self, self._element(count), *map(self._element, carried[2:]))
            left = b.and_(unfinished, change.value)
            kept = [b.select(unfinished, x.value, old) for x, old in zip(new, carried[2:])]
            return [left, b.fadd(count, b.like(1.0, count)), *kept]

        start = [self.active, b.const(1.0, self.type), *(x.value for x in state)]
        return [self._element(x) for x in b.while_(start, going, turn)[2:]]

    def _element(self, x: Value) -> Element:
        return Element(self.b, x)


def of_vectors(e: Eqn, form: loops.Opaque) -> Callable[..., None] | None:
    """Code for an equation of a function of float64 numbers: vector by vector."""
    function, size = form.of_vectors, size_of(e.outs[0])
    if function is None:
        return None

    def write(b: Builder, *pointers: Value) -> None:
        lanes = b.module.target.lanes(8)
        type = Type("i64", lanes)

        def some(i: Value, _: list[Value]) -> None:
            here = b.add(b.splat(i, lanes), b.iota(type))
            inside = b.icmp("slt", here, b.const(size, type))
            xp = Registers(b)
            xp.active = inside
            xs = [_load(b, a.aval, p, i, inside) for a, p in zip(e.args, pointers)]
            _store(b, function(xp, *xs).value, e.outs[0].aval, pointers[-1], i, inside)

        b.loop(0, size, lanes, [], some)

    return write


def _load(b: Builder, aval: Any, pointer: Value, i: Value, inside: Value) -> Element:
    """A vector of an operand, or its only number."""
    dtype, lanes = aval.dtype, inside.type.lanes
    kind, _ = memory.element(dtype)
    if aval.ndim == 0:
        x = b.splat(memory.load(b, pointer, dtype, 1, 1, None), lanes)
    else:
        x = memory.load(b, b.element(pointer, i, kind), dtype, lanes, 1, inside)
    return Element(b, render(b, "convert", [x], [dtype], float64, lanes))  # type: ignore[arg-type]


def _store(b: Builder, x: Value, aval: Any, pointer: Value, i: Value, inside: Value) -> None:
    dtype, lanes = aval.dtype, inside.type.lanes
    kind, _ = memory.element(dtype)
    rounded = render(b, "convert", [x], [float64], dtype, lanes)
    memory.store(b, rounded, b.element(pointer, i, kind), dtype, lanes, 1, inside)

"""Routines in parts: where each place of the leading dimension is computed by itself, some places
at a time are an equation of the same kind, on smaller arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.backends.llvm.block import Frame
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Value
from funcgrad.backends.llvm.dense_routines import DENSE
from funcgrad.backends.llvm.splitting import PARTS, WORTH, Split, call_split, parts_worth
from funcgrad.backends.llvm.tiles import address, each_within
from funcgrad.compiler.graph import bytes_of, size_of
from funcgrad.compiler.views import form_of
from funcgrad.core import loops
from funcgrad.core.jaxpr import Eqn, Literal, Var

# Seconds for an element of the largest array, by what is done.
SECONDS = {"sort": 6e-9, "top_k": 1e-9, "scatter by windows": 4e-10, "gather by windows": 4e-10}
CUMULATED, FACTORED = 1e-10, 5e-9


def in_rows(e: Eqn, make: Callable[[Eqn], Any]) -> Any:
    """The routine that `make` has for an equation, in parts if that is worth it."""
    whole = make(e)
    if whole is None or not _is_by_rows(e):
        return whole
    work = _seconds(e)
    if work < WORTH:
        return whole
    extent = e.outs[0].aval.shape[0]
    grain = -(-extent // min(parts_worth(work), PARTS))
    if grain >= extent:
        return whole
    counts = dict.fromkeys((grain, extent % grain or grain))
    return RowRoutine(e, Split(extent, grain), [make(_rows_of(e, n)) for n in counts])


def _seconds(e: Eqn) -> float:
    form: Any = form_of(e)
    each = CUMULATED if isinstance(form, loops.Cumulate) else SECONDS.get(form.routine, FACTORED)
    return each * max(map(size_of, (*e.args, *e.outs)))


def _is_by_rows(e: Eqn) -> bool:
    """Does each place of the leading dimension depend on nothing else?"""
    shapes = [v.aval.shape for v in (*e.args, *e.outs)]
    if any(type(a) is Literal for a in e.args) or any(len(s) < 2 for s in shapes):
        return False
    if len({s[0] for s in shapes}) > 1:
        return False
    form: Any = form_of(e)
    if isinstance(form, loops.Cumulate):
        return form.axis > 0
    if form.routine in ("sort", "top_k"):
        return e.params["dimension" if form.routine == "sort" else "axis"] > 0
    if "window_dimensions" in e.params:
        return _one_row_each(e.params)
    return form.routine in DENSE and min(map(len, shapes[: len(e.args)])) > 2


def _one_row_each(params: dict[str, Any]) -> bool:
    names = ("window_dimensions", "window_strides", "base_dilation", "window_dilation")
    return all(params[n][0] == 1 for n in names) and params["padding"][0] == (0, 0)


def _rows_of(e: Eqn, count: int) -> Eqn:
    """The equation for so many places of the leading dimension."""

    def some(v: Any) -> Var:
        return Var(v.aval.update(shape=(count, *v.aval.shape[1:])))

    return e.replace(args=[some(a) for a in e.args], outs=[some(o) for o in e.outs])


class RowRoutine:
    """Routines for the parts of an equation: one for all but the last part, one for that."""

    is_native = True

    def __init__(self, e: Eqn, split: Split, routines: Sequence[Any]) -> None:
        self.e, self.split, self.routines = e, split, routines
        self.scratch = max(r.scratch for r in routines)

    def emit(
        self, frame: Frame, operands: Sequence[Value], results: Sequence[Value], scratch: Value
    ) -> None:
        """The code, from addresses to addresses."""
        name = self._function(frame.b.module)
        pointers = [*operands, *results]
        call_split(frame.b, frame.threads, name, pointers, self.split, self.scratch, scratch)

    def _function(self, module: Module) -> str:
        """A function of addresses, scratch memory if it is needed, and bounds."""
        names = [r.function(module) for r in self.routines]
        atoms = (*self.e.args, *self.e.outs)
        steps = [bytes_of(v) // self.split.extent for v in atoms]

        grain, full = self.split.grain, self.split.extent // self.split.grain * self.split.grain

        def write(b: Builder, *arguments: Value) -> None:
            def run(n: int, i: Value | int) -> None:
                at = [address(b, x, "i8", (i, step)) for x, step in zip(arguments, steps)]
                scratch = arguments[len(at) : -2] if self.routines[n].scratch else ()
                b.call(names[n], None, [*at, *scratch])

            each_within(
                b, (arguments[-2], arguments[-1]), (full, self.split.extent), grain,
                lambda i: run(0, i), lambda: run(-1, full),
            )  # fmt: skip

        count = len(steps) + (self.scratch > 0)
        name = f"{names[0]}_rows{self.split.extent}"
        return module.function(name, [PTR] * count + [I64] * 2, None, write)

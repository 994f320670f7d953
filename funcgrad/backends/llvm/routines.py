"""Equations that are no kernels but have native code of their own: each becomes one function.

A routine has `scratch` bytes of memory and `emit(frame, operands, results, scratch)`, as loops do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.backends.llvm import memory, selection, sorting, value_sort, vector_functions, windows
from funcgrad.backends.llvm.block import Frame, copy
from funcgrad.backends.llvm.builder import PTR, Builder, Module, Value
from funcgrad.backends.llvm.cumulate import cumulate
from funcgrad.backends.llvm.dense_routines import DENSE
from funcgrad.backends.llvm.rows import in_rows
from funcgrad.backends.llvm.tiles import address, store_evenly, whole
from funcgrad.compiler.affine import strides_of
from funcgrad.compiler.graph import bytes_of, size_of
from funcgrad.compiler.views import form_of
from funcgrad.core import dtypes, loops
from funcgrad.core.jaxpr import Eqn
from funcgrad.util import blake2b

Write = Callable[..., None]


class Routine:
    """One equation as a function of the addresses of its operands, results and scratch memory."""

    is_native = True

    def __init__(self, e: Eqn, write: Write, scratch: int = 0) -> None:
        self.e, self.write, self.scratch = e, write, scratch

    def emit(
        self, frame: Frame, operands: Sequence[Value], results: Sequence[Value], scratch: Value
    ) -> None:
        """A call of the function."""
        name = self.function(frame.b.module)
        frame.b.call(name, None, [*operands, *results, *([scratch] if self.scratch else [])])

    def function(self, module: Module) -> str:
        """Adds the function, which equal equations share."""
        e = self.e
        avals = [str(v.aval) for v in (*e.args, *e.outs)]
        text = f"{e.primitive.name}{sorted(e.params.items(), key=str)}{avals}"
        name = f"routine_{blake2b(text.encode(), digest_size=10).hexdigest()}"
        count = len(avals) + (self.scratch > 0)
        return module.function(name, [PTR] * count, None, self.write)


def routine(e: Eqn) -> Any:
    """The native form of an equation that is no part of a kernel and holds no programs; None if it
    has none.
    """
    return in_rows(e, _routine)


def _routine(e: Eqn) -> Routine | None:
    if e.effects or not all(_is_plain(v.aval) for v in (*e.args, *e.outs)):
        return None
    if any(size_of(v) == 0 for v in e.outs):
        return None
    form = form_of(e)
    if isinstance(form, loops.Cumulate):
        return _cumulate(e)
    if not isinstance(form, loops.Opaque):
        return None
    if form.routine in DENSE:
        code = DENSE[form.routine](e)
        return None if code is None else Routine(e, *code)
    make = ROUTINES.get(form.routine)
    return None if make is None else make(e)


def _is_plain(aval: Any) -> bool:
    known = all(isinstance(n, int) for n in aval.shape)
    return known and not dtypes.is_key(aval.dtype) and aval.dtype.kind != "O"


def _cumulate(e: Eqn) -> Routine:
    (x,) = e.args
    form: Any = form_of(e)
    return Routine(
        e, lambda b, source, out: cumulate(b, form, x.aval.shape, x.aval.dtype, source, out)
    )


# ---- elements chosen by windows


def _window_plan(e: Eqn) -> windows.WindowPlan | None:
    operand = e.args[1].aval
    if operand.dtype not in (dtypes.float32, dtypes.float64):
        return None
    params = {name: value for name, value in e.params.items() if name != "select_prim"}
    return windows.plan(params, operand.shape)


def _dense(e: Eqn, n: int, pointer: Value) -> windows.Array:
    v = (*e.args, *e.outs)[n]
    return windows.Array(pointer, tuple(strides_of(v.aval.shape)))


def _extreme(e: Eqn) -> str:
    return "max" if e.params["select_prim"].name == "ge" else "min"


def _chosen(e: Eqn) -> Routine | None:
    """For each window the element of one array where another one has its extreme element."""
    plan = _window_plan(e)
    if plan is None:
        return None
    kind, _ = memory.element(e.outs[0].aval.dtype)

    def write(b: Builder, tangents: Value, x: Value, out: Value) -> None:
        given, operand, goal = _dense(e, 0, tangents), _dense(e, 1, x), _dense(e, 2, out)
        lane = windows.lane_dimension(plan, operand.strides)
        store = _storing(b, kind, goal, lane)

        def keep(values: Value, place: tuple[Value, ...], mask: Value | None) -> None:
            store(values, place, mask, 1)

        windows.gather_windows(b, kind, plan, _extreme(e), given, operand, keep)

    return Routine(e, write)


def _scattered(e: Eqn) -> Routine | None:
    """Zeros, with each number of an array added where its window has its extreme element."""
    plan = _window_plan(e)
    if plan is None:
        return None
    dtype = e.outs[0].aval.dtype
    kind, _ = memory.element(dtype)

    def write(b: Builder, source: Value, x: Value, out: Value) -> None:
        given, operand, goal = _dense(e, 0, source), _dense(e, 1, x), _dense(e, 2, out)
        lane = windows.lane_dimension(plan, operand.strides)
        if plan.tiled:
            deliver = _storing(b, kind, goal, lane)
        else:
            memory.fill(b, out, dtype, size_of(e.outs[0]), dtype.type(0))
            deliver = windows.adding(b, kind, goal, lane)
        windows.scatter_windows(b, kind, plan, _extreme(e), given, operand, deliver)

    if any(s.base > 1 for s in plan.slides):
        return None
    return Routine(e, write)


def _storing(b: Builder, kind: str, out: windows.Array, lane: int) -> Write:
    """Stores vectors that lie along `lane`, `step` elements apart."""

    def store(values: Value, place: tuple[Value, ...], mask: Value | None, step: int) -> None:
        at = address(b, out.pointer, kind, *zip(place, out.strides))
        store_evenly(b, values, at, step * out.strides[lane], mask)

    return store


# ---- order


def _copied(b: Builder, a: Any, source: Value, at: Value, out: Value, to: Value) -> None:
    """One element of an operand to a place of a result, or one in each lane."""
    dtype = a.aval.dtype
    kind, width = memory.element(dtype)
    at, to = (i if width == 1 else b.mul(i, b.like(width, i)) for i in (at, to))
    lanes = at.type.lanes
    step = 1 if lanes == 1 else None
    x = memory.load(b, b.element(source, at, kind), dtype, lanes, step, None)
    memory.store(b, x, b.element(out, to, kind), dtype, lanes, step, None)


def _sorted(e: Eqn) -> Routine:
    """Operands in the order of the first ones."""
    if (alone := value_sort.code_for(e)) is not None:
        return Routine(e, *alone)
    key = e.args[0].aval
    compared = [a.aval.dtype for a in e.args[: e.params["num_keys"]]]
    rows = sorting.Rows.along(key.shape, e.params["dimension"])
    count = len(e.args)

    def write(b: Builder, *pointers: Value) -> None:
        def deliver(row: Value, place: Value, position: Value) -> None:
            at, to = (rows.element(b, row, i, rows.size) for i in (position, place))
            for a, source, out in zip(e.args, pointers, pointers[count:]):
                _copied(b, a, source, at, out, to)

        keys = [k for p, t in zip(pointers, compared) for k in sorting.keys_of(b, p, t)]
        sorting.sort_rows(b, rows, keys, False, pointers[-1], deliver)

    return Routine(e, write, sorting.scratch_bytes(rows, compared))


def _largest(e: Eqn) -> Routine:
    """The largest elements and their positions."""
    (x,), k = e.args, e.params["k"]
    rows = sorting.Rows.along(x.aval.shape, e.params["axis"])

    def write(b: Builder, source: Value, values: Value, places: Value, scratch: Value) -> None:
        def deliver(row: Value, place: Value, position: Value) -> None:
            at, to = rows.element(b, row, position, rows.size), rows.element(b, row, place, k)
            _copied(b, x, source, at, values, to)
            b.scatter(b.cast("trunc", position, "i32"), b.element(places, to, "i32"))

        def some(row: Value, place: Value, position: Value) -> None:
            b.when(b.icmp("slt", place, whole(k)), lambda: deliver(row, place, position))

        keys = sorting.keys_of(b, source, x.aval.dtype)
        if selection.pays(rows, k):
            selection.select_rows(b, rows, keys[0], k, scratch, deliver)
            return
        sorting.sort_rows(b, rows, keys, True, scratch, deliver if k == rows.size else some)

    return Routine(e, write, sorting.scratch_bytes(rows, [x.aval.dtype]))


def _reread(e: Eqn) -> Routine:
    """The same bytes as numbers of another width."""
    return Routine(e, lambda b, x, out: copy(b, out, x, bytes_of(e.outs[0])))


def _of_float64(e: Eqn) -> Routine | None:
    """A function of numbers that are computed in float64."""
    form: Any = form_of(e)
    write = vector_functions.of_vectors(e, form)
    return None if write is None else Routine(e, write)


# By the names that forms give them.
ROUTINES: dict[str, Callable[[Eqn], Routine | None]] = {
    "gather by windows": _chosen,
    "scatter by windows": _scattered,
    "function of float64": _of_float64,
    "same bytes": _reread,
    "sort": _sorted,
    "top_k": _largest,
}

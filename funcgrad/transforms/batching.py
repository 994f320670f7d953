"""Batching: one trace that maps an axis over a function, by each primitive's batch rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.core.array import Tracer
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr, memoised
from funcgrad.core.leaks import leak_checked
from funcgrad.core.primitive import Primitive
from funcgrad.core.trace import Axis, Trace, current_trace, running
from funcgrad.primitives.basis import batched, moveaxis
from funcgrad.transforms.dce import derive


class BatchTracer(Tracer):
    """A value with one more dimension, `dim`, than the function sees."""

    __slots__ = ("value", "dim")
    traced_by = "vmap"

    def __init__(self, trace: BatchTrace, value: Any, dim: int) -> None:
        self._trace, self.value, self.dim, self.source = trace, value, dim, None

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        whole = typeof(self.value)
        shape = whole.shape[: self.dim] + whole.shape[self.dim + 1 :]
        return ShapedArray(shape, whole.dtype, whole.weak_type)


class BatchTrace(Trace):
    """Maps one axis. Operations without a mapped operand are its parent's, unless they use the
    axis by name.
    """

    __slots__ = ("axis", "origin")

    def __init__(self, parent: Trace, axis: Axis, function: Any = None) -> None:
        self.parent: Trace = parent
        self.axis = axis
        self.origin = getattr(function, "source", None)

    def split(self, x: Any) -> tuple[Any, int | None]:
        """The whole value and where its mapped dimension is, None if it has none."""
        if type(x) is BatchTracer and x._trace is self:
            return x.value, x.dim
        return x, None

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        values: list[Any] = []
        dims: list[int | None] = []
        mapped = False
        for a in args:
            if type(a) is BatchTracer and a._trace is self:
                values.append(a.value)
                dims.append(a.dim)
                mapped = True
            else:
                values.append(a)
                dims.append(None)
        if not mapped and not self._named(primitive, params):
            return self.parent.process(primitive, values, params)
        rule = primitive.rule("batch", "vmap")
        with running(self.parent):
            out, dim = rule(self.axis, values, dims, **params)
        if primitive.multiple_results:
            return [o if d is None else BatchTracer(self, o, d) for o, d in zip(out, dim)]
        return out if dim is None else BatchTracer(self, out, dim)

    def _named(self, primitive: Primitive, params: dict[str, Any]) -> bool:
        if self.axis.name is None or primitive.names is None:
            return False
        return self.axis.name in primitive.names(params)


@leak_checked
def batch_flat(function: Any, axis: Axis, values: Sequence[Any], dims: Sequence[int | None]) -> Any:
    """Results of the mapped function, and where the mapped dimension of each is (None: it does
    not depend on it).
    """
    trace = BatchTrace(current_trace(), axis, function)
    rows = [v if d is None else BatchTracer(trace, v, d) for v, d in zip(values, dims)]
    with running(trace):
        outs = function(*rows)
    split = [trace.split(o) for o in outs]
    return [v for v, _ in split], [d for _, d in split]


@memoised
def batch_jaxpr(
    jaxpr: Jaxpr, axis: Axis, mapped: tuple[bool, ...], force: tuple[bool, ...] | None = None
) -> tuple[Jaxpr, tuple[bool, ...]]:
    """The program over rows: mapped arguments and outputs have a leading dimension. Also which
    outputs are mapped.

    `force` marks outputs that are mapped in any case.
    """
    marks: list[bool] = []

    def function(*args: Any) -> list[Any]:
        trace = BatchTrace(current_trace(), axis)
        rows = [BatchTracer(trace, a, 0) if m else a for a, m in zip(args, mapped)]
        split = [trace.split(o) for o in eval_jaxpr(jaxpr, rows, trace)]
        marks[:] = [d is not None or bool(force and force[i]) for i, (_, d) in enumerate(split)]
        return [batched(axis, v, d) if m else v for (v, d), m in zip(split, marks)]

    avals = [
        a.update(shape=(axis.size, *a.shape)) if m else a for a, m in zip(jaxpr.in_avals, mapped)
    ]
    return derive(function, avals), tuple(marks)


def leading(values: Sequence[Any], dims: Sequence[int | None]) -> list[Any]:
    """Operands of a program with their mapped dimensions first."""
    return [v if d is None else moveaxis(v, d, 0) for v, d in zip(values, dims)]

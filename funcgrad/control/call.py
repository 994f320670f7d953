"""`jit_p`, the operation that calls a program: what `jit` binds. Its rules map the program and
call the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from funcgrad.core import backend
from funcgrad.core.array import Tracer
from funcgrad.core.avals import ShapedArray
from funcgrad.core.jaxpr import Jaxpr, Var, program_effects, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct, buffer_of, wrap_buffer
from funcgrad.core.tangent import Zero, is_linear, is_zero
from funcgrad.core.trace import Axis, current_trace, escaped
from funcgrad.transforms.autodiff import jvp_jaxpr, linearize_jaxpr, nonzero_mask
from funcgrad.transforms.batching import batch_jaxpr, leading
from funcgrad.transforms.partial import LinearTrace, Split, partial_eval
from funcgrad.transforms.transpose import transpose_jaxpr


def merge(mask: Sequence[bool], chosen: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """One list from two: the next of `chosen` where the mask is set, else the next of `others`."""
    yes, no = iter(chosen), iter(others)
    return [next(yes) if m else next(no) for m in mask]


def choose(items: Sequence[Any], mask: Sequence[bool]) -> list[Any]:
    """The items that the mask marks."""
    return [item for item, m in zip(items, mask) if m]


def nonzero(tangents: Sequence[Any]) -> list[Any]:
    """The tangents that are not Zero."""
    return [t for t in tangents if not is_zero(t)]


def with_zeros(
    mask: Sequence[bool], tangents: Sequence[Any], avals: Sequence[ShapedArray]
) -> list[Any]:
    """Tangents of all outputs from those of the marked ones."""
    return merge(mask, tangents, [Zero(a.tangent()) for a, m in zip(avals, mask) if not m])


def arrays_of(avals: Sequence[ShapedArray], buffers: Sequence[Any]) -> list[Any]:
    """Buffers as Arrays of the given types."""
    return [wrap_buffer(b, aval) for b, aval in zip(buffers, avals)]


def buffers_of(arrays: Sequence[Any]) -> list[Any]:
    """The buffers of a compiled program's arguments; UnexpectedTracerError for a tracer, which has
    none: outside of all traces it must have escaped.
    """
    try:
        return [x._buffer for x in arrays]
    except AttributeError:
        for x in arrays:
            if isinstance(x, Tracer):
                raise escaped(x, "a compiled function") from None
        raise


# ---- rules shared by all operations that call one program
# -----------------------------------------


def call_jvp(primitive: Construct) -> Callable[..., Any]:
    """Calls the program's jvp."""

    def rule(primals: Any, tangents: Any, *, jaxpr: Jaxpr, **params: Any) -> Any:
        mask = nonzero_mask(tangents)
        derived, out_nonzero = jvp_jaxpr(jaxpr, mask)
        outs = primitive.bind(*primals, *nonzero(tangents), jaxpr=derived, **params)
        count = len(out_nonzero)
        return outs[:count], with_zeros(out_nonzero, outs[count:], jaxpr.out_avals)

    return rule


def call_split(
    primitive: Construct, policy_of: Callable[..., Any] = lambda **params: None
) -> Callable[..., Any]:
    """Calls the known half now and records a call of the unknown half."""

    def rule(trace: LinearTrace, args: Any, *, jaxpr: Jaxpr, **params: Any) -> Any:
        known = tuple(not trace.owns(a) for a in args)
        split = partial_eval(jaxpr, known, None, policy_of(**params))
        unknown = [a for a, k in zip(args, known) if not k]
        outs, rest = call_halves(primitive, trace, split, choose(args, known), unknown, params)
        return merge(split.out_known, outs, rest)

    return rule


def call_halves(
    primitive: Construct,
    trace: LinearTrace,
    split: Split,
    known: Sequence[Any],
    unknown: Sequence[Any],
    params: dict[str, Any],
) -> tuple[list[Any], list[Any]]:
    """Results of the known half, computed in the parent, and of the unknown half, recorded."""
    given: dict[Var, Any] = dict(zip(split.known_inputs, known))
    extra = [r for r in split.residuals if r not in given]  # the others the caller has already
    outs = trace.parent.process(primitive, known, {**params, "jaxpr": split.known(extra)})
    count = len(split.known_outputs)
    given.update(zip(extra, outs[count:]))
    if not split.unknown_outputs:
        return outs[:count], []
    inner = split.unknown([*split.residuals, *split.unknown_inputs])
    operands = [given[r] for r in split.residuals] + list(unknown)
    return outs[:count], trace.record(primitive, operands, {**params, "jaxpr": inner})


def call_transpose(primitive: Construct, separate: bool = False) -> Callable[..., Any]:
    """Calls the program's transpose."""

    def rule(cts: Any, *args: Any, jaxpr: Jaxpr, **params: Any) -> list[Any]:
        linear = tuple(map(is_linear, args))
        derived, ct_nonzero = transpose_jaxpr(jaxpr, linear, nonzero_mask(cts), False, separate)
        operands = [a for a, m in zip(args, linear) if not m]
        outs = primitive.bind(*operands, *nonzero(cts), jaxpr=derived, **params)
        found: Iterator[Any] = iter(merge(ct_nonzero, outs, [None] * (len(ct_nonzero) - len(outs))))
        return [next(found) if m else None for m in linear]

    return rule


def call_batch(primitive: Construct) -> Callable[..., Any]:
    """Calls the batched program."""

    def rule(axis: Axis, args: Any, dims: Any, *, jaxpr: Jaxpr, **params: Any) -> Any:
        mapped = tuple(d is not None for d in dims)
        derived, out_mapped = batch_jaxpr(jaxpr, axis, mapped)
        outs = primitive.bind(*leading(args, dims), jaxpr=derived, **params)
        return outs, [0 if m else None for m in out_mapped]

    return rule


# ---- jit
# -----------------------------------------------------------------------------------------------


def _jit_run(args: Sequence[Any], *, jaxpr: Jaxpr, name: str) -> list[Any]:
    buffers = backend.compiled(jaxpr)([buffer_of(a, jit_p) for a in args])
    return arrays_of(jaxpr.out_avals, buffers)


def _jit_jvp(primals: Any, tangents: Any, *, jaxpr: Jaxpr, name: str) -> Any:
    """As any call; under linearization, the known and the linear half of the derivative in one
    walk.
    """
    trace = current_trace()
    if not isinstance(trace, LinearTrace) or any(map(trace.owns, primals)):
        return _jit_jvp_by_call(primals, tangents, jaxpr=jaxpr, name=name)
    split = linearize_jaxpr(jaxpr, nonzero_mask(tangents))
    outs, rest = call_halves(jit_p, trace, split, primals, nonzero(tangents), {"name": name})
    return outs, with_zeros(split.out_known, rest, jaxpr.out_avals)


jit_p = Construct(
    "jit",
    run=_jit_run,
    abstract=lambda *avals, jaxpr, name: jaxpr.out_avals,
    loops=lambda *avals, jaxpr, name: Call("call", ("jaxpr",)),
    effects=program_effects,
    names=program_names,
)
_jit_jvp_by_call = call_jvp(jit_p)
jit_p.jvp = _jit_jvp
jit_p.split = call_split(jit_p)
jit_p.transpose = call_transpose(jit_p)
jit_p.batch = call_batch(jit_p)

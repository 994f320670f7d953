"""`while_loop` and `fori_loop`. A while loop is differentiable in reverse mode, without a bound.

Its known half is the loop with a trip counter; its unknown half a checkpoint of a `scan` of that
many trips over the whole body. All orders of derivatives follow from the rules of checkpoint and
scan.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import errors, tree
from funcgrad.config import config
from funcgrad.control.bodies import (
    Body,
    check_carry,
    cut,
    enter_leaves,
    reordered,
    run_compiled,
    settle_carry,
    with_unused,
)
from funcgrad.control.call import choose, merge, nonzero, with_zeros
from funcgrad.control.checkpoint import checkpoint_p, nothing_saveable
from funcgrad.control.lanes import needs_all_lanes, over_lanes
from funcgrad.control.replay import kept_callbacks, opened, recording, replaying
from funcgrad.control.scan import scan, scan_p
from funcgrad.core import backend, dtypes
from funcgrad.core.array import Tracer, is_concrete
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.jaxpr import Jaxpr, Var, eval_jaxpr, memoised, program_effects, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct, buffer_of, wrap_buffer
from funcgrad.core.trace import Axis, current_trace
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import (
    add,
    batched,
    broadcast_in_dim,
    convert_element_type,
    div,
    full,
    instantiate,
    select_n,
    sub,
)
from funcgrad.primitives.elementwise import min as min_of, sqrt
from funcgrad.primitives.logic import lt
from funcgrad.primitives.reduce import reduce_or
from funcgrad.transforms.autodiff import jvp_jaxpr, nonzero_mask
from funcgrad.transforms.batching import batch_jaxpr, leading
from funcgrad.transforms.dce import derive, without_effects
from funcgrad.transforms.partial import LinearTrace, partial_eval

Params = dict[str, Any]
COUNTER = ShapedArray((), dtypes.int32)


def _parts(items: Sequence[Any], params: Params) -> list[list[Any]]:
    """Constants of the condition, constants of the body, carry."""
    return cut(items, params["cond_nconsts"], params["body_nconsts"])


def _while_run(args: Sequence[Any], **params: Any) -> list[Any]:
    found = run_compiled(while_p, params["body_jaxpr"], args, params)
    if found is not None:
        return [wrap_buffer(b, a) for b, a in zip(found, params["body_jaxpr"].out_avals)]
    cond_consts, body_consts, carry = _parts([buffer_of(a, while_p) for a in args], params)
    test = backend.compiled_briefly(params["cond_jaxpr"])
    step = backend.compiled_briefly(params["body_jaxpr"])
    while bool(test([*cond_consts, *carry])[0]):
        carry = step([*body_consts, *carry])
    return [wrap_buffer(b, a) for b, a in zip(carry, params["body_jaxpr"].out_avals)]


def _while_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    """The loop on pairs; the condition sees primals only."""
    body, cond_jaxpr = params["body_jaxpr"], params["cond_jaxpr"]
    cond_consts, body_consts, init = _parts(primals, params)
    _, const_ts, init_ts = _parts(tangents, params)
    const_nz, carry_nz = nonzero_mask(const_ts), nonzero_mask(init_ts)
    while True:
        derived, out_nz = jvp_jaxpr(body, const_nz + carry_nz, carry_nz)
        if out_nz == carry_nz:
            break
        carry_nz = tuple(a or b for a, b in zip(carry_nz, out_nz))
    nconsts, ncarry, ntangents = len(body_consts), len(init), sum(const_nz)
    total = nconsts + ncarry
    order = (
        *range(nconsts),
        *range(total, total + ntangents),
        *range(nconsts, total),
        *range(total + ntangents, total + ntangents + sum(carry_nz)),
    )
    extra = tuple(a.tangent() for a, m in zip(body.out_avals, carry_nz) if m)
    own = {
        **params,
        "body_jaxpr": reordered(derived, order, tuple(range(ncarry + sum(carry_nz)))),
        "cond_jaxpr": with_unused(cond_jaxpr, len(cond_jaxpr.args), extra),
        "body_nconsts": nconsts + ntangents,
    }
    rows = [instantiate(t) for t, m in zip(init_ts, carry_nz) if m]
    outs = while_p.bind(*cond_consts, *body_consts, *nonzero(const_ts), *init, *rows, **own)
    return outs[:ncarry], with_zeros(carry_nz, outs[ncarry:], body.out_avals)


# ---- partial evaluation
# ----------------------------------------------------------------------------


def _while_split(trace: LinearTrace, args: Any, **params: Any) -> Any:
    body, cond_jaxpr = params["body_jaxpr"], params["cond_jaxpr"]
    cond_consts, body_consts, init = _parts(args, params)
    const_known, carry_known = (
        tuple(not trace.owns(a) for a in group) for group in (body_consts, init)
    )
    while True:
        split = partial_eval(body, const_known + carry_known, tuple(not k for k in carry_known))
        kept = tuple(a and b for a, b in zip(carry_known, split.out_known))
        if kept == carry_known:
            break
        carry_known = kept
    if any(map(trace.owns, cond_consts)) or _reads_unknown(
        cond_jaxpr, len(cond_consts), carry_known
    ):
        return trace.record(while_p, args, params)
    known, known_consts = split.known(), choose(body_consts, const_known)
    again, again_known, callbacks = body, carry_known, kept_callbacks(body)
    if callbacks and callbacks == kept_callbacks(known) and not all(carry_known):
        operands = [*cond_consts, *known_consts, *choose(init, carry_known)]
        log = opened(trace.parent, operands, callbacks)
        known, known_consts = recording(known), [log, *known_consts]
        again, again_known = replaying(body, len(body_consts)), (True, *carry_known)
        body_consts, init = [log, *body_consts], [full((), 0, dtypes.int32), *init]
    counting_cond, counting_body = _counting(
        cond_jaxpr, len(cond_consts), known, len(known_consts), carry_known
    )
    operands = [
        *cond_consts,
        *known_consts,
        full((), 0, dtypes.int32),
        *choose(init[len(init) - len(carry_known) :], carry_known),
    ]
    own = {
        **params,
        "cond_jaxpr": counting_cond,
        "body_jaxpr": counting_body,
        "body_nconsts": len(known_consts),
    }
    trips, *outs = trace.parent.process(while_p, operands, own)
    if all(carry_known):
        return outs
    repeated = _repeated_in_segments if params["checkpoint"] else _repeated
    program = repeated(again, len(body_consts), again_known)
    settings = {"jaxpr": program, "policy": nothing_saveable, "prevent_cse": False}
    unknown = trace.record(checkpoint_p, [trips, *body_consts, *init], settings)
    return merge(carry_known, outs, unknown)


def _reads_unknown(cond_jaxpr: Jaxpr, nconsts: int, carry_known: tuple[bool, ...]) -> bool:
    read = {a for e in cond_jaxpr.eqns for a in e.args if type(a) is Var}
    read.update(o for o in cond_jaxpr.outputs if type(o) is Var)
    return any(v in read and not k for v, k in zip(cond_jaxpr.args[nconsts:], carry_known))


@memoised
def _counting(
    cond_jaxpr: Jaxpr, ncond: int, known: Jaxpr, nconsts: int, carry_known: tuple[bool, ...]
) -> tuple[Jaxpr, Jaxpr]:
    """The loop over the known part of the carry, with a trip counter in front of it."""
    carry = [v for v, k in zip(cond_jaxpr.args[ncond:], carry_known) if k]
    inputs = [*cond_jaxpr.constvars, *cond_jaxpr.args[:ncond], Var(COUNTER), *carry]

    def step(*args: Any) -> list[Any]:
        consts, (count, *values) = cut(args, nconsts)
        return [add(count, 1), *eval_jaxpr(known, [*consts, *values], current_trace())]

    avals = known.in_avals
    return cond_jaxpr.replace(inputs=inputs), derive(
        step, [*avals[:nconsts], COUNTER, *avals[nconsts:]]
    )


@memoised
def _repeated(body: Jaxpr, nconsts: int, carry_known: tuple[bool, ...]) -> Jaxpr:
    """(trips, constants, carry) -> the unknown part of the carry after that many trips."""

    def function(*args: Any) -> list[Any]:
        outs = scan_p.bind(
            *args,
            jaxpr=without_effects(body),
            length=None,
            reverse=False,
            unroll=1,
            num_consts=nconsts,
            num_carry=len(carry_known),
        )
        return [o for o, k in zip(outs, carry_known) if not k]

    return derive(function, [COUNTER, *body.in_avals])


@memoised
def _repeated_in_segments(body: Jaxpr, nconsts: int, carry_known: tuple[bool, ...]) -> Jaxpr:
    """As `_repeated`, in about sqrt(trips) segments, each a checkpoint: no more is kept at any
    time than the carries between segments and those within one.
    """
    ncarry = len(carry_known)
    loop = {"length": None, "reverse": False, "unroll": 1}

    def segment(*args: Any) -> list[Any]:
        settings = {**loop, "num_consts": nconsts, "num_carry": ncarry}
        return scan_p.bind(*args, jaxpr=without_effects(body), **settings)

    inner = derive(segment, [COUNTER, *body.in_avals])

    def step(trips: Any, size: Any, *args: Any) -> list[Any]:
        consts, (done, *carry) = cut(args, nconsts)
        count = min_of(size, sub(trips, done))
        settings = {"jaxpr": inner, "policy": nothing_saveable, "prevent_cse": False}
        outs = checkpoint_p.bind(count, *consts, *carry, **settings)
        return [add(done, count), *outs]

    avals = body.in_avals
    stepped = derive(step, [COUNTER, COUNTER, *avals[:nconsts], COUNTER, *avals[nconsts:]])

    def function(trips: Any, *args: Any) -> list[Any]:
        consts, carry = args[:nconsts], args[nconsts:]
        root = sqrt(convert_element_type(trips, dtypes.float32))
        size = add(convert_element_type(root, dtypes.int32), 1)
        segments = div(sub(add(trips, size), 1), size)
        start = full((), 0, dtypes.int32)
        settings = {**loop, "num_consts": nconsts + 2, "num_carry": ncarry + 1}
        outs = scan_p.bind(segments, trips, size, *consts, start, *carry, jaxpr=stepped, **settings)
        return [o for o, k in zip(outs[1:], carry_known) if not k]

    return derive(function, [COUNTER, *avals])


# ---- batching
# --------------------------------------------------------------------------------------


def _while_batch(axis: Axis, args: Any, dims: Any, **params: Any) -> Any:
    body, cond_jaxpr = params["body_jaxpr"], params["cond_jaxpr"]
    cond_m, const_m, carry_m = (
        tuple(d is not None for d in group) for group in _parts(dims, params)
    )
    while True:
        test, (per_lane,) = batch_jaxpr(cond_jaxpr, axis, cond_m + carry_m)
        if per_lane:
            break
        derived, out_m = batch_jaxpr(body, axis, const_m + carry_m, carry_m)
        if out_m == carry_m:
            break
        carry_m = tuple(a or b for a, b in zip(carry_m, out_m))
    if per_lane:
        if any(needs_all_lanes(j, axis) for j in (body, cond_jaxpr)):
            return _select_form(axis, args, dims, params)
        return over_lanes(axis, args, dims, lambda *row: while_p.bind(*row, **params))
    cond_consts, body_consts, init = _parts(args, params)
    cond_d, const_d, init_d = _parts(dims, params)
    rows = [batched(axis, a, d) if m else a for a, d, m in zip(init, init_d, carry_m)]
    consts = leading([*cond_consts, *body_consts], [*cond_d, *const_d])
    outs = while_p.bind(*consts, *rows, **{**params, "cond_jaxpr": test, "body_jaxpr": derived})
    return outs, [0 if m else None for m in carry_m]


def _select_form(axis: Axis, args: Any, dims: Any, params: Params) -> Any:
    """The loop runs while any lane does; lanes that are done keep their carry."""
    body, cond_jaxpr = params["body_jaxpr"], params["cond_jaxpr"]
    rows = [batched(axis, a, d) for a, d in zip(args, dims)]
    ncond, nbody = params["cond_nconsts"], params["body_nconsts"]
    test, step = _frozen_lanes(cond_jaxpr, body, axis, ncond, nbody)
    outs = while_p.bind(
        *rows[:ncond],
        *rows,
        cond_jaxpr=test,
        body_jaxpr=step,
        cond_nconsts=ncond,
        body_nconsts=ncond + nbody,
        checkpoint=params["checkpoint"],
    )
    return outs, [0] * len(outs)


@memoised
def _frozen_lanes(
    cond_jaxpr: Jaxpr, body: Jaxpr, axis: Axis, ncond: int, nbody: int
) -> tuple[Jaxpr, Jaxpr]:
    test, _ = batch_jaxpr(cond_jaxpr, axis, (True,) * len(cond_jaxpr.args), (True,))
    step, _ = batch_jaxpr(body, axis, (True,) * len(body.args), (True,) * len(body.outputs))

    def any_running(*args: Any) -> list[Any]:
        return [reduce_or(eval_jaxpr(test, args, current_trace())[0], (0,))]

    def step_running(*args: Any) -> list[Any]:
        cond_consts, body_consts, carry = cut(args, ncond, nbody)
        (running,) = eval_jaxpr(test, [*cond_consts, *carry], current_trace())
        outs = eval_jaxpr(step, [*body_consts, *carry], current_trace())
        return [_select_rows(running, new, old) for new, old in zip(outs, carry)]

    return derive(any_running, test.in_avals), derive(
        step_running, [*test.in_avals[:ncond], *step.in_avals]
    )


def _select_rows(mask: Any, yes: Any, no: Any) -> Any:
    shape = typeof(yes).shape
    return select_n(mask if len(shape) == 1 else broadcast_in_dim(mask, shape, (0,)), no, yes)


while_p = Construct(
    "while",
    run=_while_run,
    abstract=lambda *avals, body_jaxpr, **params: body_jaxpr.out_avals,
    jvp=_while_jvp,
    split=_while_split,
    batch=_while_batch,
    loops=lambda *avals, **params: Call("while", ("cond_jaxpr", "body_jaxpr")),
    effects=program_effects,
    names=program_names,
)


# ---- the public functions
# ----------------------------------------------------------------------------


def _while_in_python(cond_fun: Callable[..., Any], body_fun: Callable[..., Any], value: Any) -> Any:
    while bool(cond_fun(value)):
        value = body_fun(value)
    return value


@user_facing
def while_loop(
    cond_fun: Callable[..., Any],
    body_fun: Callable[..., Any],
    init_val: Any,
    *,
    checkpoint: bool = False,
) -> Any:
    """Applies `body_fun` to a carry while `cond_fun` of it holds. The carry keeps its structure,
    shapes and dtypes.

    Differentiable in forward and in reverse mode. Reverse mode keeps what each of `n` trips needs;
    with `checkpoint`, memory for about 2 sqrt(n) of them, for one more computation of the body.
    Under `vmap` each lane makes its own number of trips.

    Raises:
        TypeError: the condition is no bool scalar, or the carry changes its type; the message names
        the leaf.

    Example:
        >>> while_loop(lambda x: x < 100.0, lambda x: 2.0 * x, 3.0)
        Array(192., dtype=float32, weak_type=True)
    """
    leaves, treedef = enter_leaves("while_loop", init_val)
    if config.current().disable_jit:
        with contextlib.suppress(errors.ConcretizationTypeError):  # a lane of vmap, for example
            return _while_in_python(cond_fun, body_fun, init_val)
    in_tree = tree.structure((tree.unflatten(treedef, [0] * len(leaves)),))
    body = Body("while_loop", body_fun, in_tree, [typeof(x) for x in leaves])
    settled = settle_carry(leaves, body.out_avals)
    if any(a is not b for a, b in zip(settled, leaves)):
        leaves = settled
        body = Body("while_loop", body_fun, in_tree, [typeof(x) for x in leaves])
    check_carry("while_loop", init_val, leaves, body.out_tree, body.out_avals)
    test = Body("while_loop", cond_fun, in_tree, [typeof(x) for x in leaves])
    _check_condition(test)
    outs = while_p.bind(
        *test.captured,
        *body.captured,
        *leaves,
        cond_jaxpr=test.jaxpr,
        body_jaxpr=body.jaxpr,
        cond_nconsts=len(test.captured),
        body_nconsts=len(body.captured),
        checkpoint=bool(checkpoint),
    )
    return tree.unflatten(treedef, outs)


def _check_condition(test: Body) -> None:
    avals = test.out_avals
    if len(avals) != 1 or avals[0].shape != () or avals[0].dtype != dtypes.bool_:
        got = ", ".join(str(a.strong()) for a in avals) or "nothing"
        raise TypeError(f"while_loop: cond_fun must return a bool scalar, but returned {got}.")


@user_facing
def fori_loop(
    lower: Any,
    upper: Any,
    body_fun: Callable[..., Any],
    init_val: Any,
    *,
    unroll: int | bool | None = None,
) -> Any:
    """`body_fun(i, carry)` for `i` from `lower` to `upper - 1`. The carry keeps its structure,
    shapes and dtypes.

    With bounds known while tracing it is a `scan`, whose counter is a weak integer, else a
    `while_loop`; both differentiate in either mode. `unroll` is as for `scan`.

    Raises:
        TypeError: the bounds have different types, or the carry changes its own.

    Example:
        >>> fori_loop(0, 5, lambda i, total: total + i, 0)
        Array(10, dtype=int32, weak_type=True)
    """
    (start, stop), _ = enter_leaves("fori_loop", (lower, upper))
    start, stop = _common_bounds(start, stop)
    if not isinstance(lower, Tracer) and not isinstance(upper, Tracer):
        return _counted(int(lower), int(upper), body_fun, init_val, unroll)
    if config.current().disable_jit and is_concrete(lower) and is_concrete(upper):
        return _counted_in_python(int(lower), int(upper), body_fun, init_val)
    if unroll not in (None, False, 1):
        raise ValueError(
            f"fori_loop: unroll={unroll!r} needs bounds that are known while tracing. Leave it out."
        )
    body = _keeping_carry(body_fun)
    _, result = while_loop(
        lambda carry: lt(carry[0], stop),
        lambda carry: (add(carry[0], 1), body(carry[0], carry[1])),
        (start, init_val),
    )
    return result


def _counted_in_python(lower: int, upper: int, body_fun: Any, value: Any) -> Any:
    for i in range(lower, upper):
        value = body_fun(i, value)
    return value


def _counted(lower: int, upper: int, body_fun: Any, init_val: Any, unroll: Any) -> Any:
    """A scan over a counter in the carry, so that no index array is made."""
    if config.current().disable_jit:
        return _counted_in_python(lower, upper, body_fun, init_val)

    body = _keeping_carry(body_fun)

    def step(carry: Any, _: Any) -> Any:
        i, value = carry
        return (add(i, 1), body(i, value)), None

    length = max(upper - lower, 0)
    (_, result), _ = scan(step, (lower, init_val), None, length=length, unroll=unroll or 1)
    return result


def _keeping_carry(body_fun: Callable[..., Any]) -> Callable[..., Any]:
    """The body of `fori_loop`, its carry checked in the user's terms: a scan and a while loop would
    speak of pairs. Weak types are left to them.
    """

    def body(i: Any, value: Any) -> Any:
        out, out_tree = enter_leaves("fori_loop", body_fun(i, value))
        avals = [typeof(o) for o in out]
        given = [
            o if typeof(v).weak_type and typeof(v).shape == a.shape else v
            for v, o, a in zip(tree.leaves(value), out, avals)
        ]
        check_carry("fori_loop", value, given, out_tree, avals)
        return tree.unflatten(out_tree, out)

    return body


def _common_bounds(start: Any, stop: Any) -> tuple[Any, Any]:
    a, b = typeof(start), typeof(stop)
    if a.dtype == b.dtype:
        weak = a.weak_type and b.weak_type
        return convert_element_type(start, b.dtype, weak), stop
    integers = dtypes.is_integer(a.dtype) and dtypes.is_integer(b.dtype)
    if not integers or not (a.weak_type or b.weak_type):
        raise TypeError(
            f"fori_loop: bounds must have one dtype, but got {a} and {b}. Convert with astype."
        )
    dtype = b.dtype if a.weak_type else a.dtype
    return convert_element_type(start, dtype), convert_element_type(stop, dtype)

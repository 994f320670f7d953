"""`scan`: a loop with a carry, over rows of its inputs, and all of its rules.

Operands are, in this order: the trip count (only if `length` is None), constants of the body,
initial carry, stacked inputs. A length known only at run time comes from the reverse mode of
`while`; the stacks it makes (tapes) never leave the checkpoint they are made in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.config import config
from funcgrad.control.bodies import (
    Body,
    check_carry,
    cut,
    enter_leaves,
    reordered,
    run_compiled,
    settle_carry,
)
from funcgrad.control.call import choose, merge, nonzero, with_zeros
from funcgrad.core import backend, dtypes
from funcgrad.core.avals import UNKNOWN, ShapedArray, typeof
from funcgrad.core.jaxpr import Jaxpr, Var, eval_jaxpr, memoised, program_effects, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct, buffer_of, wrap_buffer
from funcgrad.core.tangent import Zero, is_linear, is_zero
from funcgrad.core.trace import Axis, current_trace
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import (
    add,
    batched,
    broadcast_in_dim,
    convert_element_type,
    full,
    instantiate,
    moveaxis,
    reshape,
    select_n,
)
from funcgrad.primitives.logic import lt
from funcgrad.primitives.reduce import reduce_max
from funcgrad.primitives.shape import concatenate
from funcgrad.transforms.autodiff import jvp_jaxpr, nonzero_mask
from funcgrad.transforms.batching import batch_jaxpr
from funcgrad.transforms.dce import derive
from funcgrad.transforms.partial import LinearTrace, partial_eval
from funcgrad.transforms.transpose import transpose_jaxpr

Params = dict[str, Any]


def _parts(items: Sequence[Any], params: Params) -> list[list[Any]]:
    """Trip count (a list of at most one), constants, carry, inputs."""
    counted = params["length"] is None
    return cut(items, int(counted), params["num_consts"], params["num_carry"])


def _row(aval: ShapedArray) -> ShapedArray:
    return aval.update(shape=aval.shape[1:])


# ---- evaluation
# --------------------------------------------------------------------------------------


def _scan_run(args: Sequence[Any], **params: Any) -> list[Any]:
    """The loop as compiled code if the engine has that; else the compiled body once per row, its
    outputs written into stacks.
    """
    jaxpr: Jaxpr = params["jaxpr"]
    found = run_compiled(scan_p, jaxpr, args, params)
    if found is not None:
        return [wrap_buffer(b, a) for b, a in zip(found, jaxpr.out_avals)]
    buffers = [buffer_of(a, scan_p) for a in args]
    if params.get("lanes") and (together := backend.load("lanes").at_once(params)) is not None:
        return [
            wrap_buffer(b, a)
            for b, a in zip(backend.compiled_briefly(together)(buffers), jaxpr.out_avals)
        ]
    count, consts, carry, xs = _parts(buffers, params)
    length = int(count[0]) if count else params["length"]
    step, ncarry = backend.compiled_briefly(jaxpr), params["num_carry"]
    xp = backend.namespace_of([*consts, *carry, *xs])
    stacks: list[Any] = []
    for i in reversed(range(length)) if params["reverse"] else range(length):
        outs = step([*consts, *carry, *(x[i] for x in xs)])
        carry, rows = outs[:ncarry], outs[ncarry:]
        if not stacks and rows:
            stacks = [xp.empty((length, *row.shape), row.dtype) for row in rows]
        for stack, row in zip(stacks, rows):
            stack[i] = row
    if not stacks:
        stacks = [
            xp.empty((length, *backend.physical_shape(a)), backend.physical_dtype(a))
            for a in jaxpr.out_avals[ncarry:]
        ]
    return [wrap_buffer(b, a) for b, a in zip([*carry, *stacks], jaxpr.out_avals)]


def _scan_abstract(
    *avals: ShapedArray, jaxpr: Jaxpr, length: Any, num_carry: int, **params: Any
) -> list[ShapedArray]:
    rows = UNKNOWN if length is None else length
    outs = jaxpr.out_avals
    return outs[:num_carry] + [a.update(shape=(rows, *a.shape)) for a in outs[num_carry:]]


# ---- forward differentiation
# -----------------------------------------------------------------------


def _scan_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    jaxpr, ncarry = params["jaxpr"], params["num_carry"]
    count, consts, init, xs = _parts(primals, params)
    _, const_ts, init_ts, xs_ts = _parts(tangents, params)
    const_nz, carry_nz, xs_nz = map(nonzero_mask, (const_ts, init_ts, xs_ts))
    outputs = len(jaxpr.outputs) - ncarry
    while True:  # a carry has a tangent if its initial value or the body gives it one
        derived, out_nz = jvp_jaxpr(
            jaxpr, const_nz + carry_nz + xs_nz, carry_nz + (False,) * outputs
        )
        if out_nz[:ncarry] == carry_nz:
            break
        carry_nz = tuple(a or b for a, b in zip(carry_nz, out_nz))
    body = _interleaved(
        derived, (len(consts), ncarry, len(xs)), (const_nz, carry_nz, xs_nz), out_nz
    )
    rows = [instantiate(t) for t, m in zip(init_ts, carry_nz) if m]
    operands = [*count, *consts, *nonzero(const_ts), *init, *rows, *xs, *nonzero(xs_ts)]
    own = {
        **params,
        "jaxpr": body,
        "num_consts": len(consts) + sum(const_nz),
        "num_carry": ncarry + sum(carry_nz),
    }
    outs = scan_p.bind(*operands, **own)
    carry, carry_t, ys, ys_t = cut(outs, ncarry, sum(carry_nz), outputs)
    touts = with_zeros(carry_nz, carry_t, jaxpr.out_avals[:ncarry])
    stacked = _scan_abstract(jaxpr=jaxpr, length=params["length"], num_carry=ncarry)[ncarry:]
    return carry + ys, touts + with_zeros(out_nz[ncarry:], ys_t, stacked)


def _interleaved(derived: Jaxpr, sizes: Any, masks: Any, out_nz: tuple[bool, ...]) -> Jaxpr:
    """From (primals, tangents) to constants, carry and inputs, each with its tangents behind it."""
    total = sum(sizes)
    order, start, tangent = [], 0, total
    for size, mask in zip(sizes, masks):
        order += [*range(start, start + size), *range(tangent, tangent + sum(mask))]
        start, tangent = start + size, tangent + sum(mask)
    ncarry, outputs = sizes[1], len(out_nz)
    carry_t = sum(out_nz[:ncarry])
    outs = [*range(ncarry), *range(outputs, outputs + carry_t), *range(ncarry, outputs)]
    outs += range(outputs + carry_t, outputs + sum(out_nz))
    return reordered(derived, tuple(order), tuple(outs))


# ---- partial evaluation
# ----------------------------------------------------------------------------


def _hoisted(
    trace: LinearTrace, jaxpr: Jaxpr, consts: list[Any], params: Params
) -> tuple[Jaxpr, list[Any]]:
    """What depends on known constants alone leaves the loop: computed once, it is not stacked as
    a residual. A body with effects stays whole: they happen once per step.
    """
    if jaxpr.effects:
        return jaxpr, consts
    known = tuple(not trace.owns(c) for c in consts)
    rest = (False,) * (len(jaxpr.args) - len(consts))
    split = partial_eval(jaxpr, known + rest, (True,) * len(jaxpr.outputs))
    values: dict[Var, Any] = dict(zip(split.known_inputs, choose(consts, known)))
    computed = [r for r in split.residuals if r not in values]
    values.update(
        zip(computed, eval_jaxpr(split.known(computed), choose(consts, known), trace.parent))
    )
    body = split.unknown([*split.residuals, *split.unknown_inputs])
    return body, [values[r] for r in split.residuals] + [c for c, k in zip(consts, known) if not k]


def _scan_split(trace: LinearTrace, args: Any, **params: Any) -> Any:
    count, consts, init, xs = _parts(args, params)
    if count and trace.owns(count[0]):
        return trace.record(scan_p, args, params)
    ncarry = params["num_carry"]
    jaxpr, consts = _hoisted(trace, params["jaxpr"], consts, params)
    const_known, carry_known, xs_known = (
        tuple(not trace.owns(a) for a in group) for group in (consts, init, xs)
    )
    outputs = len(jaxpr.outputs) - ncarry
    while True:  # a carry is known if its initial value is and the body keeps it so
        forced = tuple(not k for k in carry_known) + (False,) * outputs
        split = partial_eval(jaxpr, const_known + carry_known + xs_known, forced)
        kept = tuple(a and b for a, b in zip(carry_known, split.out_known))
        if kept == carry_known:
            break
        carry_known = kept
    known_consts, known_xs, nknown = (
        choose(consts, const_known),
        choose(xs, xs_known),
        sum(carry_known),
    )
    given = dict(zip(split.known_inputs, known_consts))
    rows = dict(zip(split.known_inputs[len(known_consts) + nknown :], known_xs))
    stacked = [r for r in split.residuals if r not in given and r not in rows]
    own = {
        **params,
        "jaxpr": split.known(stacked),
        "num_consts": len(known_consts),
        "num_carry": nknown,
    }
    operands = [*count, *known_consts, *choose(init, carry_known), *known_xs]
    outs = trace.parent.process(scan_p, operands, own)
    returned = len(split.known_outputs)
    if all(split.out_known):
        return outs
    rows.update(zip(stacked, outs[returned:]))
    unknown = _record_unknown(
        trace,
        split,
        params,
        count,
        (consts, init, xs),
        (const_known, carry_known, xs_known),
        given,
        rows,
    )
    return merge(split.out_known, outs[:returned], unknown)


def _record_unknown(
    trace: Any,
    split: Any,
    params: Params,
    count: Any,
    groups: Any,
    known: Any,
    given: Any,
    rows: Any,
) -> Any:
    """Records the scan over what is not known; residuals are constants or inputs of it."""
    rest = [[a for a, k in zip(group, mask) if not k] for group, mask in zip(groups, known)]
    nconsts, ncarry = len(rest[0]), len(rest[1])
    own_consts, own_carry, own_xs = cut(split.unknown_inputs, nconsts, ncarry)
    fixed = [r for r in split.residuals if r in given]
    stacks = [r for r in split.residuals if r not in given]
    body = split.unknown([*fixed, *own_consts, *own_carry, *stacks, *own_xs])
    operands = [
        *count,
        *(given[r] for r in fixed),
        *rest[0],
        *rest[1],
        *(rows[r] for r in stacks),
        *rest[2],
    ]
    own = {**params, "jaxpr": body, "num_consts": len(fixed) + nconsts, "num_carry": ncarry}
    return trace.record(scan_p, operands, own)


# ---- transposition
# ---------------------------------------------------------------------------------


@memoised
def _backward_body(
    jaxpr: Jaxpr,
    const_linear: tuple[bool, ...],
    xs_linear: tuple[bool, ...],
    ncarry: int,
    ys_nonzero: tuple[bool, ...],
) -> tuple[Jaxpr, tuple[bool, ...]]:
    """One step backward: (constants; accumulators, carry cotangents; inputs, output cotangents) ->
    the new ones.

    Also says which linear inputs get a cotangent.
    """
    linear = const_linear + (True,) * ncarry + xs_linear
    derived, ct_nonzero = transpose_jaxpr(jaxpr, linear, (True,) * ncarry + ys_nonzero)
    linear_avals = [a.strong() for a, m in zip(jaxpr.in_avals, linear) if m]
    fixed, stacks = const_linear.count(False), xs_linear.count(False)
    sums = sum(const_linear)

    def step(*args: Any) -> list[Any]:
        consts, totals, carry_ct, xs, ys_ct = cut(args, fixed, sums, ncarry, stacks)
        found = iter(eval_jaxpr(derived, [*consts, *xs, *carry_ct, *ys_ct], current_trace()))
        cts = [next(found) if m else Zero(a) for m, a in zip(ct_nonzero, linear_avals)]
        totals = [t if is_zero(c) else add(t, c) for t, c in zip(totals, cts)]
        carried = [instantiate(c) for c in cts[sums : sums + ncarry]]
        return totals + carried + [c for c in cts[sums + ncarry :] if not is_zero(c)]

    consts, carry, xs = cut(jaxpr.in_avals, len(const_linear), ncarry)
    avals = [a for a, m in zip(consts, const_linear) if not m] + linear_avals[: sums + ncarry]
    avals += [a for a, m in zip(xs, xs_linear) if not m]
    avals += [a.strong() for a, m in zip(jaxpr.out_avals[ncarry:], ys_nonzero) if m]
    return derive(step, avals), ct_nonzero[sums + ncarry :]


def _scan_transpose(cts: Any, *args: Any, **params: Any) -> list[Any]:
    """The scan backward: cotangents of constants add up, those of the carry are carried, those
    of inputs stack.
    """
    jaxpr, ncarry = params["jaxpr"], params["num_carry"]
    count, consts, init, xs = _parts(args, params)
    const_linear, xs_linear = tuple(map(is_linear, consts)), tuple(map(is_linear, xs))
    carry_ct, ys_ct = cut(cts, ncarry)
    body, xs_nonzero = _backward_body(jaxpr, const_linear, xs_linear, ncarry, nonzero_mask(ys_ct))
    totals = [full(c.aval.shape, 0, c.aval.dtype) for c in consts if is_linear(c)]
    fixed = [c for c in consts if not is_linear(c)]
    operands = [*count, *fixed, *totals, *map(instantiate, carry_ct)]
    operands += [*(x for x in xs if not is_linear(x)), *nonzero(ys_ct)]
    own = {
        **params, "jaxpr": body, "reverse": not params["reverse"],
        "num_consts": len(fixed), "num_carry": len(totals) + ncarry,
    }  # fmt: skip
    sums, carried, stacked = cut(scan_p.bind(*operands, **own), len(totals), ncarry)
    of_consts = iter(sums)
    of_xs = iter(merge(xs_nonzero, stacked, [None] * xs_nonzero.count(False)))
    return (
        [None] * len(count)
        + [next(of_consts) if m else None for m in const_linear]
        + [c if is_linear(a) else None for c, a in zip(carried, init)]
        + [next(of_xs) if m else None for m in xs_linear]
    )


# ---- batching
# --------------------------------------------------------------------------------------


def _scan_batch(axis: Axis, args: Any, dims: Any, **params: Any) -> Any:
    jaxpr, ncarry = params["jaxpr"], params["num_carry"]
    count, consts, init, xs = _parts(args, params)
    count_d, const_d, init_d, xs_d = _parts(dims, params)
    consts = [c if d is None else moveaxis(c, d, 0) for c, d in zip(consts, const_d)]
    xs = [x if d is None else moveaxis(x, d, 1) for x, d in zip(xs, xs_d)]
    const_m, carry_m, xs_m = (
        tuple(d is not None for d in group) for group in (const_d, init_d, xs_d)
    )
    if count and count_d[0] is not None:
        return _batch_counted(axis, count[0], consts, const_m, init, init_d, xs, xs_m, params)
    outputs = len(jaxpr.outputs) - ncarry
    while True:  # a carry is mapped if its initial value is or the body makes it so
        derived, out_m = batch_jaxpr(
            jaxpr, axis, const_m + carry_m + xs_m, carry_m + (False,) * outputs
        )
        if out_m[:ncarry] == carry_m:
            break
        carry_m = tuple(a or b for a, b in zip(carry_m, out_m))
    rows = [batched(axis, a, d) if m else a for a, d, m in zip(init, init_d, carry_m)]
    outs = scan_p.bind(*count, *consts, *rows, *xs, **{**params, "jaxpr": derived})
    return outs, [(0 if i < ncarry else 1) if m else None for i, m in enumerate(out_m)]


def _batch_counted(
    axis: Axis,
    counts: Any,
    consts: Any,
    const_m: Any,
    init: Any,
    init_d: Any,
    xs: Any,
    xs_m: Any,
    params: Params,
) -> Any:
    """A trip count per lane: the loop runs to the largest, and lanes that are done keep their
    carry.
    """
    jaxpr, ncarry, reverse = params["jaxpr"], params["num_carry"], params["reverse"]
    outputs = len(jaxpr.outputs) - ncarry
    mapped = const_m + (True,) * ncarry + xs_m
    derived, _ = batch_jaxpr(jaxpr, axis, mapped, (True,) * (ncarry + outputs))
    body = _frozen_lanes(derived, len(consts), ncarry, reverse, axis.size)
    top = reduce_max(counts, (0,))
    start = add(top, -1) if reverse else full((), 0, dtypes.int32)
    rows = [batched(axis, a, d) for a, d in zip(init, init_d)]
    own = {**params, "jaxpr": body, "num_consts": len(consts) + 1, "num_carry": ncarry + 1}
    outs = scan_p.bind(top, counts, *consts, start, *rows, *xs, **own)[1:]
    return outs, [0] * ncarry + [1] * outputs


@memoised
def _frozen_lanes(derived: Jaxpr, nconsts: int, ncarry: int, reverse: bool, size: Any) -> Jaxpr:
    def step(counts: Any, *args: Any) -> list[Any]:
        consts, (i, *carry), xs = cut(args, nconsts, 1 + ncarry)
        outs = eval_jaxpr(derived, [*consts, *carry, *xs], current_trace())
        running = lt(broadcast_in_dim(i, (size,), ()), counts)
        kept = [_select_rows(running, new, old) for new, old in zip(outs, carry)]
        return [add(i, -1 if reverse else 1), *kept, *outs[ncarry:]]

    counter, lanes = ShapedArray((), dtypes.int32), ShapedArray((size,), dtypes.int32)
    avals = derived.in_avals
    return derive(step, [lanes, *avals[:nconsts], counter, *avals[nconsts:]])


def _select_rows(mask: Any, yes: Any, no: Any) -> Any:
    """`yes` in the rows that the mask marks."""
    shape = typeof(yes).shape
    return select_n(mask if len(shape) == 1 else broadcast_in_dim(mask, shape, (0,)), no, yes)


scan_p = Construct(
    "scan",
    run=_scan_run,
    abstract=_scan_abstract,
    jvp=_scan_jvp,
    split=_scan_split,
    transpose=_scan_transpose,
    batch=_scan_batch,
    loops=lambda *avals, **params: Call("scan", ("jaxpr",)),
    effects=program_effects,
    names=program_names,
)


# ---- the public function
# ---------------------------------------------------------------------------


@user_facing
def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
) -> tuple[Any, Any]:
    """Applies `f` to a carry and each row of `xs` in turn, and stacks what it returns beside the
    carry.

    Args:
        f: `f(carry, x) -> (carry, y)`, with trees of arrays; the carry keeps its structure, shapes
        and dtypes. init: the first carry. xs: a tree of arrays with equal leading sizes, whose rows
        are the `x`; None for no inputs. length: the number of steps, needed if `xs` has no arrays.
        reverse: go through the rows from last to first; `ys` are in the order of `xs` all the same.
        unroll: how many steps a compiled loop may do at once; True for all of them. A hint that is
        written into programs and ignored: native loops choose their own width.

    Returns:
        The last carry, and `ys` stacked along a new leading dimension.

    Raises:
        TypeError: the carry changes its type; the message names the leaf. ValueError: sizes of `xs`
        differ, or `length` or `unroll` is negative.

    Example:
        >>> import funcgrad.numpy as jnp
        >>> scan(lambda total, x: (total + x, total), jnp.zeros(()), jnp.array([1.0, 2.0, 3.0]))
        (Array(6., dtype=float32), Array([0., 1., 3.], dtype=float32))
    """
    leaves, init_tree = enter_leaves("scan", init)
    rows, xs_tree = enter_leaves("scan", xs)
    steps = _length(rows, length, xs)
    if config.current().disable_jit:
        return _scan_in_python(f, init, xs_tree, rows, steps, reverse)
    x_avals = [_row(typeof(x)) for x in rows]
    in_tree = tree.structure((init, tree.unflatten(xs_tree, [0] * len(rows))))
    body = Body("scan", f, in_tree, [typeof(x) for x in leaves] + x_avals)
    ncarry = len(leaves)
    carry_tree, y_tree = _pair_of(body.out_tree)
    settled = settle_carry(leaves, body.out_avals[: carry_tree.num_leaves])
    if any(a is not b for a, b in zip(settled, leaves)):
        leaves = settled
        body = Body("scan", f, in_tree, [typeof(x) for x in leaves] + x_avals)
    check_carry("scan", init, leaves, carry_tree, body.out_avals[: carry_tree.num_leaves])
    outs = scan_p.bind(
        *body.captured,
        *leaves,
        *rows,
        jaxpr=body.jaxpr,
        length=steps,
        reverse=bool(reverse),
        unroll=_steps_at_once(unroll, steps),
        num_consts=len(body.captured),
        num_carry=ncarry,
    )
    return tree.unflatten(init_tree, outs[:ncarry]), tree.unflatten(y_tree, outs[ncarry:])


def _pair_of(out_tree: Any) -> list[Any]:
    if out_tree.type not in (tuple, list) or out_tree.num_children != 2:
        raise TypeError(f"scan: the body must return a pair (carry, y), but returned {out_tree}.")
    return out_tree.children()


def _length(rows: Sequence[Any], length: Any, xs: Any) -> int:
    sizes = {}
    for (path, _), x in zip(tree.leaves_with_path(xs), rows):
        if typeof(x).ndim == 0:
            raise ValueError(
                f"scan: xs{tree.keystr(path)} has rank 0; it needs a leading dimension to go "
                "through."
            )
        sizes[f"xs{tree.keystr(path)}"] = typeof(x).shape[0]
    if length is not None:
        sizes["length"] = _static_length(length)
    if not sizes:
        raise ValueError(
            "scan: give xs or length: there is nothing that says how many steps to take."
        )
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(f"scan: leading sizes must agree, but got {listed}.")
    return next(iter(sizes.values()))


def _steps_at_once(unroll: Any, steps: int) -> int:
    if unroll is not True and unroll < 0:
        raise ValueError(f"scan: unroll must be a bool or not negative, but got {unroll!r:.40}.")
    return steps if unroll is True else max(int(unroll), 1)


def _static_length(length: Any) -> int:
    try:
        value = length.__index__()
    except AttributeError:
        raise TypeError(f"scan: length must be an integer, but got {length!r:.40}.") from None
    if value < 0:
        raise ValueError(f"scan: length must not be negative, but got {value}.")
    return value


def _scan_in_python(f: Any, carry: Any, xs_tree: Any, rows: Any, steps: int, reverse: bool) -> Any:
    """With jit disabled: a Python loop, in which prints and breakpoints work."""
    ys: list[Any] = [None] * steps
    for i in reversed(range(steps)) if reverse else range(steps):
        carry, ys[i] = f(carry, tree.unflatten(xs_tree, [x[i] for x in rows]))
    if not ys:
        raise ValueError("scan: with jit disabled, zero steps leave the shape of ys unknown.")
    stacked = tree.map(lambda *items: _stack([as_row(item) for item in items]), *ys)
    return carry, stacked


def as_row(x: Any) -> Any:
    """A row to be stacked."""
    return enter_leaves("scan", x)[0][0]


def _stack(items: Sequence[Any]) -> Any:
    rows = [reshape(convert_element_type(x, typeof(x).dtype), (1, *typeof(x).shape)) for x in items]
    return concatenate(rows, 0)

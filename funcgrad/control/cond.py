"""`cond` and `switch`: one of several programs, chosen by an index, and all of its rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.config import config
from funcgrad.control.bodies import Body, enter_leaves
from funcgrad.control.call import choose, merge, nonzero, with_zeros
from funcgrad.control.custom_rules import unified
from funcgrad.control.lanes import needs_all_lanes, over_lanes
from funcgrad.core import backend, dtypes
from funcgrad.core.array import is_concrete
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.jaxpr import Jaxpr, Var, eval_jaxpr, memoised, program_effects, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct, buffer_of, wrap_buffer
from funcgrad.core.tangent import is_linear
from funcgrad.core.trace import Axis, current_trace
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import (
    batched,
    broadcast_in_dim,
    convert_element_type,
    full,
    select_n,
)
from funcgrad.primitives.elementwise import clamp
from funcgrad.primitives.logic import ne
from funcgrad.transforms.autodiff import jvp_jaxpr, nonzero_mask
from funcgrad.transforms.batching import batch_jaxpr, leading
from funcgrad.transforms.dce import derive
from funcgrad.transforms.partial import LinearTrace, Split, partial_eval
from funcgrad.transforms.transpose import transpose_jaxpr

Branches = tuple[Jaxpr, ...]


def _union(masks: Sequence[tuple[bool, ...]]) -> tuple[bool, ...]:
    return tuple(map(any, zip(*masks)))


def _cond_run(args: Sequence[Any], *, branches: Branches) -> list[Any]:
    index, *operands = [buffer_of(a, cond_p) for a in args]
    chosen = branches[int(index)]
    return [
        wrap_buffer(b, a)
        for b, a in zip(backend.compiled_briefly(chosen)(operands), branches[0].out_avals)
    ]


def _cond_jvp(primals: Any, tangents: Any, *, branches: Branches) -> Any:
    """Every branch gives a tangent to each output that has one in any."""
    mask = nonzero_mask(tangents[1:])
    force = _union([jvp_jaxpr(b, mask)[1] for b in branches])
    derived = tuple(jvp_jaxpr(b, mask, force)[0] for b in branches)
    outs = cond_p.bind(*primals, *nonzero(tangents[1:]), branches=derived)
    count = len(force)
    return outs[:count], with_zeros(force, outs[count:], branches[0].out_avals)


# ---- partial evaluation
# ----------------------------------------------------------------------------


def _cond_split(trace: LinearTrace, args: Any, *, branches: Branches) -> Any:
    """The known half computes the chosen branch's residuals; slots of the others are filled with
    zeros, never read.
    """
    index, *operands = args
    if trace.owns(index):
        return trace.record(cond_p, args, {"branches": branches})
    known = tuple(not trace.owns(a) for a in operands)
    halves = _known_branches(branches, known)
    given = choose(operands, known)
    outs = trace.parent.process(cond_p, [index, *given], {"branches": halves.known})
    count = halves.known_outputs
    if all(halves.out_known):
        return outs
    residuals = [given[i] for i in halves.forwarded] + outs[count:]
    rest = [a for a, k in zip(operands, known) if not k]
    unknown = trace.record(cond_p, [index, *residuals, *rest], {"branches": halves.unknown})
    return merge(halves.out_known, outs[:count], unknown)


class _Halves:
    """Both halves of all branches, over one set of residuals: forwarded inputs, and a slot per
    computed value.
    """

    def __init__(self, splits: Sequence[Split]) -> None:
        self.splits = splits
        self.out_known = splits[0].out_known
        self.known_outputs = len(splits[0].known_outputs)
        positions = [{v: i for i, v in enumerate(s.known_inputs)} for s in splits]
        computed = [[r for r in s.residuals if r not in p] for s, p in zip(splits, positions)]
        used = [p[r] for s, p in zip(splits, positions) for r in s.residuals if r in p]
        self.forwarded = list(dict.fromkeys(used))
        self.slots = [(b, r) for b, rs in enumerate(computed) for r in rs]
        self.known = tuple(self._known(b, s, rs) for b, (s, rs) in enumerate(zip(splits, computed)))
        self.unknown = tuple(self._unknown(b, s) for b, s in enumerate(splits))

    def _known(self, branch: int, split: Split, computed: Sequence[Var]) -> Jaxpr:
        base, count = split.known(computed), self.known_outputs

        def function(*args: Any) -> list[Any]:
            outs = eval_jaxpr(base, args, current_trace())
            own = iter(outs[count:])
            return outs[:count] + [
                next(own) if b == branch else full(r.aval.shape, 0, r.aval.dtype)
                for b, r in self.slots
            ]

        return derive(function, base.in_avals)

    def _unknown(self, branch: int, split: Split) -> Jaxpr:
        inputs = [split.known_inputs[i] for i in self.forwarded]
        inputs += [r if b == branch else Var(r.aval) for b, r in self.slots]
        return split.unknown([*inputs, *split.unknown_inputs])


def _known_branches(branches: Branches, known: tuple[bool, ...]) -> _Halves:
    return _halves(branches[0], branches, known)


@memoised
def _halves(first: Jaxpr, branches: Branches, known: tuple[bool, ...]) -> _Halves:
    masks = [partial_eval(b, known).out_known for b in branches]
    force = tuple(not all(mask) for mask in zip(*masks))
    return _Halves([partial_eval(b, known, force) for b in branches])


# ---- transposition and batching
# ----------------------------------------------------------------------


def _cond_transpose(cts: Any, *args: Any, branches: Branches) -> list[Any]:
    index, *operands = args
    linear, mask = tuple(map(is_linear, operands)), nonzero_mask(cts)
    derived = tuple(transpose_jaxpr(b, linear, mask, True)[0] for b in branches)
    given = [a for a, m in zip(operands, linear) if not m]
    found = iter(cond_p.bind(index, *given, *nonzero(cts), branches=derived))
    return [None] + [next(found) if m else None for m in linear]


def _cond_batch(axis: Axis, args: Any, dims: Any, *, branches: Branches) -> Any:
    mapped = tuple(d is not None for d in dims[1:])
    if dims[0] is None:
        force = _union([batch_jaxpr(b, axis, mapped)[1] for b in branches])
        derived = tuple(batch_jaxpr(b, axis, mapped, force)[0] for b in branches)
        outs = cond_p.bind(args[0], *leading(args[1:], dims[1:]), branches=derived)
        return outs, [0 if m else None for m in force]
    if any(needs_all_lanes(b, axis) for b in branches):
        return _select_form(axis, args, dims, branches)
    return over_lanes(axis, args, dims, lambda *row: cond_p.bind(*row, branches=branches))


def _select_form(axis: Axis, args: Any, dims: Any, branches: Branches) -> Any:
    """All branches on all lanes, then a choice: for bodies that talk to other lanes or to the
    world.
    """
    mapped = tuple(d is not None for d in dims[1:])
    every = (True,) * len(branches[0].outputs)
    operands = leading(args[1:], dims[1:])
    results = [
        eval_jaxpr(batch_jaxpr(b, axis, mapped, every)[0], operands, current_trace())
        for b in branches
    ]
    index = batched(axis, args[0], dims[0])
    outs = [_chosen(index, cases) for cases in zip(*results)]
    return outs, [0] * len(outs)


def _chosen(index: Any, cases: Sequence[Any]) -> Any:
    shape = typeof(cases[0]).shape
    which = ne(index, 0) if len(cases) == 2 else index
    return select_n(broadcast_in_dim(which, shape, (0,)), *cases)


cond_p = Construct(
    "cond",
    run=_cond_run,
    abstract=lambda *avals, branches: branches[0].out_avals,
    jvp=_cond_jvp,
    split=_cond_split,
    transpose=_cond_transpose,
    batch=_cond_batch,
    loops=lambda *avals, branches: Call("cond", ("branches",)),
    effects=program_effects,
    names=program_names,
)


# ---- the public functions
# ----------------------------------------------------------------------------


@user_facing
def cond(
    pred: Any,
    true_fun: Callable[..., Any],
    false_fun: Callable[..., Any],
    *operands: Any,
    operand: Any = None,
    linear: Any = None,
) -> Any:
    """`true_fun(*operands)` if `pred` holds, else `false_fun(*operands)`; only the chosen one is
    computed.

    Both return trees of the same structure, shapes and dtypes. Under `vmap` with a mapped `pred`
    each lane takes its own branch.

    Raises:
        TypeError: `pred` is no scalar, or the branches return different types; the message names
        the leaf.

    Example:
        >>> cond(True, lambda x: x + 1, lambda x: x - 1, 3)
        Array(4, dtype=int32, weak_type=True)
    """
    if operand is not None:
        operands = (operand,)
    if len(operands) == 2 and callable(operands[1]) and not callable(true_fun):
        return _cond_of_two_operands(pred, true_fun, false_fun, *operands)
    (which,), _ = enter_leaves("cond", pred)
    aval = typeof(which)
    if aval.shape != ():
        raise TypeError(
            f"cond: the predicate must be a scalar, but got {aval.strong()}. Use numpy.where for "
            "arrays."
        )
    if aval.dtype.kind not in "biuf":
        raise TypeError(f"cond: the predicate must be a bool or a number, but got {aval.strong()}.")
    if config.current().disable_jit and is_concrete(which):
        return true_fun(*operands) if bool(which) else false_fun(*operands)
    truth = which if aval.dtype == dtypes.bool_ else ne(which, 0)
    index = convert_element_type(truth, dtypes.int32)
    return _choose_branch("cond", index, [false_fun, true_fun], operands)


def _cond_of_two_operands(
    pred: Any, true_operand: Any, true_fun: Any, false_operand: Any, false_fun: Any
) -> Any:
    """JAX's older form: each branch has an operand of its own."""
    operands = (true_operand, false_operand)
    return cond(pred, lambda a, b: true_fun(a), lambda a, b: false_fun(b), *operands)


@user_facing
def switch(
    index: Any, branches: Sequence[Callable[..., Any]], *operands: Any, operand: Any = None
) -> Any:
    """`branches[index](*operands)`, with `index` clamped to the branches there are.

    Example:
        >>> switch(1, [lambda x: x, lambda x: 2.0 * x], 3.0)
        Array(6., dtype=float32, weak_type=True)
    """
    if operand is not None:
        operands = (operand,)
    if not branches:
        raise ValueError("switch: needs at least one branch.")
    (which,), _ = enter_leaves("switch", index)
    aval = typeof(which)
    if aval.shape != () or not dtypes.is_integer(aval.dtype):
        raise TypeError(f"switch: the index must be an integer scalar, but got {aval.strong()}.")
    if len(branches) == 1:
        return branches[0](*operands)
    if config.current().disable_jit and is_concrete(which):
        return branches[min(max(int(which), 0), len(branches) - 1)](*operands)
    limit = len(branches) - 1
    wide = convert_element_type(which, dtypes.int32)
    inside = clamp(full((), 0, dtypes.int32), wide, full((), limit, dtypes.int32))
    return _choose_branch("switch", inside, list(branches), operands)


def _choose_branch(name: str, index: Any, functions: list[Any], operands: Any) -> Any:
    leaves, treedef = enter_leaves(name, tuple(operands))
    avals = [typeof(x) for x in leaves]
    bodies = [Body(name, f, treedef, avals) for f in functions]
    _check_branches(name, bodies)
    programs, captured = unified([(b.jaxpr, b.captured) for b in bodies])
    programs = _without_weak_differences(programs)
    outs = cond_p.bind(index, *captured, *leaves, branches=tuple(programs))
    return tree.unflatten(bodies[0].out_tree, outs)


def _without_weak_differences(programs: list[Jaxpr]) -> list[Jaxpr]:
    """Branches whose results differ only in being weak return strong ones."""
    targets = [
        outs[0] if len({a.weak_type for a in outs}) == 1 else outs[0].strong()
        for outs in zip(*(p.out_avals for p in programs))
    ]
    return [_returning(p, tuple(targets)) for p in programs]


def _returning(jaxpr: Jaxpr, targets: tuple[ShapedArray, ...]) -> Jaxpr:
    if all(a == t for a, t in zip(jaxpr.out_avals, targets)):
        return jaxpr

    def function(*args: Any) -> list[Any]:
        outs = eval_jaxpr(jaxpr, args, current_trace())
        return [convert_element_type(o, t.dtype, t.weak_type) for o, t in zip(outs, targets)]

    return derive(function, jaxpr.in_avals)


def _check_branches(name: str, bodies: Sequence[Body]) -> None:
    first = bodies[0]
    for i, body in enumerate(bodies[1:], 1):
        if body.out_tree != first.out_tree:
            raise TypeError(
                f"{name}: branches must return trees of one structure, but branch 0 returns "
                f"{first.out_tree} "
                f"and branch {i} {body.out_tree}."
            )
        paths = [
            p for p, _ in tree.leaves_with_path(tree.unflatten(first.out_tree, first.out_avals))
        ]
        wrong = [
            f"  output{tree.keystr(path)}: {a.strong()} in branch 0, {b.strong()} in branch {i}"
            for path, a, b in zip(paths, first.out_avals, body.out_avals)
            if a.strong() != b.strong()
        ]
        if wrong:
            raise TypeError(
                f"{name}: branches must return the same types, but got:\n"
                + "\n".join(wrong)
                + "\nConvert with astype."
            )

"""Programs with their checks made explicit: an interpreter that carries an error value along.

An error is `failed: bool[]`, `code: int32[]` (which check), and the payload of every check, so that
nothing but arrays flows through loops, branches and calls. The first failure stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.control.bodies import cut
from funcgrad.control.call import jit_p
from funcgrad.control.checkpoint import checkpoint_p
from funcgrad.control.checks import AUTOMATIC, CHECK_EFFECT, Check, check_p
from funcgrad.control.cond import cond_p
from funcgrad.control.custom_rules import Lazy
from funcgrad.control.loop import while_p
from funcgrad.control.scan import scan_p
from funcgrad.core import dtypes
from funcgrad.core.avals import ShapedArray
from funcgrad.core.jaxpr import NO_EFFECTS, Eqn, Jaxpr, Var, eval_jaxpr, memoised, subjaxprs
from funcgrad.core.primitive import Primitive
from funcgrad.core.source import inherited
from funcgrad.core.trace import current_trace
from funcgrad.primitives.basis import add, full, select_n, zeros
from funcgrad.primitives.convert import stop_gradient
from funcgrad.primitives.logic import bitwise_and, bitwise_not, bitwise_or
from funcgrad.transforms.dce import derive

Errors = frozenset[str]


class ErrorState:
    """The error value while a program is interpreted."""

    def __init__(self) -> None:
        self.failed: Any = full((), False, dtypes.bool_)
        self.code: Any = full((), 0, dtypes.int32)
        self.payload: list[Any] = []
        self.checks: list[tuple[Check, int]] = []  # with the number of values it has in the payload

    def add(self, check: Check, ok: Any, payload: Sequence[Any]) -> None:
        """One more check, which holds if `ok`."""
        self.merge(bitwise_not(ok), full((), 0, dtypes.int32), payload, [(check, len(payload))])

    def merge(
        self, failed: Any, code: Any, payload: Sequence[Any], checks: Sequence[tuple[Check, int]]
    ) -> None:
        """What a part of the program has found; counts only if nothing has failed before."""
        shifted = add(code, len(self.checks)) if self.checks else code
        self.code = select_n(self.failed, shifted, self.code)
        self.failed = bitwise_or(self.failed, failed)
        self.payload += payload
        self.checks += checks

    def values(self) -> list[Any]:
        """The error as arrays."""
        return [self.failed, self.code, *self.payload]


class Checked:
    """A program whose first outputs are its error; `width` is their number."""

    def __init__(self, jaxpr: Jaxpr, checks: Sequence[tuple[Check, int]], avals: Any) -> None:
        self.jaxpr, self.checks = jaxpr, tuple(checks)
        self.avals: list[ShapedArray] = avals  # of the error
        self.width = len(avals)


@memoised
def checked(jaxpr: Jaxpr, errors: Errors) -> Checked:
    """The program with the checks of these categories made explicit."""
    states: list[ErrorState] = []

    def function(*args: Any) -> list[Any]:
        states[:] = [ErrorState()]
        outs = interpret(jaxpr, args, errors, states[0])
        return [*states[0].values(), *outs]

    program = derive(function, jaxpr.in_avals)
    width = 2 + len(states[0].payload)
    return Checked(program, states[0].checks, [a.strong() for a in program.out_avals[:width]])


def interpret(jaxpr: Jaxpr, args: Sequence[Any], errors: Errors, state: ErrorState) -> list[Any]:
    """Runs the program in the current trace, collecting its checks in `state`."""
    env: dict[Any, Any] = dict(zip(jaxpr.inputs, (*jaxpr.consts, *args), strict=True))
    token = inherited.set(None)
    try:
        for e in jaxpr.eqns:
            inherited.set(e.source)
            operands = [env[a] if type(a) is Var else a.value for a in e.args]  # type: ignore[union-attr]
            env.update(zip(e.outs, _results(e, operands, errors, state), strict=True))
    finally:
        inherited.reset(token)
    return [env[o] if type(o) is Var else o.value for o in jaxpr.outputs]  # type: ignore[union-attr]


def _results(e: Eqn, operands: Sequence[Any], errors: Errors, state: ErrorState) -> Sequence[Any]:
    if e.primitive is check_p:
        if "user" in errors:
            state.add(e.params["check"], operands[0], operands[1:])
        return []
    if e.primitive in _PARTS:
        return _PARTS[e.primitive](e, operands, errors, state)
    programs = subjaxprs(e.params)
    params = _params_without_checks(e.params) if programs else e.params
    out = current_trace().process(e.primitive, operands, params)
    outs = out if e.primitive.multiple_results else [out]
    if programs:
        _look_into(programs[0], operands, errors, state)
    else:
        for category, find in AUTOMATIC.items():
            if category in errors:
                for check, ok, payload in find(e, operands, outs):
                    state.add(check, ok, payload)
    return outs


def _look_into(jaxpr: Jaxpr, operands: Sequence[Any], errors: Errors, state: ErrorState) -> None:
    """Checks of a function with custom rules. It is called as it is, so that its rules stay; its
    body runs once more for the checks.
    """
    if len(jaxpr.args) == len(operands) and checked(jaxpr, errors).checks:
        interpret(jaxpr, [stop_gradient(x) for x in operands], errors, state)


def _params_without_checks(params: dict[str, Any]) -> dict[str, Any]:
    """The programs of a function, its rules too, without checks: they are collected beside it."""
    return {name: _param_without_checks(p) for name, p in params.items()}


def _param_without_checks(param: Any) -> Any:
    if isinstance(param, Jaxpr):
        return without_checks(param)
    if isinstance(param, Lazy):
        return param.derived("without checks", without_checks)
    if type(param) is tuple and param and isinstance(param[0], Jaxpr):
        return tuple(map(without_checks, param))
    return param


@memoised
def without_checks(jaxpr: Jaxpr) -> Jaxpr:
    """The program without the user's checks, inner programs included."""
    if not jaxpr.effects:
        return jaxpr
    return jaxpr.replace(eqns=[_inside(e) for e in jaxpr.eqns if e.primitive is not check_p])


def _inside(e: Eqn) -> Eqn:
    if not e.effects or not subjaxprs(e.params):
        return e
    params = _params_without_checks(e.params)
    effects = e.primitive.effects(params) if e.primitive.effects is not None else NO_EFFECTS
    return e.replace(params=params, effects=effects)


def _is_unchanged(jaxpr: Jaxpr, inner: Checked) -> bool:
    """Has the program no checks, neither those that are wanted nor others?"""
    return not inner.checks and not jaxpr.effects & CHECK_EFFECT


def _absorb(state: ErrorState, inner: Checked, outs: Sequence[Any]) -> list[Any]:
    """Takes a checked program's error into the state; returns its results."""
    failed, code, *rest = outs
    payload, results = cut(rest, inner.width - 2)
    state.merge(failed, code, payload, inner.checks)
    return results


def _call(e: Eqn, operands: Sequence[Any], errors: Errors, state: ErrorState) -> Sequence[Any]:
    inner = checked(e.params["jaxpr"], errors)
    if _is_unchanged(e.params["jaxpr"], inner):
        return e.primitive.bind(*operands, **e.params)
    outs = e.primitive.bind(*operands, **{**e.params, "jaxpr": inner.jaxpr})
    return _absorb(state, inner, outs)


# ---- branches -----------------------------------------------------------------------------------


def _cond(e: Eqn, operands: Sequence[Any], errors: Errors, state: ErrorState) -> Sequence[Any]:
    branches = e.params["branches"]
    parts = [checked(b, errors) for b in branches]
    if all(map(_is_unchanged, branches, parts)):
        return e.primitive.bind(*operands, **e.params)
    together = tuple(_padded(b, i, branches, errors) for i, b in enumerate(branches))
    whole = Checked(
        together[0],
        [c for p in parts for c in p.checks],
        [*parts[0].avals[:2], *(a for p in parts for a in p.avals[2:])],
    )
    return _absorb(state, whole, cond_p.bind(*operands, branches=together))


@memoised
def _padded(branch: Jaxpr, position: int, branches: tuple[Jaxpr, ...], errors: Errors) -> Jaxpr:
    """The checked branch, its error having room for the payloads of all branches."""
    parts = [checked(b, errors) for b in branches]
    own = parts[position]
    offset = sum(len(p.checks) for p in parts[:position])

    def function(*args: Any) -> list[Any]:
        outs = eval_jaxpr(own.jaxpr, args, current_trace())
        failed, code, *rest = outs
        payload, results = cut(rest, own.width - 2)
        slots = [
            value
            for i, p in enumerate(parts)
            for value in (payload if i == position else [zeros(a) for a in p.avals[2:]])
        ]
        return [failed, add(code, offset), *slots, *results]

    return derive(function, branch.in_avals)


# ---- loops --------------------------------------------------------------------------------------


def _initial(inner: Checked) -> list[Any]:
    return [zeros(a) for a in inner.avals]


def _first_error(old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    """The old error if there is one, else the new one."""
    return [select_n(old[0], n, o) for o, n in zip(old, new)]


def _scan(e: Eqn, operands: Sequence[Any], errors: Errors, state: ErrorState) -> Sequence[Any]:
    params = e.params
    inner = checked(params["jaxpr"], errors)
    if _is_unchanged(params["jaxpr"], inner):
        return e.primitive.bind(*operands, **params)
    counted, nconsts = int(params["length"] is None), params["num_consts"]
    count, consts, rest = cut(operands, counted, nconsts)
    outs = scan_p.bind(
        *count,
        *consts,
        *_initial(inner),
        *rest,
        **{
            **params,
            "jaxpr": _scan_body(params["jaxpr"], errors, nconsts),
            "num_carry": params["num_carry"] + inner.width,
        },
    )
    return _absorb(state, inner, outs)


@memoised
def _scan_body(jaxpr: Jaxpr, errors: Errors, nconsts: int) -> Jaxpr:
    inner = checked(jaxpr, errors)

    def step(*args: Any) -> list[Any]:
        consts, error, rest = cut(args, nconsts, inner.width)
        outs = eval_jaxpr(inner.jaxpr, [*consts, *rest], current_trace())
        found, results = cut(outs, inner.width)
        return [*_first_error(error, found), *results]

    avals = jaxpr.in_avals
    return derive(step, [*avals[:nconsts], *inner.avals, *avals[nconsts:]])


def _while(e: Eqn, operands: Sequence[Any], errors: Errors, state: ErrorState) -> Sequence[Any]:
    """The condition is computed at the end of the body and carried, so that its checks are
    collected with those of the body. The loop stops at the first failure.
    """
    test, body = e.params["cond_jaxpr"], e.params["body_jaxpr"]
    ncond, nbody = e.params["cond_nconsts"], e.params["body_nconsts"]
    inner = checked(_body_then_test(body, test, nbody, ncond), errors)
    before = checked(test, errors)
    if _is_unchanged(body, inner) and _is_unchanged(test, before):
        return e.primitive.bind(*operands, **e.params)
    cond_consts, body_consts, carry = cut(operands, ncond, nbody)
    first = eval_jaxpr(before.jaxpr, [*cond_consts, *carry], current_trace())
    (pred,) = _absorb(state, before, first)
    outs = while_p.bind(
        *body_consts,
        *cond_consts,
        pred,
        *_initial(inner),
        *carry,
        cond_jaxpr=_unless_failed(inner.jaxpr, inner, len(carry)),
        body_jaxpr=_while_body(inner.jaxpr, inner, nbody + ncond),
        cond_nconsts=0,
        body_nconsts=nbody + ncond,
    )
    return _absorb(state, inner, outs[1:])


@memoised
def _body_then_test(body: Jaxpr, test: Jaxpr, nbody: int, ncond: int) -> Jaxpr:
    """(constants of both, carry) -> whether to go on, and the new carry."""

    def function(*args: Any) -> list[Any]:
        body_consts, cond_consts, carry = cut(args, nbody, ncond)
        outs = eval_jaxpr(body, [*body_consts, *carry], current_trace())
        return [*eval_jaxpr(test, [*cond_consts, *outs], current_trace()), *outs]

    avals = body.in_avals
    return derive(function, [*avals[:nbody], *test.in_avals[:ncond], *avals[nbody:]])


@memoised
def _while_body(jaxpr: Jaxpr, inner: Checked, nconsts: int) -> Jaxpr:
    def step(*args: Any) -> list[Any]:
        consts, (_, *error), carry = cut(args, nconsts, 1 + inner.width)
        outs = eval_jaxpr(inner.jaxpr, [*consts, *carry], current_trace())
        found, (pred, *results) = cut(outs, inner.width)
        return [pred, *_first_error(error, found), *results]

    avals = jaxpr.in_avals
    pred = ShapedArray((), dtypes.bool_)
    return derive(step, [*avals[:nconsts], pred, *inner.avals, *avals[nconsts:]])


@memoised
def _unless_failed(jaxpr: Jaxpr, inner: Checked, count: int) -> Jaxpr:
    def test(pred: Any, failed: Any, *rest: Any) -> list[Any]:
        return [bitwise_and(pred, bitwise_not(failed))]

    carry = jaxpr.in_avals[len(jaxpr.in_avals) - count :]
    return derive(test, [ShapedArray((), dtypes.bool_), *inner.avals, *carry])


_PARTS: dict[Primitive, Callable[..., Sequence[Any]]] = {
    jit_p: _call,
    checkpoint_p: _call,
    cond_p: _cond,
    scan_p: _scan,
    while_p: _while,
}

"""Results of `io_callback` in a loop whose derivative computes it again: they are written down in
the forward pass and read back, so that the callback happens once.

A log is opened before the loop; its number is an operand of the loop and of its recomputation, like
any other residual. How often the loop will run is not known, and when its last derivative has been
taken neither: logs are kept until newer ones need the room.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.control.bodies import cut
from funcgrad.control.callback import (
    Effect,
    PerLane,
    effects_of,
    io_callback_p,
    no_jvp,
    refuse_order,
    run_callback,
)
from funcgrad.core import dtypes
from funcgrad.core.array import ConcreteArray
from funcgrad.core.avals import ShapedArray
from funcgrad.core.jaxpr import Eqn, Jaxpr, Var, eval_eqn, memoised
from funcgrad.core.primitive import Construct
from funcgrad.core.trace import Axis, Trace, current_trace
from funcgrad.primitives.basis import add, moveaxis
from funcgrad.transforms.dce import derive

NUMBER = ShapedArray((), dtypes.int32)
OPENING = frozenset({Effect("io", False)})
ROOM = 1 << 24  # numbers that are kept in all logs together


class _Logs:
    """The logs of this process, by number, the oldest first: results by callback, in order."""

    def __init__(self) -> None:
        self._logs: dict[int, list[list[list[np.ndarray]]]] = {}
        self._next, self._held, self._lock = 0, 0, threading.Lock()

    def open(self, count: int) -> int:
        with self._lock:
            self._next = (self._next + 1) % (1 << 31)
            self._logs[self._next] = [[] for _ in range(count)]
            return self._next

    def write(self, number: int, place: int, results: list[np.ndarray]) -> None:
        with self._lock:
            self._logs[number][place].append(results)
            self._held += sum(r.size for r in results)
            while self._held > ROOM and next(iter(self._logs)) != number:
                oldest = self._logs.pop(next(iter(self._logs)))
                self._held -= sum(r.size for rows in oldest for row in rows for r in row)

    def read(self, number: int, place: int, trip: int) -> list[np.ndarray]:
        if number not in self._logs:
            raise RuntimeError(
                "reverse mode: the results of io_callback in a while_loop are no longer there, "
                "since later loops needed the room. Take the derivative sooner, or use lax.scan."
            )
        return self._logs[number][place][trip]


_logs = _Logs()


def _open(args: Sequence[Any], *, count: int) -> list[Any]:
    return [ConcreteArray(np.int32(_logs.open(count)))]


def _record(args: Sequence[Any], *, place: int, callback: Any, **params: Any) -> list[Any]:
    number, *operands = args
    outs = run_callback(operands, callback=callback)
    _logs.write(int(number), place, [o._buffer for o in outs])
    return outs


def _replay(args: Sequence[Any], *, place: int, callback: Any, **params: Any) -> list[Any]:
    number, trip, *_ = args
    found = _logs.read(int(number), place, int(trip))
    for row, aval in zip(found, callback.out_avals):
        if row.shape != aval.shape:
            raise RuntimeError(
                "reverse mode: io_callback in a while_loop was mapped in another way when it was "
                "called. Take the gradient outside of vmap, or use lax.scan."
            )
    return [ConcreteArray(row) for row in found]


def _batch(primitive: Any, numbers: int) -> Any:
    """Lanes are called one by one and written down together. The numbers in front have no lanes."""

    def rule(axis: Axis, args: Any, dims: Any, **params: Any) -> Any:
        refuse_order("io_callback", params)
        if any(d is not None for d in dims[:numbers]):
            raise NotImplementedError(
                "reverse mode: results of io_callback in a while_loop whose lanes make different "
                "numbers of trips are not kept. Use lax.scan, or lax.map instead of vmap."
            )
        lanes = PerLane(params["callback"], [d is not None for d in dims[numbers:]], axis.size)
        rows = [a if d is None else moveaxis(a, d, 0) for a, d in zip(args, dims)]
        outs = primitive().bind(*rows, **{**params, "callback": lanes})
        return outs, [0] * len(outs)

    return rule


def _abstract(*avals: ShapedArray, callback: Any, **params: Any) -> list[ShapedArray]:
    return list(callback.out_avals)


open_log_p = Construct(
    "open_log",
    run=_open,
    abstract=lambda *, count: [NUMBER],
    effects=lambda params: OPENING,
)
recorded_callback_p: Construct = Construct(
    "recorded_io_callback",
    run=_record,
    abstract=_abstract,
    jvp=no_jvp("io_callback"),
    batch=_batch(lambda: recorded_callback_p, 1),
    effects=effects_of("io"),
)
replayed_callback_p: Construct = Construct(
    "replayed_io_callback",
    run=_replay,
    abstract=_abstract,
    jvp=no_jvp("io_callback"),
    batch=_batch(lambda: replayed_callback_p, 2),
)


# ---- programs that write and read ---------------------------------------------------------------


def kept_callbacks(jaxpr: Jaxpr) -> int:
    """How many callbacks of a loop's body have results that its recomputation needs."""
    return sum(map(_is_kept, jaxpr.eqns))


def _is_kept(e: Eqn) -> bool:
    return e.primitive in (io_callback_p, recorded_callback_p) and bool(e.outs)


def opened(trace: Trace, count: int) -> Any:
    """The number of a new log."""
    return trace.process(open_log_p, [], {"count": count})[0]


@memoised
def recording(body: Jaxpr) -> Jaxpr:
    """(number of the log, arguments) -> the results; callbacks are called and written down."""

    def function(number: Any, *args: Any) -> list[Any]:
        places = itertools.count()

        def call(e: Eqn, operands: list[Any]) -> Any:
            if e.primitive is recorded_callback_p:  # of a derivative taken before
                return e.primitive.bind(*operands, **e.params)
            return recorded_callback_p.bind(number, *operands, place=next(places), **e.params)

        return _evaluated(body, args, call)

    return derive(function, [NUMBER, *body.in_avals])


@memoised
def replaying(body: Jaxpr, nconsts: int) -> Jaxpr:
    """(number of the log, constants; trips so far, carry) -> the next ones. Nothing is called."""

    def function(number: Any, *args: Any) -> list[Any]:
        consts, (trip, *carry) = cut(args, nconsts)
        places = itertools.count()

        def read(e: Eqn, operands: list[Any]) -> Any:
            if e.primitive is recorded_callback_p:
                return replayed_callback_p.bind(operands[0], trip, *operands[1:], **e.params)
            params = {**e.params, "place": next(places)}
            return replayed_callback_p.bind(number, trip, *operands, **params)

        return [add(trip, 1), *_evaluated(body, [*consts, *carry], read)]

    avals = body.in_avals
    return derive(function, [NUMBER, *avals[:nconsts], NUMBER, *avals[nconsts:]])


def _evaluated(body: Jaxpr, args: Sequence[Any], call: Callable[..., Any]) -> list[Any]:
    """Evaluates a body; `call(equation, operands)` gives the results of callbacks."""
    env: dict[Any, Any] = dict(zip(body.inputs, (*body.consts, *args), strict=True))
    for e in body.eqns:
        if _is_kept(e):
            operands = [env[a] if type(a) is Var else a.value for a in e.args]  # type: ignore[union-attr]
            env.update(zip(e.outs, call(e, operands)))
        else:
            eval_eqn(e, env, current_trace())
    return [env[o] if type(o) is Var else o.value for o in body.outputs]  # type: ignore[union-attr]

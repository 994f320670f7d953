"""Results of `io_callback` in a loop whose derivative computes it again: they are written down in
the forward pass and read back, so that the callback happens once.

A log is opened before the loop, one for each lane; its number is an operand of the loop and of its
recomputation, like any other residual. How often the loop will run is not known, and when its last
derivative has been taken neither: logs are kept until newer ones need the room.
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
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.jaxpr import Eqn, Jaxpr, Var, eval_eqn, memoised
from funcgrad.core.primitive import Construct
from funcgrad.core.tangent import Zero
from funcgrad.core.trace import Axis, Trace, current_trace
from funcgrad.primitives.basis import add, batched, moveaxis
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


def _open(args: Sequence[Any], *, count: int, lanes: tuple[int, ...]) -> list[Any]:
    numbers = np.empty(lanes, np.int32)
    for lane in np.ndindex(lanes):
        numbers[lane] = _logs.open(count)
    return [ConcreteArray(numbers)]


def _open_batch(axis: Axis, args: Any, dims: Any, *, lanes: tuple[int, ...], **params: Any) -> Any:
    """A log for each lane of the operands, of which it matters only that they have lanes."""
    return open_log_p.bind(*args, lanes=(axis.size, *lanes), **params), [0]


def _open_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    numbers = open_log_p.bind(*primals, **params)
    return numbers, [Zero(typeof(n).tangent()) for n in numbers]


def _record(args: Sequence[Any], *, place: int, callback: Any, **params: Any) -> list[Any]:
    """Results have the lanes of the numbers in front."""
    numbers, *operands = args
    outs = run_callback(operands, callback=callback)
    for lane, number in np.ndenumerate(np.asarray(numbers)):
        _logs.write(int(number), place, [np.asarray(o._buffer[lane]) for o in outs])
    return outs


def _record_batch(axis: Axis, args: Any, dims: Any, **params: Any) -> Any:
    """Lanes are called one by one, and each is written down in its own log."""
    refuse_order("io_callback", params)
    assert dims[0] is not None, "whatever gives a loop lanes gives them logs"
    lanes = PerLane(params["callback"], [d is not None for d in dims[1:]], axis.size)
    rows = [a if d is None else moveaxis(a, d, 0) for a, d in zip(args, dims)]
    outs = recorded_callback_p.bind(*rows, **{**params, "callback": lanes})
    return outs, [0] * len(outs)


def _replay(
    args: Sequence[Any], *, place: int, out_avals: Sequence[ShapedArray], **params: Any
) -> list[Any]:
    numbers, trips = (np.asarray(a) for a in args)
    outs = [np.empty(a.shape, a.dtype) for a in out_avals]
    for lane, number in np.ndenumerate(numbers):
        for out, row in zip(outs, _logs.read(int(number), place, int(trips[lane]))):
            out[lane] = row
    return [ConcreteArray(out) for out in outs]


def _replay_batch(
    axis: Axis, args: Any, dims: Any, *, out_avals: Sequence[ShapedArray], **params: Any
) -> Any:
    rows = [batched(axis, a, d) for a, d in zip(args, dims)]
    avals = tuple(a.update(shape=(axis.size, *a.shape)) for a in out_avals)
    return replayed_callback_p.bind(*rows, out_avals=avals, **params), [0] * len(avals)


open_log_p: Construct = Construct(
    "open_log",
    run=_open,
    abstract=lambda *avals, count, lanes: [NUMBER.update(shape=lanes)],
    jvp=_open_jvp,
    batch=_open_batch,
    effects=lambda params: OPENING,
)
recorded_callback_p: Construct = Construct(
    "recorded_io_callback",
    run=_record,
    abstract=lambda *avals, callback, **params: list(callback.out_avals),
    jvp=no_jvp("io_callback"),
    batch=_record_batch,
    effects=effects_of("io"),
)
replayed_callback_p: Construct = Construct(
    "replayed_io_callback",
    run=_replay,
    abstract=lambda *avals, out_avals, **params: list(out_avals),
    batch=_replay_batch,
)


# ---- programs that write and read ---------------------------------------------------------------


def kept_callbacks(jaxpr: Jaxpr) -> int:
    """How many callbacks of a loop's body have results that its recomputation needs."""
    return sum(map(_is_kept, jaxpr.eqns))


def _is_kept(e: Eqn) -> bool:
    return e.primitive in (io_callback_p, recorded_callback_p) and bool(e.outs)


def opened(trace: Trace, operands: Sequence[Any], count: int) -> Any:
    """The number of a new log, or of one for each lane that the loop's operands have."""
    return trace.process(open_log_p, operands, {"count": count, "lanes": ()})[0]


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
            kept = e.primitive is recorded_callback_p
            log, place = (operands[0], e.params["place"]) if kept else (number, next(places))
            out_avals = e.params["callback"].out_avals
            return replayed_callback_p.bind(log, trip, place=place, out_avals=out_avals)

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

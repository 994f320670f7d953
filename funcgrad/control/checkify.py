"""Errors as values: `checkify` returns what has gone wrong beside the result, as an `Error`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.control.call import choose, merge
from funcgrad.control.checked import ErrorState, interpret
from funcgrad.control.checks import CATEGORIES, Check, CheckError, check_p
from funcgrad.core import dtypes
from funcgrad.core.array import Array, Tracer
from funcgrad.core.avals import described, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.source import user_source
from funcgrad.core.stage import stage
from funcgrad.errors import trimmed, user_facing
from funcgrad.primitives.basis import full
from funcgrad.primitives.logic import bitwise_and, bitwise_not, eq

Checks = tuple[tuple[Check, int], ...]


class Error:
    """What checks have found: a tree of arrays, so that compiled functions return it.

    `get()` is the message of the first check that failed, or None; `throw()` raises it.
    """

    def __init__(self, failed: Any, code: Any, payload: Sequence[Any], checks: Checks) -> None:
        self.failed, self.code, self.payload = failed, code, tuple(payload)
        self.checks = checks

    def get(self) -> str | None:
        """The message, None if all is well. Of a mapped function, a line for each lane that
        failed.
        """
        if isinstance(self.failed, Tracer):
            raise ValueError(
                "Error.get: the values are traced. Return the error from the compiled function, or "
                "use check_error inside."
            )
        failed = np.asarray(self.failed)
        if not failed.any():
            return None
        if failed.ndim == 0:
            return self._message(())
        lanes = [tuple(map(int, i)) for i in np.argwhere(failed)]
        names = [str(i[0]) if len(i) == 1 else str(i) for i in lanes]
        return "\n".join(
            f"at mapped index {name}: {self._message(i)}" for i, name in zip(lanes, names)
        )

    def _message(self, lane: tuple[int, ...]) -> str:
        code = int(np.asarray(self.code)[lane])
        start = sum(count for _, count in self.checks[:code])
        check, count = self.checks[code]
        return check.message([_shown(p)[lane] for p in self.payload[start : start + count]])

    def throw(self) -> None:
        """Raises CheckError if a check failed."""
        check_error(self)

    def __repr__(self) -> str:
        return f"Error({'traced' if isinstance(self.failed, Tracer) else self.get()})"


def _shown(x: Any) -> np.ndarray:
    """A value for a message, also while it is differentiated."""
    return np.asarray(x.concrete() if isinstance(x, Tracer) else x)


tree.register_node(
    Error,
    lambda error: ((error.failed, error.code, error.payload), error.checks),
    lambda checks, parts: Error(parts[0], parts[1], parts[2], checks),
)


def init_error() -> Error:
    """An error that says that all is well."""
    return Error(full((), False, dtypes.bool_), full((), 0, dtypes.int32), (), ())


@user_facing
def check_error(error: Error) -> None:
    """Raises CheckError if the error holds a failure; in traced code it becomes a check of the
    enclosing function.
    """
    if not isinstance(error, Error):
        raise TypeError(f"check_error: needs an Error, but got {described(error)}.")
    if not any(isinstance(x, Tracer) for x in tree.leaves(error)):
        message = error.get()
        if message is not None:
            raise CheckError(message)
        return
    start = 0
    for i, (check, count) in enumerate(error.checks):
        ok = bitwise_not(bitwise_and(error.failed, eq(error.code, i)))
        payload = error.payload[start : start + count]
        check_p.bind(ok, *payload, check=check, debug=False)
        start += count


@user_facing
def check(pred: Any, msg: str, *fmt_args: Any, debug: bool = False, **fmt_kwargs: Any) -> None:
    """Checks that `pred` holds when the program runs; `msg` is formatted with the values given.

    Under `checkify` a failure becomes part of the Error that it returns; elsewhere, also in
    compiled functions, it raises CheckError at the call.

    Args:
        pred: a bool scalar. msg: such as `"x is {x}, not positive"`.
        fmt_args, fmt_kwargs: values for it, trees of arrays.
        debug: only checked under `checkify`.

    Example:
        >>> import funcgrad as fg
        >>> from funcgrad.experimental import checkify
        >>> def f(x):
        ...     checkify.check(x > 0, "x must be positive, but is {x}", x=x)
        ...     return fg.numpy.log(x)
        >>> error, _ = fg.jit(checkify.checkify(f))(-1.0)
        >>> error.get().split(" At ")[0]
        'x must be positive, but is -1.0 (`check` failed).'
    """
    ok = as_input("check", pred)
    if typeof(ok).shape != () or typeof(ok).dtype != dtypes.bool_:
        raise TypeError(
            f"check: pred must be a bool scalar, but got {typeof(ok).strong()}. Use .all()."
        )
    leaves, structure = tree.flatten((fmt_args, fmt_kwargs))
    operands = [as_input("check", leaf) for leaf in leaves]

    def text(*values: Any) -> str:
        args, kwargs = tree.unflatten(structure, values)
        return f"{msg.format(*args, **kwargs)} (`check` failed)."

    found = Check("user", text, user_source())
    check_p.bind(ok, *operands, check=found, debug=bool(debug))


def debug_check(pred: Any, msg: str, *fmt_args: Any, **fmt_kwargs: Any) -> None:
    """As `check`, but only under `checkify`; elsewhere it does nothing."""
    check(pred, msg, *fmt_args, debug=True, **fmt_kwargs)


user_checks = frozenset({"user"})
nan_checks = frozenset({"nan"})
div_checks = frozenset({"div"})
index_checks = frozenset({"index"})
float_checks = nan_checks | div_checks
automatic_checks = float_checks | index_checks
all_checks = automatic_checks | user_checks


def checkify(
    fun: Callable[..., Any], errors: frozenset[str] = user_checks
) -> Callable[..., tuple[Error, Any]]:
    """A function that returns `(error, out)`: what `fun` returns, and what its checks have found,
    also inside loops, branches, compiled and checkpointed functions. It never raises by itself.

    Args:
        errors: what to look for, a union of `user_checks`, `nan_checks`, `div_checks`,
            `index_checks`, `float_checks` (nan and div), `automatic_checks`, `all_checks`.

    Example:
        >>> import funcgrad as fg
        >>> from funcgrad.experimental import checkify
        >>> f = checkify.checkify(lambda x, i: x[i], errors=checkify.index_checks)
        >>> error, _ = fg.jit(f)(fg.numpy.arange(3), 5)
        >>> error.throw()
        Traceback (most recent call last):
            ...
        funcgrad.control.checks.CheckError: out-of-bounds indexing for array of shape (3,): ...
    """
    categories = frozenset(errors)
    if not categories <= CATEGORIES:
        raise ValueError(
            f"checkify: there are the checks {', '.join(sorted(CATEGORIES))}, but got "
            f"{', '.join(sorted(map(str, categories - CATEGORIES)))}."
        )

    return user_facing(checked_function(fun, categories))


def checked_function(
    fun: Callable[..., Any], categories: frozenset[str], static: bool = False
) -> Callable[..., tuple[Error, Any]]:
    """What `checkify` returns. With `static`, arguments that are no arrays are passed on as they
    are.
    """

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> tuple[Error, Any]:
        leaves, in_tree = tree.flatten((args, kwargs))
        varied = [not static or isinstance(leaf, Array) for leaf in leaves]
        operands = [as_input("checkify", leaf) for leaf in choose(leaves, varied)]
        fixed = [leaf for leaf, v in zip(leaves, varied) if not v]
        out_tree: list[Any] = []

        def flat(*values: Any) -> list[Any]:
            own_args, own_kwargs = tree.unflatten(in_tree, merge(varied, values, fixed))
            found, structure = tree.flatten(fun(*own_args, **own_kwargs))
            out_tree[:] = [structure]
            return [as_input("checkify", leaf) for leaf in found]

        jaxpr, captured = stage(flat, [typeof(x) for x in operands])
        state = ErrorState()
        outs = interpret(jaxpr, [*captured, *operands], categories, state)
        error = Error(state.failed, state.code, state.payload, tuple(state.checks))
        return error, tree.unflatten(out_tree[0], outs)

    return call


def stopping(run: Callable[..., tuple[Error, Any]]) -> Callable[..., Any]:
    """A checked function that raises instead of returning its error."""

    @functools.wraps(run)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            error, out = run(*args, **kwargs)
            check_error(error)
            return out
        except Exception as failure:
            __tracebackhide__ = True
            raise trimmed(failure)

    return call

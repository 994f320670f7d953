"""Error classes, each with a failing program and its repair, and the trimming of tracebacks to the
user's frames.

A message has four parts: the public name, what it needs, what it got, what to do. Frames of this
package are cut out of tracebacks, so that the last line shown is the user's;
`FUNCGRAD_TRACEBACK=full` shows everything.
"""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from funcgrad.config import config

F = TypeVar("F", bound=Callable[..., Any])


class ConcretizationTypeError(TypeError):
    """A traced value was used where Python needs a concrete one.

    ```python
    @jit
    def f(x):
        return float(x)         # the value of x is not known while f is traced
    ```
    Return `x` itself, or mark the argument static: `jit(f, static_argnums=0)`.
    """


class TracerBoolConversionError(ConcretizationTypeError):
    """A traced value was used as a condition.

    ```python
    @jit
    def f(x):
        return x if x > 0 else -x     # use numpy.where(x > 0, x, -x), or lax.cond
    ```
    """


class TracerIntegerConversionError(ConcretizationTypeError):
    """A traced value was used as a Python integer: an index into a list, `range(n)`, a shape.

    Index an array with it, use `lax.fori_loop`, or mark the argument static.
    """


class TracerArrayConversionError(ConcretizationTypeError):
    """A traced value was given to NumPy.

    ```python
    grad(lambda x: np.sin(x))(1.0)      # use funcgrad.numpy.sin
    ```
    """


class NonConcreteBooleanIndexError(ConcretizationTypeError, IndexError):
    """A traced mask was used as an index, so the result's shape would depend on values.

    Use `numpy.where(mask, x, fill)` or `numpy.nonzero(mask, size=n)`.
    """


class UnexpectedTracerError(TypeError):
    """A traced value outlived the function it was made in.

    ```python
    saved = []
    jit(lambda x: saved.append(x))(1.0)
    saved[0] + 1                    # return the value from the function instead
    ```
    """


class LeakError(UnexpectedTracerError):
    """With `checking_leaks`: a traced value is still there when its function has returned."""


class MissingRuleError(NotImplementedError):
    """A primitive lacks the rule that a transformation needs; the message names both."""


class JaxprTypeError(TypeError):
    """A program breaks the rules of the intermediate representation: a mistake of whoever built
    it.
    """


class NarrowingWarning(UserWarning):
    """NumPy data of 64 bits is computed in 32, the default width.

    Ask for 64 bits (`numpy.asarray(x, dtype=numpy.float64)`), set `enable_x64`, or convert the data
    yourself.
    """


# ---- tracebacks
# -------------------------------------------------------------------------------------

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_OURS = (_PACKAGE + os.sep, _PACKAGE + "_nn" + os.sep, "<funcgrad")


@functools.cache
def is_ours(filename: str) -> bool:
    """Is this the name of one of our files, or of code that we generated?"""
    return filename.startswith(_OURS)


def _users_frames(tb: types.TracebackType | None) -> types.TracebackType | None:
    entries = []
    while tb is not None:
        if not is_ours(tb.tb_frame.f_code.co_filename):
            entries.append(tb)
        tb = tb.tb_next
    result = None
    for entry in reversed(entries):
        result = types.TracebackType(result, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return result


def trimmed(error: BaseException) -> BaseException:
    """The same exception, its traceback reduced to the user's frames."""
    if config.current().traceback != "full":
        error.__traceback__ = _users_frames(error.__traceback__)
    return error


_PLAIN = (TypeError, ValueError, OverflowError, IndexError)


def naming(name: str, error: BaseException) -> BaseException:
    """The same exception; its message begins with the name of the public function that was called.

    Left alone: errors from a user's function that we call, those of classes of our own, whose
    messages stand for themselves, and those which name the function already.
    """
    message = error.args[0] if len(error.args) == 1 else None
    if (
        type(error) in _PLAIN
        and isinstance(message, str)
        and not message.startswith((f"{name}:", f"{name}()"))
        and _users_frames(error.__traceback__) is None
    ):
        error.args = (f"{name}: {message}",)
    return error


def user_facing(function: F) -> F:
    """Marks a public function: an exception leaves it with the user's frames only."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            __tracebackhide__ = True  # pytest and IPython leave this frame out
            raise trimmed(error)

    return wrapper  # type: ignore[return-value]


def _excepthook(
    kind: type[BaseException], error: BaseException, tb: types.TracebackType | None
) -> None:
    """Prints an uncaught exception without our frames; Python's own hook does the printing."""
    if config.current().traceback != "full" and any(map(is_ours, _filenames(tb))):
        tb = _users_frames(tb) or tb
    sys.__excepthook__(kind, error.with_traceback(tb), tb)  # printed is what the error carries


def _filenames(tb: types.TracebackType | None) -> list[str]:
    names = []
    while tb is not None:
        names.append(tb.tb_frame.f_code.co_filename)
        tb = tb.tb_next
    return names


def _shown_by_ipython(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    tb: types.TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    """As `_excepthook`, for notebooks and IPython, which do their printing themselves."""
    if config.current().traceback != "full" and any(map(is_ours, _filenames(tb))):
        tb = _users_frames(tb) or tb
    shell.showtraceback((kind, error, tb), tb_offset=tb_offset)


def install_excepthook() -> None:
    """Scripts and notebooks show trimmed tracebacks, unless somebody else has already installed a
    hook.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _excepthook
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and not shell.custom_exceptions:
        shell.set_custom_exc((Exception,), _shown_by_ipython)


def _is_hidden(caught: Any) -> bool:
    return config.current().traceback != "full"


def hide_from_pytest() -> None:
    """If this is pytest: it shows no frames of the modules loaded so far. It asks their globals."""
    if "pytest" in sys.modules:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in ("funcgrad", "funcgrad_nn"):
                module.__dict__.setdefault("__tracebackhide__", _is_hidden)


def missing_rule(primitive: str, transform: str) -> NoReturn:
    raise MissingRuleError(
        f"{transform}: the primitive {primitive} has no rule for it. "
        f"State one on its Primitive, or wrap the operation in custom_jvp or custom_vjp."
    )

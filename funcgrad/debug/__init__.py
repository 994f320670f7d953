"""Looking into running programs: `print`, `callback`, `breakpoint`.

They work in any function and under any transformation: values are shown when the program runs, not
when it is traced, in the primal pass only, and under `vmap` once per example.
"""

from __future__ import annotations

import builtins
import functools
import string
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from funcgrad import tree
from funcgrad.control.callback import debug_callback
from funcgrad.core.array import Array
from funcgrad.debug.prompt import Frame, Prompt
from funcgrad.errors import is_ours, user_facing

__all__ = ["breakpoint", "callback", "print"]


@user_facing
def callback(
    callback: Callable[..., None] | None = None,
    *args: Any,
    ordered: bool = False,
    partitioned: bool = False,
    **kwargs: Any,
) -> Any:
    """Calls a Python function with these values when the program gets here; its result is ignored.

    Arrays in the trees `args` and `kwargs` arrive as Arrays, everything else as it is. Without a
    function it is a decorator: `@debug.callback(ordered=True)`.

    Args:
        ordered: the order of such calls matters; `vmap`, whose lanes have none, then raises.
        partitioned: accepted for compatibility; arrays here are whole.

    Example:
        >>> import funcgrad as fg
        >>> seen = []
        >>> @fg.jit
        ... def f(x):
        ...     fg.debug.callback(seen.append, x)
        ...     return x * x
        >>> f(3.0), seen
        (Array(9., dtype=float32, weak_type=True), [Array(3., dtype=float32)])
    """
    if callback is None:
        return functools.partial(_decorated, ordered)
    debug_callback(callback, (args, kwargs), ordered)


def _decorated(ordered: bool, function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> None:
        debug_callback(function, (args, kwargs), ordered)

    return call


class _Format(string.Formatter):
    """Python's formatting, which insists that every positional and named value is used."""

    def check_unused_args(self, used: Any, args: Sequence[Any], kwargs: Any) -> None:
        extra = [i for i in range(len(args)) if i not in used]
        extra_names = [name for name in kwargs if name not in used]
        if extra or extra_names:
            wrong = ", ".join([*(f"number {i}" for i in extra), *extra_names])
            raise ValueError(
                f"debug.print: the format has no place for these values: {wrong}. "
                "Give a plain string with {} in it, not an f-string."
            )


_format = _Format().format


@user_facing
def print(
    fmt: str,
    *args: Any,
    ordered: bool = False,
    partitioned: bool = False,
    skip_format_check: bool = False,
    **kwargs: Any,
) -> None:
    """Prints a line, formatted as by `str.format`, when the program gets here.

    Args:
        fmt: such as `"x is {} and y {y:.2f}"`. args, kwargs: values for it, trees of arrays too.
        ordered: lines keep their order; `vmap`, whose lanes have none, then raises.
        partitioned: accepted for compatibility; arrays here are whole.
        skip_format_check: values without a place in `fmt` are no error.

    Raises:
        ValueError: a value has no place in `fmt`. IndexError, KeyError: a place has no value.

    Example:
        >>> import funcgrad as fg
        >>> @fg.grad
        ... def slope(x):
        ...     fg.debug.print("x = {x:.1f}", x=x)
        ...     return x * x
        >>> float(slope(3.0))
        x = 3.0
        6.0
    """
    form = str.format if skip_format_check else _format
    _checked_format(form, fmt, args, kwargs)
    debug_callback(functools.partial(_print_formatted, form, fmt), (args, kwargs), ordered)


class _AnyFormat:
    """Stands for an array while the format is checked: it takes every specification."""

    def __format__(self, spec: str) -> str:
        return ""

    def __getitem__(self, index: Any) -> _AnyFormat:
        return self

    def __getattr__(self, name: str) -> _AnyFormat:
        return self


def _checked_format(form: Callable[..., str], fmt: str, args: Any, kwargs: Any) -> None:
    """Finds mistakes in the format where the user wrote it, not where the program runs."""
    stand_in = _AnyFormat()
    trees = tree.map(lambda x: stand_in if isinstance(x, Array) else x, (args, kwargs))
    form(fmt, *trees[0], **trees[1])


def _print_formatted(form: Callable[..., str], fmt: str, *args: Any, **kwargs: Any) -> None:
    builtins.print(form(fmt, *args, **kwargs))


@user_facing
def breakpoint(
    *,
    backend: str | None = None,
    filter_frames: bool = True,
    num_frames: int | None = None,
    ordered: bool = False,
    token: Any = None,
    stdin: Any = None,
    stdout: Any = None,
) -> None:
    """Stops here when the program runs, and asks for commands: `p expression`, `locals`, `w`
    (where), `u` and `d` (up, down), `l` (list), `c` (continue), `q` (quit), `h` (help).

    Local variables of the function and of its callers can be looked at with the values they have
    while the program runs.

    Args:
        filter_frames: only the user's functions. num_frames: how many callers at most.
        ordered: as in `print`. backend, token: accepted for compatibility; there is one prompt.
        stdin, stdout: files to talk to; the terminal by default.

    Example:
        >>> import io, funcgrad as fg
        >>> @fg.jit
        ... def f(x):
        ...     y = 2 * x
        ...     fg.debug.breakpoint(stdin=io.StringIO("p x + y\\nc\\n"))
        ...     return y
        >>> _ = f(3.0)
        (debug) 9.0
        (debug)
    """
    frames = _frames(sys._getframe(1), filter_frames, num_frames)
    prompt = Prompt([f for f, _ in frames], stdin, stdout)
    debug_callback(prompt, (tuple(values for _, values in frames), {}), ordered)


def _frames(
    frame: FrameType | None, filter_frames: bool, num_frames: int | None
) -> list[tuple[Frame, dict[str, Any]]]:
    """Places in the callers' code, innermost first, with the local variables there."""
    found: list[tuple[Frame, dict[str, Any]]] = []
    while frame is not None and (num_frames is None or len(found) < num_frames):
        ours = is_ours(frame.f_code.co_filename)
        if not ours and frame.f_code.co_name == "<module>":
            break  # what stands outside of functions is global and seen from each frame
        if not (filter_frames and ours) and frame.f_code is not user_facing.__code__:
            names = dict(frame.f_locals)
            found.append((Frame(frame.f_code, frame.f_lineno, frame.f_globals), _showable(names)))
        frame = frame.f_back
    return found


def _showable(names: dict[str, Any]) -> dict[str, Any]:
    """Variables without those that no program can carry: containers with odd keys."""
    shown = {}
    for name, value in names.items():
        try:
            tree.flatten(value)
        except (TypeError, ValueError):
            continue
        shown[name] = value
    return shown

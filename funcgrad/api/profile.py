"""`profile`: where a function's time goes, by equation and by line of source."""

from __future__ import annotations

import functools
import linecache
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad.api.compile import JitFunction, jit
from funcgrad.api.flat import call_leaves, check_callable, name_of
from funcgrad.config import config
from funcgrad.control.call import buffers_of
from funcgrad.core import backend
from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal, subjaxprs
from funcgrad.core.pretty import Names, print_eqn, used_variables
from funcgrad.core.source import Source
from funcgrad.errors import user_facing

SHOWN = 40  # rows of each table; the rest is summed up
WIDEST = 66  # columns of an equation's text


class EquationTime(NamedTuple):
    """One equation: its text, its line, and per run its calls and seconds.

    `seconds` leaves out the programs nested in the equation, which have rows of their own, `depth`
    deep; `total_seconds` counts them.
    """

    text: str
    primitive: str
    source: Source | None
    depth: int
    calls: float
    seconds: float
    total_seconds: float
    share: float


class LineTime(NamedTuple):
    """One line of the user's source: `seconds` of all equations that came from it."""

    file: str
    line: int
    code: str
    calls: float
    seconds: float
    share: float


class Profile(NamedTuple):
    """Times of a function, medians over `rounds`: `rows` by equation, the slowest first, and
    `lines` by line of source.

    `seconds` is the sum over all equations. Compiled code is faster: it fuses and reuses memory.
    """

    name: str
    rounds: int
    optimized: bool
    seconds: float
    rows: tuple[EquationTime, ...]
    lines: tuple[LineTime, ...]

    def __str__(self) -> str:
        kind = "optimized" if self.optimized else "plain"
        head = (
            f"{self.name}: {self.seconds * 1e6:.1f} us, the {kind} program equation by equation, "
            f"median of {self.rounds}"
        )
        equations = _table("equation", [(r, _placed(r)) for r in self.rows])
        lines = _table("line", [(r, f"{_place(r.file, r.line)}  {r.code}") for r in self.lines])
        return f"{head}\n\n{equations}\n\n{lines}"


def _table(title: str, rows: Sequence[tuple[Any, str]]) -> str:
    lines = [f"{'us':>10} {'share':>6} {'calls':>6}  {title}"]
    lines += [
        f"{row.seconds * 1e6:10.1f} {row.share:6.1%} {row.calls:6g}  {text}".rstrip()
        for row, text in rows[:SHOWN]
    ]
    rest = [row for row, _ in rows[SHOWN:]]
    if rest:
        seconds, share = sum(r.seconds for r in rest), sum(r.share for r in rest)
        lines.append(f"{seconds * 1e6:10.1f} {share:6.1%} {'':6}  {len(rest)} more")
    return "\n".join(lines)


def _placed(row: EquationTime) -> str:
    text = "  " * row.depth + row.text
    text = text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."
    return f"{text:{WIDEST}} {_place(row.source.file, row.source.line) if row.source else ''}"


def _place(file: str, line: int) -> str:
    return f"{os.path.basename(file)}:{line}"


@user_facing
def profile(
    fun: Callable[..., Any],
    *,
    optimized: bool = True,
    rounds: int = 5,
    static_argnums: int | Sequence[int] | None = None,
) -> Callable[..., Profile]:
    """A function of the arguments of `fun` that says where its time goes.

    The program is evaluated equation by equation, once to warm up and then `rounds` times; loops,
    branches and calls are measured inside too, and effects happen each time. `optimized` measures
    the program after the compiler's passes, otherwise as it was traced.

    Raises:
        ValueError: `rounds` is not positive. TypeError: `fun` is no function.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> found = fg.profile(lambda x: jnp.sum(jnp.sin(x) @ x))(jnp.ones((50, 50)))
        >>> sorted(row.primitive for row in found.rows)
        ['dot_general', 'reduce_sum', 'sin']
        >>> print(found)  # doctest: +SKIP
    """
    check_callable(fun, "profile")
    if rounds < 1:
        raise ValueError(f"profile: rounds must be at least 1, but got {rounds}.")
    jitted = fun if isinstance(fun, JitFunction) else jit(fun, static_argnums=static_argnums)

    @user_facing
    @functools.wraps(fun)
    def profiled(*args: Any, **kwargs: Any) -> Profile:
        traced = jitted.trace(*args, **kwargs)
        _, dynamic, named = jitted._statics.split(args, kwargs)
        leaves, _ = call_leaves("profile", dynamic, named)
        buffers = buffers_of([*traced._captured, *leaves])
        engine = backend.load("profile")
        recorder = engine.Recorder(optimized)
        with config.override(engine="profile"):
            recorder.run(traced.jaxpr, buffers, rounds)
        return _summed(name_of(fun), optimized, rounds, list(recorder.found.values()))

    return profiled


def _summed(name: str, optimized: bool, rounds: int, measured: Sequence[Any]) -> Profile:
    times = [float(np.median(_all_rounds(m.own, rounds))) for m in measured]
    whole = sum(times) or 1.0
    texts = _texts(measured)
    rows = [
        EquationTime(
            text=texts[m.eqn],
            primitive=m.eqn.primitive.name,
            source=m.eqn.source,
            depth=m.depth,
            calls=int(np.median(_all_rounds(m.calls, rounds))),
            seconds=seconds,
            total_seconds=float(np.median(_all_rounds(m.total, rounds))),
            share=seconds / whole,
        )
        for m, seconds in zip(measured, times)
    ]
    rows.sort(key=lambda r: -r.seconds)
    return Profile(name, rounds, optimized, sum(times), tuple(rows), tuple(_by_line(rows, whole)))


def _all_rounds(values: Sequence[Any], rounds: int) -> list[Any]:
    """One value per round; an equation of a branch may have run in some rounds only."""
    return [*values, *([0] * (rounds - len(values)))]


def _by_line(rows: Sequence[EquationTime], whole: float) -> list[LineTime]:
    found: dict[tuple[str, int], list[EquationTime]] = {}
    for row in rows:
        if row.source is not None:
            found.setdefault((row.source.file, row.source.line), []).append(row)
    lines = []
    for (file, line), own in found.items():
        seconds = sum(r.seconds for r in own)
        code = linecache.getline(file, line).strip()
        calls = sum(r.calls for r in own)
        lines.append(LineTime(file, line, code, calls, seconds, seconds / whole))
    return sorted(lines, key=lambda r: -r.seconds)


def _texts(measured: Sequence[Any]) -> dict[Eqn, str]:
    """Equations as text, their nested programs left out; letters are those of their own program."""
    names: dict[Jaxpr, Names] = {}
    found = {}
    for m in measured:
        if m.program not in names:
            names[m.program] = _named(m.program)
        found[m.eqn] = _text(m.eqn, names[m.program])
    return found


def _text(e: Eqn, names: Names) -> str:
    """The equation, without its parameters if it would be long."""
    plain = {k: v for k, v in e.params.items() if not subjaxprs({k: v})}
    whole = " ".join(print_eqn(e.replace(params=plain), names).split())
    return whole if len(whole) <= WIDEST else print_eqn(e.replace(params={}), names)


def _named(program: Jaxpr) -> Names:
    """Letters in the order in which the printed program gives them."""
    names = Names(used_variables(program))
    for atom in (*program.inputs, *(a for e in program.eqns for a in (*e.outs, *e.args))):
        if not isinstance(atom, Literal):
            names(atom)
    return names

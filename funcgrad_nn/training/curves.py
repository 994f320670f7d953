"""Curves in the terminal, while a model trains or afterwards; plain text needs no package."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np

from funcgrad.util import optional
from funcgrad_nn.training.callbacks import Callback, Step
from funcgrad_nn.util import has

MARKS = "*o+x#"
ERASE = "\x1b[{lines}A\x1b[J"


def text_plot(curves: Mapping[str, Sequence[float]], *, width: int = 72, height: int = 12) -> str:
    """Curves as text, each with a mark of its own; values that are not finite are left out.

    `width` and `height` are the numbers of characters of the whole; each curve is stretched over
    the width. Raises `ValueError` if there is no finite value.

    >>> print(text_plot({"loss": [4.0, 2.0, 1.0, 0.0]}, width=19, height=5))
        4 |*
          |
        2 |  *
          |     *
        0 |       *
    * loss
    """
    arrays = {name: np.asarray(values, np.float64) for name, values in curves.items()}
    finite = [values[np.isfinite(values)] for values in arrays.values()]
    if not any(map(len, finite)):
        raise ValueError("text_plot: there is no finite value to draw.")
    low, high = (
        float(min(v.min() for v in finite if len(v))),
        float(max(v.max() for v in finite if len(v))),
    )
    columns, rows = max(width - 11, 8), max(height, 2)
    cells = [[" "] * columns for _ in range(rows)]
    for values, mark in zip(arrays.values(), _marks(len(arrays)), strict=True):
        for column, value in enumerate(_resampled(values, columns)):
            if math.isfinite(value):
                cells[_row(value, low, high, rows)][column] = mark
    lines = [f"{_label(i, low, high, rows):>9} |{''.join(row)}" for i, row in enumerate(cells)]
    legend = "  ".join(f"{m} {name}" for m, name in zip(_marks(len(arrays)), arrays, strict=True))
    return "\n".join([*(line.rstrip() for line in lines), legend])


def _marks(count: int) -> str:
    return (MARKS * (count // len(MARKS) + 1))[:count]


def _resampled(values: np.ndarray, columns: int) -> list[float]:
    """One value a column: the mean of those that fall into it, or the last one before."""
    if len(values) <= columns:
        places = np.linspace(0, columns - 1, len(values)).round().astype(int)
        out = np.full(columns, math.nan)
        out[places] = values
        return out.tolist()
    return [float(part.mean()) for part in np.array_split(values, columns)]


def _row(value: float, low: float, high: float, rows: int) -> int:
    """The row of a value, 0 at the top; a curve that never changes lies in the middle."""
    share = (high - value) / (high - low) if high > low else 0.5
    return min(rows - 1, round(share * (rows - 1)))


def _label(row: int, low: float, high: float, rows: int) -> str:
    """Numbers beside the first, the middle and the last row."""
    if row not in (0, rows // 2, rows - 1):
        return ""
    return f"{high - (high - low) * row / (rows - 1):.4g}"


class LiveCurves(Callback):
    """Curves of the steps' values in the terminal, drawn again after every `every` steps.

    `names`: which of the logs, all if None. Drawn by plotext where it is installed, else as plain
    text; in place at a terminal, below each other elsewhere. Only every `every`-th step is read, so
    that the others are not slowed.

    >>> import io
    >>> live = LiveCurves(every=1, stream=io.StringIO())
    >>> for number, loss in enumerate([3.0, 2.0, 1.0], 1):
    ...     live.on_step(Step(number, 1, {"loss": loss}, None))
    >>> live.curves
    {'loss': [3.0, 2.0, 1.0]}
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        *,
        every: int = 50,
        width: int | None = None,
        height: int = 12,
        stream: IO[str] | None = None,
    ):
        if every < 1:
            raise ValueError(f"LiveCurves: every must be at least 1, but got {every}.")
        self.names, self.every = names, every
        self.width = width or min(shutil.get_terminal_size((80, 24)).columns, 100)
        self.height, self.stream = height, stream or sys.stderr
        self.curves: dict[str, list[float]] = {}
        self.drawn = 0

    def on_step(self, step: Step) -> None:
        if step.number % self.every:
            return
        for name in self.names or step.logs:
            self.curves.setdefault(name, []).append(float(step.logs[name]))
        self._draw()

    def _draw(self) -> None:
        picture = self._picture()
        if picture is None:
            return
        above = ERASE.format(lines=self.drawn) if self.drawn and self.stream.isatty() else ""
        print(above + picture, file=self.stream, flush=True)
        self.drawn = picture.count("\n") + 1

    def _picture(self) -> str | None:
        if not any(math.isfinite(v) for values in self.curves.values() for v in values):
            return None
        drawn = None
        if has("plotext"):
            size = self.width, self.height
            drawn = _by_plotext(optional("plotext"), self.curves, self.every, *size)
        return drawn or text_plot(self.curves, width=self.width, height=self.height)

    def saved(self) -> dict[str, np.ndarray]:
        return {name: np.array(values) for name, values in self.curves.items()}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self.curves = {name: values.tolist() for name, values in saved.items()}


def _by_plotext(plotext: Any, curves, every: int, width: int, height: int) -> str | None:
    """The curves by plotext, in the words of its version 5 or of 6; None for any other."""
    steps = {name: [every * (i + 1) for i in range(len(v))] for name, v in curves.items()}
    if hasattr(plotext, "plotsize"):
        plotext.clear_figure()
        plotext.plotsize(width, height)
        for name, values in curves.items():
            plotext.plot(steps[name], values, label=name)
        return plotext.build().rstrip()
    figure: Any = getattr(plotext, "figure", None)
    if not hasattr(figure, "signal"):
        return None
    figure.clear()
    figure.plot_size(width, height)
    for name, values in curves.items():
        signal = figure.signal(steps[name], values)
        signal.label(name)
        signal.lines()
        figure.draw(signal)
    return str(figure.build()).rstrip()

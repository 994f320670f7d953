"""What a person sees while a model trains: a bar at a terminal, lines in a log, or nothing."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from funcgrad.util import optional
from funcgrad_nn.training.evaluate import loss_first
from funcgrad_nn.util import at_a_terminal, has, in_a_notebook

REFRESH_SECONDS = 0.1


def shown(progress: bool | str) -> str:
    """ "bar", "lines" or "nothing", from the argument of `fit`."""
    if progress not in (True, False, "auto", "bar", "lines"):
        raise ValueError(
            f'fit: progress must be "auto", "bar", "lines", True or False, but got {progress!r}.'
        )
    if progress in (True, "bar"):
        return "bar" if has("tqdm") else "lines"
    if progress == "auto":
        watched = at_a_terminal() or in_a_notebook()
        return "bar" if watched and has("tqdm") else "nothing"
    return "lines" if progress == "lines" else "nothing"


class Display:
    """Shows one epoch after the other, in one of the ways of `shown`."""

    def __init__(self, how: str, epochs: int):
        self.how, self.epochs = how, epochs
        self.bar = None
        self.refreshed = 0.0

    def watch(self, batches: Iterable, total: int | None, epoch: int, done: int = 0) -> Iterator:
        """The same batches, counted on a bar if there is one; `done` came before them."""
        if self.how == "bar":
            # Terminals that do not know their size say 0, and tqdm would draw nothing.
            columns, lines = shutil.get_terminal_size((100, 24))
            self.bar = optional("tqdm").tqdm(
                total=total,
                initial=done,
                desc=f"epoch {epoch}/{self.epochs}",
                unit="step",
                bar_format="{desc} {bar:5} {n_fmt}/{total_fmt} {rate_fmt}{postfix}",
                file=sys.stderr,
                ncols=columns,
                nrows=lines,
                mininterval=REFRESH_SECONDS,
            )
        for batch in batches:
            yield batch
            if self.bar is not None:
                self.bar.update()

    def step(self, values: Callable[[], dict[str, float]]) -> None:
        """Show a step's values, at most every tenth of a second: reading them waits for it."""
        if self.bar is None or time.monotonic() - self.refreshed < REFRESH_SECONDS:
            return
        self.refreshed = time.monotonic()
        read = values()
        shown = {name: read[name] for name in loss_first(read)}
        self.bar.set_postfix_str(summary(shown, decimals=3), refresh=False)

    def epoch(self, epoch: int, values: dict[str, float], steps: int, seconds: float) -> None:
        """Show the values of a whole epoch."""
        if self.bar is not None:
            self.bar.set_postfix_str(summary(without_train(values), decimals=3))
            self.bar.close()
            self.bar = None
        elif self.how == "lines":
            rate = f"{steps / max(seconds, 1e-9):.0f} steps/s"
            print(f"epoch {epoch}/{self.epochs}  {summary(values)}  {rate}", flush=True)

    def close(self) -> None:
        """Leave the terminal in order, also when training was stopped half-way."""
        if self.bar is not None:
            self.bar.close()


def without_train(values: dict[str, float]) -> dict[str, float]:
    """Shorter names for a line that must fit a terminal."""
    return {name.removeprefix("train_"): value for name, value in values.items()}


def summary(values: dict[str, float], decimals: int = 4) -> str:
    """`train_loss 0.1234  val_accuracy 0.9876`."""
    shown = {n: f"{v:.2e}" if n == "rate" else f"{v:.{decimals}f}" for n, v in values.items()}
    return "  ".join(f"{name} {value}" for name, value in shown.items())

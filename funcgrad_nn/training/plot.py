"""Drawing a history."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np

from funcgrad.util import optional

DPI = 120
LABELS = {"train": "training", "val": "validation"}


def plot(history: Mapping[str, Sequence[float]], path: str | os.PathLike | None = None):
    """Draw a history of `fit`: one panel a quantity, training beside validation.

    Writes an image to `path` if given (PNG by its ending) and returns the matplotlib figure, which
    a notebook shows. Needs matplotlib; opens no window. Raises `ValueError` for no history.

    >>> import importlib.util, pathlib, tempfile
    >>> if importlib.util.find_spec("matplotlib"):
    ...     with tempfile.TemporaryDirectory() as folder:
    ...         path = pathlib.Path(folder) / "history.png"
    ...         _ = plot({"train_loss": [0.9, 0.5], "val_loss": [1.0, 0.7]}, path)
    ...         assert path.read_bytes().startswith(b"\\x89PNG")
    """
    if not history:
        raise ValueError("plot: the history is empty.")
    figures = optional("matplotlib.figure")
    panels = _panels({name: values for name, values in history.items() if np.ndim(values) == 1})
    figure = figures.Figure(figsize=(5 * len(panels), 3.5), layout="constrained")
    for axes, (quantity, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name, values in curves.items():
            axes.plot(range(1, len(values) + 1), values, marker=".", label=name)
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    if path is not None:
        figure.savefig(path, dpi=DPI)
    figure._repr_png_ = functools.partial(_png, figure)  # what a notebook looks for
    return figure


def _png(figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()


def _panels(history: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Sequence[float]]]:
    """Curves by quantity: train_loss and val_loss belong together."""
    panels: dict[str, dict[str, Sequence[float]]] = {}
    for name, values in history.items():
        split, _, quantity = name.partition("_")
        if split not in ("train", "val"):
            split, quantity = name, name
        panels.setdefault(quantity, {})[LABELS.get(split, split)] = values
    return panels

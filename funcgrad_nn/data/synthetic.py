"""Images that need no files: digits of seven strokes, each drawn a little differently."""

from __future__ import annotations

import numpy as np

import funcgrad as fg

# Strokes of a seven-segment display as (x0, y0, x1, y1), y downward, and which ones a digit has.
CORNERS = {"nw": (-0.5, -1), "ne": (0.5, -1), "w": (-0.5, 0), "e": (0.5, 0), "sw": (-0.5, 1)}
CORNERS["se"] = (0.5, 1)
STROKES = ("nw ne", "nw w", "ne e", "w e", "w sw", "e se", "sw se")
DIGITS = ("012456", "25", "02346", "02356", "1235", "01356", "013456", "025", "0123456", "012356")


def synthetic_digits(count: int, key, *, size: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Drawn digits: images float32 (count, size, size) and labels int32 (count,).

    Each is a digit of straight strokes, turned, slanted, stretched, shifted, drawn with a pen of
    some width, with noise upon it; values lie in [0, 1]. All classes are equally likely. The same
    key gives the same images. They are easier than handwriting, yet not separable by a line.

    >>> import funcgrad as fg
    >>> images, labels = synthetic_digits(4, fg.random.key(0))
    >>> images.shape, labels.shape
    ((4, 28, 28), (4,))
    """
    if count < 1 or size < 8:
        raise ValueError(
            f"synthetic_digits: count must be at least 1 and size at least 8, but got {count} and "
            f"{size}."
        )
    shape_key, label_key, noise_key, ends_key = fg.random.split(key, 4)
    labels = np.asarray(fg.random.randint(label_key, (count,), 0, 10))
    jitter = np.asarray(fg.random.uniform(shape_key, (count, 8), minval=-1, maxval=1))
    ends = np.asarray(fg.random.uniform(ends_key, (count, 7, 4), minval=-0.1, maxval=0.1))
    noise = np.asarray(fg.random.normal(noise_key, (count, size, size)))
    images = _inked(_unbent(jitter, size), _strokes() + ends, labels, 0.17 + 0.06 * jitter[:, 6])
    brightness = 0.85 + 0.15 * jitter[:, 7, None, None]
    images = np.clip(brightness * images.reshape(noise.shape) + 0.05 * noise, 0, 1)
    return images.astype(np.float32), labels.astype(np.int32)


def _strokes() -> np.ndarray:
    ends = [[*CORNERS[a], *CORNERS[b]] for a, b in map(str.split, STROKES)]
    return np.array(ends, np.float32)


def _unbent(jitter: np.ndarray, size: int) -> np.ndarray:
    """Where each pixel lies on the sheet that its digit was drawn on: (count, pixels, 2)."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size * 3 - 1.5
    pixels = np.stack(np.meshgrid(line, line), axis=-1).reshape(1, -1, 2)
    turn, slant, wide, tall = 0.2 * jitter[:, 0], 0.25 * jitter[:, 1], *(0.15 * jitter[:, 2:4].T)
    rows = [
        [np.cos(turn) * (1 + wide), -np.sin(turn) + slant],
        [np.sin(turn), np.cos(turn) * (1 + tall)],
    ]
    bend = np.array(rows, np.float32).transpose(2, 0, 1)
    return (pixels - 0.25 * jitter[:, None, 4:6]) @ bend.transpose(0, 2, 1)


def _inked(points: np.ndarray, strokes: np.ndarray, labels, width) -> np.ndarray:
    """Ink at each point, from 0 to 1: how near it is to one of the digit's strokes."""
    drawn = np.array([[str(i) in digit for i in range(7)] for digit in DIGITS])[labels]
    ink = np.zeros(points.shape[:2], np.float32)
    for stroke in range(7):
        start, end = strokes[:, None, stroke, :2], strokes[:, None, stroke, 2:]
        along = ((points - start) * (end - start)).sum(-1) / ((end - start) ** 2).sum(-1)
        nearest = start + np.clip(along, 0, 1)[..., None] * (end - start)
        distance = np.sqrt(((points - nearest) ** 2).sum(-1))
        here = np.clip((width[:, None] - distance) / 0.1 + 0.5, 0, 1)
        ink = np.where(drawn[:, None, stroke], np.maximum(ink, here), ink)
    return ink

"""From the entries of an index to the operands of a gather or scatter.

Arrays of positions become columns of index vectors, side by side; slices with step 1 become
windows, other slices one more line of positions. What is known is computed here and now, with
NumPy; only traced positions cost operations. Next: `indexing.py`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from funcgrad.core import dtypes
from funcgrad.numpy.index_parsing import Entry, Picks, Point, Span
from funcgrad.numpy.promote import broadcast_shapes, converted
from funcgrad.primitives.basis import add, broadcast_in_dim, select_n
from funcgrad.primitives.index_maps import GatherDimensionNumbers
from funcgrad.primitives.logic import lt
from funcgrad.primitives.shape import concatenate


def forward(span: Span) -> Span:
    """The same positions in increasing order."""
    if span.size == 0:
        return Span(0, 0, 1)
    return Span(max(0, span.start + (span.size - 1) * span.step), span.size, -span.step)


class Addressing(NamedTuple):
    """The operands and parameters of a gather, and what surrounds it."""

    indices: Any
    numbers: GatherDimensionNumbers
    window: tuple[Any, ...]
    new_dims: tuple[int, ...]  # positions in the final result
    shape: tuple[Any, ...]  # of the final result
    reversed_dims: tuple[int, ...]  # of the result before new dimensions are added


class _Columns:
    """Collects, entry by entry, index vectors and the dimensions of the result."""

    def __init__(self, shape: tuple[Any, ...], group: tuple[Any, ...]) -> None:
        self.dtype = index_dtype(shape)
        self.shape, self.group = shape, group
        self.group_start: int | None = None
        self.batch: list[Any] = []
        self.columns: list[tuple[int, Any, int | None]] = []  # operand dim, values, batch dim
        self.window: list[Any] = []
        self.collapsed: list[int] = []
        self.result: list[tuple[str, Any]] = []  # what each dimension of the result is

    def open_group(self) -> None:
        """The dimensions made by all the position arrays together begin here."""
        if self.group_start is None:
            self.group_start = len(self.batch)
            self.batch.extend(self.group)
            self.result.extend(("batch", size) for size in self.group)

    def point(self, positions: Any) -> None:
        """Positions, broadcast with those of other dimensions."""
        dim = len(self.window)
        self.columns.append((dim, positions, None))
        self.collapsed.append(dim)
        self.window.append(1)

    def span(self, span: Span) -> None:
        """A slice: a window if its steps are 1, else a line of positions."""
        dim = len(self.window)
        kind = "window" if span.step > 0 else "reversed window"
        if span.step < 0:
            span = forward(span)
        if span.step != 1 and span.size != 1:
            line = span.start + span.step * np.arange(span.size)
            self.columns.append((dim, line, len(self.batch)))
            self.batch.append(span.size)
            self.collapsed.append(dim)
            self.window.append(1)
            self.result.append((kind.replace("window", "batch"), span.size))
            return
        if span.size != self.shape[dim]:
            self.columns.append((dim, np.asarray(span.start), None))
        self.window.append(span.size)
        self.result.append((kind, span.size))


def addressing(
    entries: tuple[Entry, ...], shape: tuple[Any, ...], adjacent: bool, wrap: bool
) -> Addressing:
    """The gather that reads the entries' elements."""
    picks = [e.positions for e in entries if isinstance(e, Picks)]
    columns = _Columns(shape, _broadcast_positions(picks))
    if picks and not adjacent:
        columns.open_group()
    for entry in entries:
        if entry is None:
            columns.result.append(("new", 1))
        elif isinstance(entry, Span):
            columns.span(entry)
        else:
            size = shape[len(columns.window)]
            position = np.asarray(entry.position) if isinstance(entry, Point) else entry.positions
            if isinstance(entry, Picks):
                columns.open_group()
            require_positions(position, len(columns.window), size)
            columns.point(from_front(position, size, wrap, columns.dtype))
    return _addressing_of(columns)


def _addressing_of(columns: _Columns) -> Addressing:
    kinds = [kind for kind, _ in columns.result]
    inner = [kind for kind in kinds if kind != "new"]
    return Addressing(
        indices=_index_vectors(columns),
        numbers=GatherDimensionNumbers(
            offset_dims=tuple(i for i, kind in enumerate(inner) if kind.endswith("window")),
            collapsed_slice_dims=tuple(columns.collapsed),
            start_index_map=tuple(dim for dim, _, _ in columns.columns),
        ),
        window=tuple(columns.window),
        new_dims=tuple(i for i, kind in enumerate(kinds) if kind == "new"),
        shape=tuple(size for _, size in columns.result),
        reversed_dims=tuple(i for i, kind in enumerate(inner) if kind.startswith("reversed")),
    )


def _index_vectors(columns: _Columns) -> Any:
    """All columns side by side in a last dimension, broadcast over the batch dimensions."""
    batch, group_start = tuple(columns.batch), columns.group_start or 0
    placed = []
    for _, values, at in columns.columns:
        rank = np.ndim(values)
        first = at if at is not None else group_start + len(columns.group) - rank
        placed.append((values, tuple(range(first, first + rank))))
    known = all(isinstance(values, (np.ndarray, np.generic)) for values, _ in placed)
    if known and len(placed) == 1 and placed[0][0].shape == batch:
        return placed[0][0][..., None].astype(columns.dtype, copy=False)
    if known:
        lines = [_broadcast_in_numpy(values, batch, dims) for values, dims in placed]
        empty = np.zeros((*batch, 0), columns.dtype)
        return np.stack(lines, axis=-1).astype(columns.dtype) if lines else empty
    dtype = _common_dtype([values for values, _ in placed], columns.dtype)
    lines = [
        broadcast_in_dim(
            values.astype(dtype or columns.dtype)
            if isinstance(values, np.ndarray)
            else _as_index(values, dtype or values.dtype),
            (*batch, 1),
            dims,
        )
        for values, dims in placed
    ]
    return concatenate(lines, len(batch)) if len(lines) > 1 else lines[0]


def _common_dtype(columns: list[Any], dtype: np.dtype) -> np.dtype | None:
    """The type of all columns of an index vector; None if they have one already."""
    known = (np.ndarray, np.generic)
    found = {dtype if isinstance(values, known) else values.dtype for values in columns}
    if len(found) == 1:
        return None
    return dtypes.int64 if any(t.itemsize == 8 or t == dtypes.uint32 for t in found) else dtype


def _as_index(values: Any, dtype: np.dtype) -> Any:
    """Positions in another type; those too large for it stay out of range."""
    if values.dtype == dtypes.uint64 and dtype != dtypes.uint64:
        top = np.uint64(np.iinfo(dtype).max)
        values = select_n(lt(values, top), broadcast_in_dim(top, values.shape, ()), values)
    return converted(values, dtype)


def _broadcast_in_numpy(values: Any, shape: tuple[int, ...], dims: tuple[int, ...]) -> np.ndarray:
    expanded = [1] * len(shape)
    for size, dim in zip(np.shape(values), dims, strict=True):
        expanded[dim] = size
    return np.broadcast_to(np.reshape(values, expanded), shape)


def _broadcast_positions(positions: list[Any]) -> tuple[Any, ...]:
    if len(positions) < 2:
        return positions[0].shape if positions else ()
    try:
        return broadcast_shapes("index", *(p.shape for p in positions))
    except ValueError:
        shapes = ", ".join(str(tuple(p.shape)) for p in positions)
        raise IndexError(
            f"index: arrays of positions must broadcast together, but got shapes {shapes}."
        ) from None


def index_dtype(shape: tuple[Any, ...]) -> np.dtype:
    """Wide enough for all positions."""
    wide = any(isinstance(size, int) and size > 2**31 - 1 for size in shape)
    return dtypes.int64 if wide else dtypes.int32


def require_positions(positions: Any, dim: int, size: Any) -> None:
    if isinstance(size, int) and size == 0 and math.prod(positions.shape) != 0:
        raise IndexError(f"index: dimension {dim} has size 0 and thus no positions.")


def from_front(positions: Any, size: Any, wrap: bool, dtype: Any) -> Any:
    """Positions counted from the front, in `dtype`; those out of range stay so."""
    signed = positions.dtype.kind == "i"
    if isinstance(positions, (np.ndarray, np.generic)):
        positions = np.asarray(positions)
        if wrap and signed:
            positions = np.where(positions < 0, positions.astype(np.int64) + size, positions)
        own, limits = np.iinfo(positions.dtype), np.iinfo(dtype)
        least, most = max(own.min, limits.min), min(own.max, limits.max)
        return np.clip(positions, least, most).astype(dtype)  # NumPy 2.0 wants what its dtype has
    if positions.dtype.itemsize <= dtype.itemsize and positions.dtype != dtypes.uint32:
        positions = converted(positions, dtype)
    if wrap and signed:
        positions = select_n(lt(positions, 0), positions, add(positions, size))
    return positions

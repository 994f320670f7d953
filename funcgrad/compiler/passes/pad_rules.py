"""Rules of `simplify` for sums of pieces: the gradients of slices, put together.

    add (pad x) (pad y)  ->  pad (concatenate x y)      where one ends before the other begins

Exact but for the sign of zero: a piece's -0.0 stays, where adding 0.0 would make it 0.0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from funcgrad.compiler.rewrite import Rewriter
from funcgrad.compiler.rules import is_fill, rule
from funcgrad.core.array import ConcreteArray
from funcgrad.core.jaxpr import Atom, Eqn, Literal
from funcgrad.primitives.basis import add_p, broadcast_in_dim_p
from funcgrad.primitives.shape import concatenate_p, pad_p


class Piece(NamedTuple):
    """An array that zeros surround along one axis: it begins at `low`, and `high` zeros follow."""

    array: Atom
    axis: int
    low: int
    high: int

    @property
    def end(self) -> int:
        return self.low + self.array.aval.shape[self.axis]


@rule(add_p)
def sum_of_pieces(program: Rewriter, e: Eqn) -> Atom | None:
    """add (pad x) (pad y) -> pad (concatenate x y), for pieces that do not overlap"""
    pieces = [_piece(program, a) for a in e.args]
    if None in pieces:
        return None
    first, second = sorted(pieces, key=lambda p: p.low)  # type: ignore[union-attr]
    assert first is not None and second is not None
    if first.axis != second.axis or first.end > second.low:
        return None
    return _surrounded(program, _joined(program, first, second))


@rule(add_p)
def piece_into_zeros(program: Rewriter, e: Eqn) -> Atom | None:
    """add (concatenate x 0 y) (pad z) -> concatenate x z y, where z stands among the zeros"""
    for whole, other in (e.args, e.args[::-1]):
        joined = program.definition(whole, concatenate_p)
        piece = _piece(program, other)
        if joined is None or piece is None or joined.params["dimension"] != piece.axis:
            continue
        low = 0
        for n, part in enumerate(joined.args):
            high = low + part.aval.shape[piece.axis]
            if low <= piece.low and piece.end <= high and is_fill(program, part, 0):
                gaps = (piece.low - low, high - piece.end)
                before, after = ([_zeros(program, piece, g)] if g else [] for g in gaps)
                parts = [*joined.args[:n], *before, piece.array, *after, *joined.args[n + 1 :]]
                return program.emit(concatenate_p, *parts, dimension=piece.axis)
            low = high
    return None


def _piece(program: Rewriter, a: Atom) -> Piece | None:
    e = program.definition(a, pad_p)
    if e is None or not is_fill(program, e.args[1], 0):
        return None
    config = e.params["padding_config"]
    padded = [d for d, (low, high, _) in enumerate(config) if (low, high) != (0, 0)]
    whole = all(type(n) is int and n >= 0 for sizes in config for n in sizes)
    if len(padded) != 1 or not whole or any(interior for _, _, interior in config):
        return None
    if not all(type(n) is int for n in e.args[0].aval.shape):
        return None
    (axis,) = padded
    return Piece(e.args[0], axis, config[axis][0], config[axis][1])


def _joined(program: Rewriter, first: Piece, second: Piece) -> Piece:
    """Both in one array, with zeros between them."""
    gap = second.low - first.end
    between = [_zeros(program, first, gap)] if gap else []
    parts = [*_parts(program, first), *between, *_parts(program, second)]
    array = program.emit(concatenate_p, *parts, dimension=first.axis)
    return Piece(array, first.axis, first.low, second.high)


def _parts(program: Rewriter, piece: Piece) -> list[Atom]:
    """The operands of a piece that is a concatenation already."""
    e = program.definition(piece.array, concatenate_p)
    joined = e is not None and e.params["dimension"] == piece.axis
    return list(e.args) if joined and e is not None else [piece.array]


def _zeros(program: Rewriter, piece: Piece, count: int) -> Atom:
    aval = piece.array.aval
    shape = tuple(count if d == piece.axis else n for d, n in enumerate(aval.shape))
    zero = Literal(ConcreteArray(aval.dtype.type(0)), aval.update(shape=()))
    return program.emit(broadcast_in_dim_p, zero, shape=shape, broadcast_dimensions=())


def _surrounded(program: Rewriter, piece: Piece) -> Atom:
    if not piece.low and not piece.high:
        return piece.array
    aval: Any = piece.array.aval
    config = tuple(
        (piece.low, piece.high, 0) if d == piece.axis else (0, 0, 0) for d in range(aval.ndim)
    )
    zero = Literal(ConcreteArray(aval.dtype.type(0)), aval.update(shape=()))
    return program.emit(pad_p, piece.array, zero, padding_config=config)

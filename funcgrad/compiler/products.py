"""Matrix products as the compiler sees them: extents and strides, whatever the operands' layout.

An operand that is a view of something in memory is read where that lies; transposes, slices and
broadcasts of operands are strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from funcgrad.compiler.affine import At, Loop, Misaligned, NeedsSplit, Sum, counter
from funcgrad.core import dtypes, loops
from funcgrad.core.jaxpr import Eqn

MADE_IN_TILES = (
    dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64, dtypes.uint32, dtypes.uint64,
)  # fmt: skip


class Strided(NamedTuple):
    """A view of an array in memory: element 0 at `offset`, and a stride for each dimension."""

    base: Any
    offset: int
    strides: tuple[int, ...]


class Dimension(NamedTuple):
    """A dimension of a product, with its strides in both operands."""

    extent: int
    lhs: int
    rhs: int


class Product(loops.Form):
    """out[...] = sum over `summed` of lhs * rhs; `dimensions` are those of the result, in order.

    `row` and `column` say which of them a tile is made of (None: one of extent 1); the others, of
    batches and where no single stride covers all rows or columns, are loops outside. `plain` are
    the dimensions before neighbours were merged.
    """

    lhs: Strided
    rhs: Strided
    dimensions: tuple[Dimension, ...]
    row: int | None
    column: int | None
    summed: Dimension
    plain: tuple[Dimension, ...]

    @property
    def operands(self) -> tuple[Any, Any]:
        return self.lhs.base, self.rhs.base

    @property
    def extents(self) -> list[int]:
        """The dimensions that results are counted by, in their order."""
        return [d.extent for d in self.dimensions]

    @property
    def across(self) -> int | None:
        """The dimension that vectors of results run along."""
        return self.row if self.column is None else self.column

    def along(self, place: int | None) -> Dimension:
        """The dimension at a place, or one of extent 1."""
        return Dimension(1, 0, 0) if place is None else self.dimensions[place]


class Convolution(loops.Form):
    """A convolution with these parameters of strided operands."""

    lhs: Strided
    rhs: Strided
    parameters: Any
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @property
    def operands(self) -> tuple[Any, Any]:
        return self.lhs.base, self.rhs.base

    @property
    def extents(self) -> list[int]:
        """The dimensions that results are counted by, in their order."""
        return list(self.shapes[2])

    @property
    def across(self) -> int:
        """The dimension that vectors of results run along: that of the output's features."""
        return dict(self.parameters)["dimension_numbers"].out_spec[1]


TILED = (Product, Convolution)


def convolution_of(definitions: Any, e: Eqn, form: loops.Convolve) -> Convolution | None:
    """The convolution that an equation is, on operands in memory."""
    lhs, rhs = e.args
    if hasattr(lhs, "value") or hasattr(rhs, "value"):
        return None
    shapes = (lhs.aval.shape, rhs.aval.shape, e.outs[0].aval.shape)
    left, right = strided(definitions, lhs), strided(definitions, rhs)
    return Convolution(left, right, tuple(form.params), shapes)


def strided(definitions: Any, v: Any) -> Strided:
    """The operand as a view of the first value on its way that is no view."""
    at = [Loop(n, "d", i) for i, n in enumerate(v.aval.shape)]
    place = At(v.aval.shape, [counter(loop) for loop in at])
    found = _flat(v, place, at)
    while v in definitions and isinstance(definitions[v].form, (loops.View, loops.Reshape)):
        (x,) = definitions[v].eqn.args
        if hasattr(x, "value"):
            break
        try:
            place = _before(definitions[v].form, x, place)
            found = _flat(x, place, at)
        except (Misaligned, NeedsSplit):
            break
        v = x
    return found


def _before(form: Any, x: Any, place: At) -> At:
    """The element of the operand of a view."""
    if isinstance(form, loops.Reshape):
        return place.reshaped(x.aval.shape)
    out = place.indices
    indices = []
    for dim in form.dims:
        index = Sum(dim.offset)
        for d, step in dim.terms:
            index = index + out[d] * step
        indices.append(index)
    return At(x.aval.shape, indices)


def _flat(v: Any, place: At, at: Sequence[Loop]) -> Strided:
    flat = place.flat
    return Strided(v, flat.constant, tuple(flat.coefficient(loop) for loop in at))


def product_of(definitions: Any, e: Eqn, form: loops.Contract) -> Product | None:
    """The product that an equation is; None if its dimensions do not merge to one of matrices."""
    lhs, rhs = e.args
    if hasattr(lhs, "value") or hasattr(rhs, "value"):
        return None
    for left, right in (
        (strided(definitions, lhs), strided(definitions, rhs)),
        (_itself(lhs), _itself(rhs)),
    ):
        found = _product(lhs.aval.shape, rhs.aval.shape, form, left, right)
        if found is not None:
            return found
    return None


def _itself(v: Any) -> Strided:
    at = _loops(v)
    return _flat(v, At(v.aval.shape, [counter(x) for x in at]), at)


def _loops(v: Any) -> list[Loop]:
    return [Loop(n, "d", i) for i, n in enumerate(v.aval.shape)]


def _product(
    lhs_shape: Sequence[int], rhs_shape: Sequence[int], form: loops.Contract, lhs: Strided,
    rhs: Strided,
) -> Product | None:  # fmt: skip
    batch = [
        Dimension(lhs_shape[i], lhs.strides[i], rhs.strides[j])
        for i, j in zip(form.lhs_batch, form.rhs_batch)
    ]
    rows = _free(lhs_shape, lhs.strides, {*form.lhs_batch, *form.lhs_contract})
    columns = _free(rhs_shape, rhs.strides, {*form.rhs_batch, *form.rhs_contract})
    columns = [Dimension(d.extent, 0, d.lhs) for d in columns]
    summed = [
        Dimension(lhs_shape[i], lhs.strides[i], rhs.strides[j])
        for i, j in zip(form.lhs_contract, form.rhs_contract)
    ]
    summed = sorted((d for d in summed if d.extent > 1), key=lambda d: -abs(d.lhs))
    (*outer_k, k) = merged(summed) or [Dimension(1, 0, 0)]
    if outer_k:
        return None
    return _arranged(lhs, rhs, (*batch, *rows, *columns), k)


def _arranged(lhs: Strided, rhs: Strided, plain: tuple[Dimension, ...], k: Dimension) -> Product:
    """The product whose result has these dimensions; the columns of its tiles are the operand's
    whose dimension is the last one.
    """
    dimensions = merged(plain)
    if dimensions and not dimensions[-1].rhs and dimensions[-1].lhs:
        return _arranged(rhs, lhs, tuple(map(_swapped, plain)), _swapped(k))
    rows = [n for n, d in enumerate(dimensions) if d.lhs and not d.rhs]
    columns = [n for n, d in enumerate(dimensions) if d.rhs and not d.lhs]
    row = max(rows, key=lambda n: dimensions[n].extent, default=None)
    return Product(lhs, rhs, tuple(dimensions), row, columns[-1] if columns else None, k, plain)


def _swapped(d: Dimension) -> Dimension:
    return Dimension(d.extent, d.rhs, d.lhs)


def transposed(product: Product, e: Eqn, form: Any) -> Product | None:
    """The product with its result in another order of dimensions, if that is what a view of it
    is.
    """
    shape = e.outs[0].aval.shape
    places = [dim.terms[0][0] if dim.terms else None for dim in getattr(form, "dims", ())]
    moves = [loops.Affine(0, ((d, 1),)) for d in places]  # type: ignore[arg-type]
    if None in places or sorted(places) != list(range(len(shape))) or list(form.dims) != moves:  # type: ignore[type-var]
        return None
    if [d.extent for d in product.plain] != [shape[p] for p in places]:  # type: ignore[index]
        return None
    order = sorted(range(len(places)), key=lambda d: places[d])  # type: ignore[arg-type, return-value]
    plain = tuple(product.plain[d] for d in order)
    return _arranged(product.lhs, product.rhs, plain, product.summed)


def _free(shape: Sequence[int], strides: Sequence[int], taken: set[int]) -> list[Dimension]:
    """The dimensions that only one operand has."""
    pairs = enumerate(zip(shape, strides))
    return [Dimension(n, s, 0) for d, (n, s) in pairs if d not in taken]


def merged(dimensions: Sequence[Dimension]) -> list[Dimension]:
    """Neighbours that one stride covers as one; those of extent 1 are left out."""
    found: list[Dimension] = []
    for d in dimensions:
        if d.extent == 1:
            continue
        if found:
            before = found[-1]
            if before.lhs == d.lhs * d.extent and before.rhs == d.rhs * d.extent:
                found[-1] = Dimension(before.extent * d.extent, d.lhs, d.rhs)
                continue
        found.append(d)
    return found


def is_plain(e: Eqn) -> bool:
    """Are operands and result of one type, that products are made in?"""
    dtype = e.outs[0].aval.dtype
    return dtype in MADE_IN_TILES and all(a.aval.dtype == dtype for a in e.args)

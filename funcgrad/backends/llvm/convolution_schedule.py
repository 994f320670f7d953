"""Which loops of a convolution run where: rows of a register tile, what is contracted inside it.

Two orders of work exist. Flat: each tile is contracted completely, images and panels of packed
weights outside. Deep, for gradients of weights: few outputs, each a sum over a whole batch; images
are outside, and sums wait in memory while the batch runs.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from funcgrad.backends.llvm.convolution_plan import ConvolutionPlan, LhsStrides, Phase, RhsStrides
from funcgrad.backends.llvm.gemm_plan import best_tile
from funcgrad.backends.llvm.target import Target
from funcgrad.backends.llvm.tiles import itemsize, lanes_of

BATCH = 0  # rows: the batch, or 1 + a spatial dimension
FEATURE = 0  # contracted: the features, or 1 + a spatial dimension's taps
FEWEST_TERMS = 24
INNER_TERMS = 200  # of a deep sum: what keeps the tile's operands in the first caches
FAR = 4096  # bytes between rows from where each needs its own page


class Term(NamedTuple):
    """A contracted dimension: `extent` steps of `step` of it, as the loop sees it."""

    dimension: int
    extent: int
    step: int = 1


class Schedule(NamedTuple):
    """`row` are the dimensions of a tile's rows, the last one running fastest; `inner` is what a
    tile contracts, `outer` (deep only) what stands around all tiles. Buffers are bytes.
    """

    deep: bool
    copied: bool
    packed: bool
    row: tuple[int, ...]
    rows: int
    vectors: int
    inner: tuple[Term, ...]
    outer: tuple[Term, ...]
    image: LhsStrides  # as tiles see the input: its own strides, or those of the padded copy
    image_bytes: int
    packed_bytes: int
    sums_bytes: int


def padded_image(
    plan: ConvolutionPlan, lhs: LhsStrides, deep: bool
) -> tuple[LhsStrides, int, list[tuple[int, int, int]]]:
    """The strides and elements of a padded copy of one image, and the terms that copy it.

    An image is the input at one place of the batch (deep: of one feature), with its own order of
    dimensions in memory.
    """
    if plan.lanewise:
        kept, stride = plan.outputs, lhs.batch if deep else lhs.feature
    elif deep:
        kept = plan.batch * (1 if plan.groups_of_features else plan.groups)
        stride = lhs.batch
    else:
        kept = plan.features * (plan.groups if plan.groups_of_features else 1)
        stride = lhs.feature
    sizes = [s + a + z for s, a, z in zip(plan.sizes, plan.low, plan.high)]
    dims = [(kept, kept, stride)] + list(zip(sizes, plan.sizes, lhs.spatial))
    order = sorted(range(len(dims)), key=lambda d: (d == 0 and plan.lanewise, -dims[d][2], d == 0))
    strides, elements = [0] * len(dims), 1
    for d in reversed(order):
        strides[d] = elements
        elements *= dims[d][0]
    terms = [(dims[d][1], dims[d][2], strides[d]) for d in order]
    across = plan.features if plan.groups_of_features else plan.batch
    grouped = deep != plan.groups_of_features
    image = LhsStrides(
        strides[0] if deep else 0, tuple(strides[1:]), across * strides[0] if grouped else 0,
        0 if deep else strides[0],
    )  # fmt: skip
    return image, elements, terms


@functools.lru_cache(maxsize=1024)
def schedule_of(
    plan: ConvolutionPlan, phases: tuple[Phase, ...], kind: str, lhs: LhsStrides, rhs: RhsStrides,
    target: Target,
) -> Schedule:  # fmt: skip
    """The loops of one choice of phases."""
    deep = _is_deep(plan, phases, lhs)
    image, elements = lhs, 0
    lane = lhs.batch if deep else lhs.feature
    copied = plan.padded or (plan.lanewise and lane != 1)
    if copied:
        image, elements, _ = padded_image(plan, lhs, deep)
    inner, outer = _contracted(plan, phases, image, deep)
    depth = math.prod(t.extent for t in inner)
    row, rows, vectors = _rows(plan, phases, kind, image, deep or not copied, depth, target)
    size, lanes = itemsize(kind), lanes_of(kind, target)
    width, padded = vectors * lanes, -(-plan.outputs // lanes) * lanes
    packed = not deep or rhs.output != 1
    taps = math.prod(p.taps for p in phases)
    weights = plan.groups * plan.features * taps * padded if not deep else taps * padded
    places = plan.batch * math.prod(p.extent for p in phases)
    sums = plan.groups * places * padded if deep else rows * width
    return Schedule(
        deep, copied, packed, row, rows, vectors, inner, outer, image, _aligned(elements * size),
        _aligned(weights * size) if packed else 0, _aligned(sums * size),
    )  # fmt: skip


def _aligned(size: int) -> int:
    return -(-size // 64) * 64


def _is_deep(plan: ConvolutionPlan, phases: tuple[Phase, ...], lhs: LhsStrides) -> bool:
    """More taps than outputs, and features (the batch of a gradient) outermost in memory."""
    if plan.lanewise:
        return not plan.groups_of_features
    taps, places = (math.prod(getattr(p, n) for p in phases) for n in ("taps", "extent"))
    others = [lhs.batch if plan.batch > 1 else 0, *lhs.spatial]
    return taps > places and (plan.features == 1 or lhs.feature >= max(others))


def _contracted(
    plan: ConvolutionPlan, phases: tuple[Phase, ...], image: LhsStrides, deep: bool
) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    """What a tile contracts, outermost first, and what runs around all tiles."""
    strides = {1 + d: p.dilation * s for d, (p, s) in enumerate(zip(phases, image.spatial))}
    terms = [Term(1 + d, p.taps) for d, p in enumerate(phases)]
    if not deep:
        terms.append(Term(FEATURE, plan.features))
        strides[FEATURE] = image.feature
    terms.sort(key=lambda t: -strides[t.dimension])
    if not deep:
        return tuple(terms), ()
    inner: list[Term] = []
    outer: list[Term] = []
    length = 1
    for term in reversed(terms):
        kept = term.extent if not outer else 1
        if kept * length > INNER_TERMS:
            divisors = [d for d in range(1, kept + 1) if kept % d == 0]
            fitting = max((d for d in divisors if d * length <= INNER_TERMS), default=1)
            kept = fitting if fitting * length >= FEWEST_TERMS else kept
        length *= kept
        if kept > 1 or not inner:
            inner.insert(0, Term(term.dimension, kept))
        if kept < term.extent:
            outer.insert(0, Term(term.dimension, term.extent // kept, kept))
    return tuple(inner), tuple(outer)


def _rows(
    plan: ConvolutionPlan, phases: tuple[Phase, ...], kind: str, image: LhsStrides, batched: bool,
    depth: int, target: Target,
) -> tuple[tuple[int, ...], int, int]:  # fmt: skip
    """The dimensions of a tile's rows and the tile, by the cost of all tiles."""
    dims = [(1 + d, p.extent, p.stride * s) for d, (p, s) in enumerate(zip(phases, image.spatial))]
    if batched:
        dims.append((BATCH, plan.batch, image.batch))
    dims.sort(key=lambda d: -d[2])
    total = math.prod(d[1] for d in dims)
    best = None
    for run in _runs(dims) or [[(BATCH, 1, 0)]]:
        extent = math.prod(d[1] for d in run)
        stride = run[-1][2]
        cost, rows, vectors = best_tile(kind, extent, plan.outputs, depth, depth, stride, target)
        cost *= total // extent * (1.1 if stride * itemsize(kind) >= FAR else 1)
        found = (cost, tuple(d[0] for d in run), rows, vectors)
        best = found if best is None else min(best, found)
    assert best is not None
    return best[1:]


def _runs(dims: list[tuple[int, int, int]]) -> list[list[tuple[int, int, int]]]:
    """Neighbouring dimensions (by falling strides) that are one even row of elements."""
    found = []
    for start in range(len(dims)):
        run = [dims[start]]
        found.append(list(run))
        for after in dims[start + 1 :]:
            if run[-1][2] != after[1] * after[2]:
                break
            run.append(after)
            found.append(list(run))
    return found

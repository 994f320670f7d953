"""Matrix products as native code: every form of them, on every level of this machine's vectors."""

import itertools

import numpy as np
import pytest

pytest.importorskip("llvmlite.binding")

from funcgrad.backends.llvm.builder import I64, Module
from funcgrad.backends.llvm.gemm import Matrix, product, scratch_bytes
from funcgrad.backends.llvm.gemm_plan import plan_of
from funcgrad.backends.llvm.target import host
from funcgrad.backends.llvm.values import constant
from tests.backends.native import DTYPES, MARGIN, entry_point, levels


def strided(kind, shape, layout, rng):
    """An array with a margin of NaN (a large number for integers), its strides and values."""
    order = {"rows": (0, 1), "columns": (1, 0)}.get(layout, (0, 1))
    gap = 2 if layout == "gaps" else 1
    held = [shape[i] for i in order]
    strides = [0, 0]
    strides[order[1]], strides[order[0]] = gap, held[1] * gap + (3 if layout == "gaps" else 0)
    size = max(strides[0] * shape[0], strides[1] * shape[1]) + 2 * MARGIN
    dtype = DTYPES[kind]
    memory = np.full(size, np.nan if kind[0] == "f" else 1 << 20, dtype)
    view = np.lib.stride_tricks.as_strided(
        memory[MARGIN:], shape, [s * memory.itemsize for s in strides]
    )
    view[...] = (rng.standard_normal(shape) * 8).astype(dtype)
    return memory, tuple(strides), view


def stored_and_counted(b, kind, n, out, counts):
    """An epilogue that stores sums and counts how often each element was given to it."""

    def epilogue(sums, i, j, mask):
        at = b.add(b.mul(i, constant(n, I64)), j)
        b.store(sums, b.element(out, at, kind), mask)
        count = b.element(counts, at, "i32")
        type = sums.type.of("i32")
        b.store(b.add(b.load(count, type, mask), constant(1, type)), count, mask)

    return epilogue


def run(level, kind, m, n, k, left, right):
    """The product of two strided arrays, with counts of the epilogue's calls."""
    target = host(level)
    module = Module(target)
    (lhs_memory, lhs, _), (rhs_memory, rhs, _) = left, right
    needed = scratch_bytes(kind, m, n, k, lhs, rhs, target)

    def write(b, out, counts, x, y, scratch):
        product(
            b, kind, m, n, k, Matrix(x, *lhs), Matrix(y, *rhs),
            stored_and_counted(b, kind, n, out, counts), scratch if needed else None,
        )  # fmt: skip

    code = entry_point(module, 5, write)
    out = np.full(m * n + 2 * MARGIN, 77, DTYPES[kind])
    counts = np.full(m * n + 2 * MARGIN, 5, np.int32)
    scratch = np.full(needed + 128, 99, np.uint8)
    shift = -scratch.ctypes.data % 64
    counts[MARGIN : MARGIN + m * n] = 0
    size = out.itemsize
    code(
        out.ctypes.data + MARGIN * size, counts.ctypes.data + MARGIN * 4,
        lhs_memory.ctypes.data + MARGIN * size, rhs_memory.ctypes.data + MARGIN * size,
        scratch.ctypes.data + shift,
    )  # fmt: skip
    inside = slice(MARGIN, MARGIN + m * n)
    assert (counts[inside] == 1).all()
    assert (np.delete(counts, np.r_[inside]) == 5).all()
    assert (np.delete(out, np.r_[inside]) == 77).all()
    assert (scratch[shift + needed :] == 99).all()
    return out[inside].reshape(m, n)


def check(level, kind, m, n, k, lhs_layout, rhs_layout):
    rng = np.random.default_rng([m, n, k])
    left = strided(kind, (m, k), lhs_layout, rng)
    right = strided(kind, (k, n), rhs_layout, rng)
    found = run(level, kind, m, n, k, left, right)
    a, b = left[2], right[2]
    if kind[0] == "i":
        assert (found == a @ b).all()
        return
    # each of k roundings of a running sum is relative to at most the sum of all magnitudes
    bound = np.finfo(found.dtype).eps * (k + 1) * (np.abs(a).astype(float) @ np.abs(b))
    assert (np.abs(found - a.astype(float) @ b.astype(float)) <= bound).all()


SHAPES = [
    (1, 1, 1), (1, 37, 5), (37, 1, 70), (1, 1, 40), (2, 3, 19), (4, 16, 16), (3, 50, 7),
    (5, 5, 0), (33, 40, 3), (31, 33, 65), (64, 10, 128), (37, 19, 53), (30, 70, 17),
]  # fmt: skip
LAYOUTS = list(itertools.product(["rows", "columns", "gaps"], repeat=2))


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("level", levels())
def test_every_shape_and_layout(level, kind):
    layouts = LAYOUTS if kind[0] == "f" else LAYOUTS[:2]
    shapes = SHAPES if kind[0] == "f" else SHAPES[::3]
    for n, shape in enumerate(shapes):
        for layout in layouts[n % 3 :: 3]:
            check(level, kind, *shape, *layout)


FEW_COLUMNS = [
    (64, 10, 128), (37, 3, 70), (17, 5, 33), (40, 12, 131), (200, 2, 96), (50, 9, 130), (33, 7, 85),
    (20, 6, 512),
]  # fmt: skip


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("level", levels())
def test_few_columns(level, kind):
    for shape in FEW_COLUMNS:
        check(level, kind, *shape, "rows", "rows")


@pytest.mark.skipif(host().lanes(4) < 16, reason="fewer lanes are full sooner")
def test_few_columns_are_taken_by_fours():
    for m, n, k in FEW_COLUMNS:
        assert plan_of("f32", m, n, k, (k, 1), (n, 1), host()).form == "quads"
        assert plan_of("f32", m, n, k, (1, m), (n, 1), host()).form != "quads"


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize(
    "shape", [(70, 70, 1100), (3000, 40, 1030), (1, 200, 700), (1, 701, 403), (9, 20, 513)], ids=str
)
def test_blocks_of_a_long_contracted_dimension(level, shape):
    check(level, "f32", *shape, "rows", "rows")
    check(level, "f64", *shape, "columns", "columns")


def test_caller_gives_memory_only_for_large_panels():
    target = host()
    assert scratch_bytes("f32", 64, 64, 64, (64, 1), (64, 1), target) == 0
    assert scratch_bytes("f64", 3000, 40, 1030, (1030, 1), (1, 1030), target) > 1 << 15
    assert scratch_bytes("f32", 0, 64, 64, (64, 1), (64, 1), target) == 0


def test_a_row_of_zeros_stride_is_repeated():
    rng = np.random.default_rng(0)
    left, right = strided("f32", (6, 40), "rows", rng), strided("f32", (1, 40), "rows", rng)
    repeated = (right[0], (1, 0), np.broadcast_to(right[2].T, (40, 20)))
    found = run(None, "f32", 6, 20, 40, left, repeated)
    assert (found == found[:, :1]).all()
    np.testing.assert_allclose(found, left[2] @ repeated[2], rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(len(levels()) < 2, reason="needs two levels with fused sums")
def test_sums_have_one_order_whatever_the_tile():
    """Tiles, panels and blocks differ between these; the order of each sum does not."""
    rng = np.random.default_rng(0)
    left, right = strided("f32", (70, 600), "rows", rng), strided("f32", (600, 90), "rows", rng)
    wide = run(None, "f32", 70, 90, 600, left, right)
    fused = [run(level, "f32", 70, 90, 600, left, right) for level in levels() if host(level).fma]
    upper = (left[0], left[1], left[2][:9])
    fewer = run(None, "f32", 9, 90, 600, upper, right)
    assert all((other == wide).all() for other in fused)
    assert (fewer == wide[:9]).all()


def test_plans_of_typical_products_pad_nothing():
    for m, n, k in [(128, 512, 512), (64, 128, 784), (512, 512, 512), (64, 64, 64)]:
        plan = plan_of("f32", m, n, k, (k, 1), (n, 1), host())
        assert m % plan.rows == 0
        assert n % (plan.vectors * host().lanes(4)) == 0

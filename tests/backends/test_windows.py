"""Windows as native code, against the primitives' values, on every level of vectors."""

import functools
import math

import numpy as np
import pytest

pytest.importorskip("llvmlite.binding")

from funcgrad.backends.llvm.builder import Module, Type
from funcgrad.backends.llvm.target import host
from funcgrad.backends.llvm.tiles import address
from funcgrad.backends.llvm.values import constant
from funcgrad.backends.llvm.windows import (
    Array,
    adding,
    gather_windows,
    lane_dimension,
    plan,
    scatter_windows,
)
from funcgrad.primitives.logic import ge_p, le_p
from funcgrad.primitives.window import select_and_gather_add_p, select_and_scatter_add_p
from tests.backends.native import DTYPES, MARGIN, entry_point, levels

SELECTS = {"max": ge_p, "min": le_p}


def parameters(dimensions, strides=None, padding=None, base=None, window=None):
    ones = (1,) * len(dimensions)
    return dict(
        window_dimensions=dimensions, window_strides=strides or ones,
        padding=padding or ((0, 0),) * len(ones), base_dilation=base or ones,
        window_dilation=window or ones,
    )  # fmt: skip


def laid_out(values, order):
    """The values as an array in memory whose dimensions lie in the given order, with margins."""
    strides, size = [0] * values.ndim, 1
    for d in reversed(order):
        strides[d], size = size, size * values.shape[d]
    fill = np.nan if values.dtype.kind == "f" else 1 << 20
    memory = np.full(size + 2 * MARGIN, fill, values.dtype)
    view = np.lib.stride_tricks.as_strided(
        memory[MARGIN:], values.shape, [s * memory.itemsize for s in strides]
    )
    view[...] = values
    return memory, tuple(strides)


def run(level, kind, shape, arrays, fill, write):
    """Results of the given shape, written by `write(b, out, pointers)`, and counts of writes."""
    pointers = len(arrays)

    def body(b, out, counts, *given):
        write(b, functools.partial(_store, b, kind, shape, out, counts), out, given)

    code = entry_point(Module(host(level)), 2 + pointers, body)
    size = math.prod(shape)
    out, counts = np.full(size + 2 * MARGIN, fill, DTYPES[kind]), np.zeros(size + 2 * MARGIN, "i4")
    inside = slice(MARGIN, MARGIN + size)
    code(
        out.ctypes.data + MARGIN * out.itemsize, counts.ctypes.data + MARGIN * 4,
        *(a.ctypes.data + MARGIN * out.itemsize for a in arrays),
    )  # fmt: skip
    assert (np.delete(counts, np.r_[inside]) == 0).all()
    assert (np.delete(out, np.r_[inside]) == fill).all()
    return out[inside].reshape(shape), counts[inside].reshape(shape)


def dense(shape):
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def _store(b, kind, shape, out, counts, lane, values, place, mask, step=1):
    """Stores a piece of a dense result and counts."""
    strides = dense(shape)
    at = [address(b, p, k, *zip(place, strides)) for p, k in ((out, kind), (counts, "i32"))]
    lanes = Type("i64", values.type.lanes)
    across = b.mul(b.iota(lanes), constant(strides[lane] * step, lanes))
    b.scatter(values, b.element(at[0], across, kind), mask)
    seen = b.element(at[1], across, "i32")
    one = constant(1, values.type.of("i32"))
    b.scatter(b.add(b.gather(seen, "i32", mask), one), seen, mask)


def numbers(shape, kind, seed, with_nan=False):
    """Numbers with many equal ones among them, so that it matters which is the first."""
    values = np.random.default_rng(seed).integers(-4, 5, shape).astype(DTYPES[kind])
    if with_nan:
        values.flat[::7] = np.nan
    return values


CASES = {
    "features last": ((2, 8, 6, 20), parameters((1, 2, 2, 1), (1, 2, 2, 1))),
    "overlapping": ((2, 9, 8, 5), parameters((1, 3, 3, 1), (1, 2, 2, 1))),
    "same": (
        (2, 9, 8, 5), parameters((1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (0, 1), (0, 0)))
    ),
    "features first": ((2, 3, 8, 70), parameters((1, 1, 2, 2), (1, 1, 2, 2))),
    "first same": (
        (2, 3, 9, 21), parameters((1, 1, 3, 3), (1, 1, 2, 2), ((0, 0), (0, 0), (1, 1), (1, 1)))
    ),
    "first strides of 3": ((2, 3, 9, 41), parameters((1, 1, 2, 2), (1, 1, 3, 3))),
    "first strides of 1": (
        (2, 3, 5, 41), parameters((1, 1, 2, 3), None, ((0, 0), (0, 0), (1, 0), (2, 2)))
    ),
    "cut off": ((3, 9, 40), parameters((1, 2, 3), None, ((0, 0), (-1, -2), (-3, -1)))),
    "far padding": ((3, 4, 5), parameters((1, 2, 2), (1, 1, 2), ((0, 0), (5, 4), (4, 6)))),
    "dilated": ((2, 12, 30), parameters((1, 3, 2), None, None, None, (1, 2, 3))),
    "large windows": ((2, 30, 20), parameters((1, 9, 5), (1, 3, 2))),
    "whole": ((3, 7, 7, 18), parameters((1, 7, 7, 1))),
    "one dimension": ((50,), parameters((4,), (3,), ((1, 2),))),
    "everything": ((3, 4, 5), parameters((3, 4, 5))),
    "rows of two": ((9, 2), parameters((2, 2), (1, 2), ((0, 1), (0, 0)))),
    "narrow": ((2, 8, 6, 1), parameters((1, 2, 2, 1), (1, 2, 2, 1))),
}  # fmt: skip
DILATED = {
    "base": (
        (2, 5, 6, 3), parameters((1, 2, 3, 1), None, ((0, 0), (1, 1), (2, 1), (0, 0)), (1, 2, 3, 1))
    ),
    "base first": (
        (2, 3, 5, 20),
        parameters((1, 1, 2, 3), (1, 1, 3, 2), ((0, 0), (0, 0), (1, 1), (2, 1)), (1, 1, 2, 3)),
    ),
    "base and window": (
        (2, 7, 20), parameters((1, 3, 2), None, ((0, 0), (3, 2), (2, 3)), (1, 2, 3), (1, 3, 2))
    ),
    "gradient of means": (
        (2, 4, 3, 20),
        parameters((1, 2, 2, 1), None, ((0, 0), (1, 1), (1, 1), (0, 0)), (1, 2, 2, 1)),
    ),
}  # fmt: skip


def check_selection(level, shape, params, operation, with_nan=False, kind="f32", order=None):
    x, t = numbers(shape, kind, 1, with_nan), np.random.default_rng(2).standard_normal(shape)
    t = t.astype(x.dtype)
    memory, strides = laid_out(x, order or range(x.ndim))
    found, params = plan(params, shape), dict(params, select_prim=SELECTS[operation])
    lane = lane_dimension(found, strides)
    expected = np.asarray(select_and_gather_add_p.bind(t, x, **params))

    def write(b, store, out, given):
        gather_windows(
            b, kind, found, operation, Array(given[1], strides), Array(given[0], strides),
            functools.partial(store, lane),
        )  # fmt: skip

    tangents, _ = laid_out(t, order or range(x.ndim))
    out, counts = run(level, kind, expected.shape, [memory, tangents], 77, write)
    assert (counts == 1).all()
    np.testing.assert_array_equal(out, expected)


def check_scattering(level, shape, params, operation, with_nan=False):
    x = numbers(shape, "f32", 1, with_nan)
    memory, strides = laid_out(x, range(x.ndim))
    found, params = plan(params, shape), dict(params, select_prim=SELECTS[operation])
    lane = lane_dimension(found, strides)
    counts_shape = tuple(s.windows for s in found.slides)
    source = numbers(counts_shape, "f32", 3)  # sums of small integers are exact
    expected = np.asarray(select_and_scatter_add_p.bind(source, x, **params))
    given_memory, given_strides = laid_out(source, range(x.ndim))

    def write(b, store, out, given):
        deliver = functools.partial(store, lane)
        if not found.tiled:
            deliver = adding(b, "f32", Array(out, dense(shape)), lane)
        scatter_windows(
            b, "f32", found, operation, Array(given[1], given_strides), Array(given[0], strides),
            deliver,
        )  # fmt: skip

    out, counts = run(level, "f32", shape, [memory, given_memory], 0, write)
    assert (counts == found.tiled).all()
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("operation", SELECTS)
@pytest.mark.parametrize("level", levels())
def test_selections(level, operation):
    for shape, params in CASES.values():
        check_selection(level, shape, params, operation)
        check_scattering(level, shape, params, operation)


@pytest.mark.parametrize("level", levels())
def test_selections_from_images_with_gaps(level):
    for shape, params in DILATED.values():
        check_selection(level, shape, params, "max")


def test_selections_of_doubles_and_other_orders():
    for operation in SELECTS:
        for shape, params in list(CASES.values())[::3]:
            check_selection(None, shape, params, operation, kind="f64")
        for case in ("same", "features first", "large windows"):
            shape, params = CASES[case]
            order = [*range(1, len(shape)), 0]
            check_selection(None, shape, params, operation, order=order)


def test_selections_with_nan():
    for case in ("features last", "first same", "one dimension"):
        check_selection(None, *CASES[case], "max", with_nan=True)
        check_scattering(None, *CASES[case], "max", with_nan=True)


def test_nothing_to_reduce_has_no_plan():
    assert plan(parameters((3, 3)), (2, 5)) is None
    assert plan(parameters((1, 1)), (0, 5)) is None


def test_windows_that_tile_are_known():
    assert plan(CASES["features last"][1], CASES["features last"][0]).tiled
    assert not plan(CASES["overlapping"][1], CASES["overlapping"][0]).tiled
    assert not plan(parameters((2,), (2,)), (7,)).tiled

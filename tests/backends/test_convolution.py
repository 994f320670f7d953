"""Convolutions as native code, against the primitive's values: every form, on every level."""

import functools
import math

import numpy as np
import pytest

pytest.importorskip("llvmlite.binding")

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.backends.llvm.builder import I64, Module, Type
from funcgrad.backends.llvm.convolution import Array, convolution, scratch_bytes
from funcgrad.backends.llvm.convolution_plan import plan
from funcgrad.backends.llvm.target import host
from funcgrad.backends.llvm.values import constant
from funcgrad.core.avals import ShapedArray
from funcgrad.primitives.convolution import conv_dimension_numbers, conv_general_dilated_p
from tests.backends.native import DTYPES, MARGIN, entry_point, levels

LAST = ("NHWC", "HWIO", "NHWC")
WEIGHTS = ("CHWN", "IHWO", "HWNC")  # how gradients of weights are expressed, features last
FIRST_WEIGHTS = ("CNHW", "IOHW", "NCHW")
SAME, VALID = ((1, 1), (1, 1)), ((0, 0), (0, 0))


def parameters(
    lhs, rhs, numbers=LAST, strides=None, padding=None, base=None, window=None, groups=(1, 1)
):
    """The parameters of `conv_general_dilated`, ones where nothing is said."""
    ones = (1,) * (len(lhs) - 2)
    return dict(
        window_strides=strides or ones, padding=padding or ((0, 0),) * len(ones),
        lhs_dilation=base or ones, rhs_dilation=window or ones,
        dimension_numbers=conv_dimension_numbers(lhs, rhs, numbers),
        feature_group_count=groups[0], batch_group_count=groups[1], precision=None,
        preferred_element_type=None,
    )  # fmt: skip


def laid_out(shape, order, kind, rng):
    """An array whose dimensions lie in memory in the given order, with a margin of NaN."""
    strides, size = [0] * len(shape), 1
    for d in reversed(order):
        strides[d], size = size, size * shape[d]
    memory = np.full(size + 2 * MARGIN, np.nan, DTYPES[kind])
    view = np.lib.stride_tricks.as_strided(
        memory[MARGIN:], shape, [s * memory.itemsize for s in strides]
    )
    view[...] = rng.standard_normal(shape)
    return memory, tuple(strides), view


def stored_and_counted(b, kind, found, shape, out, counts):
    """An epilogue for a dense result that stores sums and counts its calls for each element."""
    strides = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    spec = found.out_spec
    dims = (spec[0], *spec[2:], spec[1])

    def epilogue(sums, place, mask):
        at = constant(0, I64)
        for d, i in zip(dims, place, strict=True):
            at = b.add(at, b.mul(i, constant(strides[d], I64)))
        lanes = Type("i64", sums.type.lanes)
        across = b.mul(b.iota(lanes), constant(strides[spec[1]], lanes))
        b.scatter(sums, b.element(b.element(out, at, kind), across, kind), mask)
        seen = b.element(b.element(counts, at, "i32"), across, "i32")
        one = constant(1, sums.type.of("i32"))
        b.scatter(b.add(b.gather(seen, "i32", mask), one), seen, mask)

    return epilogue


def run(level, kind, params, left, right):
    """The convolution of two laid out arrays by native code."""
    (lhs_memory, lhs, x), (rhs_memory, rhs, w) = left, right
    target = host(level)
    found = plan(params, x.shape, w.shape)
    aval = ShapedArray(x.shape, x.dtype), ShapedArray(w.shape, w.dtype)
    shape = conv_general_dilated_p.abstract(*aval, **params).shape
    needed = scratch_bytes(found, kind, lhs, rhs, target)

    def write(b, out, counts, x, y, scratch):
        convolution(
            b, kind, found, Array(x, lhs), Array(y, rhs),
            stored_and_counted(b, kind, found, shape, out, counts), scratch if needed else None,
        )  # fmt: skip

    code = entry_point(Module(target), 5, write)
    size = math.prod(shape)
    out = np.full(size + 2 * MARGIN, 77, DTYPES[kind])
    counts = np.full(size + 2 * MARGIN, 5, np.int32)
    scratch = np.full(needed + 128, 255, np.uint8)  # NaN, so that nothing unset is used
    shift = -scratch.ctypes.data % 64
    inside = slice(MARGIN, MARGIN + size)
    counts[inside] = 0
    code(
        out.ctypes.data + MARGIN * out.itemsize, counts.ctypes.data + MARGIN * 4,
        lhs_memory.ctypes.data + MARGIN * out.itemsize,
        rhs_memory.ctypes.data + MARGIN * out.itemsize, scratch.ctypes.data + shift,
    )  # fmt: skip
    assert (counts[inside] == 1).all()
    assert (np.delete(counts, np.r_[inside]) == 5).all()
    assert (np.delete(out, np.r_[inside]) == 77).all()
    assert (scratch[shift + needed :] == 255).all()
    return out[inside].reshape(shape)


def check(level, kind, params, lhs, rhs, lhs_order=None, rhs_order=None):
    rng = np.random.default_rng([*lhs, *rhs])
    left = laid_out(lhs, lhs_order or range(len(lhs)), kind, rng)
    right = laid_out(rhs, rhs_order or range(len(rhs)), kind, rng)
    found = run(level, kind, params, left, right)
    x, w = left[2].astype(float), right[2].astype(float)
    exact = np.asarray(conv_general_dilated_p.bind(x, w, **params))
    # each rounding of a running sum is relative to at most the sum of all magnitudes
    terms = w.size // w.shape[params["dimension_numbers"].rhs_spec[0]]
    magnitude = np.asarray(conv_general_dilated_p.bind(np.abs(x), np.abs(w), **params))
    assert (np.abs(found - exact) <= np.finfo(found.dtype).eps * (terms + 1) * magnitude).all()


CASES = {
    "valid": ((2, 9, 8, 5), (3, 3, 5, 20), LAST),
    "same": ((2, 9, 8, 5), (3, 3, 5, 20), LAST, None, SAME),
    "strided": ((2, 9, 8, 5), (3, 2, 5, 33), LAST, (2, 1), ((1, 0), (2, 1))),
    "one tap": ((3, 7, 6, 4), (1, 1, 4, 17), LAST),
    "one tap strided": ((3, 7, 6, 4), (1, 1, 4, 17), LAST, (2, 2)),
    "features first": ((2, 4, 9, 8), (6, 4, 3, 3), None, None, SAME),
    "features first strided": ((2, 4, 9, 8), (6, 4, 3, 3), None, (2, 2)),
    "groups": ((2, 9, 8, 6), (3, 3, 2, 12), LAST, None, SAME, None, None, (3, 1)),
    "groups first": ((2, 6, 9, 8), (9, 2, 3, 3), None, None, SAME, None, None, (3, 1)),
    "base dilated": ((2, 5, 6, 3), (3, 3, 3, 7), LAST, None, ((2, 2), (2, 1)), (2, 2)),
    "both dilated": ((2, 5, 6, 3), (3, 3, 3, 7), LAST, None, SAME, (2, 3), (1, 2)),
    "all at once": ((2, 5, 6, 3), (2, 2, 3, 7), LAST, (3, 2), ((2, 2), (-1, 1)), (2, 3), (2, 2)),
    "never met": ((1, 4, 4, 2), (1, 1, 2, 3), LAST, None, VALID, (3, 2)),
    "cut off": ((2, 9, 8, 5), (3, 3, 5, 20), LAST, None, ((-1, -1), (1, -2)), None, (2, 1)),
    "batch groups": ((6, 9, 8, 5), (3, 3, 5, 20), LAST, None, SAME, None, None, (1, 2)),
    "one dimension": ((2, 30, 3), (5, 3, 8), ("NWC", "WIO", "NWC"), None, ((2, 2),)),
    "no dimension": ((5, 40), (40, 18), ("NC", "IO", "NC")),
    "three dimensions": (
        (2, 5, 6, 7, 3), (2, 2, 3, 3, 8), ("NDHWC", "DHWIO", "NDHWC"), (1, 2, 1),
        ((0, 1), (1, 1), (1, 0)),
    ),
    "whole image": ((3, 8, 8, 5), (8, 8, 5, 20), LAST),
    "weights": ((4, 9, 8, 5), (4, 7, 6, 20), WEIGHTS),
    "weights same": ((4, 9, 8, 5), (4, 9, 8, 20), WEIGHTS, None, SAME),
    "weights of a large image": ((3, 22, 30, 4), (3, 20, 28, 20), WEIGHTS),
    "weights strided": (
        (4, 9, 8, 5), (4, 4, 4, 20), WEIGHTS, None, ((1, 0), (1, 1)), None, (2, 2)
    ),
    "weights first": ((4, 5, 9, 8), (4, 20, 9, 8), FIRST_WEIGHTS, None, SAME),
    "weights of groups": (
        (4, 9, 8, 6), (4, 9, 8, 9), WEIGHTS, None, SAME, None, None, (1, 3)
    ),
    "weights of batch groups": (
        (4, 9, 8, 6), (2, 9, 8, 8), WEIGHTS, None, SAME, None, None, (2, 1)
    ),
    "depthwise": ((2, 9, 8, 21), (3, 3, 1, 21), LAST, None, SAME, None, None, (21, 1)),
    "depthwise valid": ((2, 9, 8, 21), (3, 3, 1, 21), LAST, (2, 1), None, None, None, (21, 1)),
    "depthwise first": ((2, 21, 9, 8), (21, 1, 3, 3), None, None, SAME, None, None, (21, 1)),
    "depthwise multiplied": ((2, 9, 8, 6), (3, 3, 1, 12), LAST, None, SAME, None, None, (6, 1)),
    "weights of depthwise": (
        (4, 9, 8, 21), (4, 9, 8, 21), WEIGHTS, None, SAME, None, None, (1, 21)
    ),
    "weights of depthwise first": (
        (4, 21, 9, 8), (4, 21, 7, 6), FIRST_WEIGHTS, None, None, None, None, (1, 21)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("level", levels())
def test_every_form(level, case):
    lhs, rhs, *rest = CASES[case]
    check(level, "f32", parameters(lhs, rhs, *rest), lhs, rhs)


@pytest.mark.parametrize("case", list(CASES)[::3])
@pytest.mark.parametrize("level", levels())
def test_double_precision(level, case):
    lhs, rhs, *rest = CASES[case]
    check(level, "f64", parameters(lhs, rhs, *rest), lhs, rhs)


@pytest.mark.parametrize("case", [c for c in CASES if len(CASES[c][0]) == 4])
def test_operands_lie_in_any_order(case):
    """The same convolutions with dimensions in other orders in memory than they are named in."""
    lhs, rhs, *rest = CASES[case]
    check(None, "f32", parameters(lhs, rhs, *rest), lhs, rhs, (2, 0, 3, 1), (3, 1, 2, 0))


def test_kernels_larger_than_the_stack():
    lhs, rhs = (2, 8, 8, 70), (3, 3, 70, 90)
    found = plan(parameters(lhs, rhs, LAST, None, SAME), lhs, rhs)
    strides = (8 * 8 * 70, 8 * 70, 70, 1), (3 * 70 * 90, 70 * 90, 90, 1)
    assert scratch_bytes(found, "f32", *strides, host()) > 1 << 15
    check(None, "f32", parameters(lhs, rhs, LAST, None, SAME), lhs, rhs)


def test_nothing_to_sum_has_no_plan():
    for lhs, rhs in [((0, 5, 5, 2), (3, 3, 2, 4)), ((1, 5, 5, 0), (3, 3, 0, 4))]:
        assert plan(parameters(lhs, rhs), lhs, rhs) is None
    assert plan(parameters((1, 2, 5, 2), (3, 3, 2, 4)), (1, 2, 5, 2), (3, 3, 2, 4)) is None


def random_geometries(seed, count):
    """Parameters and shapes of convolutions that have a result."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        draw = functools.partial(rng.integers, size=2)
        sizes, taps = draw(1, 10), draw(1, 5)
        base, window, strides = (tuple(map(int, draw(1, 4))) for _ in range(3))
        padding = tuple((int(low), int(high)) for low, high in rng.integers(-1, 4, (2, 2)))
        lhs = (int(rng.integers(1, 4)), *map(int, sizes), 3)
        rhs = (*map(int, taps), 3, int(rng.integers(1, 40)))
        params = parameters(lhs, rhs, LAST, strides, padding, base, window)
        rooms = [(s - 1) * d + 1 + sum(p) for s, d, p in zip(sizes, base, padding)]
        if all(room >= 0 for room in rooms) and plan(params, lhs, rhs) is not None:
            yield params, lhs, rhs


def test_random_geometries():
    for params, lhs, rhs in random_geometries(3, 30):
        check(None, "f32", params, lhs, rhs)


def test_gradients_of_random_geometries():
    """The convolutions that derivatives are made of."""
    found = 0
    for params, lhs, rhs in random_geometries(4, 12):
        x, w = np.zeros(lhs, np.float32), np.zeros(rhs, np.float32)

        def gradients(x, w, params=params):
            out, pullback = fg.vjp(lambda x, w: conv_general_dilated_p.bind(x, w, **params), x, w)
            return pullback(jnp.ones_like(out))

        for e in fg.make_jaxpr(gradients)(x, w).eqns:
            shapes = [a.aval.shape for a in e.args]
            if e.primitive is conv_general_dilated_p and plan(e.params, *shapes) is not None:
                check(None, "f32", e.params, *shapes)
                found += 1
    assert found > 15

"""Matrix products for every element type, as `value` rules of contractions and convolutions need
them.

BLAS knows float32, float64 and their complex partners. Here the other types are brought to one of
those where the result is provably the same: narrow floats are accumulated in float32, integers in
a float that holds every partial sum exactly. Operands may be transposed views; only layouts that
BLAS cannot read are copied.
"""

import functools

from funcgrad.core import dtypes

# Below this many elements in one factor times columns of the other, NumPy's plain integer loop is
# faster than conversions to floats and back.
_SMALL_PRODUCT = 1 << 14


@functools.lru_cache(maxsize=256)
def accumulator(operand_dtype, result_dtype):
    """The type in which a product of floats is accumulated before it becomes `result_dtype`."""
    joined = operand_dtype
    if dtypes.is_inexact(result_dtype):
        joined, _ = dtypes.promote(((operand_dtype, False), (result_dtype, False)))
    return joined if joined.itemsize >= 4 else dtypes.float32


def matmul(xp, a, b, dtype):
    """a @ b over the last two dimensions, leading ones broadcast; the result has type `dtype`."""
    if a.dtype == dtype and dtype.char in "fdFD":
        return _matmul(xp, a, b)
    if a.dtype.kind in "iub" and dtype.kind in "iub" and a.size * b.shape[-1] < _SMALL_PRODUCT:
        return xp.module.matmul(a.astype(dtype), b.astype(dtype))
    a, b = computable(a, b, dtype, a.shape[-1])
    return rounded(_matmul(xp, a, b), dtype)


def _matmul(xp, a, b):
    if a.ndim == b.ndim == 2:
        return xp.module.dot(a, b)  # of two matrices the same as matmul, and sooner started
    return xp.module.matmul(_readable(xp, a), _readable(xp, b))


def _readable(xp, x):
    """`x`, copied if BLAS cannot read its last two dimensions through a leading stride."""
    if x.flags.c_contiguous:
        return x
    rows, columns = x.shape[-2:]
    row_stride, column_stride = x.strides[-2:]
    if column_stride == x.itemsize and row_stride >= columns * x.itemsize:
        return x
    if row_stride == x.itemsize and column_stride >= rows * x.itemsize:
        return x
    return xp.ascontiguousarray(x)


def computable(a, b, dtype, summed):
    """Both factors in one type in which sums of `summed` products are computed, towards `dtype`.

    Integers become floats when no partial sum can lose a bit, else integers of the full width,
    whose arithmetic wraps as that of every narrower width does.
    """
    if a.dtype.kind in "iub":
        wide = _exact_type(a, b, dtype, summed)
    else:
        wide = accumulator(a.dtype, dtype)
    return a.astype(wide, copy=False), b.astype(wide, copy=False)


def rounded(product, dtype):
    """A product in the working type of `computable` as the result of type `dtype`."""
    if product.dtype == dtype:
        return product
    if product.dtype.kind == "f" and dtype.kind in "iu":
        product = product.astype(dtypes.int64)  # the values are exact here; wrapping comes next
    return product.astype(dtype)


def _exact_type(a, b, dtype, summed):
    largest_sum = _largest(a) * _largest(b) * summed
    if largest_sum <= 1 << 24:
        return accumulator(dtypes.float32, dtype)
    if largest_sum <= 1 << 53:
        return accumulator(dtypes.float64, dtype)
    if dtype.kind in "iub":
        return dtypes.uint64 if a.dtype == dtypes.uint64 else dtypes.int64
    return accumulator(dtypes.float64, dtype)


def _largest(x):
    """A bound on the absolute values of `x`: from its type if that is narrow, else from the
    values.
    """
    if x.dtype.kind == "b" or x.size == 0:
        return 1
    if x.dtype.itemsize == 1:
        return 255
    return max(abs(int(x.min())), abs(int(x.max())))

"""What CuPy 14 has and takes, as far as `value` rules may use it: the stand-in obeys these tables.

`test_cupy_device.py` compares them with the module itself where CuPy is installed; that needs no
graphics card.
"""

from __future__ import annotations

import inspect
import re


def _signatures(text: str) -> dict[str, inspect.Signature]:
    """`name(parameters)` per line, as signatures by name."""
    found = {}
    for line in text.split("\n"):
        if match := re.fullmatch(r"(\w+)\((.*)\)", line.strip()):
            found[match[1]] = inspect.signature(eval(f"lambda {match[2]}: None"))
    return found


FUNCTIONS = _signatures("""
    all(a, axis=None, out=None, keepdims=False)
    any(a, axis=None, out=None, keepdims=False)
    arange(start, stop=None, step=1, dtype=None)
    argmax(a, axis=None, dtype=None, out=None, keepdims=False)
    argmin(a, axis=None, dtype=None, out=None, keepdims=False)
    argsort(a, axis=-1, kind=None)
    ascontiguousarray(a, dtype=None)
    broadcast_to(array, shape)
    clip(a, a_min, a_max, out=None)
    concatenate(tup, axis=0, out=None, *, dtype=None, casting='same_kind')
    count_nonzero(a, axis=None)
    cumprod(a, axis=None, dtype=None, out=None)
    cumsum(a, axis=None, dtype=None, out=None)
    dot(a, b, out=None)
    einsum(*operands, **kwargs)
    empty(shape, dtype=float, order='C')
    empty_like(prototype, dtype=None, order='K', subok=None, shape=None)
    eye(N, M=None, k=0, dtype=float, order='C')
    flatnonzero(a)
    flip(a, axis=None)
    full(shape, fill_value, dtype=None, order='C')
    full_like(a, fill_value, dtype=None, order='K', subok=None, shape=None)
    imag(val)
    max(a, axis=None, out=None, keepdims=False)
    min(a, axis=None, out=None, keepdims=False)
    moveaxis(a, source, destination)
    ndim(a)
    ones(shape, dtype=float, order='C')
    ones_like(a, dtype=None, order='K', subok=None, shape=None)
    partition(a, kth, axis=-1)
    prod(a, axis=None, dtype=None, out=None, keepdims=False)
    real(val)
    searchsorted(a, v, side='left', sorter=None)
    shape(a)
    sort(a, axis=-1, kind=None)
    split(ary, indices_or_sections, axis=0)
    squeeze(a, axis=None)
    stack(tup, axis=0, out=None, *, dtype=None, casting='same_kind')
    sum(a, axis=None, dtype=None, out=None, keepdims=False)
    take(a, indices, axis=None, out=None)
    take_along_axis(a, indices, axis)
    tril(m, k=0)
    triu(m, k=0)
    where(condition, x=None, y=None)
    zeros(shape, dtype=float, order='C')
    zeros_like(a, dtype=None, order='K', subok=None, shape=None)
""")

LINEAR_ALGEBRA = _signatures("""
    cholesky(a)
    eig(a)
    eigh(a, UPLO='L')
    eigvals(a)
    inv(a)
    qr(a, mode='reduced')
    solve(a, b)
    svd(a, full_matrices=True, compute_uv=True)
""")

METHODS = _signatures("""
    all(axis=None, out=None, keepdims=False)
    any(axis=None, out=None, keepdims=False)
    astype(dtype, order='K', casting=None, subok=None, copy=True)
    clip(min=None, max=None, out=None)
    conj()
    copy(order='C')
    item()
    max(axis=None, out=None, keepdims=False)
    min(axis=None, out=None, keepdims=False)
    prod(axis=None, dtype=None, out=None, keepdims=None)
    reshape(*shape, order='C', copy=None)
    sort(axis=-1, kind=None)
    sum(axis=None, dtype=None, out=None, keepdims=False)
    swapaxes(axis1, axis2)
    tolist()
    transpose(*axes)
    view(dtype=None, type=None)
""")

# Elementwise functions; all take `out`, `dtype` and `casting`, and nothing else by name.
UFUNCS = set(
    """
    abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_count
    bitwise_not bitwise_or bitwise_xor cbrt ceil conj conjugate copysign cos cosh divide equal exp
    exp2 expm1 floor floor_divide fmod frexp greater greater_equal hypot invert isfinite isinf isnan
    ldexp left_shift less less_equal log log10 log1p log2 logaddexp logical_and logical_not
    logical_or logical_xor maximum minimum multiply negative nextafter not_equal power reciprocal
    remainder right_shift rint sign signbit sin sinh sqrt square subtract tan tanh true_divide trunc
    """.split()
)
UFUNC_KEYWORDS = {"out", "dtype", "casting"}

# Integers go through float64 in these, and lose what is beyond 2**53.
THROUGH_FLOAT64 = {"fmod"}

# Which of them reduce and accumulate, and the dtypes (as characters) that `at` takes.
REDUCING = {"add", "multiply"}
AT = {
    "add": "ilefdIL",
    "subtract": "iI",
    "maximum": "ilfdIL",
    "minimum": "ilfdIL",
    "bitwise_and": "ilIL",
    "bitwise_or": "ilIL",
    "bitwise_xor": "ilIL",
}

"""Comparisons and logic, tests on whole arrays, and the parts of complex numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy.promote import as_array, choose, promote_args, promote_args_inexact
from funcgrad.numpy.ufuncs import shortcut
from funcgrad.numpy.ufuncs.elementary import degrees
from funcgrad.numpy.ufuncs.floats import float_for, isfinite, isnan
from funcgrad.primitives import elementwise as P, logic
from funcgrad.primitives.basis import add, convert_element_type, full, mul, sub
from funcgrad.primitives.bits import random_unwrap
from funcgrad.primitives.reduce import reduce_and

# ---- comparisons -------------------------------------------------------------------------------


@shortcut.test(np.equal)
def equal(x: Any, y: Any, /) -> Array:
    """True where x equals y; NaN equals nothing. Random keys are equal if all their bits are."""
    if _are_keys(x, y):
        return _same_bits(x, y)
    return logic.eq(*promote_args("equal", x, y))


@shortcut.test(np.not_equal)
def not_equal(x: Any, y: Any, /) -> Array:
    """True where x differs from y; NaN differs from everything."""
    if _are_keys(x, y):
        return logic.bitwise_not(_same_bits(x, y))
    return logic.ne(*promote_args("not_equal", x, y))


def _are_keys(x, y):
    return all(isinstance(key, Array) and dtypes.is_key(key.dtype) for key in (x, y))


def _same_bits(x, y):
    same = logic.eq(*promote_args("equal", random_unwrap(x), random_unwrap(y)))
    return reduce_and(same, (same.ndim - 1,))


@shortcut.test(np.less)
def less(x: Any, y: Any, /) -> Array:
    """True where x is less than y; complex numbers compare by real, then imaginary part."""
    return _ordered(logic.lt, *promote_args("less", x, y))


@shortcut.test(np.less_equal)
def less_equal(x: Any, y: Any, /) -> Array:
    """True where x is at most y; complex numbers compare by real, then imaginary part."""
    return _ordered(logic.le, *promote_args("less_equal", x, y))


@shortcut.test(np.greater)
def greater(x: Any, y: Any, /) -> Array:
    """True where x is greater than y; complex numbers compare by real, then imaginary part."""
    return _ordered(logic.gt, *promote_args("greater", x, y))


@shortcut.test(np.greater_equal)
def greater_equal(x: Any, y: Any, /) -> Array:
    """True where x is at least y; complex numbers compare by real, then imaginary part."""
    return _ordered(logic.ge, *promote_args("greater_equal", x, y))


def _ordered(compare, x, y):
    if not dtypes.is_complex(x.dtype):
        return compare(x, y)
    tie = logic.eq(P.real(x), P.real(y))
    return choose(tie, compare(P.imag(x), P.imag(y)), compare(P.real(x), P.real(y)))


def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Array:
    """True where |a - b| <= atol + rtol * |b|; equal infinities are close, NaN only with
    `equal_nan`.
    """
    a, b = promote_args_inexact("isclose", a, b)
    part = dtypes.real_part(a.dtype)
    rtol, atol = full((), rtol, part), full((), atol, part)
    margin = add(mul(P.abs(b), rtol), atol)
    near = logic.bitwise_and(isfinite(b), logic.le(P.abs(sub(a, b)), margin))
    close = logic.bitwise_or(logic.eq(a, b), near)
    return logic.bitwise_or(close, logic.bitwise_and(isnan(a), isnan(b))) if equal_nan else close


def allclose(
    a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False
) -> Array:
    """Whether all elements are close, see `isclose`."""
    return _all(isclose(a, b, rtol, atol, equal_nan))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Array:
    """Whether two arrays have the same shape and elements; NaN equals NaN only with `equal_nan`."""
    a1, a2 = _listed("array_equal", a1), _listed("array_equal", a2)
    if a1.shape != a2.shape:
        return as_array("array_equal", False)
    same = equal(a1, a2)
    if equal_nan:
        same = logic.bitwise_or(same, logic.bitwise_and(isnan(a1), isnan(a2)))
    return _all(same)


def array_equiv(a1: Any, a2: Any) -> Array:
    """Whether two arrays are equal after broadcasting; False if their shapes do not broadcast."""
    a1, a2 = _listed("array_equiv", a1), _listed("array_equiv", a2)
    try:
        return _all(equal(a1, a2))
    except ValueError:
        return as_array("array_equiv", False)


def _listed(name: str, x: Any) -> Array:
    return as_array(name, np.asarray(x) if isinstance(x, (list, tuple)) else x)


def _all(x: Array) -> Array:
    return reduce_and(x, tuple(range(x.ndim)))


# ---- logic -------------------------------------------------------------------------------------


def logical_and(x: Any, y: Any, /) -> Array:
    """True where both are nonzero."""
    return logic.bitwise_and(*map(_nonzero, promote_args("logical_and", x, y)))


def logical_or(x: Any, y: Any, /) -> Array:
    """True where either is nonzero."""
    return logic.bitwise_or(*map(_nonzero, promote_args("logical_or", x, y)))


def logical_xor(x: Any, y: Any, /) -> Array:
    """True where exactly one is nonzero."""
    return logic.bitwise_xor(*map(_nonzero, promote_args("logical_xor", x, y)))


def logical_not(x: Any, /) -> Array:
    """True where x is zero."""
    return logic.bitwise_not(_nonzero(as_array("logical_not", x)))


def _nonzero(x: Array) -> Array:
    return x if x.dtype == dtypes.bool_ else logic.ne(x, 0)


# ---- complex numbers ---------------------------------------------------------------------------


def real(val: Any, /) -> Array:
    """Real part; real arrays are themselves."""
    val = as_array("real", val)
    return P.real(val) if dtypes.is_complex(val.dtype) else val


def imag(val: Any, /) -> Array:
    """Imaginary part; zeros for real arrays."""
    val = as_array("imag", val)
    return P.imag(val) if dtypes.is_complex(val.dtype) else P.like(val, 0)


def conjugate(x: Any, /) -> Array:
    """Complex conjugate; real arrays are themselves."""
    x = as_array("conjugate", x)
    return P.conj(x) if dtypes.is_complex(x.dtype) else x


conj = conjugate


def angle(z: Any, deg: bool = False) -> Array:
    """Angle of complex numbers with the positive real axis, in radians, or in degrees with
    `deg`.
    """
    z = as_array("angle", z)
    if z.dtype.kind in "biu":
        z = convert_element_type(z, float_for(z.dtype))
    result = P.atan2(imag(z), real(z))
    return degrees(result) if deg else result


def isreal(x: Any) -> Array:
    """True where the imaginary part is zero."""
    return logic.eq(imag(x), 0)


def iscomplex(x: Any) -> Array:
    """True where the imaginary part is not zero."""
    return logic.ne(imag(x), 0)


def iscomplexobj(x: Any) -> bool:
    """Whether x has a complex dtype, whatever its values."""
    dtype = getattr(x, "dtype", None)
    return isinstance(x, complex) if dtype is None else getattr(dtype, "kind", "") == "c"


def isrealobj(x: Any) -> bool:
    """Whether x does not have a complex dtype."""
    return not iscomplexobj(x)

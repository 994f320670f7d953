"""Complex numbers: their parts, their conjugate, and how they are put together.

All four operations are linear over the reals. Transposition pairs a cotangent with a tangent by
the real part of their product, without conjugation, which is where the minus signs come from.
"""

from __future__ import annotations

from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.core.avals import typeof
from funcgrad.core.tangent import is_linear
from funcgrad.primitives.basis import full, neg, operands
from funcgrad.primitives.kinds import COMPLEX, FLOATS, INEXACT, elementwise


def is_complex(x: Any) -> bool:
    """Are the elements of x complex numbers?"""
    return dtypes.is_complex(typeof(x).dtype)


def complex_dtype(dtype: Any) -> Any:
    """The complex dtype for parts of this dtype: complex64 for float32 and everything narrower."""
    return dtypes.complex128 if dtype in (dtypes.float64, dtypes.complex128) else dtypes.complex64


def _zeros_like(x):
    return full(typeof(x).shape, 0, typeof(x).dtype)


real_p = elementwise(
    "real",
    accepts=COMPLEX,
    result=dtypes.real_part,
    value=lambda xp, x: xp.real(x),
    linear=(0,),
    transpose=lambda ct, x: [complex(ct, _zeros_like(ct))],
    scalar=lambda k, x: k.real(x),
)


def real(x: Any) -> Array:
    """Real part of each complex element."""
    return real_p.bind(x)


imag_p = elementwise(
    "imag",
    accepts=COMPLEX,
    result=dtypes.real_part,
    value=lambda xp, x: xp.imag(x),
    linear=(0,),
    transpose=lambda ct, x: [complex(_zeros_like(ct), neg(ct))],
    scalar=lambda k, x: k.imag(x),
)


def imag(x: Any) -> Array:
    """Imaginary part of each complex element."""
    return imag_p.bind(x)


def _complex_value(xp, re, im):
    out = xp.empty(re.shape or im.shape, complex_dtype(re.dtype))
    out.real = re  # two strided stores; re + 1j * im would turn an infinity into NaN
    out.imag = im
    return out


def _complex_transpose(ct, re, im):
    return [real(ct) if is_linear(re) else None, imag(neg(ct)) if is_linear(im) else None]


complex_p = elementwise(
    "complex",
    accepts=FLOATS,
    result=complex_dtype,
    value=_complex_value,
    linear=(0, 1),
    transpose=_complex_transpose,
    scalar=lambda k, re, im: k.complex(re, im),
)


def complex(re: Any, im: Any) -> Array:
    """Complex number from its real and imaginary part, both float32 or both float64."""
    return complex_p.bind(*operands(re, im))


def _conj_transpose(ct, x, *, input_dtype):
    return [conj(ct) if dtypes.is_complex(input_dtype) else real(ct)]


def _conj_scalar(k, x, *, input_dtype):
    if dtypes.is_complex(input_dtype):
        return k.conj(x)
    return k.convert(x, complex_dtype(input_dtype))


conj_p = elementwise(
    "conj",
    accepts=INEXACT,
    result=complex_dtype,
    value=lambda xp, x, *, input_dtype: xp.conj(x).astype(complex_dtype(x.dtype), copy=False),
    linear=(0,),
    transpose=_conj_transpose,
    scalar=_conj_scalar,
)


def conj(x: Any) -> Array:
    """Complex conjugate of each element; a real operand becomes complex with imaginary part 0."""
    return conj_p.bind(x, input_dtype=typeof(x).dtype)

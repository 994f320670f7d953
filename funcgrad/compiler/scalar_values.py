"""The operations of scalar rules on NumPy arrays, in the plainest way: what compiled kernels are
tested against.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.backend import NARROW

UFUNCS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "neg": "negative", "abs": "absolute", "min":
    "minimum", "max": "maximum", "sqrt": "sqrt", "cbrt": "cbrt", "floor": "floor", "ceil": "ceil",
    "round": "rint", "exp": "exp", "exp2": "exp2", "expm1": "expm1", "log": "log", "log1p": "log1p",
    "sin": "sin", "cos": "cos", "tan": "tan", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "arcsinh", "acosh": "arccosh", "atanh":
    "arctanh", "pow": "power", "atan2": "arctan2", "sign": "sign", "is_finite": "isfinite",
    "nextafter": "nextafter", "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal",
    "gt": "greater", "ge": "greater_equal", "and_": "bitwise_and", "or_": "bitwise_or", "xor":
    "bitwise_xor", "not_": "invert", "conj": "conjugate", "real": "real", "imag": "imag",
}  # fmt: skip


class ScalarValues:
    """The `k` that scalar rules are given when they are to be computed at once, on whole arrays."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in UFUNCS:
            raise AttributeError(f"there is no scalar operation {name!r}")
        return getattr(np, UFUNCS[name])

    # ---- structure

    def dtype(self, x: Any) -> np.dtype:
        return x.dtype

    def const(self, value: Any, dtype: np.dtype) -> Any:
        return np.asarray(value, dtype)

    def select(self, condition: Any, yes: Any, no: Any) -> Any:
        return np.where(condition, yes, no)

    def complex(self, re: Any, im: Any) -> Any:
        out = np.empty(np.broadcast(re, im).shape, np.result_type(re.dtype, np.complex64))
        out.real, out.imag = re, im
        return out

    def bitcast(self, x: Any, dtype: np.dtype) -> Any:
        return x.view(dtype)

    def convert(self, x: Any, dtype: np.dtype) -> Any:
        """Floats become integers toward zero, clamped to the range, NaN becoming 0."""
        x = np.asarray(x)
        if dtypes.is_complex(x.dtype) and not dtypes.is_complex(dtype):
            x = (x != 0) if dtype == dtypes.bool_ else x.real
        if not (dtypes.is_inexact(x.dtype) and dtypes.is_integer(dtype)):
            return x.astype(dtype)
        info = np.iinfo(dtype)
        numbers = [
            0 if math.isnan(v) else min(max(v, info.min), info.max)
            for v in x.astype(np.float64).ravel().tolist()
        ]
        return np.array([int(v) for v in numbers], dtype).reshape(x.shape)

    # ---- division, whose edges NumPy draws elsewhere

    def div(self, x: Any, y: Any) -> Any:
        if not dtypes.is_integer(x.dtype):
            return np.divide(x, y)
        return _on_integers(lambda a, b: -1 if b == 0 else _toward_zero(a, b), x, y)

    def rem(self, x: Any, y: Any) -> Any:
        if not dtypes.is_integer(x.dtype):
            return np.fmod(x, y)
        return _on_integers(lambda a, b: a if b == 0 else a - b * _toward_zero(a, b), x, y)

    # ---- bits

    def shl(self, x: Any, y: Any) -> Any:
        return _on_bits(lambda a, n, width: a << n if n < width else 0, x, y)

    def shr_logical(self, x: Any, y: Any) -> Any:
        return _on_bits(lambda a, n, width: a >> n if n < width else 0, x, y)

    def shr_arithmetic(self, x: Any, y: Any) -> Any:
        return _on_bits(
            lambda a, n, width: (a - (a >> width - 1 << width)) >> min(n, width - 1), x, y
        )

    def popcount(self, x: Any) -> Any:
        return _on_bits(lambda a, n, width: a.bit_count(), x, x)

    def clz(self, x: Any) -> Any:
        return _on_bits(lambda a, n, width: width - a.bit_length(), x, x)

    # ---- functions

    def atan2(self, y: Any, x: Any) -> Any:
        if not dtypes.is_complex(y.dtype):
            return np.arctan2(y, x)
        return -1j * np.log((x + 1j * y) / np.sqrt(x * x + y * y))

    def rsqrt(self, x: Any) -> Any:
        return 1 / np.sqrt(x)

    def logistic(self, x: Any) -> Any:
        if dtypes.is_complex(x.dtype):
            return 0.5 * np.tanh(0.5 * x) + 0.5
        return 1 / (1 + np.exp(-x))

    def erf(self, x: Any) -> Any:
        return _each(math.erf, x)

    def erfc(self, x: Any) -> Any:
        return _each(math.erfc, x)

    def erf_inv(self, x: Any) -> Any:
        return _each(_erf_inv, x)

    def lgamma(self, x: Any) -> Any:
        return _each(_lgamma, x)

    def digamma(self, x: Any) -> Any:
        return _each(_digamma, x)


def computed(scalar: Callable[..., Any], operands: list[Any]) -> list[Any]:
    """Results of a scalar rule. 16-bit floats are computed in float32 and rounded once."""
    narrow = next((x.dtype for x in operands if x.dtype in NARROW), None)
    wide = [x.astype(np.float32) if x.dtype in NARROW else x for x in operands]
    found = scalar(ScalarValues(), *(operands if _only_moves_bits(scalar, operands) else wide))
    results = found if isinstance(found, (tuple, list)) else [found]
    if narrow is None:
        return list(results)
    return [r.astype(narrow) if r.dtype == np.float32 else r for r in results]


def _only_moves_bits(scalar: Callable[..., Any], operands: list[Any]) -> bool:
    """Does the rule read the operand's bits, or its neighbours, so that it must see its true
    type?
    """
    inner = [
        cell.cell_contents for cell in scalar.__closure__ or () if callable(cell.cell_contents)
    ]
    names = {name for f in (scalar, *inner) for name in f.__code__.co_names}
    return bool(names & {"bitcast", "nextafter"})


def _on_integers(function: Callable[[int, int], int], x: Any, y: Any) -> Any:
    """A function of Python's integers on each pair, wrapped to the dtype."""
    x, y = np.broadcast_arrays(x, y)
    bits = 8 * x.dtype.itemsize
    found = [
        function(a, b) & (1 << bits) - 1 for a, b in zip(x.ravel().tolist(), y.ravel().tolist())
    ]
    return np.array(found, f"u{x.dtype.itemsize}").view(x.dtype).reshape(x.shape)


def _on_bits(function: Callable[[int, int, int], int], x: Any, y: Any) -> Any:
    """A function of bit patterns and the width; a negative amount is beyond it."""
    width = 8 * x.dtype.itemsize
    mask = (1 << width) - 1
    return _on_integers(lambda a, n: function(a & mask, n & mask, width), x, y)


def _toward_zero(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _each(function: Callable[[float], float], x: Any) -> Any:
    found = [function(v) for v in np.asarray(x, np.float64).ravel().tolist()]
    return np.array(found, np.float64).reshape(np.shape(x)).astype(x.dtype)


def _erf_inv(x: float) -> float:
    """Newton's method on erf, on erfc where erf is close to 1."""
    target = abs(x)
    if not target < 1:
        return x * math.inf if target == 1 else math.nan
    y = 0.0
    for _ in range(100):
        miss = math.erf(y) - target if target < 0.5 else 1 - target - math.erfc(y)
        y -= max(min(miss * math.sqrt(math.pi) / 2 * math.exp(y * y), 0.5), -0.5)
    return math.copysign(y, x)


def _lgamma(x: float) -> float:
    if x == -math.inf or (x <= 0 and x == int(x)):
        return math.inf
    return math.lgamma(x)


def _digamma(x: float) -> float:
    """The recurrence up to 15, then the asymptotic series (Abramowitz and Stegun 6.3.18);
    reflection below 0.
    """
    if x == 0:
        return math.copysign(math.inf, -x)
    if x == -math.inf or (x < 0 and x == math.floor(x)):
        return math.nan
    if x < 0:
        return _digamma(1 - x) - math.pi / math.tan(math.pi * math.fmod(x, 1))
    shift = 0.0
    while x < 15:
        shift, x = shift - 1 / x, x + 1
    square = 1 / (x * x)
    coefficients = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760, -1 / 12)
    series = sum(c * square ** (k + 1) for k, c in enumerate(coefficients))
    return shift + math.log(x) - 0.5 / x + series if x < math.inf else x

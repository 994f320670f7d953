"""Elementary and special functions of f32 and f64 values with any number of lanes.

Each is a function `(builder, *values) -> value` that writes its instructions. Start with
`exponential`; what they share is in `parts`. Errors are measured by `benchmarks/accuracy.py`.
"""

from funcgrad.backends.llvm.vector_math.error_function import erf, erf_inv, erfc
from funcgrad.backends.llvm.vector_math.exponential import exp, exp2, expm1, logistic
from funcgrad.backends.llvm.vector_math.gamma import digamma, lgamma
from funcgrad.backends.llvm.vector_math.hyperbolic import acosh, asinh, atanh, cosh, sinh, tanh
from funcgrad.backends.llvm.vector_math.inverse_trigonometric import acos, asin, atan, atan2
from funcgrad.backends.llvm.vector_math.logarithm import log, log1p, log2
from funcgrad.backends.llvm.vector_math.power import cbrt, pow, rsqrt
from funcgrad.backends.llvm.vector_math.trigonometric import cos, sin, tan

_ALL = (
    exp, exp2, expm1, log, log1p, log2, logistic, sin, cos, tan, asin, acos, atan, atan2, sinh,
    cosh, tanh, asinh, acosh, atanh, pow, cbrt, rsqrt, erf, erfc, erf_inv, lgamma, digamma,
)  # fmt: skip
FUNCTIONS = {f.__name__: f for f in _ALL}

__all__ = ["FUNCTIONS"]

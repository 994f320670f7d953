"""Elementary and special functions of f32 and f64 values with any number of lanes.

Each is a function `(builder, *values) -> value` that writes its instructions. Start with
`exponential`; what they share is in `parts`. Errors are measured by `benchmarks/accuracy.py`.
"""

from funcgrad.backends.llvm.vector_math.exponential import exp, exp2, expm1, logistic
from funcgrad.backends.llvm.vector_math.hyperbolic import tanh
from funcgrad.backends.llvm.vector_math.logarithm import log, log1p, log2

FUNCTIONS = {f.__name__: f for f in (exp, exp2, expm1, log, log1p, log2, logistic, tanh)}

__all__ = ["FUNCTIONS"]

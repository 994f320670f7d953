"""Rows for arithmetic, powers, exponentials, trigonometry, rounding and complex numbers.

Operands keep away from kinks and poles; what happens there is in tests/numpy/test_ufuncs.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad.primitives import elementwise as e
from tests.primitives.cases import (
    Case,
    Maker,
    bools,
    exactly,
    integers,
    normal,
    positive,
    uniform,
)

# The law pairs cotangents by a complex product; these primitives are linear over the reals only.
OVER_THE_REALS = {"transpose": "real-linear: tested in test_complex_parts.py"}


def apart_from_zero(*shape: int, dtype: Any = "float32") -> Maker:
    """Draws of both signs, at least 0.3 away from 0."""

    def make(rng: np.random.Generator) -> np.ndarray:
        sign = rng.choice([-1.0, 1.0], size=shape)
        return np.asarray(sign * rng.uniform(0.3, 2.3, size=shape), dtype)

    return make


# Constants by convention, as in JAX.
TURNS = {"derivative": "the sign of a complex number turns with it"}
STEPS_ON = {"derivative": "the next number moves on with its operand"}

EVERYWHERE = (e.sin_p, e.cos_p, e.atan_p, e.sinh_p, e.cosh_p, e.tanh_p, e.asinh_p, e.exp_p,
              e.exp2_p, e.expm1_p, e.logistic_p, e.square_p)  # fmt: skip
ON_POSITIVE = (e.log_p, e.log1p_p, e.sqrt_p, e.rsqrt_p)
INSIDE_ONE = (e.tan_p, e.asin_p, e.acos_p, e.atanh_p)
STEPS = (e.floor_p, e.ceil_p, e.is_finite_p)
INFINITIES = dict.fromkeys(("derivative", "transpose", "second"), "no differences at infinities")
SPECIAL = exactly([0.0, -0.0, 1.0, -1.0, 90.0, -90.0, np.inf, -np.inf, np.nan], "float32")

UNARY = [
    *(Case(p, [normal(3, 4)]) for p in EVERYWHERE),
    *(Case(p, [positive(3, 4)]) for p in ON_POSITIVE),
    *(Case(p, [uniform(-1, 1, 3, 4)]) for p in INSIDE_ONE),
    *(Case(p, [normal()], name="rank 0") for p in EVERYWHERE),
    *(Case(p, [normal(2, 3, dtype="complex64")], name="complex") for p in EVERYWHERE),
    *(Case(p, [positive(2, 3, dtype="complex64")], name="complex") for p in ON_POSITIVE),
    *(Case(p, [uniform(-1, 1, 2, 3, dtype="complex64")], name="complex") for p in INSIDE_ONE),
    *(
        Case(p, [positive(0, 3, dtype=dtype)], name=f"empty {dtype}")
        for p in (e.exp_p, e.logistic_p)
        for dtype in ("bfloat16", "float16")
    ),
    *(
        Case(p, [uniform(-0.9, 0.9, 5, dtype=dtype)], name=dtype)
        for p in (*EVERYWHERE, *INSIDE_ONE, e.cbrt_p)
        for dtype in ("bfloat16", "float16", "float64")
    ),
    *(
        Case(p, [SPECIAL], name="special", skip=INFINITIES)
        for p in (*EVERYWHERE, *ON_POSITIVE, *INSIDE_ONE, *STEPS, e.abs_p, e.sign_p, e.cbrt_p)
    ),
    Case(e.acosh_p, [uniform(1, 3, 3, 4)]),
    Case(e.acosh_p, [normal(2, 3, dtype="complex64")], name="complex", tolerance=1e-4),
    Case(e.cbrt_p, [apart_from_zero(3, 4)]),
    Case(e.square_p, [integers(-9, 9, 4, dtype="int8")]),
    *(Case(p, [apart_from_zero(3, 4)]) for p in (*STEPS, e.sign_p, e.abs_p)),
    *(Case(p, [integers(-9, 9, 5)], name="int32") for p in (e.sign_p, e.abs_p)),
    Case(e.sign_p, [integers(0, 9, 5, dtype="uint8")]),
    Case(e.sign_p, [normal(2, 3, dtype="complex64")], skip=TURNS),
    Case(e.abs_p, [normal(2, 3, dtype="complex64")], skip=OVER_THE_REALS),
    Case(
        e.round_p,
        [exactly([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, -0.2, 3.3, 1e9], "float32")],
        [dict(rounding_method=method) for method in e.RoundingMethod],
        skip={"derivative": "no differences at ties"},
    ),
    Case(
        e.round_p,
        [exactly([0.3, 1.7, -0.2, -3.3], "float32")],
        [dict(rounding_method=method) for method in e.RoundingMethod],
    ),
    Case(
        e.integer_pow_p,
        [apart_from_zero(3, 4)],
        [dict(y=y) for y in (-3, -2, -1, 0, 1, 2, 3, 4, 7)],
    ),
    Case(e.integer_pow_p, [apart_from_zero(4, dtype="complex64")], [dict(y=y) for y in (-2, 3)]),
    Case(e.integer_pow_p, [integers(-3, 4, 4)], [dict(y=y) for y in (0, 1, 2, 5)]),
    Case(e.integer_pow_p, [apart_from_zero(4, dtype="bfloat16")], [dict(y=y) for y in (-2, 5)]),
]


def mixed(maker) -> list[list[Maker]]:
    """Two operands of one shape, and each of rank 0 beside the other."""
    return [[maker(2, 3), maker(2, 3)], [maker(), maker(2, 3)], [maker(3), maker()]]


BINARY = [
    *(Case(e.rem_p, args) for args in mixed(apart_from_zero)),
    Case(e.rem_p, [integers(-9, 9, 6), integers(-3, 4, 6)]),
    Case(e.rem_p, [integers(0, 9, 6, dtype="uint8"), integers(0, 4, 6, dtype="uint8")]),
    *(Case(p, args) for p in (e.max_p, e.min_p) for args in mixed(normal)),
    *(
        Case(p, [integers(-9, 9, 6, dtype=dtype)] * 2)
        for p in (e.max_p, e.min_p)
        for dtype in ("int8", "int32")
    ),
    *(Case(p, [bools(4), bools(4)]) for p in (e.max_p, e.min_p)),
    *(Case(p, [normal(4, dtype="complex64")] * 2, skip={"loops": "kernels order reals only"})
      for p in (e.max_p, e.min_p)),
    *(Case(e.pow_p, args) for args in mixed(positive)),
    Case(e.pow_p, [apart_from_zero(2, 3), integers(-3, 4, 2, 3)], name="integer exponent"),
    Case(e.pow_p, [positive(4, dtype="complex64"), normal(4, dtype="complex64")], tolerance=1e-4),
    *(Case(e.atan2_p, args) for args in mixed(apart_from_zero)),
    Case(e.atan2_p, [positive(4, dtype="complex64"), positive(4, dtype="complex64")],
         skip={"loops": "kernels have atan2 of reals only"}),
    *(Case(e.nextafter_p, args, skip=STEPS_ON) for args in mixed(normal)),
    *(Case(p, [uniform(2.1, 2.3, 4, dtype=dtype), uniform(0.9, 1, 4, dtype=dtype)], name=dtype)
      for p in (e.rem_p, e.max_p, e.min_p, e.atan2_p)
      for dtype in ("bfloat16", "float16")),
    *(Case(e.nextafter_p, [uniform(2.1, 2.3, 4, dtype=dtype), uniform(0.9, 1, 4, dtype=dtype)],
           name=dtype, skip=STEPS_ON)
      for dtype in ("bfloat16", "float16")),
    Case(e.clamp_p, [uniform(-1, 0, 3, 4), normal(3, 4), uniform(0, 1, 3, 4)]),
    Case(e.clamp_p, [uniform(-1, 0), normal(3, 4), uniform(0, 1)], name="rank 0"),
    Case(e.clamp_p, [integers(-3, 0), integers(-9, 9, 5), integers(0, 4)]),
]  # fmt: skip

COMPLEX = [
    *(
        Case(p, [normal(2, 3, dtype=dtype)], skip=OVER_THE_REALS)
        for p in (e.real_p, e.imag_p)
        for dtype in ("complex64", "complex128")
    ),
    *(
        Case(
            e.conj_p,
            [normal(2, 3, dtype=dtype)],
            dict(input_dtype=np.dtype(dtype)),
            skip=OVER_THE_REALS,
        )
        for dtype in ("float64", "complex128")
    ),
    *(Case(e.complex_p, args, skip=OVER_THE_REALS) for args in mixed(normal)),
]

CASES = UNARY + BINARY + COMPLEX

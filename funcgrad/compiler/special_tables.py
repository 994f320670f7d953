"""The coefficients of the special functions, and what their formulas ask for, for backends that
write these functions as code.
"""

from funcgrad.primitives.special.numerics import Lanes
from funcgrad.primitives.special.tables import (
    DIGAMMA_LARGE,
    ERF_INV_FLOAT32_TAIL,
    ERF_INV_FLOAT64,
    ERF_INV_FLOAT64_MIDDLE,
    ERF_INV_FLOAT64_TAIL,
    ERF_SMALL,
    ERFCX,
    ERFCX_SHORT,
    LGAMMA,
    LGAMMA_LARGE,
)

__all__ = [
    "DIGAMMA_LARGE", "ERFCX", "ERFCX_SHORT", "ERF_INV_FLOAT32_TAIL",
    "ERF_INV_FLOAT64", "ERF_INV_FLOAT64_MIDDLE", "ERF_INV_FLOAT64_TAIL", "ERF_SMALL", "LGAMMA",
    "LGAMMA_LARGE", "Lanes",
]  # fmt: skip

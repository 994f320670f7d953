"""Special functions: error functions, gamma and its relatives, incomplete integrals, Bessel
functions.

The primitives with all their rules are in `functions`. Values are computed in the modules beside
it, by formulas of our own: one for each family, with `tables` of coefficients and `numerics` to
evaluate them.
"""

from funcgrad.primitives.special.functions import (
    bessel_i0e,
    bessel_i1e,
    betainc,
    digamma,
    erf,
    erf_inv,
    erfc,
    igamma,
    igamma_grad_a,
    igammac,
    lgamma,
    polygamma,
    random_gamma_grad,
    regularized_incomplete_beta,
    zeta,
)

__all__ = [
    "bessel_i0e", "bessel_i1e", "betainc", "digamma", "erf", "erf_inv", "erfc", "igamma",
    "igamma_grad_a", "igammac", "lgamma", "polygamma", "random_gamma_grad",
    "regularized_incomplete_beta", "zeta",
]  # fmt: skip

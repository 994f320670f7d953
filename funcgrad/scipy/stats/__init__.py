"""Probability distributions as functions: logpdf, pdf, cdf, ... of values and parameters.

Each module is one distribution, with SciPy's parametrisation.
"""

from funcgrad.scipy.stats import (
    bernoulli,
    beta,
    cauchy,
    expon,
    gamma,
    laplace,
    multivariate_normal,
    norm,
    poisson,
    t,
    uniform,
)

__all__ = [
    "bernoulli", "beta", "cauchy", "expon", "gamma", "laplace", "multivariate_normal", "norm",
    "poisson", "t", "uniform",
]  # fmt: skip

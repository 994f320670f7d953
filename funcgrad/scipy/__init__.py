"""The parts of SciPy that programs differentiate through, as in `jax.scipy`."""

from funcgrad.scipy import linalg, special, stats

__all__ = ["linalg", "special", "stats"]

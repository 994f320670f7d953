"""The parts of SciPy that programs differentiate through, as in `jax.scipy`."""

from funcgrad.scipy import special, stats

__all__ = ["special", "stats"]

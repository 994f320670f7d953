"""What all losses ask of their arguments, and how they reduce their values."""

from __future__ import annotations

import funcgrad.numpy as jnp

REDUCTIONS = {"mean": jnp.mean, "sum": jnp.sum, "none": lambda values: values}


def reduced(name: str, losses, reduction: str, weights=None):
    """The mean, sum or all of the values; with `weights` (already in them) a weighted mean."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction must be mean, sum or none, but got {reduction!r}.")
    if reduction == "mean" and weights is not None:
        return jnp.sum(losses) / jnp.sum(weights)
    return REDUCTIONS[reduction](losses)


def inexact(name: str, what: str, values):
    """`values` as an array, which must hold floats."""
    values = jnp.asarray(values)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(
            f"{name}: {what} must be floats, but got {values.dtype}. "
            "Convert them, for example with .astype(float32)."
        )
    return values


def integers(name: str, what: str, values):
    """`values` as an array, which must hold integers."""
    values = jnp.asarray(values)
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(f"{name}: {what} must be integers, but got {values.dtype}.")
    return values


def axis_of(name: str, values, axis: int) -> int:
    """The axis, counted from the front."""
    if not -values.ndim <= axis < values.ndim:
        raise ValueError(f"{name}: axis {axis} is not an axis of shape {shape(values)}.")
    return axis % values.ndim


def equally_shaped(name: str, what: str, a, other: str, b):
    """Both as arrays, the first of floats; their shapes must be equal."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    if a.shape != b.shape:
        raise ValueError(
            f"{name}: {what} and {other} must have equal shapes, but got {shape(a)} "
            f"and {shape(b)}. Reshape one of them; nothing is broadcast."
        )
    return inexact(name, what, a), b


def require_shape(name: str, what: str, values, expected: tuple) -> None:
    """Raise unless `values` has just this shape."""
    if shape(values) != expected:
        raise ValueError(f"{name}: {what} must have shape {expected}, but have {shape(values)}.")


def require_between(name: str, what: str, value, low: float = 0.0, high: float = 1.0) -> None:
    """Raise for a number outside [low, high]."""
    if not low <= value <= high:
        raise ValueError(f"{name}: {what} must be between {low:g} and {high:g}, but got {value}.")


def require_positive(name: str, what: str, value) -> None:
    """Raise for a number that is not above zero."""
    if not value > 0:
        raise ValueError(f"{name}: {what} must be positive, but got {value}.")


def shape(values) -> tuple:
    """The shape as a plain tuple."""
    return tuple(values.shape)

"""Losses of a difference between predictions and targets."""

from __future__ import annotations

import funcgrad.numpy as jnp
from funcgrad_nn.losses.checks import equally_shaped, reduced, require_positive


def mse(predictions, targets, *, reduction: str = "mean"):
    """Mean squared error: the mean of (prediction - target)^2, without a factor of one half.

    Both arguments have the same shape; predictions are floats.

    >>> import funcgrad.numpy as jnp
    >>> float(mse(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0])))
    2.5
    """
    return reduced("mse", jnp.square(_difference("mse", predictions, targets)), reduction)


def rmse(predictions, targets):
    """Root of the mean squared error, in the units of the targets; rank 0.

    The derivative at zero error is 0, not infinite.

    >>> import funcgrad as fg, funcgrad.numpy as jnp
    >>> float(rmse(jnp.array([1.0, 7.0]), jnp.zeros(2)))
    5.0
    >>> fg.grad(rmse)(jnp.ones(2), jnp.ones(2)).tolist()
    [0.0, 0.0]
    """
    square = jnp.mean(jnp.square(_difference("rmse", predictions, targets)))
    perfect = square == 0
    return jnp.where(perfect, 0, jnp.sqrt(jnp.where(perfect, 1, square)))


def mae(predictions, targets, *, reduction: str = "mean"):
    """Mean absolute error: the mean of |prediction - target|; the derivative at 0 is 0.

    >>> import funcgrad.numpy as jnp
    >>> mae(jnp.array([0.5, -0.5]), jnp.zeros(2), reduction="none").tolist()
    [0.5, 0.5]
    """
    return reduced("mae", _magnitude(_difference("mae", predictions, targets)), reduction)


def huber(predictions, targets, *, delta: float = 1.0, reduction: str = "mean"):
    """d^2 / 2 for |d| <= delta, else delta (|d| - delta / 2), d the difference (Huber, 1964).

    >>> import funcgrad.numpy as jnp
    >>> huber(jnp.array([0.5, 3.0]), jnp.zeros(2), reduction="none").tolist()
    [0.125, 2.5]
    """
    require_positive("huber", "delta", delta)
    return reduced("huber", _huber(_difference("huber", predictions, targets), delta), reduction)


def smooth_l1(predictions, targets, *, beta: float = 1.0, reduction: str = "mean"):
    """d^2 / (2 beta) for |d| <= beta, else |d| - beta / 2: `huber` divided by its threshold.

    (Girshick, 2015, equation 3.) Near 0 of beta it is `mae`.

    >>> import funcgrad.numpy as jnp
    >>> smooth_l1(jnp.array([1.0, 3.0]), jnp.zeros(2), beta=2.0, reduction="none").tolist()
    [0.25, 2.0]
    """
    require_positive("smooth_l1", "beta", beta)
    values = _huber(_difference("smooth_l1", predictions, targets), beta) / beta
    return reduced("smooth_l1", values, reduction)


def _huber(difference, delta: float):
    distance = jnp.abs(difference)
    near = jnp.minimum(distance, delta)
    return near * (distance - near / 2)


def _magnitude(difference):
    return difference * jnp.sign(difference)  # the derivative of abs at 0 would be 1


def _difference(name: str, predictions, targets):
    predictions, targets = equally_shaped(name, "predictions", predictions, "targets", targets)
    return predictions - targets

"""Optimizers by name, each a chain of parts. `learning_rate` is a number or a schedule."""

from __future__ import annotations

from typing import Any

from funcgrad_nn.optim.scale import (
    Schedule,
    add_decayed_weights,
    dampened_trace,
    scale_by_adam,
    scale_by_learning_rate,
    scale_by_rms,
    trace,
)
from funcgrad_nn.optim.transform import GradientTransformation, chain, identity


def sgd(
    learning_rate: float | Schedule,
    momentum: float | None = None,
    nesterov: bool = False,
    *,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
) -> GradientTransformation:
    """Stochastic gradient descent.

    g <- g + weight_decay p; m <- momentum m + g; p <- p - learning_rate m, where `nesterov` takes
    g + momentum m for m (Sutskever et al., 2013). `dampening` d takes (1 - d) g into m from the
    second step on, as PyTorch does; it excludes `nesterov`.

    >>> import funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> optimizer = optim.sgd(0.1)
    >>> params = {"w": jnp.array(1.0)}
    >>> updates, state = optimizer.update({"w": jnp.array(2.0)}, optimizer.init(params), params)
    >>> round(float(optim.apply_updates(params, updates)["w"]), 6)
    0.8
    """
    if (nesterov or dampening) and momentum is None:
        raise ValueError("sgd: nesterov and dampening need a momentum.")
    if nesterov and dampening:
        raise ValueError("sgd: nesterov needs a dampening of 0.")
    return chain(
        *_coupled_decay(weight_decay),
        _momentum(momentum, nesterov, dampening),
        scale_by_learning_rate(learning_rate),
    )


def _momentum(decay: float | None, nesterov: bool, dampening: float) -> GradientTransformation:
    if decay is None:
        return identity()
    return dampened_trace(decay, dampening) if dampening else trace(decay, nesterov)


def _coupled_decay(weight_decay: float) -> list[GradientTransformation]:
    return [add_decayed_weights(weight_decay)] if weight_decay else []


def momentum(
    learning_rate: float | Schedule, decay: float = 0.9, nesterov: bool = False
) -> GradientTransformation:
    """`sgd` with momentum: m <- decay m + g; p <- p - learning_rate m."""
    return sgd(learning_rate, decay, nesterov)


def adam(
    learning_rate: float | Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
) -> GradientTransformation:
    """Adam (Kingma and Ba, 2014): p <- p - learning_rate * the direction of `scale_by_adam`."""
    return chain(scale_by_adam(b1, b2, eps, eps_root), scale_by_learning_rate(learning_rate))


def adamw(
    learning_rate: float | Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    weight_decay: float = 1e-4,
    mask: Any = None,
) -> GradientTransformation:
    """Adam with decoupled decay (Loshchilov and Hutter, 2017).

    p <- p - learning_rate (direction + weight_decay p). `mask` as in `add_decayed_weights`.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def rmsprop(
    learning_rate: float | Schedule,
    decay: float = 0.9,
    eps: float = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    momentum: float | None = None,
    nesterov: bool = False,
) -> GradientTransformation:
    """RMSprop (Tieleman and Hinton, 2012), with momentum of the scaled steps if asked for.

    PyTorch's form is `eps_in_sqrt=False` and its alpha is `decay` (0.99 there).
    """
    return chain(
        scale_by_rms(decay, eps, initial_scale, eps_in_sqrt),
        scale_by_learning_rate(learning_rate),
        _momentum(momentum, nesterov, 0.0),
    )

"""Gradient descent and its momenta: steps whose size follows the gradient, or the parameter."""

from __future__ import annotations

from typing import Any

import funcgrad as fg
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.masks import Mask, mask_of
from funcgrad_nn.optim.orthogonal import QUINTIC, scale_by_muon, scale_by_shape
from funcgrad_nn.optim.partition import masked, multi_transform
from funcgrad_nn.optim.proximal import proximal_l1
from funcgrad_nn.optim.recipes.adams import adamw
from funcgrad_nn.optim.recipes.common import Rate, momentum_of
from funcgrad_nn.optim.scale import (
    add_decayed_weights,
    dampened_trace,
    scale_by_learning_rate,
    scale_by_trust_ratio,
    trace,
)
from funcgrad_nn.optim.transform import GradientTransformation, chain, is_on


@validated
def sgd(
    learning_rate: Rate,
    momentum: float | None = None,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
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
    dampened = is_on(dampening)
    if (nesterov or dampened) and momentum is None:
        raise ValueError("sgd: nesterov and dampening need a momentum.")
    if nesterov and dampened:
        raise ValueError(f"sgd: nesterov needs a dampening of 0, but got {dampening!r}.")
    return chain(
        *_coupled_decay(weight_decay),
        dampened_trace(momentum, dampening)  # type: ignore[arg-type]
        if dampened
        else momentum_of(momentum, nesterov, accumulator_dtype),
        scale_by_learning_rate(learning_rate),
    )


def _coupled_decay(weight_decay) -> list[GradientTransformation]:
    return [add_decayed_weights(weight_decay)] if is_on(weight_decay) else []


@validated
def momentum(
    learning_rate: Rate, decay: float = 0.9, nesterov: bool = False
) -> GradientTransformation:
    """`sgd` with momentum: m <- decay m + g; p <- p - learning_rate m.

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = momentum(0.1, decay=0.9), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.03, 0.01]
    """
    return sgd(learning_rate, decay, nesterov)


@validated
def proximal_sgd(
    learning_rate: Rate,
    l1: float,
    momentum: float | None = None,
    nesterov: bool = False,
    *,
    mask: Mask = None,
) -> GradientTransformation:
    """`sgd` on a loss plus l1 * sum |p|, with the proximal step for the sum (ISTA).

    p <- soft_threshold(p - learning_rate m, learning_rate l1): parameters become exactly 0, which
    the gradient of |p| never makes them (Beck and Teboulle, 2009). `mask` chooses the parameters
    that are penalised.

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = proximal_sgd(0.1, l1=1.0), jnp.array([1.0, 0.05])
    >>> updates, _ = optimizer.update(jnp.zeros(2), optimizer.init(w), w)
    >>> [round(x, 4) for x in (w + updates).tolist()]
    [0.9, 0.0]
    """
    return chain(
        momentum_of(momentum, nesterov),
        scale_by_learning_rate(learning_rate),
        proximal_l1(learning_rate, l1, mask),
    )


@validated
def lars(
    learning_rate: Rate,
    weight_decay: Rate = 0.0,
    weight_decay_mask: Mask = None,
    trust_coefficient: float = 0.001,
    eps: float = 0.0,
    trust_ratio_mask: Mask = None,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> GradientTransformation:
    """Momentum SGD whose rate in each leaf follows the leaf's norm (You et al., 2017).

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = lars(0.1, weight_decay=0.1), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.0002, 0.0001]
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(
            scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps), trust_ratio_mask
        ),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )


@validated
def muon(
    learning_rate: Rate,
    ns_coeffs: tuple[float, float, float] = QUINTIC,
    ns_steps: int = 5,
    beta: float = 0.95,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    weight_decay_mask: Mask = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    adam_b1: float = 0.9,
    adam_b2: float = 0.999,
    adam_eps_root: float = 0.0,
    adam_weight_decay: float = 0.0,
    adam_learning_rate: Rate | None = None,
    consistent_rms: float | None = None,
    muon_mask: Mask = None,
) -> GradientTransformation:
    """Orthogonal steps for matrices, `adamw` for all else (Jordan et al., 2024).

    Matrices are the leaves of rank 2, or those that `muon_mask` marks: embeddings and the last
    layer are better left to Adam. For the rest see `scale_by_muon` and `scale_by_shape`.

    >>> import funcgrad.numpy as jnp
    >>> optimizer = muon(0.1)
    >>> params = {"weight": jnp.eye(2), "bias": jnp.zeros(2)}
    >>> updates, state = optimizer.update(params, optimizer.init(params), params)
    >>> bool((jnp.abs(jnp.diagonal(updates["weight"]) + 0.1) < 0.04).all())
    True
    """
    matrices = chain(
        scale_by_muon(ns_coeffs, ns_steps, beta, eps, nesterov=nesterov, adaptive=adaptive),
        scale_by_shape(consistent_rms),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )
    others = adamw(
        learning_rate if adam_learning_rate is None else adam_learning_rate,
        adam_b1,
        adam_b2,
        eps,
        adam_eps_root,
        weight_decay=adam_weight_decay,
        nesterov=nesterov,
    )
    return multi_transform({"muon": matrices, "adam": others}, _matrices_or_not(muon_mask))


def _matrices_or_not(mask: Mask):
    def labels(tree):
        chosen = fg.tree.map(lambda p: p.ndim == 2, tree) if mask is None else mask_of(mask, tree)
        return fg.tree.map(lambda c: "muon" if c else "adam", chosen)

    return labels

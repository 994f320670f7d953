"""Optimizers by name, each a chain of parts. `learning_rate` is a number or a schedule.

Arguments, defaults and values are optax's where it has the name; options that reproduce PyTorch
are keywords. A number outside its domain raises `ValueError` with its name.
"""

from __future__ import annotations

from typing import Any

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.adam import (
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_lion,
    scale_by_nadam,
    scale_by_radam,
)
from funcgrad_nn.optim.clip import clip_by_block_rms
from funcgrad_nn.optim.factored import scale_by_factored_rms
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.masks import Mask, mask_of
from funcgrad_nn.optim.orthogonal import QUINTIC, scale_by_muon, scale_by_shape
from funcgrad_nn.optim.partition import masked, multi_transform
from funcgrad_nn.optim.proximal import proximal_l1
from funcgrad_nn.optim.rms import (
    scale_by_adadelta,
    scale_by_rms,
    scale_by_rss,
    scale_by_stddev,
)
from funcgrad_nn.optim.scale import (
    Schedule,
    add_decayed_weights,
    dampened_trace,
    scale,
    scale_by_learning_rate,
    scale_by_param_block_rms,
    scale_by_trust_ratio,
    trace,
)
from funcgrad_nn.optim.transform import GradientTransformation, chain, identity
from funcgrad_nn.optim.wrappers import ema

Rate = float | Schedule


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
    dampened = _is_on(dampening)
    if (nesterov or dampened) and momentum is None:
        raise ValueError("sgd: nesterov and dampening need a momentum.")
    if nesterov and dampened:
        raise ValueError(f"sgd: nesterov needs a dampening of 0, but got {dampening!r}.")
    return chain(
        *_coupled_decay(weight_decay),
        dampened_trace(momentum, dampening)  # type: ignore[arg-type]
        if dampened
        else _momentum(momentum, nesterov, accumulator_dtype),
        scale_by_learning_rate(learning_rate),
    )


def _momentum(decay: float | None, nesterov: bool, dtype: Any = None) -> GradientTransformation:
    return identity() if decay is None else trace(decay, nesterov, dtype)


def _coupled_decay(weight_decay) -> list[GradientTransformation]:
    return [add_decayed_weights(weight_decay)] if _is_on(weight_decay) else []


def _is_on(value) -> bool:
    """Not the number 0; an array may become something else later."""
    return not (isinstance(value, int | float) and value == 0)


@validated
def momentum(
    learning_rate: Rate, decay: float = 0.9, nesterov: bool = False
) -> GradientTransformation:
    """`sgd` with momentum: m <- decay m + g; p <- p - learning_rate m."""
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
        _momentum(momentum, nesterov),
        scale_by_learning_rate(learning_rate),
        proximal_l1(learning_rate, l1, mask),
    )


@validated
def adam(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam (Kingma and Ba, 2014): p <- p - learning_rate * the direction of `scale_by_adam`.

    >>> import funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> optimizer, params = optim.adam(0.1), jnp.array([1.0, 2.0])
    >>> updates, state = optimizer.update(jnp.array([5.0, -0.01]), optimizer.init(params))
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.1, 0.1]
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )


@validated
def amsgrad(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Any = None,
    *,
    correct_after_max: bool = False,
) -> GradientTransformation:
    """Adam with the largest second moment so far (Reddi et al., 2018).

    `correct_after_max` as in `scale_by_amsgrad`: PyTorch's `Adam(amsgrad=True)`.
    """
    return chain(
        scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, correct_after_max=correct_after_max),
        scale_by_learning_rate(learning_rate),
    )


@validated
def adamw(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Any = None,
    weight_decay: Rate = 1e-4,
    mask: Mask = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam with decoupled decay (Loshchilov and Hutter, 2017).

    p <- p - learning_rate (direction + weight_decay p). `mask` as in `add_decayed_weights`.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@validated
def nadam(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Any = None,
    *,
    momentum_decay: float | None = None,
) -> GradientTransformation:
    """Adam with Nesterov momentum (Dozat, 2016): `adam(nesterov=True)`.

    `momentum_decay`, 0.004 in PyTorch, gives PyTorch's form, whose momentum grows with the step;
    it has no `eps_root`.
    """
    if momentum_decay is None:
        return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=True)
    if _is_on(eps_root) or mu_dtype is not None:
        raise ValueError("nadam: with momentum_decay there is no eps_root and no mu_dtype.")
    return chain(scale_by_nadam(b1, b2, eps, momentum_decay), scale_by_learning_rate(learning_rate))


@validated
def radam(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    threshold: float = 5.0,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Rectified Adam (Liu et al., 2019): a warm-up from the variance of the second moment."""
    return chain(
        scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )


@validated
def adamax(
    learning_rate: Rate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> GradientTransformation:
    """Adam with the infinity norm (Kingma and Ba, 2014, section 7.1)."""
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


@validated
def lion(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.99,
    mu_dtype: Any = None,
    weight_decay: Rate = 1e-3,
    mask: Mask = None,
) -> GradientTransformation:
    """Steps of equal size in every entry (Chen et al., 2023), with decoupled decay.

    p <- p - learning_rate (sign(b1 mu + (1 - b1) g) + weight_decay p). A good rate is three to ten
    times smaller than Adam's.
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@validated
def rmsprop(
    learning_rate: Rate,
    decay: float = 0.9,
    eps: float = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: float | None = None,
    nesterov: bool = False,
) -> GradientTransformation:
    """RMSprop (Tieleman and Hinton, 2012), with momentum of the scaled steps if asked for.

    `centered` divides by the standard deviation. PyTorch's form is `eps_in_sqrt=False` and its
    alpha is `decay` (0.99 there).
    """
    scaling = scale_by_stddev if centered else scale_by_rms
    return chain(
        scaling(decay, eps, initial_scale, eps_in_sqrt),
        scale_by_learning_rate(learning_rate),
        _momentum(momentum, nesterov),
    )


@validated
def adagrad(
    learning_rate: Rate,
    initial_accumulator_value: float = 0.1,
    eps: float = 1e-7,
    *,
    eps_in_sqrt: bool = True,
) -> GradientTransformation:
    """Adagrad (Duchi et al., 2011): divide by the root of the sum of all squares so far.

    PyTorch's form is `adagrad(rate, 0.0, 1e-10, eps_in_sqrt=False)`.
    """
    return chain(
        scale_by_rss(initial_accumulator_value, eps, eps_in_sqrt),
        scale_by_learning_rate(learning_rate),
    )


@validated
def adadelta(
    learning_rate: Rate = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: Rate = 0.0,
    weight_decay_mask: Mask = None,
) -> GradientTransformation:
    """Adadelta (Zeiler, 2012): steps in the units of the parameters; decay is coupled."""
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )


@validated
def lamb(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    eps_root: float = 0.0,
    weight_decay: Rate = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    """AdamW whose step in each leaf has the length of the leaf, for large batches.

    (You et al., 2019.)
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
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
    """Momentum SGD whose rate in each leaf follows the leaf's norm (You et al., 2017)."""
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(
            scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps), trust_ratio_mask
        ),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )


@validated
def adafactor(
    learning_rate: Rate | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: float = 0.8,
    decay_offset: int = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: float | None = 1.0,
    momentum: float | None = None,
    dtype_momentum: Any = jnp.float32,
    weight_decay_rate: Rate | None = None,
    eps: float = 1e-30,
    factored: bool = True,
    weight_decay_mask: Mask = None,
) -> GradientTransformation:
    """Adam's idea in sublinear memory (Shazeer and Stern, 2018).

    Without a learning rate the step is the clipped direction times the size of the parameter. The
    decay is not multiplied by the learning rate.
    """
    parts = [scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps)]
    if clipping_threshold is not None:
        parts.append(clip_by_block_rms(clipping_threshold))
    if learning_rate is not None:
        parts.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        parts.append(scale_by_param_block_rms())
    if momentum is not None:
        parts.append(ema(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        parts.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return chain(*parts, scale(-1))


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

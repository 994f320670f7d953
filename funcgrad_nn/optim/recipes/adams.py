"""Adam and its relatives."""

from __future__ import annotations

from typing import Any

from funcgrad_nn.optim.adam import (
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_lion,
    scale_by_nadam,
    scale_by_radam,
)
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.masks import Mask
from funcgrad_nn.optim.recipes.common import Rate
from funcgrad_nn.optim.scale import (
    add_decayed_weights,
    scale_by_learning_rate,
    scale_by_trust_ratio,
)
from funcgrad_nn.optim.transform import GradientTransformation, chain, is_on


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

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = amsgrad(0.1), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.1, 0.1]
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

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = adamw(0.1, weight_decay=0.5), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.15, 0.2]
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

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = nadam(0.1), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.1474, 0.1474]
    """
    if momentum_decay is None:
        return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=True)
    if is_on(eps_root) or mu_dtype is not None:
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
    """Rectified Adam (Liu et al., 2019): a warm-up from the variance of the second moment.

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = radam(0.1), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.03, 0.01]
    """
    return chain(
        scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )


@validated
def adamax(
    learning_rate: Rate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> GradientTransformation:
    """Adam with the infinity norm (Kingma and Ba, 2014, section 7.1).

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = adamax(0.1), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.1, 0.1]
    """
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

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = lion(0.1, weight_decay=0.5), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.15, 0.2]
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
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

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = lamb(0.1), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.1581, 0.1581]
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )

"""Steps divided by a root of squares: RMSprop, Adagrad, Adadelta, Adafactor."""

from __future__ import annotations

from typing import Any

import funcgrad.numpy as jnp
from funcgrad_nn.optim.clip import clip_by_block_rms
from funcgrad_nn.optim.factored import scale_by_factored_rms
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.masks import Mask
from funcgrad_nn.optim.recipes.common import Rate, momentum_of
from funcgrad_nn.optim.rms import (
    scale_by_adadelta,
    scale_by_rms,
    scale_by_rss,
    scale_by_stddev,
)
from funcgrad_nn.optim.scale import (
    add_decayed_weights,
    scale,
    scale_by_learning_rate,
    scale_by_param_block_rms,
)
from funcgrad_nn.optim.transform import GradientTransformation, chain
from funcgrad_nn.optim.wrappers import ema


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

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = rmsprop(0.1), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.3162, 0.3162]
    """
    scaling = scale_by_stddev if centered else scale_by_rms
    return chain(
        scaling(decay, eps, initial_scale, eps_in_sqrt),
        scale_by_learning_rate(learning_rate),
        momentum_of(momentum, nesterov),
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

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = adagrad(0.1), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.0688, 0.0302]
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
    """Adadelta (Zeiler, 2012): steps in the units of the parameters; decay is coupled.

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = adadelta(weight_decay=0.1), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.0032, 0.0032]
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
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

    >>> import funcgrad.numpy as jnp
    >>> optimizer, w = adafactor(0.1), jnp.array([1.0, -2.0])
    >>> updates, state = optimizer.update(jnp.array([0.3, -0.1]), optimizer.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.1581, 0.1581]
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

"""Steps for penalties that have a corner: the L1 norm, which sets parameters to exactly zero."""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.masks import Mask, mask_of
from funcgrad_nn.optim.moments import next_count, no_steps
from funcgrad_nn.optim.scale import CountState, Schedule
from funcgrad_nn.optim.transform import GradientTransformation, cast, require_params


def soft_threshold(x, threshold):
    """sign(x) max(|x| - threshold, 0): the proximal map of threshold * |x|.

    >>> import funcgrad.numpy as jnp
    >>> soft_threshold(jnp.array([-2.0, 0.5, 3.0]), 1.0).tolist()
    [-1.0, 0.0, 2.0]
    """
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)


@validated
def proximal_l1(
    learning_rate: float | Schedule, l1: float, mask: Mask = None
) -> GradientTransformation:
    """Make the step end at soft_threshold(p + u, learning_rate l1), u the update so far.

    Place it last, after the scaling by the same learning rate (Parikh and Boyd, 2014, section 4.2).
    Entries that end at zero are zero exactly. `mask` as in `add_decayed_weights`.

    >>> import funcgrad.numpy as jnp
    >>> part, w = proximal_l1(0.5, l1=4.0), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-1.0, 1.9]
    """

    def init(params):
        return CountState(no_steps())

    def update(updates, state, params=None):
        require_params("proximal_l1", params)
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        threshold = rate * l1

        def shrunk(u, p, chosen):
            if not chosen:
                return u
            return soft_threshold(p + u, cast(threshold, p.dtype)) - p

        chosen = mask_of(mask, params)
        return fg.tree.map(shrunk, updates, params, chosen), CountState(next_count(state.count))

    return GradientTransformation(init, update)

"""Different transformations for different parameters: `masked` and `multi_transform`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import funcgrad as fg
from funcgrad_nn.optim.masks import Mask, MaskedNode, mask_of, path_labels
from funcgrad_nn.optim.transform import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    updater,
)


class MaskedState(NamedTuple):
    """The state of the inner transformation, which sees only what the mask marks."""

    inner_state: Any


class PartitionState(NamedTuple):
    """The states of the transformations by label."""

    inner_states: Any


def masked(inner: GradientTransformation, mask: Mask) -> GradientTransformationExtraArgs:
    """`inner` for the leaves that `mask` marks; the updates of others pass as they are.

    `mask`: a tree of bools like the parameters, a function of them that returns one, or a path
    pattern such as "encoder/**". The inner state holds nothing for the other leaves.

    >>> import funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> part = optim.masked(optim.scale(0.0), "**/bias")
    >>> grads = {"l": {"weight": jnp.array(1.0), "bias": jnp.array(1.0)}}
    >>> updates, _ = part.update(grads, part.init(grads))
    >>> float(updates["l"]["weight"]), float(updates["l"]["bias"])
    (1.0, 0.0)
    """
    run = updater("masked", inner)

    def init(params):
        return MaskedState(inner.init(_kept(params, mask_of(mask, params))))

    def update(updates, state, params=None, **extra):
        chosen = mask_of(mask, updates)
        seen = None if params is None else _kept(params, chosen)
        new, inner_state = run(_kept(updates, chosen), state.inner_state, seen, **extra)
        return _merged(chosen, new, updates), MaskedState(inner_state)

    return GradientTransformationExtraArgs(init, update)


def _kept(tree, chosen):
    return fg.tree.map(lambda c, leaf: leaf if c else MaskedNode(), chosen, tree)


def _merged(chosen, new, old):
    return fg.tree.map(lambda c, n, o: n if c else o, chosen, new, old)


def multi_transform(
    transforms: Mapping[str, GradientTransformation], param_labels: Any
) -> GradientTransformationExtraArgs:
    """For each leaf the transformation of its label.

    `param_labels`: a tree of labels like the parameters, or a function of them that returns one,
    such as `path_labels({"encoder/**": "slow", "**": "fast"})`. Raises `ValueError` for a label
    without a transformation.

    >>> import funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> both = {"fast": optim.sgd(1.0), "frozen": optim.set_to_zero()}
    >>> optimizer = optim.multi_transform(both, optim.path_labels({"a/**": "frozen", "**": "fast"}))
    >>> grads = {"a": {"w": jnp.array(1.0)}, "b": jnp.array(1.0)}
    >>> updates, _ = optimizer.update(grads, optimizer.init(grads))
    >>> float(updates["a"]["w"]), float(updates["b"])
    (0.0, -1.0)
    """
    if isinstance(param_labels, Mapping) and any("*" in str(name) for name in param_labels):
        param_labels = path_labels(param_labels)
    runs = {label: updater("multi_transform", part) for label, part in transforms.items()}

    def labels_of(tree):
        labels = param_labels(tree) if callable(param_labels) else param_labels
        unknown = sorted({str(x) for x in fg.tree.leaves(labels)} - {str(x) for x in transforms})
        if unknown:
            raise ValueError(
                f"multi_transform: the labels {unknown} have no transformation; "
                f"there are {list(transforms)}."
            )
        return labels

    def chosen_by(label, labels):
        return fg.tree.map(lambda own: own == label, labels)

    def init(params):
        labels = labels_of(params)
        return PartitionState(
            {
                label: MaskedState(part.init(_kept(params, chosen_by(label, labels))))
                for label, part in transforms.items()
            }
        )

    def update(updates, state, params=None, **extra):
        labels, states = labels_of(updates), {}
        for label, run in runs.items():
            chosen = chosen_by(label, labels)
            seen = None if params is None else _kept(params, chosen)
            own = state.inner_states[label].inner_state
            new, own = run(_kept(updates, chosen), own, seen, **extra)
            updates, states[label] = _merged(chosen, new, updates), MaskedState(own)
        return updates, PartitionState(states)

    return GradientTransformationExtraArgs(init, update)


partition = multi_transform

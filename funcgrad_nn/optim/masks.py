"""Choosing parameters: trees of bools or of labels, and path patterns that stand for them.

A path is the names on the way to a leaf, joined by "/": "encoder/0/weight". Patterns are those of
`funcgrad_nn.freeze`, for trees of any kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import funcgrad as fg
from funcgrad_nn.freeze import matches

Mask = Any  # None, a tree of bools, a function of a tree that returns one, path patterns


class MaskedNode(NamedTuple):
    """Stands, without leaves, where a tree has a leaf that a masked transformation must not see."""


def path_mask(*patterns: str) -> Callable[[Any], Any]:
    """A function from a tree to a tree of bools: True where a path fits one of the patterns.

    A pattern that fits no path is an error when the mask is made, because it is a misspelling.

    >>> path_mask("**/bias")({"l": {"weight": 1.0, "bias": 2.0}})
    {'l': {'weight': False, 'bias': True}}
    """

    def mask(tree):
        _require_fits(patterns, tree)
        return fg.tree.map_with_path(
            lambda keys, leaf: any(matches(_path(keys), p) for p in patterns), tree
        )

    return mask


def _require_fits(patterns: tuple[str, ...], tree) -> None:
    if any(_is_masked(x) for x in fg.tree.leaves(tree, is_leaf=_is_masked)):
        return  # a part of a tree: what the pattern fits may be in another part
    paths = [_path(keys) for keys, _ in fg.tree.leaves_with_path(tree)]
    for pattern in patterns:
        if not any(matches(path, pattern) for path in paths):
            raise ValueError(
                f"path_mask: no parameter fits {pattern!r}; there are {_listed(paths)}."
            )


def _is_masked(x) -> bool:
    return isinstance(x, MaskedNode)


def path_labels(rules: Mapping[str, str]) -> Callable[[Any], Any]:
    """A function from a tree to a tree of labels: that of the first pattern a path fits.

    Every path must fit one; end with "**" for the rest.

    >>> path_labels({"**/bias": "plain", "**": "decayed"})({"l": {"weight": 1.0, "bias": 2.0}})
    {'l': {'weight': 'decayed', 'bias': 'plain'}}
    """

    def label(keys, leaf):
        path = _path(keys)
        for pattern, name in rules.items():
            if matches(path, pattern):
                return name
        raise ValueError(
            f"path_labels: no pattern of {list(rules)} fits {path!r}. Add '**' for the rest."
        )

    return lambda tree: fg.tree.map_with_path(label, tree)


def mask_of(mask: Mask, tree):
    """The tree of bools that a mask means for a tree; None chooses all of it."""
    if mask is None or isinstance(mask, bool):
        return fg.tree.map(lambda leaf: mask is not False, tree)
    if isinstance(mask, str):
        mask = path_mask(mask)
    elif _are_patterns(mask):
        mask = path_mask(*mask)
    return mask(tree) if callable(mask) else mask


def _are_patterns(mask) -> bool:
    return isinstance(mask, tuple | list) and bool(mask) and all(isinstance(x, str) for x in mask)


def _path(keys) -> str:
    return fg.tree.keystr(keys, simple=True, separator="/")


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:8]) + (", ..." if len(paths) > 8 else "")

"""Parts of a tree of parameters, chosen by path: masks, freezing, splitting and joining again.

A path is the names from the root joined by "/". In a pattern `*` stands for any text within one
name, `**` for any number of names; what matches a part of the tree matches all that is in it.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable, Mapping
from typing import Any

Pattern = str | Callable[[str, Any], bool]


def matches(path: str, pattern: str) -> bool:
    """Whether a path, or a part of the tree that holds it, matches a pattern.

    >>> matches("encoder/0/weight", "encoder"), matches("encoder/0/weight", "**/weight")
    (True, True)
    >>> matches("encoder/0/weight", "*/weight")
    False
    """
    names = path.split("/")
    wanted = tuple(pattern.strip("/").split("/"))
    return any(_fits(tuple(names[:end]), wanted) for end in range(1, len(names) + 1))


@functools.lru_cache(maxsize=4096)
def _fits(names: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not wanted:
        return not names
    if wanted[0] == "**":
        return any(_fits(names[skip:], wanted[1:]) for skip in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], wanted[0]) and _fits(names[1:], wanted[1:])


def mask(params: Mapping, *patterns: Pattern) -> dict:
    """The tree of `params` with True where a pattern matches the path, False elsewhere.

    A pattern may also be a function of (path, leaf). Raises `ValueError` for a pattern that matches
    nothing, which is most often a misspelt name.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> params, _ = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).init(fg.random.key(0))
    >>> mask(params, "**/bias")
    {'0': {'weight': False, 'bias': True}, '1': {'weight': False, 'bias': True}}
    """
    used: set[int] = set()

    def chosen(path: str, leaf) -> bool:
        hits = {i for i, pattern in enumerate(patterns) if _hit(pattern, path, leaf)}
        used.update(hits)
        return bool(hits)

    result = _mapped(chosen, params, "")
    unused = [pattern for i, pattern in enumerate(patterns) if i not in used]
    if unused:
        raise ValueError(
            f"mask: {unused[0]!r} matches no parameter. The paths are "
            f"{', '.join(_paths(params, '')) or 'none'}."
        )
    return result


def freeze(params: Mapping, *patterns: Pattern) -> tuple[dict, dict]:
    """(trainable, frozen): `params` split by path; the frozen part is what the patterns match.

    Differentiate with respect to the trainable part alone and join the two inside the loss: then
    frozen parameters cost no gradient work, and the optimizer keeps nothing for them.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> params, state = model.init(fg.random.key(0))
    >>> trainable, frozen = freeze(params, "0")
    >>> def loss(trainable, x):
    ...     return model.apply(merge(trainable, frozen), state, x)[0].sum()
    >>> list(fg.grad(loss)(trainable, fg.numpy.ones((4, 2))))
    ['1']
    """
    matching, rest = partition(params, *patterns)
    return rest, matching


def partition(params: Mapping, *patterns: Pattern) -> tuple[dict, dict]:
    """(matching, rest): two trees that together hold what `params` holds; see `merge`.

    >>> partition({"a": {"weight": 1, "bias": 2}, "b": {"bias": 3}}, "**/bias")
    ({'a': {'bias': 2}, 'b': {'bias': 3}}, {'a': {'weight': 1}})
    """
    chosen = mask(params, *patterns)
    return _kept(params, chosen, True), _kept(params, chosen, False)


def merge(*trees: Mapping) -> dict:
    """The trees joined into one. Raises `ValueError` for a path that two of them have.

    >>> merge({"a": {"weight": 1}}, {"a": {"bias": 2}})
    {'a': {'weight': 1, 'bias': 2}}
    """
    joined: dict = {}
    for tree in trees:
        _join(joined, tree, "")
    return joined


def _hit(pattern: Pattern, path: str, leaf) -> bool:
    return matches(path, pattern) if isinstance(pattern, str) else bool(pattern(path, leaf))


def _mapped(function: Callable, tree: Mapping, prefix: str) -> dict:
    return {
        name: _mapped(function, value, f"{prefix}{name}/")
        if isinstance(value, Mapping)
        else function(f"{prefix}{name}", value)
        for name, value in tree.items()
    }


def _paths(tree: Mapping, prefix: str) -> list[str]:
    found: list[str] = []
    _mapped(lambda path, leaf: found.append(path), tree, prefix)
    return found


def _kept(tree: Mapping, chosen: Mapping, wanted: bool) -> dict:
    """The leaves whose mask is `wanted`; dictionaries that became empty are left out."""
    kept = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            inner = _kept(value, chosen[name], wanted)
            if inner or not value:
                kept[name] = inner
        elif chosen[name] is wanted:
            kept[name] = value
    return kept


def _join(into: dict, tree: Mapping, prefix: str) -> None:
    for name, value in tree.items():
        if isinstance(value, Mapping) and isinstance(into.get(name, {}), dict):
            _join(into.setdefault(name, {}), value, f"{prefix}{name}/")
        elif name in into:
            raise ValueError(f"merge: two of the trees have an entry at '{prefix}{name}'.")
        else:
            into[name] = value

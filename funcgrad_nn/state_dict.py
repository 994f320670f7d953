"""Weights in PyTorch's layout: arrays by dotted names, as `state_dict()` gives them.

A layer says how its entries are called and ordered there (`Module.torch_layout`); this module walks
a model and does the rest. Nothing here needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as jnp
from funcgrad_nn.description import children
from funcgrad_nn.layout import Path, layout_of, updated


class TorchEntry(NamedTuple):
    """What PyTorch calls an entry, and in which order it has our axes (None: in the same)."""

    name: str
    axes: tuple[int, ...] | None = None


class Unmatched(NamedTuple):
    """Names that a model wants and a dictionary lacks, and the reverse."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def to_torch(layout: Mapping[str, TorchEntry], entries: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """One module's entries under PyTorch's names, with PyTorch's order of axes."""
    renamed = {}
    for name, value in entries.items():
        theirs, axes = layout.get(name, TorchEntry(name))
        array = np.asarray(value)
        renamed[theirs] = array if axes is None else np.ascontiguousarray(array.transpose(axes))
    return renamed


def from_torch(
    layout: Mapping[str, TorchEntry], like: Mapping[str, Any], tensors: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The inverse of `to_torch`, for the entries that `like` has."""
    restored = {}
    for name in like:
        theirs, axes = layout.get(name, TorchEntry(name))
        array = np.asarray(tensors[theirs])
        restored[name] = array if axes is None else array.transpose(np.argsort(axes))
    return restored


def to_state_dict(model, params: Mapping, state: Mapping | None = None) -> dict[str, np.ndarray]:
    """The model's weights and running values as PyTorch's `state_dict()` has them.

    Names are paths with dots, matrices are (out, in), kernels (out, in, ...). A shared module
    appears under each of its paths, as in PyTorch. `saving.write_safetensors(path, ...)` writes the
    result to a file; there, `model.load_state_dict(safetensors.torch.load_file(path))` reads it.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> params, state = model.init(fg.random.key(0))
    >>> {name: array.shape for name, array in to_state_dict(model, params, state).items()}
    {'0.weight': (2, 3), '0.bias': (2,)}
    """
    first = {id(part): path for path, part in layout_of(model)}
    named: dict[str, np.ndarray] = {}
    for path, part in _all_paths(model, ()):
        entries = _own(params, first[id(part)]) | _own(state or {}, first[id(part)])
        for name, array in part.to_torch(entries).items():
            named[".".join((*path, name))] = array
    return named


def from_state_dict(model, params: Mapping, state: Mapping, tensors: Mapping, strict: bool = True):
    """(params, state) with the values of `tensors`, which has PyTorch's names and layout.

    `saving.read_safetensors(path)` gives such a dictionary from a file that PyTorch's users saved.
    `params` and `state`: as `init` makes them, or their shapes from `eval_shape(model.init, ...)`.
    Raises `ValueError`, naming the entry, for what is missing, unexpected, or of another shape or
    dtype. With `strict=False` missing entries stay as they are, unexpected ones are left out, and
    the result is (params, state, `Unmatched(missing, unexpected)`).

    >>> import funcgrad as fg, funcgrad_nn as nn, numpy as np
    >>> model = nn.Linear(3, 2, bias=False)
    >>> params, state = model.init(fg.random.key(0))
    >>> params, state = from_state_dict(model, params, state, {"weight": np.zeros((2, 3), "f4")})
    >>> params["weight"].shape
    (3, 2)
    """
    if not isinstance(tensors, Mapping):
        raise TypeError(
            "from_state_dict: needs a dictionary, name to array, such as "
            f"saving.read_safetensors(path), but got {type(tensors).__name__}."
        )
    missing: list[str] = []
    left = set(tensors)
    for path, part in layout_of(model):
        own = {"params": _own(params, path), "state": _own(state, path)}
        like = own["params"] | own["state"]
        wanted = part.to_torch({name: _stand_in(value) for name, value in like.items()})
        names = {name: ".".join((*path, name)) for name in wanted}
        absent = [full for full in names.values() if full not in tensors]
        missing += absent
        left -= set(names.values())
        if len(absent) == len(names):
            continue
        for name, full in names.items():
            if full not in absent:
                _require_alike(full, wanted[name], tensors[full])
        given = {name: tensors[full] for name, full in names.items() if full not in absent}
        found = part.from_torch(like, {**part.to_torch(like), **given} if absent else given)
        params = _replaced(params, path, own["params"], found)
        state = _replaced(state, path, own["state"], found)
    unexpected = sorted(left - _aliases(model, params, state))
    if not strict:
        return params, state, Unmatched(tuple(missing), tuple(unexpected))
    _require_matched(missing, unexpected)
    return params, state


def _all_paths(module, path: Path) -> Iterator[tuple[Path, Any]]:
    """Every module with every path to it; a shared one comes once for each."""
    yield path, module
    for steps, child in children(module):
        yield from _all_paths(child, (*path, *steps))


def _own(tree: Mapping, path: Path) -> dict[str, Any]:
    """The arrays directly at a path, without those of submodules."""
    found: Any = tree
    for name in path:
        found = found.get(name, {})
    return {name: value for name, value in found.items() if hasattr(value, "shape")}


def _stand_in(value) -> np.ndarray:
    """An array of that shape and dtype that takes no memory."""
    return np.broadcast_to(np.zeros((), value.dtype), tuple(value.shape))


def _aliases(model, params: Mapping, state: Mapping) -> set[str]:
    """All names under which PyTorch lists the entries, those of shared modules included."""
    first = {id(part): path for path, part in layout_of(model)}
    names: set[str] = set()
    for path, part in _all_paths(model, ()):
        own = _own(params, first[id(part)]) | _own(state, first[id(part)])
        like = {name: _stand_in(value) for name, value in own.items()}
        names.update(".".join((*path, name)) for name in part.to_torch(like))
    return names


def _require_alike(name: str, wanted: np.ndarray, given) -> None:
    shape, dtype = tuple(given.shape), np.asarray(given).dtype
    if shape != wanted.shape:
        raise ValueError(
            f"from_state_dict: {name!r} has shape {shape}, but the model needs {wanted.shape}."
        )
    both_integers = wanted.dtype.kind in "iu" and dtype.kind in "iu"  # PyTorch counts in int64
    if dtype != wanted.dtype and not both_integers:
        raise ValueError(
            f"from_state_dict: {name!r} is {dtype}, but the model needs {wanted.dtype}. "
            "Convert it with .astype."
        )


def _replaced(tree: Mapping, path: Path, own: Mapping, found: Mapping) -> Mapping:
    new = {name: _converted(found[name], like.dtype) for name, like in own.items()}
    return updated(tree, path, new) if new else tree


def _converted(array, dtype):
    """The array in the entry's own dtype: PyTorch's int64 counts become ours."""
    return jnp.asarray(np.asarray(array), dtype)


def _require_matched(missing: list[str], unexpected: list[str]) -> None:
    if missing or unexpected:
        raise ValueError(
            f"from_state_dict: missing {missing or 'nothing'}, unexpected "
            f"{unexpected or 'nothing'}. Pass strict=False to load what matches."
        )

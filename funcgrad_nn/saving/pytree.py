"""save and load: any tree of arrays, keys, numbers, text and modules in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.module import Module
from funcgrad_nn.saving.files import DamagedFileError
from funcgrad_nn.saving.safetensors import (
    CHECKSUM,
    Header,
    header_of,
    strict_json,
    tensors_of,
    write_safetensors,
)
from funcgrad_nn.saving.structure import (
    Reader,
    Writer,
    joined,
    leaves_by_path,
    restored,
    step_name,
)

KEY = "funcgrad"
VERSION = 1
SHOWN = 8


class Unmatched(NamedTuple):
    """What `load(..., strict=False)` could not match, each a list of paths.

    `missing`: in `like`, not in the file. `unexpected`: in the file, not in `like`. `different`:
    in both, with another shape, dtype or kind.
    """

    missing: list[str]
    unexpected: list[str]
    different: list[str]

    def __bool__(self) -> bool:
        return any(map(len, self))


def save(path: str | os.PathLike, tree: Any, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a tree to one safetensors file: its arrays as tensors, the rest as JSON in its header.

    Containers are dictionaries, lists, tuples, namedtuples and registered dataclasses; leaves are
    arrays (weak ones too), NumPy arrays and scalars, random keys, numbers, text, bytes and modules.
    Dtypes, bfloat16 included, and values come back bit for bit. The file appears in one step, after
    it has reached the disk, and carries a checksum: a process killed at any moment leaves the old
    file or the new one. `metadata` is text for people and other programs. Raises `TypeError`,
    naming the path, for a leaf that has no safe form, such as a function. Nothing is pickled.

    >>> import funcgrad as fg, funcgrad_nn as nn, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> model = nn.Linear(2, 3)
    >>> params, state = model.init(fg.random.key(0))
    >>> nn.save(path, {"model": model, "params": params})
    >>> again = nn.load(path)
    >>> again["model"], again["params"]["weight"].shape
    (Linear(2, 3), (2, 3))
    """
    writer = Writer()
    try:
        structure = writer.write(tree)
    except RecursionError:
        raise ValueError("save: the tree is nested too deeply to be written.") from None
    described = json.dumps(
        {"version": VERSION, "tree": structure}, separators=(",", ":"), allow_nan=False
    )
    write_safetensors(path, writer.tensors, {**(metadata or {}), KEY: described})


def load(path: str | os.PathLike, like: Any = None, *, strict: bool = True) -> Any:
    """The tree that `save` wrote to `path`.

    Without `like`, the file alone says what the tree is; classes of its nodes must be defined
    already. With `like`, a tree of arrays or `ShapeDtypeStruct`s, the result has the structure of
    `like`, whatever wrote the file: leaves are matched by path, such as "encoder/0/weight".

    `strict=True`: every path must be in both, with equal shape and dtype; else `ValueError` lists
    what is missing, unexpected and different. `strict=False` returns a pair: the tree, where what
    could not be matched is as in `like`, and an `Unmatched`. Raises `DamagedFileError` (a
    `ValueError`) for a file that is cut off or changed, `ValueError` for one that speaks of what is
    unknown here, `OSError` if it cannot be opened. A file made by an enemy gives such an error too:
    nothing in it is run, and no array is made that its size does not warrant.

    >>> import funcgrad.numpy as jnp, funcgrad_nn as nn, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tree.safetensors"
    >>> nn.save(path, {"w": jnp.ones(2), "steps": 3})
    >>> nn.load(path)["steps"], nn.load(path, {"w": jnp.zeros(2), "steps": 0})["w"].tolist()
    (3, [1.0, 1.0])
    """
    where = Path(path)
    with open(where, "rb") as stream:
        header = header_of(stream, where)
        tensors = dict(tensors_of(stream, where, header))
    structure = _structure(header, where)
    if like is None:
        return _rebuilt(structure, tensors, where)
    found = tensors if structure is None else _leaves(structure, tensors, where)
    tree, unmatched = _matched(like, found)
    if not strict:
        return tree, unmatched
    if unmatched:
        raise ValueError(f"load: {where} does not fit the tree given.\n{_listed(unmatched)}")
    return tree


class SavedModel(NamedTuple):
    """What `load_model` returns: `model.apply(params, state, x)` works at once."""

    model: Module
    params: Any
    state: Any


def save_model(path: str | os.PathLike, model: Module, params, state) -> None:
    """Write a model to one file: its description as JSON, its parameters and its state.

    >>> import funcgrad as fg, funcgrad_nn as nn, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> model = nn.Linear(2, 3)
    >>> nn.save_model(path, model, *model.init(fg.random.key(0)))
    >>> nn.load_model(path).model
    Linear(2, 3)
    """
    save(path, {"model": model, "params": params, "state": state})


def load_model(path: str | os.PathLike, functions: Mapping[str, Any] | None = None) -> SavedModel:
    """Rebuild a model from `save_model`'s file, with its parameters and its state.

    A checkpoint of `fit` does as well; its averaged parameters are taken if there are any.
    `functions` as in `from_json`. Raises as `load` and `from_json` do.

    >>> import funcgrad as fg, funcgrad_nn as nn, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> nn.save_model(path, model, *model.init(fg.random.key(0)))
    >>> model, params, state = nn.load_model(path)
    >>> model.apply(params, state, fg.numpy.ones((1, 2)))[0].shape
    (1, 3)
    """
    where = Path(path)
    with open(where, "rb") as stream:
        header = header_of(stream, where)
        tensors = dict(tensors_of(stream, where, header))
    found = _rebuilt(_structure(header, where), tensors, where, functions)
    if isinstance(found, dict) and set(found) == {"model", "params", "state"}:
        return SavedModel(**found)
    if isinstance(found, dict) and isinstance(found.get("train_state"), tuple):
        return _of_checkpoint(found, where, functions)
    raise ValueError(f"load_model: {where} holds a tree, but not one that save_model wrote.")


def _of_checkpoint(found: dict[str, Any], where: Path, functions) -> SavedModel:
    """The model of a checkpoint of `fit`, with the parameters to use."""
    text, now = found.get("model"), found["train_state"]
    if not isinstance(text, str):
        raise ValueError(
            f"load_model: {where} holds no model: its description has no form as JSON. Use "
            'load(path)["train_state"] with the model that was trained.'
        )
    params = now.params if now.ema is None else now.ema
    return SavedModel(Module.from_json(text, functions), params, now.state)


# -- the parts of a file ---------------------------------------------------------------------------


def _structure(header: Header, where: Path) -> Any:
    """The JSON that describes the tree, or None for a file that another program wrote."""
    text = header.metadata.get(KEY)
    if text is None:
        return None
    if CHECKSUM not in header.metadata:
        raise DamagedFileError(f"{where}: the checksum is missing.")
    described = strict_json(text, f"{where}: the structure")
    if not isinstance(described, dict) or described.get("version") != VERSION:
        raise ValueError(
            f"{where}: the structure is of an unknown version; this library reads {VERSION}."
        )
    return {"tree": described.get("tree")}


def _rebuilt(structure, tensors: dict, where: Path, functions=None) -> Any:
    if structure is None:
        raise ValueError(
            f"load: {where} was not written by save, so its structure is unknown. Pass like= a "
            "tree with the same paths, or read it with read_safetensors."
        )

    def leaf(described: Mapping):
        return restored(described, _taken(described, tensors, where))

    try:
        tree = Reader(str(where), leaf, functions).read(structure["tree"])
    except RecursionError:
        raise ValueError(f"{where}: the structure is nested too deeply.") from None
    if tensors:
        extra = sorted(tensors)[:SHOWN]
        raise ValueError(f"{where}: tensors {extra} belong to no leaf.")
    return tree


def _taken(described: Mapping, tensors: dict, where: Path) -> np.ndarray:
    """The bytes of a leaf, once: a tensor named by a thousand leaves would need them as often.

    It also lets go of them, so that a large tree is not held twice.
    """
    name = described["array"]
    if name not in tensors:
        raise ValueError(
            f"{where}: the structure speaks of a tensor {name[:80]!r} that is not there, or twice."
        )
    return tensors.pop(name)


# -- matching by path ------------------------------------------------------------------------------


def _leaves(structure: dict, tensors: dict, where: Path) -> dict[str, Any]:
    """Every leaf of the file by its path; the file's containers play no part."""

    def leaf(described: Mapping):
        return restored(described, _taken(described, tensors, where))

    reader = Reader(str(where), leaf)
    try:
        return {joined(path): reader.read(n) for path, n in leaves_by_path(structure["tree"])}
    except RecursionError:
        raise ValueError(f"{where}: the structure is nested too deeply.") from None
    except TypeError as error:
        raise ValueError(f"{where}: the structure has odd entries: {error}.") from None


def _matched(like, found: dict[str, Any]) -> tuple[Any, Unmatched]:
    """`like` with every leaf that fits replaced, and what did not fit."""
    unmatched = Unmatched([], [], [])
    used: set[str] = set()

    def match(path, old):
        name = joined(tuple(map(step_name, path)))
        used.add(name)
        if name not in found:
            unmatched.missing.append(_described(name, old))
        elif _kind(found[name]) != _kind(old):
            unmatched.different.append(
                f"{name}: needs {_kind(old)}, the file has {_kind(found[name])}"
            )
        else:
            return _as(found[name], old)
        return old

    tree = fg.tree.map_with_path(match, like)
    unmatched.unexpected.extend(_described(n, v) for n, v in found.items() if n not in used)
    return tree, unmatched


def require_like(like, tree, message: str) -> None:
    """Raise `ValueError` unless two trees have the same paths, shapes and dtypes."""
    found = {joined(tuple(map(step_name, p))): leaf for p, leaf in fg.tree.leaves_with_path(tree)}
    _, unmatched = _matched(like, found)
    if unmatched:
        raise ValueError(f"{message}\n{_listed(unmatched)}")


def _described(name: str, leaf) -> str:
    return f"{name}: {_kind(leaf)}"


def _kind(leaf) -> str:
    """What must agree: shape and dtype of an array, the type of anything else, a whole module."""
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return f"{leaf.dtype}{list(leaf.shape)}"
    return repr(leaf) if isinstance(leaf, Module) else type(leaf).__name__


def _as(new, old):
    """A NumPy array where one was, else an array of ours."""
    if isinstance(old, np.ndarray):
        return np.asarray(new)
    if isinstance(old, np.generic):
        return np.asarray(new)[()]
    if isinstance(new, (np.ndarray, np.generic)):
        return jnp.asarray(new, dtype=new.dtype)
    return new


def _listed(unmatched: Unmatched) -> str:
    """At most a few lines for each fault."""
    lines = []
    for fault, entries in unmatched._asdict().items():
        lines += [f"  {fault} {entry}" for entry in entries[:SHOWN]]
        if len(entries) > SHOWN:
            lines.append(f"  {fault} {len(entries) - SHOWN} more")
    return "\n".join(lines)

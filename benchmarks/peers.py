"""The libraries compared: which are installed, how arrays go in and out of them, how to wait for
them.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

FUNCGRAD, JAX, TORCH, COMPILED = "funcgrad", "jax", "torch", "torch.compile"
AUTOGRAD, NUMPY = "autograd", "numpy"
LIBRARIES = (FUNCGRAD, JAX, TORCH, COMPILED, AUTOGRAD, NUMPY)
_SUBMODULES = {FUNCGRAD: "funcgrad.numpy", JAX: "jax.numpy", AUTOGRAD: "autograd.numpy"}


def load(library: str) -> ModuleType | None:
    """The library's module with its NumPy namespace, or None if it is not installed."""
    name = TORCH if library == COMPILED else library
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if error.name != name:
            raise  # it is there, and broken
        return None
    if library in _SUBMODULES:
        importlib.import_module(_SUBMODULES[library])
    return module


def disk_cache(folder: str, of_jax: bool = False) -> dict[str, str]:
    """The variables that make libraries keep compiled code in this folder. jax does so only where
    it is told to: `of_jax`, where a later process gains by it.
    """
    variables = {"FUNCGRAD_CACHE_DIR": folder}
    if of_jax:
        variables |= {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    return variables


def on_arrays(convert: Callable[[np.ndarray], Any], tree: Any) -> Any:
    """The tree of lists, tuples and dictionaries with each NumPy array converted."""
    if isinstance(tree, dict):
        return {key: on_arrays(convert, value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(on_arrays(convert, value) for value in tree)
    return convert(tree)


def arrays_of(tree: Any) -> list[Any]:
    """The arrays of a tree, dictionaries in the order of their keys."""
    if isinstance(tree, dict):
        return [x for key in sorted(tree) for x in arrays_of(tree[key])]
    if isinstance(tree, list | tuple):
        return [x for value in tree for x in arrays_of(value)]
    return [tree]


def to_library(library: ModuleType, tree: Any) -> Any:
    """The tree with arrays of jax or funcgrad."""
    return on_arrays(library.numpy.asarray, tree)


def to_torch(torch: ModuleType, tree: Any, gradients: bool = False) -> Any:
    """The tree with copies as torch tensors; `gradients` marks those that want a gradient."""

    def convert(array: np.ndarray) -> Any:
        tensor = torch.from_numpy(np.array(array))
        return tensor.requires_grad_() if gradients and tensor.is_floating_point() else tensor

    return on_arrays(convert, tree)


def to_numpy(tree: Any) -> list[np.ndarray]:
    """Copies of the arrays of a result, whichever library it comes from."""
    return [
        np.array(x.detach() if hasattr(x, "detach") else x, dtype=np.float64)
        for x in arrays_of(tree)
    ]


_TREES = (dict, list, tuple)


def wait(result: Any) -> Any:
    """Return when the computation behind a result of jax or funcgrad has finished.

    All arrays of a result are ready at once, so one is asked; finding it must cost nothing.
    """
    last = result
    while isinstance(last, _TREES):
        last = next(reversed(last.values())) if isinstance(last, dict) else last[-1]
    last.block_until_ready()
    return result

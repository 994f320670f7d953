"""`ravel_pytree`: a tree of arrays as one vector, for solvers and optimizers that want one."""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import funcgrad.numpy as jnp
from funcgrad import tree

__all__ = ["ravel_pytree"]


def ravel_pytree(pytree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The leaves of a tree, ravelled and joined into one vector, and the function that undoes it.

    Leaves of different dtypes are promoted to a common one; the inverse converts them back, and
    raises `TypeError` for a vector of another dtype. It raises `ValueError` for a vector of the
    wrong shape.

    >>> vector, unravel = ravel_pytree({"w": jnp.ones((2, 2)), "b": jnp.zeros(1)})
    >>> vector.shape
    (5,)
    >>> unravel(2 * vector)["w"].shape
    (2, 2)
    """
    leaves, treedef = tree.flatten(pytree)
    vector, unravel_list = _ravel_list(leaves)
    return vector, lambda flat: treedef.unflatten(unravel_list(flat))


def _ravel_list(leaves: list[Any]) -> tuple[Any, Callable[[Any], list[Any]]]:
    if not leaves:
        return jnp.array([], jnp.float32), _unravel_nothing
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    common = jnp.result_type(*arrays)
    mixed = any(x.dtype != common for x in arrays)
    vector = jnp.concatenate([jnp.ravel(x).astype(common) for x in arrays])
    shapes = [(x.shape, x.dtype) for x in arrays]
    ends = list(accumulate(x.size for x in arrays))

    def unravel(flat: Any) -> list[Any]:
        _check_vector(flat, ends[-1], common if mixed else None)
        pieces = jnp.split(flat, ends[:-1])
        back = [piece.reshape(shape) for piece, (shape, _) in zip(pieces, shapes, strict=True)]
        if not mixed:
            return back
        return [x.astype(dtype) for x, (_, dtype) in zip(back, shapes, strict=True)]

    return vector, unravel


def _unravel_nothing(flat: Any) -> list[Any]:
    _check_vector(flat, 0, None)
    return []


def _check_vector(flat: Any, size: int, dtype: Any) -> None:
    if jnp.shape(flat) != (size,):
        raise ValueError(
            f"ravel_pytree: the inverse needs a vector of {size} elements, "
            f"but got shape {jnp.shape(flat)}."
        )
    if dtype is not None and flat.dtype != dtype:
        raise TypeError(
            f"ravel_pytree: the inverse needs a vector of dtype {dtype}, but got {flat.dtype}. "
            f"Use .astype({dtype})."
        )

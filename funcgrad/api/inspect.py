"""Looking at programs: `make_jaxpr`, `disable_jit`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from funcgrad import tree
from funcgrad.api.compile import closed_over_static
from funcgrad.api.flat import Flat, check_callable
from funcgrad.api.shapes import ShapeDtypeStruct, abstract_leaf
from funcgrad.config import config
from funcgrad.core.stage import stage
from funcgrad.core.trace import Axis, binding_axis
from funcgrad.errors import user_facing


@user_facing
def make_jaxpr(
    fun: Callable[..., Any],
    static_argnums: int | Sequence[int] = (),
    axis_env: Sequence[tuple[Any, int]] | None = None,
    return_shape: bool = False,
) -> Callable[..., Any]:
    """A function that returns the program of `fun` for given arguments (arrays, or
    `ShapeDtypeStruct`s).

    With `return_shape` it returns a pair: the program, and the shapes and dtypes of the result.
    `axis_env` holds names and sizes of axes that collectives in `fun` may use.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> fg.make_jaxpr(jnp.sin)(jnp.zeros(3))
        { lambda ; a:f32[3]. let b:f32[3] = sin a in (b,) }
        >>> fg.make_jaxpr(lambda x: fg.lax.psum(x, "i"), axis_env=[("i", 4)])(jnp.zeros(3))
        { lambda ; a:f32[3]. let b:f32[3] = psum[axes=('i',)] a in (b,) }
    """
    check_callable(fun, "make_jaxpr")
    axes = [Axis(size, name) for name, size in axis_env or ()]

    @user_facing
    @functools.wraps(fun)
    def maker(*args: Any, **kwargs: Any) -> Any:
        inner, dynamic = closed_over_static(fun, static_argnums, args)
        leaves, in_tree = tree.flatten((dynamic, kwargs))
        flat = Flat(inner, in_tree, "make_jaxpr")
        with contextlib.ExitStack() as names:
            for axis in axes:
                names.enter_context(binding_axis(axis))
            jaxpr, _ = stage(flat, [abstract_leaf(x, "make_jaxpr") for x in leaves])
        if not return_shape:
            return jaxpr
        structs = [
            ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in jaxpr.out_avals
        ]
        return jaxpr, tree.unflatten(flat.out_tree, structs)

    return maker


def disable_jit(disable: bool = True) -> AbstractContextManager[None]:
    """In the `with` block jitted functions run as plain Python, operation by operation, for
    debugging.
    """
    return config.override(disable_jit=disable)


def enable_x64(enable: bool = True) -> AbstractContextManager[None]:
    """In the `with` block default dtypes are 64 bits wide."""
    return config.override(enable_x64=enable)

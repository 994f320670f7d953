"""Functions of functions: `vectorize`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from funcgrad.api.vectorize import vmap
from funcgrad.core.inputs import as_input
from funcgrad.errors import user_facing
from funcgrad.numpy.promote import broadcast_shapes

_CORE = r"\(((?:\w+(?:,\w+)*)?)\)"


def _parse(signature: str) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """`(m,n),(n)->(m)` as names of core dimensions, operand by operand and result by result."""
    text = signature.replace(" ", "")
    if not re.fullmatch(rf"{_CORE}(,{_CORE})*->{_CORE}(,{_CORE})*|->.*", text):
        raise ValueError(
            f"vectorize: not a signature: {signature!r}. It reads, for example, '(m,n),(n)->(m)'."
        )
    sides = text.split("->")
    inputs, outputs = (
        [tuple(filter(None, c.split(","))) for c in re.findall(_CORE, side)] for side in sides
    )
    return inputs, outputs


def vectorize(
    pyfunc: Callable[..., Any],
    *,
    excluded: Iterable[Any] = frozenset(),
    signature: str | None = None,
) -> Callable[..., Any]:
    """`pyfunc` of single elements (or of the core dimensions in `signature`), broadcasting over all
    others.

    `excluded` are positions or names of arguments passed on as they are.

    >>> import funcgrad.numpy as jnp
    >>> jnp.vectorize(jnp.dot, signature="(n),(n)->()")(jnp.ones((2, 3)), jnp.ones(3))
    Array([3., 3.], dtype=float32)
    """
    left_out = set(excluded)
    inputs = _parse(signature)[0] if signature is not None else None

    @user_facing
    @functools.wraps(pyfunc)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        positions = [i for i in range(len(args)) if i not in left_out]
        operands = [as_input("vectorize", args[i]) for i in positions]
        core = inputs if inputs is not None else [()] * len(operands)
        if len(core) != len(operands):
            raise TypeError(
                f"vectorize: the signature {signature!r} has {len(core)} operands, but got "
                f"{len(operands)}."
            )
        _check_core(signature, core, operands)

        def function(*values: Any) -> Any:
            full = list(args)
            for i, value in zip(positions, values):
                full[i] = value
            return pyfunc(*full, **kwargs)

        return _over_loop_dimensions(function, operands, [len(c) for c in core])

    return wrapped


def _check_core(signature: str | None, core: Any, operands: Any) -> None:
    sizes: dict[str, int] = {}
    for names, x in zip(core, operands):
        if x.ndim < len(names):
            raise ValueError(
                f"vectorize: {signature!r} needs an operand of rank {len(names)} or more, but got "
                f"shape {x.shape}."
            )
        for name, size in zip(names, x.shape[x.ndim - len(names) :]):
            if sizes.setdefault(name, size) != size:
                raise ValueError(
                    f"vectorize: dimension {name} of {signature!r} has sizes {sizes[name]} and "
                    f"{size}."
                )


def _over_loop_dimensions(function: Callable[..., Any], operands: Any, ranks: list[int]) -> Any:
    """Maps `function` over the leading dimensions, broadcast against each other, innermost
    first.
    """
    loops = [x.shape[: x.ndim - r] for x, r in zip(operands, ranks)]
    shape = broadcast_shapes(*loops)
    squeezed = []
    for x, loop in zip(operands, loops):
        missing = len(shape) - len(loop)
        kept = [d for d in range(len(loop)) if loop[d] != 1 or shape[missing + d] == 1]
        sizes = tuple(loop[d] for d in kept) + x.shape[len(loop) :]
        squeezed.append((x.reshape(sizes), {missing + d for d in kept}))
    mapped = function
    for axis in reversed(range(len(shape))):
        in_axes = tuple(0 if axis in dims else None for _, dims in squeezed)
        if any(a == 0 for a in in_axes):
            mapped = vmap(mapped, in_axes=in_axes)
        else:
            mapped = vmap(mapped, in_axes=in_axes, axis_size=shape[axis])
    return mapped(*(x for x, _ in squeezed))

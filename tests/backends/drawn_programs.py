"""Random programs whose results are exact, so that every way to run them gives the same bits.

All numbers are small integers, whatever their dtype: after each step floats are brought back to
-8 .. 8, integers wrap around. Shapes are those where code for vectors goes wrong: 0, 1, primes, one
less and one more than a vector. A program is a list of steps; each takes an earlier array and two
numbers that say which of its possibilities is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax

SIZES = (0, 1, 2, 3, 5, 7, 15, 16, 17, 31, 32, 33)
DTYPES = (
    "float32", "float32", "float64", "bfloat16", "float16", "int8", "uint8", "int16", "int32",
    "uint32", "int64", "uint64", "bool", "complex64", "complex128",
)  # fmt: skip
MODES = ("clip", "fill", "wrap")
LARGEST = 4000  # elements of one array

Step = Callable[[Any, int, int], Any]


def tame(x: Any) -> Any:
    """Small integers again."""
    kind = fg.core.dtypes.as_dtype(x.dtype).kind
    if kind == "c":
        return lax.complex(tame(lax.real(x)), tame(lax.imag(x)))
    if kind in "fV":
        return jnp.clip(x, -8, 8).astype(x.dtype)
    return x


def _kind(x: Any) -> str:
    return "f" if x.dtype.kind == "V" else x.dtype.kind


# ---- elements


def unary(x: Any, n: int, m: int) -> Any:
    kind = _kind(x)
    if kind == "b":
        return (lambda: ~x, lambda: x ^ True)[n % 2]()
    choices = [lambda: -x, lambda: x * x, lambda: x + x.dtype.type(m % 5), lambda: x * 3]
    if kind in "fi":
        choices += [lambda: abs(x), lambda: jnp.sign(x), lambda: lax.max(x, -x)]
    if kind == "f":
        choices += [lambda: jnp.floor(x * 0.5), lambda: jnp.where(x > m % 3, x, -x)]
    if kind == "c":
        choices += [lambda: jnp.conj(x), lambda: x * x.dtype.type(1j)]
    return choices[n % len(choices)]().astype(x.dtype)


def convert(x: Any, n: int, m: int) -> Any:
    dtype = DTYPES[n % len(DTYPES)]
    if _kind(x) == "c" and not dtype.startswith("complex"):
        x = lax.real(x)
    if _kind(x) == "f" and dtype.startswith("u"):
        x = abs(x)
    return x.astype(dtype)


def binary(x: Any, n: int, m: int) -> Any:
    y = jnp.flip(x, m % x.ndim) if x.ndim else x
    if n % 3 == 1 and x.ndim:
        y = lax.index_in_dim(x, 0, m % x.ndim) if x.shape[m % x.ndim] else x
    kind = _kind(x)
    if kind == "b":
        return (x & y, x | y, x ^ y)[n % 3]
    choices = [lambda: x + y, lambda: x - y, lambda: x * y, lambda: jnp.where(x == y, x, y)]
    if kind in "fiu":
        choices += [lambda: jnp.maximum(x, y), lambda: jnp.minimum(x, y)]
        choices += [lambda: jnp.where(x < y, x + y, x)]
    if kind in "iu":
        choices += [lambda: x & y, lambda: x ^ y]
    return choices[n // 3 % len(choices)]()


# ---- reductions


def reduction(x: Any, n: int, m: int) -> Any:
    axes = [None, *range(x.ndim), *([(0, x.ndim - 1)] if x.ndim > 1 else [])]
    axis = axes[n % len(axes)]
    kind = _kind(x)
    names = ["any", "all"] if kind == "b" else ["sum"]
    filled = 0 not in x.shape
    if filled and kind in "fiu":
        names += ["max", "min"]
    name = names[m % len(names)]
    out = getattr(jnp, name)(x, axis=axis, keepdims=m % 5 == 0)
    return out.astype(x.dtype)


def position(x: Any, n: int, m: int) -> Any:
    if _kind(x) == "c" or not x.ndim or 0 in x.shape:
        return x
    return (jnp.argmax if n % 2 else jnp.argmin)(x, axis=m % x.ndim)


def centred(x: Any, n: int, m: int) -> Any:
    """A reduction that is read together with what it was made of, as in softmax."""
    if not x.ndim or _kind(x) not in "fi" or 0 in x.shape:
        return x
    axis = n % x.ndim
    top = jnp.max(x, axis=axis, keepdims=True)
    low = jnp.clip(x - top, -4, 4).astype(x.dtype)
    return (low * 2 + jnp.sum(low, axis=(n + m) % x.ndim, keepdims=True)).astype(x.dtype)


def cumulated(x: Any, n: int, m: int) -> Any:
    if not x.ndim or _kind(x) == "b":
        return x
    functions = [lax.cumsum, lax.cummax, lax.cummin]
    function = functions[0 if _kind(x) == "c" else n % 3]
    x = jnp.sign(x) if _kind(x) == "f" else x  # sums of 16-bit floats stay exact
    return function(x, m % x.ndim, reverse=n % 2 == 1)


def product(x: Any, n: int, m: int) -> Any:
    if not x.ndim or _kind(x) == "b":
        return x
    if n % 3 == 0 or x.ndim == 1:
        rows = x[None] if x.ndim == 1 else x
        return jnp.einsum("...i,...i->...", rows, rows[..., ::-1])
    if n % 3 == 1:
        return jnp.einsum("...ij,...kj->...ik", x, x)
    return jnp.einsum("i...,j...->ji", x, x)


# ---- movement


def moved(x: Any, n: int, m: int) -> Any:
    if not x.ndim:
        return jnp.broadcast_to(x, (n % 3, 1 + m % 17))
    axis = m % x.ndim
    size = x.shape[axis]
    choices = [
        lambda: jnp.flip(x, axis),
        lambda: jnp.swapaxes(x, 0, axis),
        lambda: x.reshape(-1),
        lambda: jnp.expand_dims(x, axis),
        lambda: lax.slice_in_dim(x, min(1, size), size, 2, axis),
        lambda: jnp.flip(lax.slice_in_dim(x, 0, size, 3, axis), axis),
        lambda: jnp.roll(x, m, axis),
        lambda: jnp.concatenate([x, jnp.flip(x, axis)], axis),
        lambda: lax.pad(x, jnp.asarray(m % 2, x.dtype), [(m % 3, n % 4 - 1, n % 2)] * x.ndim),
        lambda: jnp.broadcast_to(x[None], (1 + n % 3, *x.shape)),
        lambda: jnp.tile(x, 2),
    ]
    return choices[n % len(choices)]()


# ---- computed places


def _places(x: Any, n: int, m: int, axis: int) -> Any:
    """Indices from before the first to behind the last one."""
    count = (1, 3, 17)[m % 3]
    return (jnp.arange(count, dtype="int32") * (1 + n % 4)) % (x.shape[axis] + 3) - 1


def gathered(x: Any, n: int, m: int) -> Any:
    if not x.ndim or 0 in x.shape:
        return x
    axis = n % x.ndim
    mode = MODES[m % 3]
    places = _places(x, n, m, axis)
    found = jnp.take(x, places, axis, mode=mode, fill_value=1 if mode == "fill" else None)
    return found


def scattered(x: Any, n: int, m: int) -> Any:
    if not x.ndim or 0 in x.shape:
        return x
    places = _places(x, n, m, 0)
    rows = jnp.broadcast_to(jnp.flip(x, 0)[:1], (places.shape[0], *x.shape[1:]))
    at = x.at[places]
    kind = _kind(x)
    names = ["set"] if kind in "b" else ["add", "set", "multiply"]
    if kind in "fiu":
        names += ["max", "min"]
    if kind == "f":
        rows = jnp.sign(rows)
    mode = ("drop", "clip")[m % 2]
    name = names[n % len(names)]
    if name == "set":  # the last of several is not defined
        rows = jnp.broadcast_to(rows[:1], rows.shape)
    return getattr(at, name)(rows, mode=mode)


def sliced(x: Any, n: int, m: int) -> Any:
    if not x.ndim or 0 in x.shape:
        return x
    start = jnp.sum(jnp.where(x == x, 1, 0)).astype("int32") % (n + 2) - 1
    size = 1 + m % x.shape[0]
    part = lax.dynamic_slice_in_dim(x, start, size, 0)
    return part if n % 2 else lax.dynamic_update_slice_in_dim(x, jnp.flip(part, 0), start + 1, 0)


def ordered(x: Any, n: int, m: int) -> Any:
    if not x.ndim or _kind(x) == "c":
        return x
    axis = m % x.ndim
    if n % 3 == 0:
        return jnp.argsort(x, axis)
    if n % 3 == 1 and x.shape[-1]:
        return lax.top_k(x, 1 + m % x.shape[-1])[n % 2]
    return jnp.sort(x, axis)


# ---- loops


def _body(x: Any, n: int, m: int) -> Any:
    return tame(binary(unary(x, n, m), m, n) if n % 2 else centred(unary(x, m, n), n, m))


def repeated(x: Any, n: int, m: int) -> Any:
    body = lambda i, c: tame(_body(c, n, m) + x) if _kind(x) not in "b" else _body(c, n, m)
    return lax.fori_loop(0, (0, 1, 3)[m % 3], lambda i, c: body(i, c).astype(x.dtype), x)


def scanned(x: Any, n: int, m: int) -> Any:
    if x.ndim < 1 or x.shape[0] == 0:
        return x

    def turn(carry: Any, row: Any) -> tuple[Any, Any]:
        out = _body(row, n, m).astype(x.dtype)
        return tame(jnp.where(carry == row, out, carry)).astype(x.dtype), binary(out, m, n)

    carry, rows = lax.scan(turn, x[0], x, reverse=n % 2 == 1)
    return rows if m % 2 else carry


def nested(x: Any, n: int, m: int) -> Any:
    return lax.fori_loop(0, 2, lambda i, c: scanned(c, 2 * n, 2 * m + 1).astype(x.dtype) if (
        scanned(c, 2 * n, 2 * m + 1).shape == x.shape) else c, x)  # fmt: skip


def awaited(x: Any, n: int, m: int) -> Any:
    def going(state: Any) -> Any:
        return state[0] < n % 4

    return lax.while_loop(going, lambda s: (s[0] + 1, _body(s[1], n, m).astype(x.dtype)), (0, x))[1]


def chosen(x: Any, n: int, m: int) -> Any:
    index = jnp.sum(jnp.where(x == x, 1, 0)).astype("int32") % 3
    branches = [lambda v: v, lambda v: _body(v, n, m).astype(x.dtype), lambda v: unary(v, m, n)]
    return lax.switch(index, branches, x)


STEPS: dict[str, Step] = {
    f.__name__: f
    for f in (
        unary, convert, binary, reduction, position, centred, cumulated, product, moved, gathered,
        scattered, sliced, ordered, repeated, scanned, nested, awaited, chosen,
    )
}  # fmt: skip


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    """Up to three dimensions of the sizes above, not too many elements."""
    drawn = st.lists(st.sampled_from(SIZES), max_size=3).map(tuple)
    return drawn.filter(lambda shape: np.prod(shape, dtype=int) <= LARGEST)


def programs(length: int = 8) -> st.SearchStrategy[Any]:
    """(shape, dtype, steps)."""
    number = st.integers(0, 59)
    step = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 3), number, number)
    return st.tuples(shapes(), st.sampled_from(DTYPES), st.lists(step, min_size=1, max_size=length))


def build(steps: Any) -> Callable[[Any], list[Any]]:
    """The program of these steps: one array in, all that was made out."""

    def program(x: Any) -> list[Any]:
        made = [x]
        for name, place, n, m in steps:
            operand = made[-1 - place % len(made)]
            found = tame(STEPS[name](operand, n, m))
            if found.size <= LARGEST:
                made.append(found)
        return [made[-1], *made[1:-1:2]]

    return program


def operand(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Any:
    """Small integers."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 5, shape) - (0 if dtype.startswith("u") else 2)
    if dtype.startswith("complex"):
        return jnp.asarray(x + 1j * rng.integers(-2, 3, shape), dtype)
    return jnp.asarray(x, dtype)

"""Keys: where random numbers come from.

A key is two 32-bit words. `key` makes one of the type `key<fry>`; `PRNGKey` makes the raw `u32[2]`
of older programs, and every function takes both. Nothing here has state: the same key gives the
same numbers, and new keys come from `split` and `fold_in`. The numbers themselves are drawn in
`samplers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import numpy as jnp
from funcgrad.core import dtypes
from funcgrad.core.avals import typeof
from funcgrad.numpy.axes import shape_tuple
from funcgrad.primitives import bits

IMPLEMENTATION = "threefry2x32"


def _check_implementation(name: str, impl: Any) -> None:
    if impl is None or impl == IMPLEMENTATION or impl is dtypes.threefry_key:
        return
    raise ValueError(f"{name}: the only implementation is {IMPLEMENTATION!r}, but got {impl!r}.")


def typed_key(name: str, key: Any, *, batched: bool = False) -> tuple[Any, bool]:
    """The key with its type, and whether it came as raw words; errors speak for the function
    `name`.
    """
    if not hasattr(key, "dtype"):
        raise TypeError(
            f"{name}: needs a key from random.key, random.PRNGKey or random.split, but got "
            f"{type(key).__name__}. Make one, for example with random.key(0)."
        )
    raw = not dtypes.is_key(key.dtype)
    typed = _of_words(name, key) if raw else key
    shape = typeof(typed).shape
    if shape and not batched:
        raise ValueError(
            f"{name}: needs a single key, but got an array of keys of shape {shape}. "
            "Use vmap to draw with each of them."
        )
    return typed, raw


def _of_words(name: str, words: Any) -> Any:
    shape = np.shape(words)
    if words.dtype != dtypes.uint32 or not shape or shape[-1] != 2:
        raise TypeError(
            f"{name}: needs a key, or its uint32 words of shape (..., 2), but got {words.dtype} of "
            f"shape {shape}. Keys come from random.key, random.PRNGKey and random.split."
        )
    return bits.random_wrap(jnp.asarray(words))


def _as_given(key: Any, raw: bool) -> Any:
    return bits.random_unwrap(key) if raw else key


def _seed(name: str, seed: Any) -> Any:
    if dtypes.is_key(getattr(seed, "dtype", None)):
        raise TypeError(
            f"{name}: needs an integer seed, but got a key. Use split or fold_in for new keys."
        )
    if np.ndim(seed):
        raise TypeError(
            f"{name}: needs a scalar seed, but got an array of shape {np.shape(seed)}. "
            "Use vmap for many keys."
        )
    if isinstance(seed, (int, np.integer)):
        return _word(name, int(seed))
    if isinstance(seed, str):
        raise TypeError(f"{name}: needs an integer seed, but got the string {seed!r:.40}.")
    seed = jnp.asarray(seed)
    if not dtypes.is_integer(seed.dtype):
        raise TypeError(f"{name}: needs an integer seed, but got {seed.dtype}.")
    return seed


def _word(name: str, seed: int) -> Any:
    """An integer of default width: of a longer seed the low bits count, as for every key made
    before.
    """
    if not -(1 << 63) <= seed < 1 << 63:
        raise OverflowError(
            f"{name}: needs a seed of at most 64 bits, but got {seed}. Take it modulo 2**63."
        )
    return jnp.asarray(np.array(seed, np.int64).astype(dtypes.default_int()))


def key(seed: Any, *, impl: Any = None, dtype: Any = None) -> Any:
    """A key, of type `key<fry>`, from an integer.

    Args:
        seed: an integer scalar; 32 bits of it count, or 64 with `enable_x64`.
        impl, dtype: `"threefry2x32"`, the only implementation.

    >>> from funcgrad import random
    >>> random.key_data(random.key(7)).tolist()
    [0, 7]
    """
    _check_implementation("key", impl if dtype is None else dtype)
    return bits.random_seed(_seed("key", seed))


def PRNGKey(seed: Any, *, impl: Any = None) -> Any:
    """A raw key, `u32[2]`, from an integer. `key` makes the typed one, which cannot be mistaken
    for numbers.
    """
    _check_implementation("PRNGKey", impl)
    return bits.random_unwrap(bits.random_seed(_seed("PRNGKey", seed)))


def wrap_key_data(key_bits_array: Any, *, impl: Any = None, dtype: Any = None) -> Any:
    """Typed keys from their words, `u32[..., 2]`: the inverse of `key_data`."""
    _check_implementation("wrap_key_data", impl if dtype is None else dtype)
    return _of_words("wrap_key_data", key_bits_array)


def key_data(keys: Any) -> Any:
    """The words of a key array of shape `s`: `u32[*s, 2]`."""
    return bits.random_unwrap(typed_key("key_data", keys, batched=True)[0])


def key_impl(keys: Any) -> str:
    """The name of the keys' implementation."""
    typed_key("key_impl", keys, batched=True)
    return IMPLEMENTATION


def clone(key: Any) -> Any:
    """The same key again, where reuse of a key is meant."""
    typed, raw = typed_key("clone", key, batched=True)
    return _as_given(bits.random_clone(typed), raw)


def split(key: Any, num: int | Sequence[int] = 2) -> Any:
    """New keys, independent of each other and of `key`, which should not be used again.

    Args:
        key: a single key.
        num: how many, or the shape of the array of keys.

    >>> from funcgrad import random
    >>> first, second = random.split(random.key(0))
    """
    typed, raw = typed_key("split", key)
    return _as_given(bits.random_split(typed, shape=shape_tuple("split", num)), raw)


def fold_in(key: Any, data: Any) -> Any:
    """The key that belongs to `key` and an integer scalar: one for each step, layer or device."""
    typed, raw = typed_key("fold_in", key)
    if np.ndim(data):
        raise TypeError(
            f"fold_in: needs a scalar, but got an array of shape {np.shape(data)}. Use vmap for "
            "many."
        )
    return _as_given(bits.random_fold_in(typed, jnp.asarray(data, dtype=dtypes.uint32)), raw)

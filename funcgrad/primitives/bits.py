"""Random keys and the bits drawn with them.

Keys have a type of their own, `key<fry>`: arrays of them are indexed, mapped and carried like
numbers, but take part in no arithmetic. In `value` rules a key array is its buffer, u32[..., 2];
the hash is in `threefry`. `threefry2x32` is the hash itself, on plain arrays: compiled programs are
rewritten to it.
"""

from __future__ import annotations

from typing import Any

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.primitives import threefry
from funcgrad.primitives.basis import batched, broadcast_in_dim, moveaxis

IMPLEMENTATION = "fry"  # how programs print it; there is one


def _keys(shape: tuple) -> ShapedArray:
    return ShapedArray(shape, dtypes.threefry_key)


def _check_keys(name: str, aval: ShapedArray) -> None:
    if not dtypes.is_key(aval.dtype):
        raise TypeError(
            f"{name}: needs keys, but got {aval}. Make them with random.key or "
            "random.wrap_key_data."
        )


def _batched_in_front(primitive: Primitive) -> Any:
    """A batch rule: the results of one lane stand behind the mapped dimension, wherever that
    was.
    """

    def rule(axis, args, dims, **params):
        return primitive.bind(moveaxis(args[0], dims[0], 0), **params), 0

    return rule


# ---- keys from integers and from words
# ----------------------------------------------------------------


def _random_seed_abstract(seeds, *, impl):
    if not dtypes.is_integer(seeds.dtype) and seeds.dtype != dtypes.bool_:
        raise TypeError(f"random.key: needs an integer seed, but got {seeds}.")
    return _keys(seeds.shape)


random_seed_p = Primitive(
    "random_seed",
    abstract=_random_seed_abstract,
    value=lambda xp, seeds, *, impl: threefry.seed_keys(xp, seeds),
    constant=True,
    loops=lambda *avals, impl: loops.Opaque("random keys"),
    weak=lambda flags, params: False,
    keys=True,
)
random_seed_p.batch = _batched_in_front(random_seed_p)


def random_seed(seeds: Any) -> Any:
    """A key for each integer of an array."""
    return random_seed_p.bind(seeds, impl=IMPLEMENTATION)


def _random_wrap_abstract(words, *, impl):
    if words.dtype != dtypes.uint32 or words.ndim == 0 or words.shape[-1] != 2:
        raise TypeError(
            f"random.wrap_key_data: needs u32 words of shape (..., 2), but got {words}."
        )
    return _keys(words.shape[:-1])


random_wrap_p = Primitive(
    "random_wrap",
    abstract=_random_wrap_abstract,
    value=lambda xp, words, *, impl: words,
    constant=True,
    loops=lambda *avals, impl: loops.Opaque("random keys"),
    keys=True,
)
random_wrap_p.batch = _batched_in_front(random_wrap_p)


def random_wrap(words: Any) -> Any:
    """The keys that u32[..., 2] words are."""
    return random_wrap_p.bind(words, impl=IMPLEMENTATION)


def _random_unwrap_abstract(keys):
    _check_keys("random.key_data", keys)
    return ShapedArray((*keys.shape, keys.dtype.words), dtypes.uint32)


random_unwrap_p = Primitive(
    "random_unwrap",
    abstract=_random_unwrap_abstract,
    value=lambda xp, keys: keys,
    constant=True,
    loops=lambda *avals: loops.Opaque("random keys"),
    keys=True,
)
random_unwrap_p.batch = _batched_in_front(random_unwrap_p)


def random_unwrap(keys: Any) -> Any:
    """The words of keys, u32[..., 2]."""
    return random_unwrap_p.bind(keys)


# ---- keys from keys
# -------------------------------------------------------------------------------------


def _random_clone_abstract(keys):
    _check_keys("random.clone", keys)
    return keys


random_clone_p = Primitive(
    "random_clone",
    abstract=_random_clone_abstract,
    value=lambda xp, keys: keys,
    constant=True,
    loops=lambda *avals: loops.Opaque("random keys"),
    keys=True,
)
random_clone_p.batch = _batched_in_front(random_clone_p)


def random_clone(keys: Any) -> Any:
    """The same keys, marked as meant to be used again."""
    return random_clone_p.bind(keys)


def _random_split_abstract(keys, *, shape):
    _check_keys("random.split", keys)
    return _keys((*keys.shape, *shape))


random_split_p = Primitive(
    "random_split",
    abstract=_random_split_abstract,
    value=lambda xp, keys, *, shape: threefry.split_keys(xp, keys, shape),
    constant=True,
    loops=lambda *avals, shape: loops.Opaque("random keys"),
    keys=True,
)
random_split_p.batch = _batched_in_front(random_split_p)


def random_split(keys: Any, *, shape: tuple) -> Any:
    """New keys, `shape` of them for each key."""
    return random_split_p.bind(keys, shape=shape)


def _random_fold_in_abstract(keys, data):
    _check_keys("random.fold_in", keys)
    if data.dtype != dtypes.uint32:
        raise TypeError(f"random.fold_in: needs u32 data, but got {data}.")
    if keys.shape and data.shape and keys.shape != data.shape:
        raise ValueError(
            f"random.fold_in: keys of shape {keys.shape} and data of shape {data.shape} differ."
        )
    return _keys(keys.shape or data.shape)


def _random_fold_in_batch(axis, args, dims):
    ranks = [typeof(x).ndim - (d is not None) for x, d in zip(args, dims, strict=True)]
    # an operand that is one value for all lanes may stay so
    args = [
        x if d is None and r == 0 else batched(axis, x, d)
        for x, d, r in zip(args, dims, ranks, strict=True)
    ]
    if max(ranks) > 0 and 0 in ranks:  # one value a lane, against several
        wide = typeof(args[ranks.index(max(ranks))]).shape
        args = [x if typeof(x).shape in ((), wide) else _spread(x, wide) for x in args]
    return random_fold_in(*args), 0


def _spread(x, shape):
    """One value a lane, repeated along the lane's own dimensions."""
    return broadcast_in_dim(x, shape, (0,))


random_fold_in_p = Primitive(
    "random_fold_in",
    abstract=_random_fold_in_abstract,
    value=lambda xp, keys, data: threefry.fold_keys(xp, keys, data),
    constant=True,
    batch=_random_fold_in_batch,
    loops=lambda *avals: loops.Opaque("random keys"),
    keys=True,
)


def random_fold_in(keys: Any, data: Any) -> Any:
    """The keys that belong to keys and u32 data, of equal shapes or one of rank 0."""
    return random_fold_in_p.bind(keys, data)


# ---- bits
# -----------------------------------------------------------------------------------------------


def _random_bits_abstract(keys, *, bit_width, shape):
    _check_keys("random.bits", keys)
    if bit_width not in (8, 16, 32, 64):
        raise ValueError(f"random.bits: the width is 8, 16, 32 or 64 bits, but got {bit_width}.")
    return ShapedArray((*keys.shape, *shape), dtypes.as_dtype(f"uint{bit_width}"))


random_bits_p = Primitive(
    "random_bits",
    abstract=_random_bits_abstract,
    value=lambda xp, keys, *, bit_width, shape: threefry.random_words(xp, keys, bit_width, shape),
    constant=True,
    loops=lambda *avals, bit_width, shape: loops.Opaque("random bits"),
    keys=True,
)
random_bits_p.batch = _batched_in_front(random_bits_p)


def random_bits(keys: Any, *, bit_width: int, shape: tuple) -> Any:
    """Unsigned integers of `bit_width` bits, `shape` of them for each key."""
    return random_bits_p.bind(keys, bit_width=bit_width, shape=shape)


# ---- the hash itself
# ----------------------------------------------------------------------------------


def _threefry2x32_abstract(*words):
    if any(word.dtype != dtypes.uint32 for word in words):
        raise TypeError(f"threefry2x32: needs u32 operands, but got {', '.join(map(str, words))}.")
    shapes = {word.shape for word in words if word.shape}
    if len(shapes) > 1:
        raise ValueError(
            f"threefry2x32: needs operands of one shape or rank 0, but got {sorted(shapes)}."
        )
    shape = shapes.pop() if shapes else ()
    return [ShapedArray(shape, dtypes.uint32)] * 2


def _threefry2x32_batch(axis, args, dims):
    args = [
        x if d is None and typeof(x).ndim == 0 else batched(axis, x, d)
        for x, d in zip(args, dims, strict=True)
    ]
    wide = max((typeof(x).shape for x in args), key=len)
    return threefry2x32(
        *(x if typeof(x).shape in ((), wide) else _spread(x, wide) for x in args)
    ), [0, 0]


def _threefry2x32_scalar(k, key0, key1, x0, x1):
    """One lane; the same twenty rounds as `threefry.hash_integers`, in the kernel's operations."""

    def word(value):
        return k.const(value, dtypes.uint32)

    schedule = (key0, key1, k.xor(k.xor(key0, key1), word(threefry.PARITY)))
    x0, x1 = k.add(x0, key0), k.add(x1, key1)
    for group in range(threefry.GROUPS):
        for distance in threefry.ROTATIONS[group % 2]:
            x0 = k.add(x0, x1)
            rotated = k.or_(k.shl(x1, word(distance)), k.shr_logical(x1, word(32 - distance)))
            x1 = k.xor(rotated, x0)
        x0 = k.add(x0, schedule[(group + 1) % 3])
        x1 = k.add(k.add(x1, schedule[(group + 2) % 3]), word(group + 1))
    return x0, x1


threefry2x32_p = Primitive(
    "threefry2x32",
    abstract=_threefry2x32_abstract,
    value=lambda xp, *words: threefry.hash_arrays(xp, *words),
    constant=True,
    batch=_threefry2x32_batch,
    loops=lambda *avals: loops.Map(_threefry2x32_scalar),  # two results
    multiple_results=True,
)


def threefry2x32(key0: Any, key1: Any, x0: Any, x1: Any) -> list:
    """The Threefry-2x32 hash of counters (x0, x1) under keys (key0, key1): two u32 arrays."""
    return threefry2x32_p.bind(key0, key1, x0, x1)

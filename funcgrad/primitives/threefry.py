"""The Threefry-2x32 counter-based hash: two key words and two counter words give two random words.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), with 20 rounds.
Everything random derives from this one function, so every backend draws the same bits. Here it is
computed on buffers, a cache-sized block at a time; `bits` makes primitives of it.
"""

import math
from collections.abc import Iterator

import numpy as np

PARITY = 0x1BD11BDA
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
GROUPS = 5  # of four rounds each; after each, two words of the key schedule are added
MASK = 0xFFFFFFFF
BLOCK = 1 << 15  # counters hashed at a time: three such buffers stay in a core's second-level cache
FEW = 8  # up to here Python's integers (4 us a hash) beat 112 array operations (40 us)
WORDS = tuple(np.uint32(i) for i in range(33))


def hash_integers(key0: int, key1: int, x0: int, x1: int) -> tuple[int, int]:
    """The hash of one counter, in Python's integers."""
    schedule = (key0, key1, key0 ^ key1 ^ PARITY)
    x0, x1 = (x0 + key0) & MASK, (x1 + key1) & MASK
    for group in range(GROUPS):
        for distance in ROTATIONS[group % 2]:
            x0 = (x0 + x1) & MASK
            x1 = ((x1 << distance | x1 >> 32 - distance) & MASK) ^ x0
        x0 = (x0 + schedule[(group + 1) % 3]) & MASK
        x1 = (x1 + schedule[(group + 2) % 3] + group + 1) & MASK
    return x0, x1


def hash_in_place(xp, key0, key1, x0, x1, scratch):
    """Replace the counters x0, x1 (equal shapes, rank 1 or more) by their hash; the keys
    broadcast.
    """
    schedule = (key0, key1, key0 ^ key1 ^ np.uint32(PARITY))
    xp.add(x0, key0, out=x0)
    xp.add(x1, key1, out=x1)
    for group in range(GROUPS):
        for distance in ROTATIONS[group % 2]:
            _round(xp, x0, x1, distance, scratch)
        xp.add(x0, schedule[(group + 1) % 3], out=x0)
        xp.add(x1, schedule[(group + 2) % 3] + WORDS[group + 1], out=x1)


def _round(xp, x0, x1, distance, scratch):
    xp.add(x0, x1, out=x0)
    xp.left_shift(x1, WORDS[distance], out=scratch)
    xp.right_shift(x1, WORDS[32 - distance], out=x1)
    xp.bitwise_or(x1, scratch, out=x1)
    xp.bitwise_xor(x1, x0, out=x1)


def hash_arrays(xp, key0, key1, x0, x1):
    """The hash of four u32 arrays, of one shape or rank 0: two new arrays of that shape."""
    shape = max((word.shape for word in (key0, key1, x0, x1)), key=len)
    size = math.prod(shape)
    if size <= FEW and isinstance(x0, (np.ndarray, np.generic)):
        return _few_arrays(xp, shape, key0, key1, x0, x1)
    key0, key1 = key0.reshape(-1), key1.reshape(-1)  # of length 1 if of rank 0: they broadcast
    x0, x1 = (xp.array(xp.broadcast_to(x, shape)).reshape(-1) for x in (x0, x1))  # hashed in place
    scratch = xp.empty_like(x0[:BLOCK])
    for start in range(0, size, BLOCK):
        here = slice(start, start + BLOCK)
        block = x0[here]
        own0, own1 = (key if key.size == 1 else key[here] for key in (key0, key1))
        hash_in_place(xp, own0, own1, block, x1[here], scratch[: block.size])
    return [x0.reshape(shape), x1.reshape(shape)]


def _few_arrays(xp, shape, *words):
    columns = [xp.broadcast_to(word, shape).reshape(-1).tolist() for word in words]
    pairs = [hash_integers(*counter) for counter in zip(*columns, strict=True)]
    return [np.array(column, np.uint32).reshape(shape) for column in _transposed(pairs)]


def _transposed(pairs):
    return zip(*pairs, strict=True) if pairs else ((), ())


def hash_counters(xp, keys, count: int) -> Iterator[tuple]:
    """Hash the counters 0, 1, ..., count - 1 under each key of a u32[n, 2], block by block.

    Yields `(rows, columns, x0, x1)`: slices into an (n, count) table, and the words that belong
    there. The buffers are used again for the next block, so the caller copies what it keeps.
    """
    if len(keys) * count <= FEW and isinstance(keys, np.ndarray):
        yield from _few_counters(keys, count)
        return
    height, width = max(1, BLOCK // max(1, count)), min(count, BLOCK)
    steps = xp.arange(width, dtype=np.uint32)
    buffers = xp.empty((3, min(height, len(keys)), width), np.uint32)
    for top in range(0, len(keys), height):
        rows = slice(top, min(top + height, len(keys)))
        key0, key1 = keys[rows, 0, None], keys[rows, 1, None]
        for start in range(0, count, width):
            columns = slice(start, min(start + width, count))
            x0, x1, scratch = buffers[:, : rows.stop - top, : columns.stop - start]
            x0[...] = np.uint32(start >> 32)  # blocks are aligned: none straddles 2**32
            x1[...] = steps[: columns.stop - start] + np.uint32(start & MASK)
            hash_in_place(xp, key0, key1, x0, x1, scratch)
            yield rows, columns, x0, x1


def _few_counters(keys, count):
    table = np.array(
        [[hash_integers(k0, k1, 0, i) for i in range(count)] for k0, k1 in keys.tolist()], np.uint32
    ).reshape(len(keys), count, 2)
    everything = slice(None)
    yield everything, everything, table[..., 0], table[..., 1]


def random_words(xp, keys, bit_width: int, shape: tuple[int, ...]):
    """Unsigned integers of `bit_width` bits, `shape` of them for each key of a u32[..., 2]."""
    count = math.prod(shape)
    flat = keys.reshape(-1, 2)
    out = xp.empty((len(flat), count), np.dtype(f"uint{bit_width}"))
    for rows, columns, x0, x1 in hash_counters(xp, flat, count):
        if bit_width == 64:
            xp.left_shift(x0.astype(np.uint64), np.uint64(32), out=out[rows, columns])
            out[rows, columns] |= x1
        elif bit_width == 32:
            xp.bitwise_xor(x0, x1, out=out[rows, columns])
        else:
            out[rows, columns] = x0 ^ x1  # the low bits
    return out.reshape(keys.shape[:-1] + shape)


def split_keys(xp, keys, shape: tuple[int, ...]):
    """`shape` new keys for each key of a u32[..., 2]."""
    count = math.prod(shape)
    flat = keys.reshape(-1, 2)
    out = xp.empty((len(flat), count, 2), np.uint32)
    for rows, columns, x0, x1 in hash_counters(xp, flat, count):
        out[rows, columns, 0], out[rows, columns, 1] = x0, x1
    return out.reshape((*keys.shape[:-1], *shape, 2))


def seed_keys(xp, seeds):
    """Keys u32[..., 2] from integers: the high and the low 32 bits (high zero for narrower
    types).
    """
    wide = seeds.astype(np.int64) if seeds.dtype.itemsize < 8 else seeds
    high = xp.right_shift(wide, wide.dtype.type(32)).astype(np.uint32)
    if seeds.dtype.itemsize < 8:
        high = xp.zeros_like(high)
    return xp.stack([high, wide.astype(np.uint32)], -1)


def fold_keys(xp, keys, data):
    """Keys u32[..., 2] from keys and u32 data, whose leading shapes agree or are (): the data is
    the counter.
    """
    words = hash_arrays(xp, keys[..., 0], keys[..., 1], xp.zeros_like(data), data)
    return xp.stack(words, -1)

"""Keys become the words they are: `key<fry>[...]` is `u32[..., 2]`, and what is random becomes the
hash of counters.

Operations that only move keys (index, reshape, select) move rows of words, by their rule for
batching.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import ConcreteArray, KeyArray
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.dtypes import is_key
from funcgrad.core.jaxpr import Eqn, Jaxpr, Var, memoised
from funcgrad.core.primitive import Construct, Primitive
from funcgrad.core.source import inherited
from funcgrad.core.stage import StagingTrace
from funcgrad.core.trace import Axis, running
from funcgrad.primitives.basis import (
    broadcast_in_dim,
    convert_element_type,
    full,
    moveaxis,
    reshape,
)
from funcgrad.primitives.bits import (
    random_bits_p,
    random_clone_p,
    random_fold_in_p,
    random_seed_p,
    random_split_p,
    random_unwrap_p,
    random_wrap_p,
    threefry2x32,
)
from funcgrad.primitives.logic import bitwise_or, bitwise_xor, shift_left, shift_right_logical
from funcgrad.primitives.random_gamma import random_gamma, random_gamma_p
from funcgrad.primitives.shape import concatenate, expand_dims, index_in_dim, iota

WORD = dtypes.uint32


def physical(aval: ShapedArray) -> ShapedArray:
    """The type of the buffer that holds values of type `aval`."""
    return ShapedArray((*aval.shape, aval.dtype.words), WORD) if is_key(aval.dtype) else aval


def physical_constant(x: Any) -> Any:
    """A constant as it lies in memory."""
    return ConcreteArray(x._buffer) if isinstance(x, KeyArray) else x


@memoised
def physical_keys(jaxpr: Jaxpr) -> Jaxpr:
    """The program on words instead of keys, inner programs included."""
    if not mentions_keys(jaxpr):
        return jaxpr
    trace = StagingTrace(None)
    held = [trace.input(physical(v.aval)) for v in jaxpr.inputs]
    env: dict[Var, Any] = dict(zip(jaxpr.inputs, held))
    token = inherited.set(None)
    try:
        with running(trace):
            for e in jaxpr.eqns:
                inherited.set(e.source)
                operands = [env[a] if type(a) is Var else a.value for a in e.args]  # type: ignore[union-attr]
                env.update(zip(e.outs, on_words(trace, e, operands), strict=True))
    finally:
        inherited.reset(token)
    outputs = [env[o] if type(o) is Var else o.value for o in jaxpr.outputs]  # type: ignore[union-attr]
    closed, _ = trace.close(held, outputs)
    # Constants that rules made stand first; the program's own follow.
    return Jaxpr(
        closed.inputs,
        closed.eqns,
        closed.outputs,
        [*closed.consts, *map(physical_constant, jaxpr.consts)],
    )


def mentions_keys(jaxpr: Jaxpr) -> bool:
    """Is any variable a key?"""
    return any(is_key(v.aval.dtype) for v in jaxpr.inputs) or any(
        is_key(v.aval.dtype) for e in jaxpr.eqns for v in e.outs
    )


def on_words(trace: StagingTrace, e: Eqn, operands: Sequence[Any]) -> Sequence[Any]:
    """Results of one equation, computed with words where it has keys."""
    dims = [a.aval.ndim if is_key(a.aval.dtype) else None for a in e.args]
    if e.primitive in RANDOM:
        return [RANDOM[e.primitive](*operands, **e.params)]
    if isinstance(e.primitive, Construct):
        return e.primitive.bind(
            *operands, **{k: _physical_programs(v) for k, v in e.params.items()}
        )
    if all(d is None for d in dims):
        out = trace.process(e.primitive, operands, e.params)
        return out if e.primitive.multiple_results else [out]
    axis = Axis(next(a.aval.dtype.words for a in e.args if is_key(a.aval.dtype)))
    out, out_dims = e.primitive.rule("batch", "compilation")(axis, operands, dims, **e.params)
    outs = zip(out, out_dims) if e.primitive.multiple_results else [(out, out_dims)]
    return [o if d is None else moveaxis(o, d, typeof(o).ndim - 1) for o, d in outs]


def _physical_programs(param: Any) -> Any:
    if isinstance(param, Jaxpr):
        return physical_keys(param)
    if type(param) is tuple and param and isinstance(param[0], Jaxpr):
        return tuple(map(physical_keys, param))
    return param


# ---- what is random
# ------------------------------------------------------------------------------------


def _word(keys: Any, i: int) -> Any:
    return index_in_dim(keys, i, axis=-1, keepdims=False)


def _stacked(high: Any, low: Any) -> Any:
    last = (typeof(high).ndim,)
    return concatenate([expand_dims(high, last), expand_dims(low, last)], last[0])


def _seed(seeds: Any, *, impl: str) -> Any:
    """The high and the low 32 bits; the high ones are zero for narrower types."""
    low = convert_element_type(seeds, WORD)
    if typeof(seeds).dtype.itemsize < 8:
        return _stacked(full(typeof(seeds).shape, 0, WORD), low)
    return _stacked(convert_element_type(shift_right_logical(seeds, 32), WORD), low)


def _counters(count: int) -> tuple[Any, Any]:
    """0, 1, ..., count - 1 as two words each."""
    if count <= 1 << 32:
        return WORD.type(0), iota(WORD, count)
    wide = iota(dtypes.uint64, count)
    return convert_element_type(shift_right_logical(wide, 32), WORD), convert_element_type(
        wide, WORD
    )


def _hashes(keys: Any, count: int) -> list[Any]:
    """The hash of `count` counters under each key: two arrays of shape (*keys, count)."""
    shape = (*typeof(keys).shape[:-1], count)
    rank = len(shape) - 1
    words = [_word(keys, 0), _word(keys, 1)]
    counters = list(_counters(count))
    if rank:
        words = [broadcast_in_dim(w, shape, range(rank)) for w in words]
        counters = [
            c if typeof(c).ndim == 0 else broadcast_in_dim(c, shape, (rank,)) for c in counters
        ]
    return threefry2x32(*words, *counters)


def _split(keys: Any, *, shape: Sequence[int]) -> Any:
    words = _stacked(*_hashes(keys, math.prod(shape)))
    return reshape(words, (*typeof(keys).shape[:-1], *shape, 2))


def _fold_in(keys: Any, data: Any) -> Any:
    return _stacked(*threefry2x32(_word(keys, 0), _word(keys, 1), WORD.type(0), data))


def _bits(keys: Any, *, bit_width: int, shape: Sequence[int]) -> Any:
    """The two words of each hash combined into one number of `bit_width` bits."""
    high, low = _hashes(keys, math.prod(shape))
    if bit_width == 64:
        high, low = (convert_element_type(w, dtypes.uint64) for w in (high, low))
        bits = bitwise_or(shift_left(high, 32), low)
    else:
        bits = convert_element_type(bitwise_xor(high, low), dtypes.as_dtype(f"uint{bit_width}"))
    return reshape(bits, (*typeof(keys).shape[:-1], *shape))


RANDOM: dict[Primitive, Callable[..., Any]] = {
    random_wrap_p: lambda words, *, impl: words,
    random_unwrap_p: lambda keys: keys,
    random_clone_p: lambda keys: keys,
    random_seed_p: _seed,
    random_split_p: _split,
    random_fold_in_p: _fold_in,
    random_bits_p: _bits,
    random_gamma_p: random_gamma,
}

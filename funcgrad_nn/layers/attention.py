"""Multi-head attention with PyTorch's parameters and masks, grouped queries and a cache.

Inside, sequences are (batch, heads, length, head size). The cache is a dictionary of arrays of
fixed size, so that a decoding step compiles once and runs in `scan`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.init import draw
from funcgrad_nn.layers.checks import positive
from funcgrad_nn.layers.dropout import Dropout
from funcgrad_nn.layers.linear import Linear
from funcgrad_nn.module import Module

Cache = dict[str, Any]


class Mask(NamedTuple):
    """What a query may see: `visible` is bool or None (all), `bias` is added to scores or None.

    Both broadcast against (batch, heads, queries, keys). `blind`: a query may see nothing at all.
    """

    visible: Any = None
    bias: Any = None
    blind: bool = False

    def and_(self, mask) -> Mask:
        """This mask and one of PyTorch's: bool, True where hidden, or added to the scores."""
        if mask.dtype != jnp.bool_:
            return self._replace(bias=mask if self.bias is None else self.bias + mask)
        return Mask(~mask if self.visible is None else self.visible & ~mask, self.bias, True)

    def with_more_keys(self, count: int) -> Mask:
        """This mask for `count` keys more, which all queries see."""
        if not count:
            return self
        return Mask(_widened(self.visible, count, True), _widened(self.bias, count, 0))


class MultiheadAttention(Module):
    """softmax(Q K' / sqrt(head size)) V in `num_heads` heads (Vaswani et al., 2017, section 3.2).

    As `torch.nn.MultiheadAttention`, with its parameters: `in_proj_weight` holds the rows of query,
    key and value above each other (three matrices where `kdim` or `vdim` differ), `out_proj` is a
    `Linear`. `dropout` is the share of attention weights dropped while training.

    `add_bias_kv` adds a learned key and value to each sequence, `add_zero_attn` ones of zeros;
    every query sees them, and they stand last in the weights. They do not go with a cache.

    Beyond PyTorch's: `num_kv_heads` heads of keys and values, each shared by as many neighbouring
    heads of queries (grouped-query attention, Ainslie et al., 2023; 1 is multi-query); `rotary`, a
    `RotaryPositions(head size)` that turns queries and keys; a `cache` for decoding.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> attention = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> params, state = attention.init(fg.random.key(0))
    >>> x = fg.numpy.ones((4, 5, 8))
    >>> (output, weights), _ = attention.apply(params, state, x, x, x, is_causal=True)
    >>> output.shape, weights.shape, weights[0, 1].tolist()
    ((4, 5, 8), (4, 5, 5), [0.5, 0.5, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        num_kv_heads: int | None = None,
        rotary: Module | None = None,
    ):
        self.embed_dim = positive("MultiheadAttention", "embed_dim", embed_dim)
        self.num_heads = positive("MultiheadAttention", "num_heads", num_heads)
        self.num_kv_heads = _key_heads(num_heads, num_kv_heads)
        self.head_size = _head_size(embed_dim, num_heads)
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.bias, self.batch_first = bias, batch_first
        self.add_bias_kv, self.add_zero_attn = add_bias_kv, add_zero_attn
        self.attention_dropout = Dropout(dropout)
        self.rotary = rotary
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias)

    def parameters(self, key) -> dict:
        q_key, k_key, v_key = fg.random.split(key, 3)
        queries, keys = self._sizes()
        if self._packed:
            rows = queries + 2 * keys
            entries = {"in_proj_weight": draw("glorot_uniform", q_key, (rows, self.embed_dim))}
        else:
            entries = {
                "q_proj_weight": draw("glorot_uniform", q_key, (queries, self.embed_dim)),
                "k_proj_weight": draw("glorot_uniform", k_key, (keys, self.kdim)),
                "v_proj_weight": draw("glorot_uniform", v_key, (keys, self.vdim)),
            }
        if self.bias:
            entries["in_proj_bias"] = jnp.zeros(queries + 2 * keys)
        if self.add_bias_kv:
            for name, own in zip(("bias_k", "bias_v"), fg.random.split(k_key), strict=True):
                entries[name] = draw("glorot_normal", own, (1, 1, keys))
        return entries

    def new_cache(self, batch: int, max_length: int, dtype=jnp.float32) -> Cache:
        """An empty cache for `batch` sequences of at most `max_length` vectors."""
        shape = (batch, self.num_kv_heads, max_length, self.head_size)
        return {
            "key": jnp.zeros(shape, dtype),
            "value": jnp.zeros(shape, dtype),
            "length": jnp.zeros((), jnp.int32),
        }

    def forward(
        self,
        query,
        key,
        value,
        key_padding_mask=None,
        need_weights: bool = True,
        attn_mask=None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        cache: Cache | None = None,
    ):
        """(output, weights), or (output, weights, cache) if a cache is given.

        query: (T, batch, embed_dim), key: (S, batch, kdim), value: (S, batch, vdim); with
        `batch_first` the first two axes swapped; or all without batch. Masks are PyTorch's:
        `key_padding_mask` (batch, S) and `attn_mask` (T, S) or (batch * num_heads, T, S) are bool,
        True where a key is **not** seen, or floats that are added to the scores. `is_causal`: query
        i sees keys 0 ... i only; it needs no mask. A query that sees nothing gets zeros (in PyTorch
        NaN).

        weights: (batch, T, S), the mean over heads, or with `average_attn_weights=False`
        (batch, num_heads, T, S), before dropout; None with `need_weights=False`.

        cache: from `new_cache` or the call before. `key` and `value` are then the new vectors only;
        queries see those of earlier calls, too, S in masks and weights counts `max_length` keys,
        and causal order goes on where the call before ended. More vectors than fit give NaN.
        """
        batched = query.ndim == 3
        start = 0 if cache is None else cache["length"]
        query, key, value = self._turned(self._heads(query, key, value), start)
        if cache is not None:
            self._require_no_added_keys()
            cache = _extended(cache, key, value)
            key, value = cache["key"], cache["value"]
        shape = (*query.shape[:3], key.shape[2])
        mask = self._mask(shape, attn_mask, key_padding_mask, is_causal, start, cache)
        key, value = self._with_added(key, value, ("bias_k", "bias_v"))
        mask = mask.with_more_keys(key.shape[2] - shape[3])
        output, weights = attend(query, key, value, mask, self.attention_dropout)
        if cache is not None:
            output = jnp.where(cache["length"] <= key.shape[2], output, jnp.nan)
        output = self._joined(output, batched)
        shown = _shown(weights, batched, average_attn_weights) if need_weights else None
        return (output, shown) if cache is None else (output, shown, cache)

    # -- from vectors to heads and back

    @property
    def _packed(self) -> bool:
        """Whether one matrix holds the projections of query, key and value."""
        return self.kdim == self.vdim == self.embed_dim

    def _sizes(self) -> tuple[int, int]:
        """Rows of the projections of queries, and of keys and of values."""
        return self.embed_dim, self.num_kv_heads * self.head_size

    def _heads(self, query, key, value) -> tuple:
        """The three inputs, projected: (batch, heads, length, head size) each."""
        self._check(query, key, value)
        shared = query is key and key is value and self._packed
        if query.ndim == 2:
            query, key, value = query[None], key[None], value[None]
        elif not self.batch_first:
            query, key, value = (jnp.swapaxes(x, 0, 1) for x in (query, key, value))
        queries, keys = self._sizes()
        cuts = [queries, queries + keys]
        if shared:
            projected = jnp.split(self._biased(query @ self.p.in_proj_weight.T), cuts, axis=-1)
        else:
            biases = jnp.split(self.p.in_proj_bias, cuts) if self.bias else (0, 0, 0)
            weights = self._weights(cuts)
            parts = zip((query, key, value), weights, biases, strict=True)
            projected = [x @ w.T + b if self.bias else x @ w.T for x, w, b in parts]
        return tuple(self._split(x) for x in projected)

    def _biased(self, x):
        return x + self.p.in_proj_bias if self.bias else x

    def _weights(self, cuts: list[int]):
        if self._packed:
            return jnp.split(self.p.in_proj_weight, cuts)
        return self.p.q_proj_weight, self.p.k_proj_weight, self.p.v_proj_weight

    def _split(self, x):
        batch, length, size = x.shape
        heads = size // self.head_size
        return x.reshape(batch, length, heads, self.head_size).transpose(0, 2, 1, 3)

    def _joined(self, output, batched: bool):
        batch, _, length, _ = output.shape
        output = self.out_proj(output.transpose(0, 2, 1, 3).reshape(batch, length, self.embed_dim))
        if not batched:
            return output[0]
        return output if self.batch_first else jnp.swapaxes(output, 0, 1)

    def _turned(self, heads: tuple, start) -> tuple:
        if self.rotary is None:
            return heads
        query, key, value = heads
        return self.rotary(query, start), self.rotary(key, start), value

    def _with_added(self, key, value, names: tuple[str, str]):
        """Keys and values with those behind them that belong to no vector of the sequence."""
        added = []
        for x, name in zip((key, value), names, strict=True):
            rows = [self.p[name].astype(x.dtype)] if self.add_bias_kv else []
            rows += [jnp.zeros((1, 1, x.shape[1] * x.shape[3]), x.dtype)] * self.add_zero_attn
            rows = [
                jnp.broadcast_to(self._split(row), (*x.shape[:2], 1, x.shape[3])) for row in rows
            ]
            added.append(jnp.concatenate([x, *rows], axis=2) if rows else x)
        return added

    def _require_no_added_keys(self) -> None:
        if self.add_bias_kv or self.add_zero_attn:
            raise ValueError(
                "MultiheadAttention: add_bias_kv and add_zero_attn do not go with a cache."
            )

    def _check(self, query, key, value) -> None:
        for name, x, size in (
            ("query", query, self.embed_dim),
            ("key", key, self.kdim),
            ("value", value, self.vdim),
        ):
            if x.ndim not in (2, 3) or x.ndim != query.ndim or x.shape[-1] != size:
                order = "(batch, length" if self.batch_first else "(length, batch"
                raise ValueError(
                    f"MultiheadAttention: {name} must have shape {order}, {size}), or "
                    f"(length, {size}) if all are without batch, but has {tuple(x.shape)}."
                )
        if key.shape[:-1] != value.shape[:-1]:
            raise ValueError(
                "MultiheadAttention: key and value must have equal lengths and batches, but have "
                f"shapes {tuple(key.shape)} and {tuple(value.shape)}."
            )

    # -- what is seen

    def _mask(self, shape, attn_mask, key_padding_mask, is_causal, start, cache) -> Mask:
        """All that hides keys, for scores of `shape`."""
        batch, heads, queries, keys = shape
        seen = Mask()
        if is_causal:
            seen = Mask(jnp.arange(queries)[:, None] + start >= jnp.arange(keys))
        elif cache is not None:
            seen = Mask(jnp.arange(keys) < cache["length"])
        if attn_mask is not None:
            shapes = [(queries, keys), (batch * heads, queries, keys)]
            mask = _checked_mask("attn_mask", attn_mask, shapes)
            seen = seen.and_(mask if mask.ndim == 2 else mask.reshape(shape))
        if key_padding_mask is not None:
            shapes = [(batch, keys)] + [(keys,)] * (batch == 1)
            mask = _checked_mask("key_padding_mask", key_padding_mask, shapes)
            seen = seen.and_(mask.reshape(batch, 1, 1, keys))
        return seen


def attend(query, key, value, mask: Mask, drop: Callable) -> tuple[Any, Any]:
    """Outputs (batch, heads, T, size) and weights (batch, heads, T, S) of attention.

    query: (batch, heads, T, size); key and value: (batch, key heads, S, size), where neighbouring
    heads of queries share one. `drop` is applied to the weights. Heads that share keys stand above
    each other as rows of one product, so that nothing is repeated. Scores and weights are computed
    in float32 at least.
    """
    batch, heads, length, size = query.shape
    shared = key.shape[1]
    rows = (batch, shared, heads // shared * length, size)
    query = (query * (1 / math.sqrt(size))).reshape(rows)
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.matmul(query, jnp.swapaxes(key, 2, 3), preferred_element_type=wide)
    scores = scores.reshape(batch, heads, length, key.shape[2])
    if mask.bias is not None:
        scores = scores + mask.bias.astype(scores.dtype)
    weights = _softmax(scores, mask)
    output = drop(weights).astype(value.dtype).reshape(*rows[:3], key.shape[2]) @ value
    return output.reshape(batch, heads, length, size), weights


def _shown(weights, batched: bool, average: bool):
    """Weights as they are returned: over heads averaged or not, without an added batch axis."""
    weights = weights.mean(axis=1) if average else weights
    return weights if batched else weights[0]


def _softmax(scores, mask: Mask):
    """Softmax over what is visible; zeros, not NaN, where nothing is."""
    if mask.visible is None:
        return fg.nn.softmax(scores, axis=-1)
    lowest = float(jnp.finfo(scores.dtype).min)
    weights = fg.nn.softmax(jnp.where(mask.visible, scores, lowest), axis=-1)
    return jnp.where(mask.visible, weights, 0) if mask.blind else weights


def _extended(cache: Cache, key, value) -> Cache:
    """The cache with new keys and values behind the old ones."""
    length = cache["length"]
    if cache["key"].shape[:2] != key.shape[:2]:
        raise ValueError(
            f"MultiheadAttention: the cache is for {cache['key'].shape[0]} sequences of "
            f"{cache['key'].shape[1]} heads, but got {key.shape[0]} of {key.shape[1]}."
        )

    def written(old, new):
        return fg.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), length, axis=2)

    return {
        "key": written(cache["key"], key),
        "value": written(cache["value"], value),
        "length": length + key.shape[2],
    }


def _widened(mask, count: int, value):
    """A mask with `count` columns of `value` more."""
    if mask is None:
        return None
    return jnp.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, count)], constant_values=value)


def _checked_mask(name: str, mask, shapes: list[tuple[int, ...]]):
    mask = jnp.asarray(mask)
    if mask.shape not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise ValueError(
            f"MultiheadAttention: {name} must have shape {wanted}, but has {tuple(mask.shape)}."
        )
    if mask.dtype != jnp.bool_ and not jnp.issubdtype(mask.dtype, jnp.floating):
        raise TypeError(
            f"MultiheadAttention: {name} must be bool, True where a key is not seen, or floats "
            f"that are added to the scores, but got {mask.dtype}."
        )
    return mask


def _head_size(embed_dim: int, num_heads: int) -> int:
    if embed_dim % num_heads:
        raise ValueError(
            "MultiheadAttention: embed_dim must be a multiple of num_heads, but got "
            f"{embed_dim} and {num_heads}."
        )
    return embed_dim // num_heads


def _key_heads(num_heads: int, num_kv_heads: int | None) -> int:
    if num_kv_heads is None:
        return num_heads
    if num_heads % positive("MultiheadAttention", "num_kv_heads", num_kv_heads):
        raise ValueError(
            "MultiheadAttention: num_heads must be a multiple of num_kv_heads, but got "
            f"{num_heads} and {num_kv_heads}."
        )
    return num_kv_heads

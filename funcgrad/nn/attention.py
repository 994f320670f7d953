"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

from funcgrad import numpy as jnp
from funcgrad.core import dtypes
from funcgrad.nn.functions import logsumexp, softmax


def _check(name: str, x: Any, expected: tuple, dtype: Any) -> None:
    """`expected` has None for sizes that are free."""
    if x is None:
        return
    if x.ndim != len(expected) or any(
        want not in (None, got) for want, got in zip(expected, x.shape, strict=True)
    ):
        wanted = tuple("*" if n is None else n for n in expected)
        raise ValueError(
            f"dot_product_attention: {name} must have shape {wanted}, but got {x.shape}."
        )
    if dtype is not None and x.dtype != dtype:
        raise ValueError(
            f"dot_product_attention: {name} must be {dtype}, but got {x.dtype}. Convert it with "
            "astype."
        )


def _rank_4(x: Any) -> Any:
    if x is None:
        return None
    x = jnp.asarray(x)
    return x.reshape((1,) * (4 - x.ndim) + x.shape) if x.ndim < 4 else x


def _grouped(x: Any, groups: int) -> Any:
    """(batch, heads or 1, T, S) with the heads split into those of key and value, and those that
    share one.
    """
    return (
        None
        if x is None
        else (x[:, None] if x.shape[1] == 1 else x.reshape(x.shape[0], -1, groups, *x.shape[2:]))
    )


def _positions(queries: int, keys: int) -> tuple[Any, Any]:
    return jnp.arange(queries)[:, None], jnp.arange(keys)[None, :]


def _visible(
    shape: tuple, mask: Any, is_causal: bool, window: Any, query_lengths: Any, key_lengths: Any
) -> Any:
    """Which keys each query sees, broadcastable to (batch, heads, groups, T, S); None if all."""
    query, key = _positions(*shape[-2:])
    conditions = [] if mask is None else [mask]
    if is_causal:
        conditions.append(query >= key)
    if window is not None:
        left, right = (window, window) if isinstance(window, int) else window
        conditions.append((query <= key + left) & (query >= key - right))
    if query_lengths is not None:
        conditions.append(query < query_lengths[:, None, None, None, None])
    if key_lengths is not None:
        conditions.append(key < key_lengths[:, None, None, None, None])
    visible = None
    for condition in conditions:
        visible = condition if visible is None else visible & condition
    return visible


def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    query_seq_lengths: Any = None,
    key_value_seq_lengths: Any = None,
    local_window_size: int | tuple[int, int] | None = None,
    return_residual: bool = False,
) -> Any:
    """softmax(scale * query key' + bias) value, for each batch and head.

    Args:
        query: (batch, T, heads, d), or without batch.
        key, value: (batch, S, h, d), where h divides the number of heads of the query: each is
        shared by as many
            neighbouring heads (grouped and multi-query attention).
        bias: added to the logits; broadcasts against (batch, heads, T, S).
        mask: bool, likewise; True where a query sees a key.
        scale: 1 / sqrt(d) if None.
        is_causal: query i sees keys 0, ..., i only.
        query_seq_lengths, key_value_seq_lengths: int32 (batch,); what lies beyond is not seen, and
        results for
            queries beyond are 0.
        local_window_size: how far to the left and right of its own position a query sees.
        return_residual: return also the logarithm of the softmax's denominator, (batch, T, heads).

    Returns an array of the query's shape and dtype; logits and softmax are computed in at least
    float32.
    """
    shape = jnp.asarray(query).shape
    query, key, value, bias, mask = map(_rank_4, (query, key, value, bias, mask))
    batch, keys, heads, size = key.shape
    _check("value", value, (batch, keys, heads, size), key.dtype)
    _check("query", query, (batch, None, None, size), key.dtype)
    _check("mask", mask, (None,) * 4, dtypes.bool_)
    _check("bias", bias, (None,) * 4, None)
    query_lengths, key_lengths = _lengths(
        batch, query_seq_lengths=query_seq_lengths, key_value_seq_lengths=key_value_seq_lengths
    )
    if query.shape[2] % heads:
        raise ValueError(
            "dot_product_attention: the number of query heads must be a multiple of that of keys, "
            f"but got {query.shape[2]} and {heads}."
        )
    groups = query.shape[2] // heads
    query = query.reshape(batch, query.shape[1], heads, groups, size)
    logits = _logits(
        query, key, _grouped(bias, groups), 1 / math.sqrt(size) if scale is None else scale
    )
    visible = _visible(
        logits.shape,
        _grouped(mask, groups),
        is_causal,
        local_window_size,
        query_lengths,
        key_lengths,
    )
    if visible is not None:
        logits = jnp.where(visible, logits, _large_negative(logits.dtype))
    weights = softmax(logits.astype(jnp.float32)).astype(key.dtype)
    result = jnp.einsum("bkgts,bskd->btkgd", weights, value)
    if query_lengths is not None:
        result = jnp.where(
            _positions(query.shape[1], 1)[0][:, :, None, None]
            < query_lengths[:, None, None, None, None],
            result,
            0,
        )
    return (
        (result.reshape(shape), _residual(logits, shape, key.dtype))
        if return_residual
        else result.reshape(shape)
    )


def _lengths(batch: int, **lengths: Any) -> list:
    arrays = [None if given is None else jnp.asarray(given) for given in lengths.values()]
    for name, given in zip(lengths, arrays, strict=True):
        _check(name, given, (batch,), dtypes.int32)
    return arrays


def _logits(query: Any, key: Any, bias: Any, scale: Any) -> Any:
    """Of shape (batch, key heads, query heads that share one, T, S)."""
    dtype = jnp.promote_types(query.dtype, dtypes.float32)
    logits = jnp.einsum("btkgd,bskd->bkgts", query, key, preferred_element_type=dtype)
    logits = logits * jnp.asarray(scale, dtype=dtype)
    return logits if bias is None else (logits + bias).astype(dtype)


def _large_negative(dtype: Any) -> Any:
    """Below any logit, yet finite, so that a query that sees nothing gets equal weights instead
    of NaN.
    """
    return jnp.asarray(-0.7 * float(jnp.finfo(dtypes.float32).max), dtype=dtype)


def _residual(logits: Any, shape: tuple, dtype: Any) -> Any:
    residual = logsumexp(logits.astype(jnp.float32), axis=-1).astype(
        dtype
    )  # (batch, key heads, groups, T)
    return jnp.moveaxis(residual, -1, 1).reshape(shape[:-1])

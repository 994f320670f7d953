"""Encoder and decoder of the transformer (Vaswani et al., 2017), layer by layer as in PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.layers.attention import Cache, MultiheadAttention
from funcgrad_nn.layers.checks import positive
from funcgrad_nn.layers.dropout import Dropout
from funcgrad_nn.layers.linear import Linear
from funcgrad_nn.layers.norm import LayerNorm
from funcgrad_nn.layout import layout_of
from funcgrad_nn.module import Module

Activation = str | Callable[[Any], Any]
MOST_MODULES = 10_000  # in one stack: a description from a file must not fill the memory


class TransformerLayer(Module):
    """Abstract: what the layers of encoder and decoder have in common, in PyTorch's order."""

    attends_to_memory = False

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        num_kv_heads: int | None = None,
        rotary: Module | None = None,
    ):
        options: dict[str, Any] = {"batch_first": batch_first, "num_kv_heads": num_kv_heads}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, rotary=rotary, **options)
        if self.attends_to_memory:
            self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, **options)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias)
        parts = range(1, 4 if self.attends_to_memory else 3)
        for part in parts:
            setattr(self, f"norm{part}", LayerNorm(d_model, eps=layer_norm_eps, bias=bias))
        for part in parts:
            setattr(self, f"dropout{part}", Dropout(dropout))
        self.activation, self.norm_first = _function(self, activation), norm_first

    def new_cache(self, batch: int, max_length: int, dtype=jnp.float32) -> Cache:
        """An empty cache of the self-attention; see `MultiheadAttention.new_cache`."""
        return self.self_attn.new_cache(batch, max_length, dtype)


class TransformerEncoderLayer(TransformerLayer):
    """Self-attention and a feed-forward network, each added to its input and normalised.

    As `torch.nn.TransformerEncoderLayer`, with its parameters' names. `norm_first=True` normalises
    before each part instead of after it. `activation` is a function, or the name of one of
    `funcgrad.nn`; "gelu" is the exact one, as in PyTorch. Inputs are (length, batch, d_model), with
    `batch_first` (batch, length, d_model). `num_kv_heads` and `rotary` are handed to
    `MultiheadAttention`. With `is_causal=True` in each call it is a layer of a GPT.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, fg.numpy.ones((4, 5, 8)), is_causal=True)[0].shape
    (4, 5, 8)
    """

    def forward(
        self,
        src,
        src_mask=None,
        src_key_padding_mask=None,
        is_causal: bool = False,
        *,
        cache: Cache | None = None,
    ):
        """The output, of src's shape; (output, cache) if a cache is given.

        The masks are those of `MultiheadAttention`.
        """
        holder = [cache]

        def attention(x):
            options = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask}
            return _self_attention(self, x, options, is_causal, holder)

        x = _added(self, src, self.norm1, lambda x: self.dropout1(attention(x)))
        x = _added(self, x, self.norm2, lambda x: self.dropout2(_feed_forward(self, x)))
        return x if cache is None else (x, holder[0])


class TransformerDecoderLayer(TransformerLayer):
    """Self-attention, attention to an encoder's output, and a feed-forward network.

    As `torch.nn.TransformerDecoderLayer`; the options are those of `TransformerEncoderLayer`, and
    `rotary` is for the self-attention.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    >>> params, state = layer.init(fg.random.key(0))
    >>> target, memory = fg.numpy.ones((4, 5, 8)), fg.numpy.ones((4, 7, 8))
    >>> layer.apply(params, state, target, memory, tgt_is_causal=True)[0].shape
    (4, 5, 8)
    """

    attends_to_memory = True

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
        *,
        cache: Cache | None = None,
    ):
        """The output, of tgt's shape; (output, cache) if a cache is given."""
        holder = [cache]

        def attention(x):
            options = {"attn_mask": tgt_mask, "key_padding_mask": tgt_key_padding_mask}
            return _self_attention(self, x, options, tgt_is_causal, holder)

        def attention_to_memory(x):
            return self.multihead_attn(
                x,
                memory,
                memory,
                attn_mask=memory_mask,
                key_padding_mask=memory_key_padding_mask,
                is_causal=memory_is_causal,
                need_weights=False,
            )[0]

        x = _added(self, tgt, self.norm1, lambda x: self.dropout1(attention(x)))
        x = _added(self, x, self.norm2, lambda x: self.dropout2(attention_to_memory(x)))
        x = _added(self, x, self.norm3, lambda x: self.dropout3(_feed_forward(self, x)))
        return x if cache is None else (x, holder[0])


class TransformerEncoder(Module):
    """`num_layers` layers like `encoder_layer`, each with parameters of its own, then `norm`.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> layer = nn.TransformerEncoderLayer(8, 2, 16)
    >>> encoder = nn.TransformerEncoder(layer, 3, norm=nn.LayerNorm(8))
    >>> params, state = encoder.init(fg.random.key(0))
    >>> sorted(params), sorted(params["layers"])
    (['layers', 'norm'], ['0', '1', '2'])
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None):
        self.layers = _copies(self, encoder_layer, num_layers)
        self.norm = norm

    def new_cache(self, batch: int, max_length: int, dtype=jnp.float32) -> list[Cache]:
        """An empty cache for each layer."""
        return [layer.new_cache(batch, max_length, dtype) for layer in self.layers]

    def forward(
        self,
        src,
        mask=None,
        src_key_padding_mask=None,
        is_causal: bool = False,
        *,
        cache: Sequence[Cache] | None = None,
    ):
        """The output, of src's shape; (output, cache) if a cache is given."""
        options = {"is_causal": is_causal}
        x, after = _through(self.layers, src, (mask, src_key_padding_mask), options, cache)
        x = x if self.norm is None else self.norm(x)
        return x if cache is None else (x, after)


class TransformerDecoder(Module):
    """`num_layers` layers like `decoder_layer`, each with parameters of its own, then `norm`.

    tgt: (T, batch, d_model), memory: (S, batch, d_model) -> (T, batch, d_model); with `batch_first`
    in the layer, batch comes first.

    >>> layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    >>> model = nn.TransformerDecoder(layer, 2)
    >>> params, state = model.init(fg.random.key(0))
    >>> inputs = jnp.ones((2, 5, 8)), jnp.ones((2, 7, 8))
    >>> model.apply(params, state, *inputs, tgt_is_causal=True)[0].shape
    (2, 5, 8)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None):
        self.layers = _copies(self, decoder_layer, num_layers)
        self.norm = norm

    def new_cache(self, batch: int, max_length: int, dtype=jnp.float32) -> list[Cache]:
        """An empty cache for each layer."""
        return [layer.new_cache(batch, max_length, dtype) for layer in self.layers]

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
        *,
        cache: Sequence[Cache] | None = None,
    ):
        """The output, of tgt's shape; (output, cache) if a cache is given."""
        masks = tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask
        options = {"tgt_is_causal": tgt_is_causal, "memory_is_causal": memory_is_causal}
        x, after = _through(self.layers, tgt, (memory, *masks), options, cache)
        x = x if self.norm is None else self.norm(x)
        return x if cache is None else (x, after)


class Transformer(Module):
    """An encoder and a decoder that attends to its output, as `torch.nn.Transformer`.

    The options are those of the layers; both stacks end with a `LayerNorm`.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    >>> params, state = model.init(fg.random.key(0))
    >>> source, target = fg.numpy.ones((4, 7, 8)), fg.numpy.ones((4, 5, 8))
    >>> model.apply(params, state, source, target, tgt_is_causal=True)[0].shape
    (4, 5, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        *,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ):
        shared = (d_model, nhead, dim_feedforward, dropout, activation)
        options = (layer_norm_eps, batch_first, norm_first, bias)
        first, second = (
            layer(*shared, *options) for layer in (TransformerEncoderLayer, TransformerDecoderLayer)
        )
        norms = (LayerNorm(d_model, eps=layer_norm_eps, bias=bias) for _ in range(2))
        self.encoder = TransformerEncoder(first, num_encoder_layers, next(norms))
        self.decoder = TransformerDecoder(second, num_decoder_layers, next(norms))

    def forward(
        self,
        src,
        tgt,
        src_mask=None,
        tgt_mask=None,
        memory_mask=None,
        src_key_padding_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        src_is_causal: bool = False,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ):
        """The decoder's output, of tgt's shape; src and tgt may differ in length."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        paddings = tgt_key_padding_mask, memory_key_padding_mask
        causal = tgt_is_causal, memory_is_causal
        return self.decoder(tgt, memory, tgt_mask, memory_mask, *paddings, *causal)


# -- the parts of both layers ----------------------------------------------------------------------


def _added(layer: Any, x, norm: Callable, part: Callable):
    """x + part(x), normalised after it or, in a `norm_first` layer, before the part."""
    return x + part(norm(x)) if layer.norm_first else norm(x + part(x))


def _self_attention(layer: Any, x, masks: dict, is_causal: bool, holder: list):
    """Attention of x to itself; the cache in `holder`, if there is one, moves on."""
    options = {**masks, "is_causal": is_causal, "need_weights": False}
    if holder[0] is None:
        return layer.self_attn(x, x, x, **options)[0]
    output, _, holder[0] = layer.self_attn(x, x, x, **options, cache=holder[0])
    return output


def _feed_forward(layer: Any, x):
    return layer.linear2(layer.dropout(layer.activation(layer.linear1(x))))


def _function(layer: Module, activation: Activation) -> Callable:
    if activation == "gelu":
        return exact_gelu
    function = getattr(fg.nn, activation, None) if isinstance(activation, str) else activation
    if not callable(function):
        raise ValueError(
            f"{type(layer).__name__}: activation must be a function or the name of one in "
            f"funcgrad.nn, such as 'relu', but got {activation!r}."
        )
    return function


def exact_gelu(x):
    """x * Phi(x), which PyTorch's layers mean by "gelu"; JAX's default is the form with tanh."""
    return fg.nn.gelu(x, approximate=False)


def _copies(stack: Module, layer: Module, count: int) -> list[Module]:
    """Equal descriptions that are different modules, so that each has parameters of its own."""
    if not isinstance(layer, Module):
        raise TypeError(
            f"{type(stack).__name__}: needs a layer to copy, but got {type(layer).__name__}."
        )
    positive(type(stack).__name__, "num_layers", count)
    if count * len(layout_of(layer)) > MOST_MODULES:
        raise ValueError(
            f"{type(stack).__name__}: num_layers={count} layers like this one are more than "
            f"{MOST_MODULES} modules."
        )
    return [copy.deepcopy(layer) for _ in range(count)]


def _through(layers, x, inputs: tuple, options: dict, cache: Sequence[Cache] | None):
    """x after all layers, and the caches after them."""
    if cache is None:
        for layer in layers:
            x = layer(x, *inputs, **options)
        return x, None
    after = []
    for layer, own in zip(layers, cache, strict=True):
        x, own = layer(x, *inputs, **options, cache=own)
        after.append(own)
    return x, after

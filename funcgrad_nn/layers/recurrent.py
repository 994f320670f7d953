"""Recurrent networks: the cells of Elman (1990), LSTM and GRU, and layers of them over `scan`.

Parameters have PyTorch's names and shapes. The products with the inputs are one matrix product for
all steps; only what depends on the step before is inside the loop.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.layers.checks import positive
from funcgrad_nn.layers.dropout import Dropout
from funcgrad_nn.module import Module

NONLINEARITIES = {"tanh": jnp.tanh, "relu": fg.nn.relu}


class Weights(NamedTuple):
    """What one step needs of the parameters: the matrices transposed, and a bias, if there is."""

    hidden: Any
    bias: Any = None
    projection: Any = None

    def of(self, h):
        """What the gates get from h."""
        product = h @ self.hidden
        return product if self.bias is None else product + self.bias


# -- one step: (gates from the input, state before, weights) -> state after ------------------------


def rnn_step(gates, state: tuple, weights: Weights, nonlinearity: str = "tanh") -> tuple:
    """h' = f(x W_ih' + h W_hh' + b) (Elman, 1990)."""
    (h,) = state
    return (NONLINEARITIES[nonlinearity](gates + weights.of(h)),)


def lstm_step(gates, state: tuple, weights: Weights) -> tuple:
    """c' = f c + i g and h' = o tanh(c') (Hochreiter and Schmidhuber, 1997; Gers et al., 2000)."""
    h, c = state
    i, f, g, o = jnp.split(gates + weights.of(h), 4, axis=-1)
    c = fg.nn.sigmoid(f) * c + fg.nn.sigmoid(i) * jnp.tanh(g)
    h = fg.nn.sigmoid(o) * jnp.tanh(c)
    return (h if weights.projection is None else h @ weights.projection), c


def gru_step(gates, state: tuple, weights: Weights) -> tuple:
    """h' = (1 - z) n + z h, where n sees h through the gate r (Cho et al., 2014)."""
    (h,) = state
    r_x, z_x, n_x = jnp.split(gates, 3, axis=-1)
    r_h, z_h, n_h = jnp.split(weights.of(h), 3, axis=-1)
    r, z = fg.nn.sigmoid(r_x + r_h), fg.nn.sigmoid(z_x + z_h)
    n = jnp.tanh(n_x + r * n_h)
    return ((1 - z) * n + z * h,)


# -- cells -----------------------------------------------------------------------------------------


class Cell(Module):
    """One step of a recurrent network; the base of `RNNCell`, `LSTMCell` and `GRUCell`."""

    gates = 1
    states = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True):
        name = type(self).__name__
        self.input_size = positive(name, "input_size", input_size)
        self.hidden_size = positive(name, "hidden_size", hidden_size)
        self.bias = bias

    def parameters(self, key) -> dict:
        shapes = _shapes(self.gates, self.input_size, self.hidden_size, self.bias)
        return _drawn(key, shapes, self.hidden_size)

    def forward(self, x, state=None):
        _require_last(self, x, self.input_size)
        dtype = jnp.result_type(x.dtype, self.p.weight_hh.dtype)
        zeros = jnp.zeros((*x.shape[:-1], self.hidden_size), dtype)
        before = (zeros,) * self.states if state is None else _as_tuple(state)
        gates = x @ self.p.weight_ih.T
        gates = gates + self.p.bias_ih if self.bias else gates
        weights = Weights(self.p.weight_hh.T, self.p.bias_hh if self.bias else None)
        after = self.step(gates, before, weights)
        return after if self.states > 1 else after[0]

    def step(self, gates, state: tuple, weights: Weights) -> tuple:
        """The state after this step."""
        raise TypeError(f"{type(self).__name__} has no step: use RNNCell, LSTMCell or GRUCell.")


class RNNCell(Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh): x (..., input_size) -> h' (..., hidden_size).

    `nonlinearity` is "tanh" or "relu". Without h the state starts as zeros. Weights are drawn
    uniformly within 1 / sqrt(hidden_size), as in PyTorch.

    >>> cell = nn.RNNCell(3, 4)
    >>> params, state = cell.init(fg.random.key(0))
    >>> h, _ = cell.apply(params, state, jnp.ones((2, 3)))
    >>> cell.apply(params, state, jnp.ones((2, 3)), h)[0].shape
    (2, 4)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ):
        Cell.__init__(self, input_size, hidden_size, bias)
        self.nonlinearity = _known_nonlinearity("RNNCell", nonlinearity)

    def step(self, gates, state: tuple, weights: Weights) -> tuple:
        return rnn_step(gates, state, weights, self.nonlinearity)


class LSTMCell(Cell):
    """One step of an LSTM: x (..., input_size), (h, c) -> (h', c'), each (..., hidden_size).

    The gates' rows are input, forget, cell, output, as in PyTorch.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> cell = nn.LSTMCell(3, 4)
    >>> params, state = cell.init(fg.random.key(0))
    >>> (h, c), _ = cell.apply(params, state, fg.numpy.ones((2, 3)))
    >>> (h, c), _ = cell.apply(params, state, fg.numpy.ones((2, 3)), (h, c))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    gates = 4
    states = 2

    def step(self, gates, state: tuple, weights: Weights) -> tuple:
        return lstm_step(gates, state, weights)


class GRUCell(Cell):
    """One step of a GRU: x (..., input_size), h -> h' (..., hidden_size).

    The gates' rows are reset, update, new, as in PyTorch (Cho et al., 2014).

    >>> cell = nn.GRUCell(3, 4)
    >>> params, state = cell.init(fg.random.key(0))
    >>> h, _ = cell.apply(params, state, jnp.ones((2, 3)))
    >>> cell.apply(params, state, jnp.ones((2, 3)), h)[0].shape
    (2, 4)
    """

    gates = 3

    def step(self, gates, state: tuple, weights: Weights) -> tuple:
        return gru_step(gates, state, weights)


# -- layers ----------------------------------------------------------------------------------------


class Recurrent(Module):
    """Layers of one kind of cell over sequences; the base of `RNN`, `LSTM` and `GRU`.

    forward(x, state=None, *, lengths=None) -> (output, state after the last step)

    x: (length, batch, input_size), with `batch_first` (batch, length, input_size), or without
    batch. output: the last layer's h at each step, (..., directions * hidden_size). A state (h, and
    in an LSTM the pair of h and c) is (num_layers * directions, batch, hidden_size), and starts as
    zeros. `lengths`, integers (batch,), says how many steps of each sequence count: behind them the
    output is 0, the state stays, and the reverse direction begins there, as with PyTorch's packed
    sequences. `dropout` acts between layers while training; `bidirectional` runs a second set of
    weights from the end and puts its outputs beside the first.
    """

    gates = 1
    states = 1
    adds_gates = True  # whether input and state meet in nothing but a sum

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ):
        name = type(self).__name__
        self.input_size = positive(name, "input_size", input_size)
        self.hidden_size = positive(name, "hidden_size", hidden_size)
        self.num_layers = positive(name, "num_layers", num_layers)
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.between = Dropout(dropout)

    @property
    def output_size(self) -> int:
        """The size of h in one direction."""
        return self.hidden_size

    def parameters(self, key) -> dict:
        shapes = {}
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.output_size * (1 + self.bidirectional)
            for suffix in self._suffixes(layer):
                own = _shapes(self.gates, width, self.hidden_size, self.bias, self.output_size)
                shapes.update({f"{name}_{suffix}": shape for name, shape in own.items()})
        return _drawn(key, shapes, self.hidden_size)

    def forward(self, x, state=None, *, lengths=None):
        _require_last(self, x, self.input_size, ranks=(2, 3))
        x, batched = self._by_time(x), x.ndim == 3
        before = self._start(x, state, batched)
        valid = None if lengths is None else _valid(self, x, lengths)
        after: list[tuple] = []
        for layer in range(self.num_layers):
            x = self.between(x) if layer else x
            outputs = []
            for suffix in self._suffixes(layer):
                own = tuple(part[len(after)] for part in before)
                output, own = self._scan(x, own, suffix, valid)
                outputs.append(output)
                after.append(own)
            x = jnp.concatenate(outputs, axis=-1) if self.bidirectional else outputs[0]
        last = tuple(jnp.stack(parts) for parts in zip(*after, strict=True))
        return self._as_given(x, last, batched)

    def step(self, gates, state: tuple, weights: Weights) -> tuple:
        """The state after one step."""
        raise TypeError(f"{type(self).__name__} has no step: use RNN, LSTM or GRU.")

    def _suffixes(self, layer: int) -> list[str]:
        return [f"l{layer}"] + [f"l{layer}_reverse"] * self.bidirectional

    def _scan(self, x, state: tuple, suffix: str, valid) -> tuple[Any, tuple]:
        """One direction of one layer: outputs (length, batch, size) and the state after it."""
        gates = x @ self.p[f"weight_ih_{suffix}"].T
        weights = self._step_weights(suffix)
        if self.bias:
            gates = gates + self.p[f"bias_ih_{suffix}"]
        if self.bias and self.adds_gates:  # one addition for all steps instead of one for each
            gates, weights = gates + weights.bias, weights._replace(bias=None)

        def body(state, inputs):
            gates, valid = inputs
            after = self.step(gates, state, weights)
            if valid is None:
                return after, after[0]
            held = tuple(jnp.where(valid, new, old) for new, old in zip(after, state, strict=True))
            return held, jnp.where(valid, after[0], 0)

        state, outputs = fg.lax.scan(body, state, (gates, valid), reverse="reverse" in suffix)
        return outputs, state

    def _step_weights(self, suffix: str) -> Weights:
        projection = f"weight_hr_{suffix}"
        return Weights(
            self.p[f"weight_hh_{suffix}"].T,
            self.p[f"bias_hh_{suffix}"] if self.bias else None,
            self.p[projection].T if projection in self.p else None,
        )

    def _by_time(self, x):
        """x as (length, batch, features)."""
        if x.ndim == 2:
            return x[:, None]
        return jnp.swapaxes(x, 0, 1) if self.batch_first else x

    def _start(self, x, state, batched: bool) -> tuple:
        count = self.num_layers * (1 + self.bidirectional)
        sizes = (self.output_size, self.hidden_size)[: self.states]
        shapes = [(count, x.shape[1], size) for size in sizes]
        dtype = jnp.result_type(x.dtype, self.p.weight_hh_l0.dtype)
        if state is None:
            return tuple(jnp.zeros(shape, dtype) for shape in shapes)
        parts = tuple(part if batched else part[:, None] for part in _as_tuple(state))
        if [part.shape for part in parts] != shapes:
            raise ValueError(
                f"{type(self).__name__}: the state must have shapes {shapes} (layers * directions, "
                f"batch, size), but has {[tuple(part.shape) for part in parts]}."
            )
        return tuple(jnp.asarray(part, dtype) for part in parts)

    def _as_given(self, output, state: tuple, batched: bool):
        if not batched:
            output, state = output[:, 0], tuple(part[:, 0] for part in state)
        elif self.batch_first:
            output = jnp.swapaxes(output, 0, 1)
        return output, state if self.states > 1 else state[0]


class RNN(Recurrent):
    """Elman's network, h' = tanh(W_ih x + b_ih + W_hh h + b_hh), as `torch.nn.RNN`.

    Inputs, outputs and options are those of `Recurrent`; `nonlinearity` is "tanh" or "relu".

    x: (length, batch, input_size) -> output (length, batch, hidden_size), state (num_layers, batch,
    hidden_size); the first two axes of x and output swapped with `batch_first`.

    >>> layer = nn.RNN(3, 4, batch_first=True)
    >>> params, state = layer.init(fg.random.key(0))
    >>> (output, h), _ = layer.apply(params, state, jnp.ones((2, 7, 3)))
    >>> output.shape, h.shape
    ((2, 7, 4), (1, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ):
        options = (num_layers, bias, batch_first, dropout, bidirectional)
        Recurrent.__init__(self, input_size, hidden_size, *options)
        self.nonlinearity = _known_nonlinearity("RNN", nonlinearity)

    def step(self, gates, state: tuple, weights: Weights) -> tuple:
        return rnn_step(gates, state, weights, self.nonlinearity)


class LSTM(Recurrent):
    """Long short-term memory, as `torch.nn.LSTM`; inputs and outputs are those of `Recurrent`.

    With `proj_size` h is multiplied by a further matrix to that size (Sak et al., 2014).

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> layer = nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True)
    >>> params, state = layer.init(fg.random.key(0))
    >>> (output, (h, c)), _ = layer.apply(params, state, fg.numpy.ones((2, 7, 3)))
    >>> output.shape, h.shape, c.shape
    ((2, 7, 8), (4, 2, 4), (4, 2, 4))
    """

    gates = 4
    states = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ):
        options = (num_layers, bias, batch_first, dropout, bidirectional)
        Recurrent.__init__(self, input_size, hidden_size, *options)
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"LSTM: proj_size must be 0 (none) to hidden_size - 1, but got {proj_size}."
            )
        self.proj_size = proj_size

    @property
    def output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def step(self, gates, state: tuple, weights: Weights) -> tuple:
        return lstm_step(gates, state, weights)


class GRU(Recurrent):
    """Gated recurrent units, as `torch.nn.GRU`; inputs and outputs are those of `Recurrent`.

    (Cho et al., 2014.) Of several sequences that differ in length, `lengths` says how long each is.

    >>> layer = nn.GRU(3, 4)
    >>> params, state = layer.init(fg.random.key(0))
    >>> (output, h), _ = layer.apply(params, state, jnp.ones((7, 2, 3)), lengths=jnp.array([7, 5]))
    >>> output.shape, h.shape, output[5:, 1].tolist()
    ((7, 2, 4), (1, 2, 4), [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    """

    gates = 3
    adds_gates = False

    def step(self, gates, state: tuple, weights: Weights) -> tuple:
        return gru_step(gates, state, weights)


# -- parameters, checks ----------------------------------------------------------------------------


def _shapes(
    gates: int, inputs: int, hidden: int, bias: bool, output: int | None = None
) -> dict[str, tuple[int, ...]]:
    """The shapes of one cell's parameters; `output` is the size of h where it is projected."""
    output = hidden if output is None else output
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (gates * hidden, inputs),
        "weight_hh": (gates * hidden, output),
    }
    if bias:
        shapes.update(bias_ih=(gates * hidden,), bias_hh=(gates * hidden,))
    if output != hidden:
        shapes["weight_hr"] = (output, hidden)
    return shapes


def _drawn(key, shapes: dict[str, tuple[int, ...]], hidden: int) -> dict:
    bound = 1 / math.sqrt(hidden)
    keys = fg.random.split(key, len(shapes))
    return {
        name: fg.random.uniform(own, shape, minval=-bound, maxval=bound)
        for own, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _valid(layer: Recurrent, x, lengths):
    """(length, batch, 1): whether a step lies within its sequence."""
    lengths = jnp.asarray(lengths)
    if lengths.shape != (x.shape[1],) or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(
            f"{type(layer).__name__}: lengths must be integers of shape ({x.shape[1]},), one for "
            f"each sequence, but got {lengths.dtype} of shape {tuple(lengths.shape)}."
        )
    return (jnp.arange(x.shape[0])[:, None] < lengths)[..., None]


def _as_tuple(state) -> tuple:
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


def _known_nonlinearity(name: str, nonlinearity: str) -> str:
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(
            f"{name}: nonlinearity must be 'tanh' or 'relu', but got {nonlinearity!r}."
        )
    return nonlinearity


def _require_last(layer: Module, x, size: int, ranks: tuple[int, ...] | None = None) -> None:
    if (ranks and x.ndim not in ranks) or x.ndim == 0 or x.shape[-1] != size:
        rank = f"rank {' or '.join(map(str, ranks))} and " if ranks else ""
        raise ValueError(
            f"{type(layer).__name__}: the input must have {rank}the last size {size}, but its "
            f"shape is {tuple(x.shape)}."
        )

"""Programs on a graphics card against the same on the CPU: funcgrad.numpy row by row, a training
step of three kinds of models, and files. The card is the stand-in, and a real one where there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad.core.array import ConcreteArray
from tests.backends.cards import KINDS, Card, cards
from tests.numpy import (
    test_contractions,
    test_creation,
    test_reductions,
    test_shaping,
    test_sorting,
)
from tests.numpy.expressions import OPERANDS, evaluate, leaves, quiet

TABLES = (test_contractions, test_creation, test_reductions, test_shaping, test_sorting)
ROWS = sorted({row for table in TABLES for row in table.VALUES if "bfloat16" not in row})


@pytest.fixture(params=KINDS)
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """One graphics card."""
    yield from cards(request.param, monkeypatch)


@pytest.mark.parametrize("text", ROWS)
def test_numpy_functions_compute_the_same_on_the_card(text: str, card: Card) -> None:
    operands = {name: jnp.array(value) for name, value in OPERANDS.items()}
    with quiet():
        expected = leaves(evaluate(text, fg, operands))
        with fg.default_device(card.device):
            found = leaves(evaluate(text, fg, card.put(operands)))
    for got, wanted in zip(found, expected, strict=True):
        if isinstance(got, ConcreteArray) and got.ndim:  # single constants may be anywhere
            assert card.holds(got)
        # sums of some ten terms, some of which cancel
        card.agree(got, wanted, slack=8.0)


class Encoder(nn.Module):
    """Tokens (batch, length) -> logits (batch, length, letters): embedding, attention, head."""

    def __init__(self) -> None:
        self.embed = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.block(self.embed(tokens))).mean(1)


def images() -> Any:
    return np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype(np.float32)


MODELS = {
    "mlp": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 4)),
        images,
    ),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(4, 4),
        ),
        images,
    ),
    "transformer": (Encoder, lambda: np.random.default_rng(0).integers(0, 11, (6, 5))),
}  # fmt: skip


def trained(model: Any, params: Any, state: Any, x: Any, labels: Any, compiled: bool) -> Any:
    """Parameters and state after two steps of Adam, and the losses."""
    optimizer = nn.optim.adam(1e-2)

    def loss_of(params: Any, state: Any) -> Any:
        logits, state = model.apply(params, state, x, train=True)
        return nn.cross_entropy(logits, labels), state

    def step(params: Any, state: Any, moments: Any) -> Any:
        (loss, state), grads = fg.value_and_grad(loss_of, has_aux=True)(params, state)
        updates, moments = optimizer.update(grads, moments, params)
        return nn.optim.apply_updates(params, updates), state, moments, loss

    if compiled:
        step = fg.jit(step)
    moments, losses = optimizer.init(params), []
    for _ in range(2):
        params, state, moments, loss = step(params, state, moments)
        losses.append(loss)
    return params, state, losses


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_training_steps_are_those_of_the_cpu(name: str, compiled: bool, card: Card) -> None:
    make, inputs = MODELS[name]
    model, x, labels = make(), jnp.asarray(inputs()), jnp.asarray(np.arange(6) % 4)
    params, state = model.init(fg.random.key(0), x)
    expected = trained(model, params, state, x, labels, compiled)
    on_card = card.put((params, state, x, labels))
    found = trained(model, *on_card, compiled)
    for got, wanted in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
        assert card.holds(got)
        # Adam divides by the size of the gradient, and so enlarges the rounding of small ones.
        np.testing.assert_allclose(fg.device_get(got), wanted, rtol=1e-3, atol=2e-3)
    for got, wanted in zip(found[2], expected[2], strict=True):
        np.testing.assert_allclose(fg.device_get(got), wanted, rtol=1e-4)


def test_arrays_on_the_card_are_saved_and_loaded(card: Card, tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    params, _ = model.init(fg.random.key(0), jnp.ones((1, 3)))
    nn.saving.save(tmp_path / "params.safetensors", card.put(params))
    again = nn.saving.load(tmp_path / "params.safetensors")
    for got, wanted in zip(fg.tree.leaves(again), fg.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))

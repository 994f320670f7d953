"""A GPT of two blocks that learns to write a text, character by character.

Without arguments it reads sentences from a grammar of its own, for a few seconds. With --text FILE
and --steps 2000 it learns Shakespeare: a validation loss near 1.6 nats per character. The notebook
04_character_gpt explains each part.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

CONTEXT, BATCH = 64, 32


class GPT(nn.Module):
    """tokens (batch, length) -> logits (batch, length, letters)."""

    def __init__(self, letters, width=128, heads=4, layers=2):
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True, bias=False, rotary=nn.RotaryPositions(width // heads),
        )  # fmt: skip
        self.embed = nn.Embedding(letters, width)
        self.blocks = nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(width))
        self.head = nn.Linear(width, letters)

    def forward(self, tokens):
        return self.head(self.blocks(self.embed(tokens), is_causal=True))

    def extend(self, tokens, hidden, cache):
        """Logits of new tokens behind those in the cache, of which `hidden` are not looked at."""
        x, cache = self.blocks(self.embed(tokens), hidden, is_causal=True, cache=cache)
        return self.head(x), cache


def a_book(sentences, rng):
    does = {"cat": "sleeps", "owl": "hoots", "frog": "sings", "mole": "digs"}
    places = ("under the tree", "by the lake", "on the hill")
    who = [str(rng.choice(list(does))) for _ in range(sentences)]
    return "\n".join(f"The {name} {does[name]} {rng.choice(places)}." for name in who)


def windows_at(tokens, starts):
    return tokens[starts[:, None] + jnp.arange(CONTEXT + 1)]


def train(model, tokens, held_out, steps):
    """Parameters after training; prints the loss on the held-out part now and then."""
    rate = nn.optim.warmup_cosine_decay_schedule(0.0, 3e-3, min(100, steps // 4), steps, 3e-4)
    optimizer = nn.optim.chain(
        nn.optim.clip_by_global_norm(1.0), nn.optim.adamw(rate, b2=0.99, weight_decay=0.1)
    )
    params, _ = model.init(fg.random.key(0))

    def loss_of(params, windows):
        return nn.cross_entropy(model.apply(params, {}, windows[:, :-1])[0], windows[:, 1:])

    @fg.jit(donate_argnums=(0, 1))
    def step(params, moments, key):
        starts = fg.random.randint(key, (BATCH,), 0, len(tokens) - CONTEXT)
        grads = fg.grad(loss_of)(params, windows_at(tokens, starts))
        updates, moments = optimizer.update(grads, moments, params)
        return nn.optim.apply_updates(params, updates), moments

    places = np.linspace(0, len(held_out) - CONTEXT - 1, 128).astype(np.int32)
    validation, validate = windows_at(held_out, jnp.asarray(places)), fg.jit(loss_of)
    moments, began, losses = optimizer.init(params), time.perf_counter(), []
    for i in range(1, steps + 1):
        params, moments = step(params, moments, fg.random.fold_in(fg.random.key(1), i))
        if i % max(steps // 8, 1) == 0:
            losses.append(float(validate(params, validation)))
            seconds = time.perf_counter() - began
            print(f"step {i:4d}  validation {losses[-1]:.3f}  {seconds:.0f} s", flush=True)
    return params, losses


def write(model, params, first, length, key, temperature=0.8):
    """`length` tokens, each drawn from the model's guess behind all that it has written."""

    def one(carry, inputs):
        (token, cache), (position, key) = carry, inputs
        far = jnp.arange(length) <= position - CONTEXT
        arguments = token[None, None], far[None], cache
        (logits, cache), _ = model.apply(params, {}, *arguments, method="extend")
        token = fg.random.categorical(key, logits[0, 0] / temperature)
        return (token, cache), token

    start = jnp.asarray(first), model.blocks.new_cache(1, length)
    return fg.lax.scan(one, start, (jnp.arange(length), fg.random.split(key, length)))[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", metavar="FILE", help="what to learn, such as tinyshakespeare.txt")
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    file = options.text and Path(options.text).read_text(encoding="utf-8")
    text = file or a_book(4000, np.random.default_rng(0))
    letters = sorted(set(text))
    tokens = jnp.asarray(np.array([letters.index(c) for c in text]), jnp.int32)
    cut, model = len(tokens) * 9 // 10, GPT(len(letters))
    params, losses = train(model, tokens[:cut], tokens[cut:], options.steps)
    written = write(model, params, letters.index("\n"), 300, fg.random.key(2))
    print("\n" + "".join(letters[i] for i in written.tolist()))
    if not file and options.steps >= 50:  # the book that is written here is an easy one
        assert losses[-1] < 0.3 * np.log(len(letters))


if __name__ == "__main__":
    main()

"""W7: one AdamW step of a small GPT: two pre-norm blocks, d 128, 4 heads, T 128, batch 8."""

from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import models, peers
from benchmarks.optimizers import adam_run, torch_adam_run
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload

WIDTH, HEADS, LENGTH, BATCH, VOCABULARY, BLOCKS = 128, 4, 128, 8, 65, 2
DECAY, EPSILON = 0.1, 1e-5


def inputs() -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Start weights, tokens, and the tokens that follow."""
    rng = models.generator(11)

    def weight(*shape: int) -> np.ndarray:
        return models.normal(rng, *shape) * np.float32(0.02)

    def near_one(size: int) -> np.ndarray:
        return 1 + weight(size)

    def block() -> dict[str, np.ndarray]:
        return {
            "norm1": near_one(WIDTH), "norm1_b": weight(WIDTH),
            "qkv": weight(WIDTH, 3 * WIDTH), "qkv_b": weight(3 * WIDTH),
            "out": weight(WIDTH, WIDTH), "out_b": weight(WIDTH),
            "norm2": near_one(WIDTH), "norm2_b": weight(WIDTH),
            "up": weight(WIDTH, 4 * WIDTH), "up_b": weight(4 * WIDTH),
            "down": weight(4 * WIDTH, WIDTH), "down_b": weight(WIDTH),
        }  # fmt: skip

    params = {
        "tokens": weight(VOCABULARY, WIDTH),
        "places": weight(LENGTH, WIDTH),
        "blocks": [block() for _ in range(BLOCKS)],
        "norm": near_one(WIDTH),
        "norm_b": weight(WIDTH),
        "head": weight(WIDTH, VOCABULARY),
    }
    text = rng.integers(0, VOCABULARY, (BATCH, LENGTH + 1))
    return params, text[:, :-1].astype(np.int32), text[:, 1:].astype(np.int32)


PARAMS, TOKENS, NEXT = inputs()


def shown(params: Any) -> Any:
    return params["blocks"][0]["up_b"]


def in_jax(lib: ModuleType) -> Run:
    xp = lib.numpy
    mask = np.tril(np.ones((LENGTH, LENGTH), bool))

    def norm(x: Any, gain: Any, bias: Any) -> Any:
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        variance = xp.mean(centred * centred, axis=-1, keepdims=True)
        return centred / xp.sqrt(variance + EPSILON) * gain + bias

    def attention(x: Any, p: Any) -> Any:
        qkv = (x @ p["qkv"] + p["qkv_b"]).reshape(BATCH, LENGTH, 3, HEADS, WIDTH // HEADS)
        q, k, v = (qkv[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        scores = q @ k.transpose(0, 1, 3, 2) / np.float32((WIDTH // HEADS) ** 0.5)
        weights = lib.nn.softmax(xp.where(mask, scores, -1e30), axis=-1)
        out = (weights @ v).transpose(0, 2, 1, 3).reshape(BATCH, LENGTH, WIDTH)
        return out @ p["out"] + p["out_b"]

    def loss(p: Any, tokens: Any, following: Any) -> Any:
        x = p["tokens"][tokens] + p["places"]
        for block in p["blocks"]:
            x = x + attention(norm(x, block["norm1"], block["norm1_b"]), block)
            hidden = norm(x, block["norm2"], block["norm2_b"]) @ block["up"] + block["up_b"]
            x = x + lib.nn.gelu(hidden, approximate=True) @ block["down"] + block["down_b"]
        logits = norm(x, p["norm"], p["norm_b"]) @ p["head"]
        logs = lib.nn.log_softmax(logits, axis=-1)
        return -xp.mean(xp.take_along_axis(logs, following[..., None], axis=-1))

    return adam_run(lib, loss, PARAMS, (TOKENS, NEXT), shown, DECAY)


def in_torch(torch: ModuleType) -> Run:
    functions = torch.nn.functional
    params = peers.to_torch(torch, PARAMS, gradients=True)
    tokens, following = (torch.from_numpy(t.astype(np.int64)) for t in (TOKENS, NEXT))

    def attention(x: Any, p: Any) -> Any:
        qkv = functions.linear(x, p["qkv"].T, p["qkv_b"])
        qkv = qkv.view(BATCH, LENGTH, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        out = functions.scaled_dot_product_attention(*qkv.unbind(0), is_causal=True)
        out = out.transpose(1, 2).reshape(BATCH, LENGTH, WIDTH)
        return functions.linear(out, p["out"].T, p["out_b"])

    def loss(p: Any) -> Any:
        x = functions.embedding(tokens, p["tokens"]) + p["places"]
        for b in p["blocks"]:
            normed = functions.layer_norm(x, (WIDTH,), b["norm1"], b["norm1_b"], EPSILON)
            x = x + attention(normed, b)
            normed = functions.layer_norm(x, (WIDTH,), b["norm2"], b["norm2_b"], EPSILON)
            hidden = functions.linear(normed, b["up"].T, b["up_b"])
            hidden = functions.gelu(hidden, approximate="tanh")
            x = x + functions.linear(hidden, b["down"].T, b["down_b"])
        x = functions.layer_norm(x, (WIDTH,), p["norm"], p["norm_b"], EPSILON)
        logits = x @ p["head"]
        return functions.cross_entropy(logits.view(-1, VOCABULARY), following.reshape(-1))

    return torch_adam_run(torch, loss, params, shown, DECAY)


WORKLOAD = Workload(
    "W7",
    "GPT of two blocks, batch 8 of 128 tokens, AdamW step",
    "ms",
    {peers.FUNCGRAD: in_jax, peers.JAX: in_jax, peers.TORCH: in_torch},
    (Bar(peers.JAX, 0.55),),
    tolerance=1e-3,  # Adam divides by the root of tiny second moments: rounding is amplified
    on_all_cores=True,
    sensitive_to_allocator=True,
)

"""The networks that several workloads share, for NumPy-like namespaces and for torch.

Parameters are lists of {"w", "b"}; the loss is the mean softmax cross-entropy against one-hot
labels, or integer labels in torch.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np


def generator(seed: int) -> np.random.Generator:
    """Random numbers for inputs; never zeros."""
    return np.random.default_rng(seed)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers in float32."""
    return rng.standard_normal(shape).astype(np.float32)


def mlp_inputs(
    seed: int, sizes: tuple[int, ...], batch: int
) -> tuple[list, np.ndarray, np.ndarray]:
    """Start weights, a batch of inputs, and its labels."""
    rng = generator(seed)
    params = [
        {
            "w": normal(rng, a, b) * np.float32((2 / a) ** 0.5),
            "b": normal(rng, b) * np.float32(0.01),
        }
        for a, b in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    return params, normal(rng, batch, sizes[0]), rng.integers(0, sizes[-1], batch)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Rows of the unit matrix."""
    return np.eye(classes, dtype=np.float32)[labels]


def unchanged(x: Any) -> Any:
    """Stands for stop_gradient where a library has none."""
    return x


def mlp_loss(
    xp: Any, params: list, inputs: Any, targets: Any, constant: Callable[[Any], Any] = unchanged
) -> Any:
    """Cross-entropy of a ReLU network, in any NumPy-like namespace."""
    hidden = inputs
    for layer in params[:-1]:
        hidden = xp.maximum(xp.dot(hidden, layer["w"]) + layer["b"], 0)
    logits = xp.dot(hidden, params[-1]["w"]) + params[-1]["b"]
    return cross_entropy(xp, logits, targets, constant)


def cross_entropy(
    xp: Any, logits: Any, targets: Any, constant: Callable[[Any], Any] = unchanged
) -> Any:
    """The mean over rows of -log softmax, weighted with one-hot targets.

    `constant` is the library's stop_gradient: the largest logit cancels from the derivative.
    """
    shifted = logits - constant(xp.max(logits, axis=-1, keepdims=True))
    log_sum = xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
    return xp.mean(xp.sum((log_sum - shifted) * targets, axis=-1))


def torch_mlp_loss(torch: ModuleType, params: list, inputs: Any, labels: Any) -> Any:
    """The same network and loss in torch's own functions."""
    hidden = inputs
    for layer in params[:-1]:
        hidden = torch.relu(torch.addmm(layer["b"], hidden, layer["w"]))
    logits = torch.addmm(params[-1]["b"], hidden, params[-1]["w"])
    return torch.nn.functional.cross_entropy(logits, labels)


def numpy_mlp_gradients(params: list, inputs: np.ndarray, labels: np.ndarray) -> tuple[Any, list]:
    """Loss and gradients of the same network by hand; gradients in the order w, b of each layer."""
    activations = [inputs]
    for layer in params[:-1]:
        hidden = activations[-1] @ layer["w"]
        hidden += layer["b"]
        activations.append(np.maximum(hidden, 0, out=hidden))
    logits = activations[-1] @ params[-1]["w"]
    logits += params[-1]["b"]
    loss, delta = numpy_cross_entropy(logits, labels)
    gradients: list = [None] * len(params)
    for i in reversed(range(len(params))):
        gradients[i] = {"w": activations[i].T @ delta, "b": delta.sum(0)}
        if i:
            delta = delta @ params[i]["w"].T
            delta *= activations[i] > 0
    return loss, gradients


def numpy_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[Any, np.ndarray]:
    """The mean cross-entropy with integer labels, and its gradient, by hand."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(1, keepdims=True)
    weights = np.exp(shifted)
    sums = weights.sum(1, keepdims=True)
    loss = np.mean(np.log(sums[:, 0]) - shifted[rows, labels])
    weights /= sums * np.float32(len(labels))
    weights[rows, labels] -= np.float32(1 / len(labels))
    return loss, weights

"""W6: one Adam step of a convolutional network on 64 images of 28x28."""

from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import models, peers
from benchmarks.optimizers import adam_run, torch_adam_run
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload

BATCH, CLASSES = 64, 10


def inputs() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Start weights (kernels as height, width, in, out), images and labels."""
    rng = models.generator(10)

    def weight(*shape: int) -> np.ndarray:
        fan_in = float(np.prod(shape[:-1]))
        return models.normal(rng, *shape) * np.float32((2 / fan_in) ** 0.5)

    params = {
        "conv1": weight(3, 3, 1, 32),
        "conv1_b": models.normal(rng, 32) * np.float32(0.01),
        "conv2": weight(3, 3, 32, 64),
        "conv2_b": models.normal(rng, 64) * np.float32(0.01),
        "dense1": weight(9216, 128),
        "dense1_b": models.normal(rng, 128) * np.float32(0.01),
        "dense2": weight(128, CLASSES),
        "dense2_b": models.normal(rng, CLASSES) * np.float32(0.01),
    }
    return params, models.normal(rng, BATCH, 28, 28, 1), rng.integers(0, CLASSES, BATCH)


PARAMS, IMAGES, LABELS = inputs()
TARGETS = models.one_hot(LABELS, CLASSES)


def in_jax(lib: ModuleType) -> Run:
    xp, lax = lib.numpy, lib.lax

    def convolved(x: Any, kernel: Any, bias: Any) -> Any:
        layout = ("NHWC", "HWIO", "NHWC")
        out = lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout)
        return xp.maximum(out + bias, 0)

    def loss(p: Any, images: Any, targets: Any) -> Any:
        x = convolved(images, p["conv1"], p["conv1_b"])
        x = convolved(x, p["conv2"], p["conv2_b"])
        x = lax.reduce_window(x, -xp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = x.reshape(x.shape[0], -1)
        x = xp.maximum(xp.dot(x, p["dense1"]) + p["dense1_b"], 0)
        logits = xp.dot(x, p["dense2"]) + p["dense2_b"]
        return models.cross_entropy(xp, logits, targets, lax.stop_gradient)

    return adam_run(lib, loss, PARAMS, (IMAGES, TARGETS), lambda p: p["dense1_b"])


def in_torch(torch: ModuleType) -> Run:
    """Channels last, torch's fastest form on a CPU; the dense layer's rows are in that order."""
    last, functions = torch.channels_last, torch.nn.functional
    host = {k: v.transpose(3, 2, 0, 1) if v.ndim == 4 else v for k, v in PARAMS.items()}
    params = {
        k: torch.from_numpy(v.copy()).contiguous(memory_format=last).requires_grad_()
        if v.ndim == 4
        else torch.from_numpy(v.copy()).requires_grad_()
        for k, v in host.items()
    }
    images = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=last)
    labels = torch.from_numpy(LABELS)

    def loss(p: Any) -> Any:
        x = torch.relu(functions.conv2d(images, p["conv1"], p["conv1_b"]))
        x = torch.relu(functions.conv2d(x, p["conv2"], p["conv2_b"]))
        x = functions.max_pool2d(x, 2).permute(0, 2, 3, 1).reshape(BATCH, -1)
        x = torch.relu(torch.addmm(p["dense1_b"], x, p["dense1"]))
        logits = torch.addmm(p["dense2_b"], x, p["dense2"])
        return functions.cross_entropy(logits, labels)

    return torch_adam_run(torch, loss, params, lambda p: p["dense1_b"])


WORKLOAD = Workload(
    "W6",
    "convolutional network, batch 64, Adam step",
    "ms",
    {peers.FUNCGRAD: in_jax, peers.JAX: in_jax, peers.TORCH: in_torch},
    (Bar(peers.TORCH, 0.67), Bar(peers.JAX, 0.3)),
    tolerance=1e-3,  # Adam divides by the root of tiny second moments: rounding is amplified
    on_all_cores=True,
    sensitive_to_allocator=True,
)

"""W8a: an LSTM over 200 steps, hidden size 64, batch 16: forward, and value and gradient.

The products with the inputs are made for all steps at once, as cuDNN and torch do.
"""

from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload, jitted

STEPS, HIDDEN, BATCH, INPUTS = 200, 64, 16, 64
_rng = models.generator(12)
PARAMS = {
    "inputs": models.normal(_rng, INPUTS, 4 * HIDDEN) * np.float32(INPUTS**-0.5),
    "hidden": models.normal(_rng, HIDDEN, 4 * HIDDEN) * np.float32(HIDDEN**-0.5),
    "bias": models.normal(_rng, 4 * HIDDEN) * np.float32(0.1),
}
XS = models.normal(_rng, STEPS, BATCH, INPUTS)


def lstm(lib: ModuleType, params: Any, xs: Any) -> Any:
    """The sum of the squares of all hidden states over their number. Gates in torch's order."""
    xp, sigmoid = lib.numpy, lib.nn.sigmoid

    def step(carry: Any, row: Any) -> Any:
        h, c = carry
        gates = row + h @ params["hidden"]
        i, f, g, o = (gates[:, k * HIDDEN : (k + 1) * HIDDEN] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
        h = sigmoid(o) * xp.tanh(c)
        return (h, c), h

    start = xp.zeros((BATCH, HIDDEN), xp.float32)
    _, states = lib.lax.scan(step, (start, start), xs @ params["inputs"] + params["bias"])
    return xp.mean(states * states)


def forward(lib: ModuleType) -> Run:
    return jitted(lib, lambda p, xs: lstm(lib, p, xs), PARAMS, XS)


def gradient(lib: ModuleType) -> Run:
    return jitted(lib, lib.value_and_grad(lambda p, xs: lstm(lib, p, xs)), PARAMS, XS)


def torch_network(torch: ModuleType) -> tuple[Any, Any]:
    """torch's own LSTM with these weights, and the inputs."""
    network = torch.nn.LSTM(INPUTS, HIDDEN)
    with torch.no_grad():
        network.weight_ih_l0.copy_(torch.from_numpy(PARAMS["inputs"].T))
        network.weight_hh_l0.copy_(torch.from_numpy(PARAMS["hidden"].T))
        network.bias_ih_l0.copy_(torch.from_numpy(PARAMS["bias"]))
        network.bias_hh_l0.zero_()
    network.bias_hh_l0.requires_grad_(False)
    return network, torch.from_numpy(XS.copy())


def torch_forward(torch: ModuleType) -> Run:
    network, xs = torch_network(torch)

    def run() -> Any:
        with torch.inference_mode():
            states = network(xs)[0]
            return (states * states).mean()

    return run


def torch_gradient(torch: ModuleType) -> Run:
    network, xs = torch_network(torch)
    weights = [network.bias_ih_l0, network.weight_hh_l0, network.weight_ih_l0]

    def run() -> Any:
        states = network(xs)[0]
        value = (states * states).mean()
        bias, hidden, inputs = torch.autograd.grad(value, weights)
        return value, {"bias": bias, "hidden": hidden.T, "inputs": inputs.T}

    return run


FORWARD = Workload(
    "W8a",
    "LSTM, 200 steps, hidden 64, batch 16, forward",
    "ms",
    {peers.FUNCGRAD: forward, peers.JAX: forward, peers.TORCH: torch_forward},
    (Bar(peers.TORCH, 0.95),),
    tolerance=1e-4,
)
GRADIENT = Workload(
    "W8a-grad",
    "LSTM, 200 steps, hidden 64, batch 16, gradient",
    "ms",
    {peers.FUNCGRAD: gradient, peers.JAX: gradient, peers.TORCH: torch_gradient},
    (Bar(peers.TORCH, 0.58),),
    tolerance=1e-3,
)

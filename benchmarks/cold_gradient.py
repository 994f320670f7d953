"""W1 as one process: import a library, compile the gradient of a small network's loss, print it.

    python benchmarks/cold_gradient.py funcgrad

Each library's code stands where only it is imported; this file imports nothing else that costs
time.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

library = sys.argv[1]

import numpy as np

from benchmarks.models import mlp_inputs, mlp_loss, one_hot, torch_mlp_loss

params, inputs, labels = mlp_inputs(seed=1, sizes=(8, 16, 4), batch=4)
targets = one_hot(labels, 4)

if library == "numpy":
    gradient = np.zeros(4)
elif library == "funcgrad":
    import funcgrad as fg
    import funcgrad.numpy as jnp

    stop = fg.lax.stop_gradient
    gradient = fg.jit(fg.grad(lambda p: mlp_loss(jnp, p, inputs, targets, stop)))(params)[-1]["b"]
elif library == "jax":
    import jax
    import jax.numpy as jnp

    stop = jax.lax.stop_gradient
    gradient = jax.jit(jax.grad(lambda p: mlp_loss(jnp, p, inputs, targets, stop)))(params)[-1]["b"]
elif library == "autograd":
    import autograd
    import autograd.numpy as anp

    gradient = autograd.grad(lambda p: mlp_loss(anp, p, inputs, targets))(params)[-1]["b"]
elif library == "torch":
    import torch

    from benchmarks.peers import to_torch

    tensors = to_torch(torch, params, gradients=True)
    torch_mlp_loss(torch, tensors, torch.from_numpy(inputs), torch.from_numpy(labels)).backward()
    gradient = tensors[-1]["b"].grad

print(*np.asarray(gradient).tolist())

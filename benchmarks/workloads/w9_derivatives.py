"""W9: gradients per example (vmap of grad), and Jacobians and Hessians of a function of 100
numbers.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Unable, Workload, jitted

# ---- per example

PARAMS, INPUTS, LABELS = models.mlp_inputs(13, (64, 64, 10), batch=256)
TARGETS = models.one_hot(LABELS, 10)


def per_example(lib: ModuleType) -> Run:
    def loss(params: Any, inputs: Any, targets: Any) -> Any:
        return models.mlp_loss(lib.numpy, params, inputs, targets, lib.lax.stop_gradient)

    gradients = lib.vmap(lib.grad(loss), in_axes=(None, 0, 0))
    return jitted(lib, gradients, PARAMS, INPUTS, TARGETS)


def torch_gradients(torch: ModuleType) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function with torch's transformations, and its arguments."""

    def loss(params: Any, inputs: Any, labels: Any) -> Any:
        hidden = torch.relu(inputs @ params[0]["w"] + params[0]["b"])
        logits = hidden @ params[1]["w"] + params[1]["b"]
        return torch.nn.functional.cross_entropy(logits, labels)

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    return gradients, peers.to_torch(torch, (PARAMS, INPUTS, LABELS))


def per_example_in_torch(torch: ModuleType) -> Run:
    gradients, arguments = torch_gradients(torch)
    return lambda: gradients(*arguments)


def per_example_compiled(torch: ModuleType) -> Run:
    gradients, arguments = torch_gradients(torch)
    compiled = torch.compile(gradients)
    try:
        compiled(*arguments)
    except Exception as error:  # it needs a C++ compiler, and says so in many ways
        raise Unable(f"torch.compile: {str(error).splitlines()[0]:.100}") from error
    return lambda: compiled(*arguments)


PER_EXAMPLE = Workload(
    "W9a",
    "gradients per example, 64-64-10, batch 256",
    "us",
    {
        peers.FUNCGRAD: per_example,
        peers.JAX: per_example,
        peers.TORCH: per_example_in_torch,
        peers.COMPILED: per_example_compiled,
    },
    (Bar(peers.COMPILED, 0.55),),
    tolerance=1e-4,
    sensitive_to_allocator=True,
)


# ---- Jacobians and Hessians

POINT = models.normal(models.generator(14), 100)


def residuals(x: Any) -> Any:
    """Rosenbrock's function before the squares are added up: 99 pairs."""
    return 100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2


def rosenbrock(x: Any) -> Any:
    return residuals(x).sum()


def derivative(name: str) -> Workload:
    """The row of one transformation. Jacobians are those of the terms, before they are added."""

    def matrix(transforms: Any) -> Callable[..., Any]:
        if name == "hessian":
            return transforms.hessian(rosenbrock)
        return getattr(transforms, name)(residuals)

    def in_jax(lib: ModuleType) -> Run:
        return jitted(lib, matrix(lib), POINT)

    def in_torch(torch: ModuleType) -> Run:
        function, point = matrix(torch.func), torch.from_numpy(POINT.copy())
        return lambda: function(point)

    return Workload(
        f"W9b-{name}",
        f"{name} of Rosenbrock in 100 dimensions",
        "us",
        {peers.FUNCGRAD: in_jax, peers.JAX: in_jax, peers.TORCH: in_torch},
        (Bar(peers.JAX, 0.35),),
        tolerance=1e-4,
    )


DERIVATIVES = tuple(map(derivative, ("jacfwd", "jacrev", "hessian")))

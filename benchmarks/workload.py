"""What a workload is: one piece of mathematics, built for each library, checked, then timed."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.timing import Run

Builder = Callable[[ModuleType], Run]

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}


@dataclass(frozen=True)
class Bar:
    """What is to be reached: at most `factor` times this peer's time."""

    peer: str
    factor: float


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    A builder takes the library's module and returns what is timed, a function without arguments
    that returns its result after the computation has finished. `tolerance` is relative to the
    largest element of each result.
    """

    name: str
    title: str
    unit: str
    builders: Mapping[str, Builder]
    bars: tuple[Bar, ...]
    tolerance: float
    operations: int = 1
    on_all_cores: bool = False
    sensitive_to_allocator: bool = False

    def build(self, libraries: list[str]) -> dict[str, Run]:
        """What is timed, for each library that is wanted, installed and able."""
        runs = {}
        for library in libraries:
            module = peers.load(library)
            if library in self.builders and module is not None:
                try:
                    runs[library] = self.builders[library](module)
                except Unable as reason:
                    print(f"{self.name} without {library}: {reason}", file=sys.stderr)
        return runs


class Unable(RuntimeError):
    """A library is installed but lacks what it needs here, for example a C++ compiler."""


class Different(AssertionError):
    """Two libraries did not compute the same."""


def compare(workload: Workload, runs: Mapping[str, Run], calls: int = 2) -> dict[str, float]:
    """Call each contender and compare what it returns with the first; returns the largest errors
    found.
    """
    results = {name: [peers.to_numpy(run()) for _ in range(calls)] for name, run in runs.items()}
    reference_name, reference = next(iter(results.items()))
    errors = {}
    for name, result in results.items():
        pairs = zip(sum(reference, []), sum(result, []), strict=True)
        errors[name] = float(np.max([relative_error(a, b) for a, b in pairs]))  # NaN wins
        if not errors[name] <= workload.tolerance:
            raise Different(
                f"{workload.name}: {name} differs from {reference_name} by {errors[name]}"
            )
    return errors


def relative_error(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference over the largest element expected."""
    if expected.shape != found.shape:
        raise Different(f"shapes {expected.shape} and {found.shape}")
    scale = max(float(np.max(np.abs(expected), initial=0.0)), 1e-30)
    return float(np.max(np.abs(expected - found), initial=0.0)) / scale


def scaled(workload: Workload, seconds: float) -> float:
    """A time per operation in the workload's unit."""
    return seconds * UNITS[workload.unit] / workload.operations


def jitted(lib: ModuleType, function: Callable[..., Any], *arguments: Any, **options: Any) -> Run:
    """A call of a jitted function of jax or funcgrad, waited for."""
    compiled = lib.jit(function, **options)
    arguments = peers.to_library(lib, arguments)
    return lambda: peers.wait(compiled(*arguments))

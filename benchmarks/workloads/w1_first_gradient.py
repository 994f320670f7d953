"""W1: a fresh process imports a library and prints the first gradient of a small network."""

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import peers
from benchmarks.timing import Timing, summary
from benchmarks.workload import Bar, Different

NAME, TITLE, UNIT = "W1", "fresh process to first gradient", "s"
BARS = (Bar(peers.JAX, 0.30),)
LIBRARIES = (peers.FUNCGRAD, peers.JAX, peers.TORCH, peers.AUTOGRAD, peers.NUMPY)
SCRIPT = Path(__file__).resolve().parent.parent / "cold_gradient.py"


def measure(libraries: list[str], rounds: int) -> dict[str, Timing]:
    """Seconds from the start of a process to its end, libraries in turn; the first round only warms
    up.
    """
    times: dict[str, list[float]] = {name: [] for name in libraries if name in LIBRARIES}
    for turn in range(rounds + 1):
        printed = {}
        for library in times:
            start = time.perf_counter()
            printed[library] = first_gradient(library)
            if turn:
                times[library].append(time.perf_counter() - start)
        require_equal({k: v for k, v in printed.items() if k != peers.NUMPY})
    return {name: summary(list_) for name, list_ in times.items()}


def first_gradient(library: str) -> list[float]:
    """What a fresh process prints."""
    command = [sys.executable, str(SCRIPT), library]
    done = subprocess.run(command, env=os.environ, check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in done.stdout.split()]


def require_equal(gradients: dict[str, list[float]]) -> None:
    """All libraries print the same gradient, up to rounding in float32."""
    for name, gradient in gradients.items():
        reference = next(iter(gradients.values()))
        if any(abs(a - b) > 1e-5 for a, b in zip(gradient, reference, strict=True)):
            raise Different(f"{NAME}: {gradients}; {name} differs")

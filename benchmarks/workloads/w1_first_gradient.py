"""W1: a fresh process imports a library and prints the first gradient of a small network; without
and with what an earlier process has left on disk.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.timing import Timing, summary
from benchmarks.workload import Bar, Different

LIBRARIES = (peers.FUNCGRAD, peers.JAX, peers.TORCH, peers.AUTOGRAD, peers.NUMPY)
SCRIPT = Path(__file__).resolve().parent.parent / "cold_gradient.py"


@dataclass(frozen=True)
class ColdRow:
    """A row of whole processes; if `warm`, funcgrad finds what an earlier one has left on disk.

    jax keeps nothing unless it is told to, and both bars are against that.
    """

    name: str
    title: str
    bars: tuple[Bar, ...]
    warm: bool
    unit: str = "s"
    limit: None = None

    def measure(self, libraries: list[str], rounds: int) -> dict[str, Timing]:
        """Seconds from the start of a process to its end, libraries in turn; the first round only
        warms up.
        """
        times: dict[str, list[float]] = {name: [] for name in libraries if name in LIBRARIES}
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(rounds + 1):
                cache = os.path.join(folder, "kept" if self.warm else str(turn))
                environment = os.environ | peers.disk_cache(cache)
                printed = {}
                for library in times:
                    start = time.perf_counter()
                    printed[library] = first_gradient(library, environment)
                    if turn:
                        times[library].append(time.perf_counter() - start)
                require_equal({k: v for k, v in printed.items() if k != peers.NUMPY})
        return {name: summary(list_) for name, list_ in times.items()}


def first_gradient(library: str, environment: dict[str, str]) -> list[float]:
    """What a fresh process prints."""
    command = [sys.executable, str(SCRIPT), library]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in done.stdout.split()]


def require_equal(gradients: dict[str, list[float]]) -> None:
    """All libraries print the same gradient, up to rounding in float32."""
    for name, gradient in gradients.items():
        reference = next(iter(gradients.values()))
        if any(abs(a - b) > 1e-5 for a, b in zip(gradient, reference, strict=True)):
            raise Different(f"W1: {gradients}; {name} differs")


ROWS = (
    ColdRow("W1", "fresh process to first gradient", (Bar(peers.JAX, 0.30),), warm=False),
    ColdRow("W1-disk", "the same, cache on disk", (Bar(peers.JAX, 0.20),), warm=True),
)

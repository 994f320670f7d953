"""W10: the first call of a jitted training step, compilation included, in fresh processes; without
and with what an earlier process has left on disk. W12: the memory that training takes.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import peers
from benchmarks.timing import ALLOCATOR, Timing, summary
from benchmarks.workload import Bar

LIBRARIES = (peers.FUNCGRAD, peers.JAX, peers.TORCH)
MEGABYTE = 1e6

Measure = Callable[[str, int], list[float]]


@dataclass(frozen=True)
class FreshRow:
    """A row measured in fresh processes. `limit` is a bar that needs no peer, in the row's unit."""

    name: str
    title: str
    unit: str
    measure_one: Measure
    bars: tuple[Bar, ...] = ()
    limit: float | None = None

    def measure(self, libraries: list[str], rounds: int) -> dict[str, Timing]:
        """A summary for each library."""
        wanted = [name for name in LIBRARIES if name in libraries]
        return {name: summary(self.measure_one(name, rounds)) for name in wanted}


def printed(workload: str, library: str, quantity: str, environment: dict[str, str]) -> float:
    """The number that a fresh process prints."""
    command = [sys.executable, "-m", "benchmarks.fresh_step", workload, library, quantity]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def first_call(workload: str, warm: bool) -> Measure:
    """Seconds of first calls, each with a cache folder of its own: empty, or filled by a call."""

    def measure(library: str, rounds: int) -> list[float]:
        return [once(library) for _ in range(rounds)]

    def once(library: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | peers.disk_cache(folder, warm)
            seconds = printed(workload, library, "seconds", environment)
            return printed(workload, library, "seconds", environment) if warm else seconds

    return measure


def memory(workload: str) -> Measure:
    """Megabytes, with the system's own allocator."""

    def measure(library: str, rounds: int) -> list[float]:
        environment = {k: v for k, v in os.environ.items() if k not in ALLOCATOR}
        found = [printed(workload, library, "bytes", environment) for _ in range(rounds)]
        return [value / MEGABYTE for value in found]

    return measure


STEPS = {"W5a": "MLP with Adam", "W5b": "MLP with SGD", "W6": "CNN", "W7": "GPT"}

COLD = tuple(
    FreshRow(f"W10-{w}", f"first step, {what}", "s", first_call(w, False), (Bar(peers.JAX, 0.4),))
    for w, what in STEPS.items()
)
WARM = tuple(
    FreshRow(
        f"W10-{w}-disk", f"first step, {what}, cache on disk", "s", first_call(w, True), limit=0.15
    )
    for w, what in STEPS.items()
)
PEAK = (
    FreshRow("W12-W6", "peak memory of training the CNN", "MB", memory("W6"), limit=110),
    FreshRow("W12-W7", "peak memory of training the GPT", "MB", memory("W7"), limit=95),
)
ROWS: tuple[FreshRow, ...] = (*COLD, *WARM, *(PEAK if sys.platform == "linux" else ()))

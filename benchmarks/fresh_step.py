"""One training step in a fresh process, for W10 and W12; prints one number.

python -m benchmarks.fresh_step W6 jax seconds    # from the first call to its result
python -m benchmarks.fresh_step W6 jax bytes      # peak memory over importing the library
"""

import importlib
import sys
import time
from pathlib import Path

from benchmarks import peers
from benchmarks.workload import Workload
from benchmarks.workloads import WORKLOADS

# Loaded by a library at its first compilation: they belong to its import.
LATER = {peers.FUNCGRAD: ("llvmlite.binding",)}
STEPS = 5


def main(name: str, library: str, quantity: str) -> None:
    """Build the step, run it, print what was asked for."""
    workload = next(w for w in WORKLOADS if w.name == name)
    print({"seconds": seconds, "bytes": peak}[quantity](workload, library))


def seconds(workload: Workload, library: str) -> float:
    """The first call of the jitted step."""
    run = workload.builders[library](peers.load(library))
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak(workload: Workload, library: str) -> float:
    """What a few steps add to the most memory that the process has had."""
    module = peers.load(library)
    for name in LATER.get(library, ()):
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # it is optional
    before = most_memory()
    run = workload.builders[library](module)
    for _ in range(STEPS):
        run()
    return most_memory() - before


def most_memory() -> int:
    """The high-water mark of this process's resident memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not say how much memory the process has had")


if __name__ == "__main__":
    main(*sys.argv[1:])

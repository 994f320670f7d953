"""How time is measured: a clean process pinned to one core, contenders interleaved, medians with
their spread.

Nothing here knows what is measured. `environment` says in which environment a measuring process
must start, since thread counts and the allocator can only be set before it does.
"""

import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from itertools import repeat
from pathlib import Path
from typing import Any

Run = Callable[[], Any]

# They slow NumPy's matrix product down, or imports, and would flatter whoever is compared with it.
DROPPED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONDONTWRITEBYTECODE")
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
ONE_THREAD_XLA = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
# Freed memory stays with the process, so that no contender pays for page faults that another does
# not.
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass(frozen=True)
class Setting:
    """Under which conditions a process measures."""

    name: str
    title: str
    one_core: bool = True
    default_allocator: bool = False


SETTINGS = {
    s.name: s
    for s in (
        Setting("single", "one core, one thread"),
        Setting(
            "allocator", "one core, one thread, the system's allocator", default_allocator=True
        ),
        Setting("all", "all cores", one_core=False),
    )
}


def environment(setting: Setting) -> dict[str, str]:
    """The environment variables a measuring process must be started with."""
    kept = {k: v for k, v in os.environ.items() if k not in DROPPED and k not in THREADS}
    kept["JAX_PLATFORMS"] = "cpu"
    kept["PYTHONHASHSEED"] = "0"
    if setting.one_core:
        kept |= dict.fromkeys(THREADS, "1") | {"XLA_FLAGS": ONE_THREAD_XLA}
    if not setting.default_allocator:
        kept |= ALLOCATOR
    return kept


def pin(setting: Setting) -> None:
    """Keep this process, and those it starts, on one core, where the system can do that."""
    if setting.one_core and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


@dataclass(frozen=True)
class Timing:
    """Seconds per call over the rounds.

    Their median; its spread, half the quartiles' distance over it; and what one round in twenty
    stayed below, for machines that have other work to do.
    """

    median: float
    spread: float
    rounds: int
    best: float


def summary(times: list[float]) -> Timing:
    """Median and spread of seconds per call."""
    middle = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else (middle,) * 3
    best = sorted(times)[len(times) // 20]
    return Timing(middle, (high - low) / 2 / middle, len(times), best)


def interleaved(
    runs: Mapping[str, Run], seconds: float, least_rounds: int = 7
) -> dict[str, Timing]:
    """Time contenders in rounds, each in turn, until each has used `seconds`; the order rotates."""
    batches = {name: batch_size(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    gc.collect()
    gc.freeze()  # what was set up is not walked again by the collections that a run causes
    try:
        start = time.perf_counter()
        while (
            time.perf_counter() - start < seconds * len(runs) or len(times[order[0]]) < least_rounds
        ):
            for name in order:
                times[name].append(seconds_per_call(runs[name], batches[name]))
            order.append(order.pop(0))
    finally:
        gc.unfreeze()
    return {name: summary(list_) for name, list_ in times.items()}


def batch_size(run: Run, target: float = 0.01) -> int:
    """So many calls that a batch takes about `target` seconds; warms up on the way."""
    for _ in range(3):
        run()
    calls = 1
    while (spent := seconds_per_call(run, calls) * calls) < target / 4 and calls < 1_000_000:
        calls *= 4
    return max(1, round(calls * target / max(spent, 1e-9)))


def seconds_per_call(run: Run, calls: int) -> float:
    """The mean time of so many calls in a row."""
    clock = time.perf_counter
    start = clock()
    for _ in repeat(None, calls):
        run()
    return (clock() - start) / calls


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, system, Python, libraries, load."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {
            name: version(name) for name in ("numpy", "jax", "torch", "autograd", "scipy")
        },
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "time": time.strftime("%Y-%m-%d %H:%M"),
        "command": sys.argv,
    }


def version(package: str) -> str | None:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name, from the system's own description where there is one."""
    description = Path("/proc/cpuinfo")
    if description.exists():
        for line in description.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

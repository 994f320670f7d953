"""What `import funcgrad` costs over `import numpy`, in fresh processes with bytecode in place."""

import os
import subprocess
import sys
from typing import Any

from benchmarks import peers
from benchmarks.timing import summary

BAR = 0.060
LIBRARIES = (peers.FUNCGRAD, "funcgrad_nn", peers.JAX)
PROGRAM = """
import time, numpy
start = time.perf_counter()
import {package}
print(time.perf_counter() - start)
"""


def measure(libraries: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds for each package, in turn; the first round writes the bytecode and is not counted."""
    wanted = [
        p for p in LIBRARIES if p.partition("_")[0] in libraries and peers.load(p.partition("_")[0])
    ]
    times: dict[str, list[float]] = {name: [] for name in wanted}
    for _ in range(rounds + 1):
        for package in wanted:
            times[package].append(seconds(package))
    return {name: vars(summary(list_[1:])) for name, list_ in times.items()}


def seconds(package: str) -> float:
    """The time of one import after numpy's."""
    command = [sys.executable, "-c", PROGRAM.format(package=package)]
    done = subprocess.run(command, env=os.environ, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def lines(times: dict[str, dict[str, Any]], statistic: str) -> list[str]:
    """The table: milliseconds over import numpy."""
    rows = ["import, ms over import numpy"]
    for package, timing in times.items():
        verdict = ""
        if package == peers.FUNCGRAD:
            verdict = f"   bar {BAR * 1e3:.0f} {'met' if timing[statistic] <= BAR else 'MISSED'}"
        rows.append(f"  {package:32}{timing[statistic] * 1e3:12.1f}{verdict}")
    return rows

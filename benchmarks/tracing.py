"""What tracing costs: microseconds per equation of programs of 10 to 3000 equations, and of their
gradients.
"""

import time
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.timing import summary

EQUATIONS = (10, 30, 100, 300, 1000, 3000)
BAR = 30e-6
LIBRARIES = (peers.FUNCGRAD, peers.JAX)


def measure(libraries: list[str], rounds: int) -> list[dict[str, Any]]:
    """A row for each kind and length of program: seconds per equation in each library."""
    modules = {name: peers.load(name) for name in LIBRARIES if name in libraries}
    present = {name: module for name, module in modules.items() if module is not None}
    rows = []
    for kind in ("program", "gradient"):
        for equations in EQUATIONS:
            times = {name: [] for name in present}
            for _ in range(rounds + 1):
                for name, lib in present.items():
                    times[name].append(seconds_per_equation(lib, kind, equations))
            row = {name: vars(summary(list_[1:])) for name, list_ in times.items()}
            rows.append({"kind": kind, "equations": equations, "times": row})
    return rows


def seconds_per_equation(lib: ModuleType, kind: str, equations: int) -> float:
    """One trace of a new function, so that nothing is remembered, over the equations it gives."""
    xp = lib.numpy

    def program(x):
        for i in range(equations // 3):
            x = xp.sin(x) * (1.5 + i) + x
        return xp.sum(x)

    function = lib.grad(program) if kind == "gradient" else program
    argument = np.linspace(0.1, 1.0, 8, dtype=np.float32)
    start = time.perf_counter()
    traced = lib.make_jaxpr(function)(argument)
    spent = time.perf_counter() - start
    return spent / len(traced.eqns)


def lines(rows: list[dict[str, Any]], statistic: str) -> list[str]:
    """The table: microseconds per equation."""
    names = list(rows[0]["times"]) if rows else []
    head = f"{'tracing, us per equation':34}" + "".join(f"{name:>12}" for name in names) + "   bar"
    return [head, *(line(row, statistic) for row in rows)]


def line(row: dict[str, Any], statistic: str) -> str:
    """One row of the table."""
    title = f"{row['kind']} of {row['equations']} equations"
    times = "".join(f"{t[statistic] * 1e6:12.1f}" for t in row["times"].values())
    ours = row["times"].get(peers.FUNCGRAD)
    verdict = ""
    if ours and row["kind"] == "program":
        verdict = f"   {BAR * 1e6:.0f} {'met' if ours[statistic] <= BAR else 'MISSED'}"
    return f"{title:34}{times}{verdict}"

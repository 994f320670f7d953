"""One measuring process: runs what it is told under the environment it was started with, and writes
JSON.

    python -m benchmarks.measure '{"setting": "single", ...}' results.json

The runner in `__main__` starts it; the environment must be in place before NumPy is loaded.
"""

import json
import sys
from typing import Any

from benchmarks import imports, peers, timing, tracing
from benchmarks.workload import Bar, Workload, compare, scaled
from benchmarks.workloads import WORKLOADS, w1_first_gradient, w10_first_step
from benchmarks.workloads.w1_first_gradient import ColdRow
from benchmarks.workloads.w10_first_step import FreshRow

IMPORTS, TRACING = "imports", "tracing"


def main(request: str, path: str) -> None:
    """Measure what the request names and write the results."""
    wanted = json.loads(request)
    setting = timing.SETTINGS[wanted["setting"]]
    timing.pin(setting)
    names, libraries, rounds = wanted["names"], wanted["libraries"], wanted["rounds"]
    statistic = wanted["statistic"]
    results: dict[str, Any] = {"title": setting.title, "rows": [], "statistic": statistic}
    for row in w1_first_gradient.ROWS:
        if row.name in names:
            results["rows"].append(fresh_row(row, libraries, rounds, statistic))
    if IMPORTS in names:
        results[IMPORTS] = imports.measure(libraries, rounds)
    for workload in WORKLOADS:
        if workload.name in names and (runs := workload.build(libraries)):
            results["rows"].append(warm_row(workload, runs, wanted["seconds"], statistic))
    for row in w10_first_step.ROWS:
        if row.name in names:
            results["rows"].append(fresh_row(row, libraries, max(rounds // 3, 1), statistic))
    if TRACING in names:
        results[TRACING] = tracing.measure(libraries, rounds)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file)


def fresh_row(
    row: ColdRow | FreshRow, libraries: list[str], rounds: int, statistic: str
) -> dict[str, Any]:
    """A row of fresh processes, for the libraries that are installed."""
    present = [name for name in libraries if peers.load(name) is not None]
    times = row.measure(present, rounds)
    measured = {name: getattr(t, statistic) for name, t in times.items()}
    bars = verdicts(row.bars, measured)
    if row.limit is not None and peers.FUNCGRAD in measured:
        bars.append({"limit": row.limit, "reached": measured[peers.FUNCGRAD], "unit": row.unit})
    return {
        "name": row.name,
        "title": row.title,
        "unit": row.unit,
        "times": {name: vars(t) for name, t in times.items()},
        "shown": measured,
        "bars": bars,
    }


def warm_row(
    workload: Workload, runs: dict[str, timing.Run], seconds: float, statistic: str
) -> dict[str, Any]:
    """The row of a workload that is built: compared, timed."""
    errors = compare(workload, runs)
    times = timing.interleaved(runs, seconds)
    measured = {name: getattr(t, statistic) for name, t in times.items()}
    return {
        "name": workload.name,
        "title": workload.title,
        "unit": workload.unit,
        "times": {name: vars(t) for name, t in times.items()},
        "shown": {name: scaled(workload, t) for name, t in measured.items()},
        "errors": errors,
        "bars": verdicts(workload.bars, measured),
    }


def verdicts(bars: tuple[Bar, ...], times: dict[str, float]) -> list[dict[str, Any]]:
    """For each bar whose peer was measured: the ratio reached."""
    ours = times.get(peers.FUNCGRAD)
    return [
        {"peer": bar.peer, "factor": bar.factor, "ratio": ours / times[bar.peer]}
        for bar in bars
        if ours is not None and bar.peer in times
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])

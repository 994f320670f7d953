"""Two results side by side: python -m benchmarks.compare before.json after.json

A change counts where it exceeds what the rounds of both runs scatter. Ratios to a peer, which ran
interleaved, say more than times when the machine was busy; so both are shown.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.peers import FUNCGRAD


def main(before_path: str, after_path: str) -> None:
    """Print a line for every row that both files have."""
    before, after = (dict(our_times(read(path))) for path in (before_path, after_path))
    print(f"{'':44}{'before':>12}{'after':>12}{'change':>9}")
    for name in before:
        if name in after:
            print(f"{name:44.44}" + change(before[name], after[name]))


def read(path: str) -> dict[str, Any]:
    """A file of results."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def our_times(results: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Name and timing of every row of funcgrad's, in seconds, and its ratios to peers."""
    for setting, measured in results["settings"].items():
        for row in measured["rows"]:
            times = row["times"]
            if FUNCGRAD not in times:
                continue
            ours = times[FUNCGRAD]
            yield f"{setting} {row['name']} seconds", ours
            for peer in times.keys() - {FUNCGRAD}:
                ratio = ours["median"] / times[peer]["median"]
                spread = ours["spread"] + times[peer]["spread"]
                yield f"{setting} {row['name']} / {peer}", {"median": ratio, "spread": spread}
        for row in measured.get("tracing", ()):
            yield f"{setting} tracing {row['kind']} {row['equations']}", row["times"][FUNCGRAD]
        for package, timing in measured.get("imports", {}).items():
            yield f"{setting} import {package}", timing


def change(before: dict[str, float], after: dict[str, float]) -> str:
    """Both medians, and their ratio if it stands out."""
    ratio = after["median"] / before["median"]
    noise = before["spread"] + after["spread"]
    mark = "" if abs(ratio - 1) <= max(noise, 0.03) else ("  slower" if ratio > 1 else "  faster")
    return f"{before['median']:12.4g}{after['median']:12.4g}{ratio:8.2f}x{mark}"


if __name__ == "__main__":
    main(*sys.argv[1:])

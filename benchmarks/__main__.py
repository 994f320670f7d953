"""The runner: python -m benchmarks [names] [--quick] [--json FILE] [--libraries ...]

Each setting is measured in a process of its own, started with the environment that setting needs.
Bytecode is written first, since without it an import costs three times as much.
"""

import argparse
import compileall
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import peers, table, timing
from benchmarks.measure import IMPORTS, TRACING
from benchmarks.workloads import WORKLOADS, w1_first_gradient, w10_first_step

ROOT = Path(__file__).resolve().parent.parent
COLD, FRESH = ([row.name for row in rows.ROWS] for rows in (w1_first_gradient, w10_first_step))
EVERYTHING = [*COLD, IMPORTS, *(w.name for w in WORKLOADS), *FRESH, TRACING]
IN_SETTING = {
    "single": EVERYTHING,
    "allocator": [w.name for w in WORKLOADS if w.sensitive_to_allocator],
    "all": [w.name for w in WORKLOADS if w.on_all_cores],
}


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = arguments()
    for folder in ("funcgrad", "funcgrad_nn", "benchmarks"):
        compileall.compile_dir(ROOT / folder, quiet=2)
    results: dict[str, Any] = {"machine": timing.machine(), "settings": {}}
    for name in options.settings:
        names = [n for n in IN_SETTING[name] if not options.names or n in options.names]
        if names:
            results["settings"][name] = measured(timing.SETTINGS[name], names, options)
    print("\n".join(table.lines(results)))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1))
    print(f"\nwritten to {options.json}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {' '.join(EVERYTHING)}; default all")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, one setting")
    parser.add_argument("--seconds", type=float, help="per contender and workload")
    parser.add_argument(
        "--best",
        action="store_const",
        const="best",
        default="median",
        dest="statistic",
        help="the fastest twentieth of the rounds instead of their median: for a busy machine",
    )
    parser.add_argument("--json", type=Path, default=ROOT / "out" / "benchmarks.json")
    parser.add_argument("--libraries", nargs="+", choices=peers.LIBRARIES, default=peers.LIBRARIES)
    parser.add_argument("--settings", nargs="+", choices=timing.SETTINGS)
    options = parser.parse_args()
    if unknown := set(options.names) - set(EVERYTHING):
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(EVERYTHING)}")
    options.seconds = options.seconds or (0.2 if options.quick else 1.5)
    options.settings = options.settings or (["single"] if options.quick else list(timing.SETTINGS))
    return options


def measured(
    setting: timing.Setting, names: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """The results of a process started for one setting."""
    request = {
        "setting": setting.name,
        "names": names,
        "libraries": list(options.libraries),
        "seconds": options.seconds,
        "statistic": options.statistic,
        "rounds": 3 if options.quick else 9,
    }
    print(f"measuring {', '.join(names)}: {setting.title}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "results.json")
        command = [sys.executable, "-m", "benchmarks.measure", json.dumps(request), path]
        subprocess.run(command, cwd=ROOT, env=timing.environment(setting), check=True)
        with open(path, encoding="utf-8") as file:
            return json.load(file)


if __name__ == "__main__":
    main()

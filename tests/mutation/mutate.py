"""Breaks every rule of every primitive in turn and says which mutants no test kills.

    python -m tests.mutation.mutate                      all primitives
    python -m tests.mutation.mutate sin dot_general      some
    python -m tests.mutation.mutate --fields transpose batch --sample 0.2

A mutant is a rule with one thing wrong in it (mutants.py); its judges are the tests that run the
line (judges.py), the cheapest first; it survives if all of them pass. Verdicts are kept in
build/mutation, so that a run that was stopped goes on, and after tests were added only survivors
are judged again (`--fresh`: all).
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.mutation import equivalent, judges
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.rules import FIELDS, Target, targets

JUDGES = (
    "primitives", "control", "transforms", "numpy", "errors", "test_scipy.py",
    "test_scipy_linalg.py", "test_random.py",
)  # fmt: skip
TOO_SLOW = ("transforms/test_compositions.py", "numpy/test_ufuncs.py")
KEPT = judges.ROOT / "build" / "mutation"
QUIET = ("-q", "--tb=native", "-p", "no:cacheprovider", "-p", "no:faulthandler")


class Trial:
    """Takes the place of pytest's loop over tests: these are not run, but set to judge."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.verdicts = Verdicts(KEPT / "verdicts.jsonl", options.fresh)
        self.counts: dict[str, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        self.survivors: list[str] = []
        self.used: set[equivalent.Name] = set()  # entries of the list of equivalent mutants

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        capture = session.config.pluginmanager.getplugin("capturemanager")
        capture.suspend_global_capture(in_=True)
        self.court = judges.court(session.items, self.options.budget, KEPT / "judges.pickle", say)
        say(f"{len(self.court.judges)} of {len(session.items)} tests are judges")
        for target in self.chosen_targets():
            self.try_target(target)
        self.summarize()
        return True

    def chosen_targets(self) -> list[Target]:
        wanted, fields = set(self.options.names), set(self.options.fields)
        found = [
            t for t in targets()
            if t.field in fields and (not wanted or wanted & set(t.primitives))
        ]  # fmt: skip
        return sorted(found, key=lambda t: t.primitives[0])

    def try_target(self, target: Target) -> None:
        for mutant in self.sampled(target):
            counts = self.counts[target.field]
            counts["mutants"] += 1
            if names := equivalent.names_of(mutant):
                self.used.update(names)
                counts["equivalent"] += 1
                continue
            killer = self.verdicts.get(mutant)
            if killer == "" and self.options.new:
                continue
            if not killer:
                start = time.perf_counter()
                killer = self.court.verdict(mutant, target.primitives[:3])
                self.verdicts.put(mutant, killer, time.perf_counter() - start)
            counts["killed" if killer else "survived"] += 1
            if not killer:
                line = f"{target.primitives[0]}.{target.field}  {mutant}"
                self.survivors.append(line)
                say(line)

    def sampled(self, target: Target) -> Iterator[Mutant]:
        rng = random.Random(str((self.options.seed, target.primitives[0], target.field)))
        for mutant in mutants(target.functions):
            if rng.random() < self.options.sample:
                yield mutant

    def summarize(self) -> None:
        columns = ("mutants", "killed", "equivalent", "survived")
        total = sum(self.counts.values(), collections.Counter())
        say(f"{'rule':12}" + "".join(f"{c:>12}" for c in columns))
        for field in (*(f for f in FIELDS if f in self.counts), "total"):
            counts = self.counts.get(field, total)
            say(f"{field:12}" + "".join(f"{counts[c]:12}" for c in columns))
        for name in self.unused():
            say(f"no mutant has this name any more: {name}")

    def unused(self) -> list[equivalent.Name]:
        """Entries of the list that a whole run has not met."""
        options = self.options
        if options.names or options.sample < 1 or set(options.fields) != set(FIELDS):
            return []
        known = {name for names in equivalent.EQUIVALENT.values() for name in names}
        return sorted(known - self.used)


class Verdicts:
    """What was found out before, by the text of the file that the mutant is in."""

    def __init__(self, path: pathlib.Path, fresh: bool) -> None:
        self.path, self.known = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)
        for line in path.read_text().splitlines() if path.exists() else ():
            entry = json.loads(line)
            self.known[tuple(entry["key"])] = entry["killer"]

    def get(self, mutant: Mutant) -> str | None:
        """The test that killed it; nothing if it survived, None if it was never judged."""
        return self.known.get(self._key(mutant))

    def put(self, mutant: Mutant, killer: str, seconds: float) -> None:
        self.known[self._key(mutant)] = killer
        entry = {"key": self._key(mutant), "killer": killer, "seconds": round(seconds, 2)}
        with self.path.open("a") as file:
            file.write(json.dumps({**entry, "mutant": str(mutant)}) + "\n")

    def _key(self, mutant: Mutant) -> tuple[Any, ...]:
        text = judges.digest(judges.ROOT / "funcgrad" / mutant.file)[:16]
        return text, mutant.lines[0], mutant.column, mutant.fragment, mutant.what


def places(names: tuple[str, ...]) -> list[str]:
    """Where tests stand."""
    return [str(judges.ROOT / "tests" / name) for name in names]


def say(line: str) -> None:
    print(line, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="primitives; all if none is named")
    parser.add_argument("--fields", nargs="+", default=FIELDS, choices=FIELDS)
    parser.add_argument("--sample", type=float, default=1.0, help="the share of mutants to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of tests for a mutant")
    parser.add_argument("--new", action="store_true", help="only what was never judged")
    parser.add_argument("--fresh", action="store_true", help="forget earlier verdicts")
    trial = Trial(parser.parse_args(arguments))
    start = time.time()
    ignored = [f"--ignore={place}" for place in places(TOO_SLOW)]
    code = pytest.main([*QUIET, *places(JUDGES), *ignored], plugins=[trial])
    say(f"{len(trial.survivors)} survivors, {time.time() - start:.0f} s")
    return 1 if trial.survivors or trial.unused() or code not in (0, 5) else 0


if __name__ == "__main__":
    sys.exit(main())

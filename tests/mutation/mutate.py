"""Breaks every rule of every primitive in turn and says which mutants no test kills.

    python -m tests.mutation.mutate                      all primitives
    python -m tests.mutation.mutate sin dot_general      some
    python -m tests.mutation.mutate --fields transpose batch --sample 0.2 --processes 4

A mutant is a rule with one thing wrong in it (mutants.py); its judges are the tests that run the
line (judges.py), the cheapest first; it survives if all of them pass. Verdicts are kept in
build/mutation, so that a run that was stopped goes on, and after tests were added only survivors
are judged again (`--fresh`: all).
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from funcgrad.config import config
from tests.mutation import equivalent, judges
from tests.mutation.children import in_parallel
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.rules import FIELDS, Target, targets

JUDGES = (
    "primitives", "control", "transforms", "numpy", "errors", "backends", "compiler",
    "test_scipy.py", "test_scipy_linalg.py", "test_random.py",
)  # fmt: skip
TOO_SLOW = (
    "transforms/test_compositions.py", "numpy/test_ufuncs.py", "backends/test_vector_math.py",
    "backends/test_native_cache.py", "backends/test_native_threads.py", "backends/test_gemm.py",
)  # fmt: skip
KEPT = judges.ROOT / "build" / "mutation"
QUIET = ("-q", "--tb=native", "-p", "no:cacheprovider", "-p", "no:faulthandler")


class Trial:
    """Takes the place of pytest's loop over tests: these are not run, but set to judge."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.verdicts = Verdicts(KEPT / "verdicts.jsonl", options.fresh, options.new)
        self.counts: dict[str, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        self.survivors: list[str] = []
        self.used: set[equivalent.Name] = set()  # entries of the list of equivalent mutants

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        capture = session.config.pluginmanager.getplugin("capturemanager")
        capture.suspend_global_capture(in_=True)
        config.update("enable_compilation_cache", False)  # no code of right rules, none of wrong
        rules, tests = self.chosen_targets(), session.items
        open_rules = [rules[n] for n in self.tried(self.looked_up, rules)]
        if open_rules:
            options, memory = self.options, KEPT / "judges.pickle"
            self.court = judges.court(tests, options.budget, memory, options.processes, say)
            say(f"{len(self.court.judges)} of {len(tests)} tests are judges")
            self.tried(self.judged, open_rules)
        self.summarize()
        return True

    def tried(self, function: Callable[[Target], list[Tried]], rules: list[Target]) -> list[int]:
        """Counts what becomes of the mutants of rules; which rules have some still to be judged."""
        found = []
        for number, trials in in_parallel(function, rules, self.options.processes):
            for trial in trials:
                self.count(rules[number].field, trial)
            if any(trial.killer is None for trial in trials):
                found.append(number)
        return sorted(found)

    def chosen_targets(self) -> list[Target]:
        """Those with the longest code first, so that no process is left with them at the end."""
        wanted, fields = set(self.options.names), set(self.options.fields)
        found = [
            t for t in targets()
            if t.field in fields and (not wanted or wanted & set(t.primitives))
        ]  # fmt: skip
        return sorted(found, key=lambda t: -len(t.functions[0].__code__.co_code))

    def looked_up(self, target: Target) -> list[Tried]:
        """All mutants of a rule, with the verdicts that are known."""
        return [self.verdicts.get(target, mutant) for mutant in self.sampled(target)]

    def judged(self, target: Target) -> list[Tried]:
        """Those of them that are to be judged, with the verdicts."""
        found = []
        for mutant in self.sampled(target):
            before = self.verdicts.get(target, mutant)
            if before.killer is None:
                start = time.perf_counter()
                killer = self.court.verdict(mutant, target.primitives[:3])
                seconds = time.perf_counter() - start
                found.append(before._replace(killer=killer, seconds=seconds))
        return found

    def sampled(self, target: Target) -> Iterator[Mutant]:
        rng = random.Random(str((self.options.seed, target.primitives[0], target.field)))
        for mutant in mutants(target.functions):
            if rng.random() < self.options.sample:
                yield mutant

    def count(self, field: str, trial: Tried) -> None:
        if trial.killer is None:
            return
        outcome = "equivalent" if trial.names else "killed" if trial.killer else "survived"
        self.counts[field].update(["mutants", outcome])
        self.used.update(trial.names)
        if trial.seconds is not None:
            self.verdicts.put(trial)
        if outcome == "survived":
            self.survivors.append(trial.line)
            say(trial.line)

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


class Tried(NamedTuple):
    """What became of a mutant."""

    line: str  # what is said of it
    key: tuple[Any, ...]
    names: list[equivalent.Name]  # which entries say that it is none
    killer: str | None  # a test; nothing if it survived, None if it is still to be judged
    seconds: float | None = None  # that it took now


class Verdicts:
    """What was found out before, by the text of the statement that the mutant is in."""

    def __init__(self, path: pathlib.Path, fresh: bool, keep_survivors: bool) -> None:
        self.path, self.known = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)
        for line in path.read_text().splitlines() if path.exists() else ():
            entry = json.loads(line)
            if entry["killer"] or keep_survivors:
                self.known[tuple(entry["key"])] = entry["killer"]

    def get(self, target: Target, mutant: Mutant) -> Tried:
        names, key = equivalent.names_of(mutant), self._key(mutant)
        line = f"{target.primitives[0]}.{target.field}  {mutant}"
        return Tried(line, key, names, "" if names else self.known.get(key))

    def put(self, trial: Tried) -> None:
        entry = {"key": trial.key, "killer": trial.killer, "seconds": round(trial.seconds or 0, 2)}
        with self.path.open("a") as file:
            file.write(json.dumps({**entry, "mutant": trial.line}) + "\n")

    def _key(self, mutant: Mutant) -> tuple[Any, ...]:
        return *mutant.places[0], mutant.column, mutant.fragment, mutant.what


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
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="side by side")
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

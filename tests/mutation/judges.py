"""The tests as judges of mutants: which of them runs which line, how long each takes, and what it
says while a rule is broken.

Everything happens in children of one process that has imported all but run nothing: a mutant finds
no cache filled by the right rules, leaves nothing behind, and is stopped by the clock or by memory.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import pathlib
import pickle
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from _pytest.runner import runtestprotocol

import funcgrad as fg
from funcgrad.core.primitive import registry
from funcgrad.transforms import autodiff
from tests.mutation.children import child, in_parallel, unpickled
from tests.mutation.mutants import Mutant, Place, first_line, parsed, place_of

try:
    import resource
except ImportError:  # on Windows, which has no `fork` either: there mutants are not tried
    resource = None

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOMES = tuple(str(ROOT / "funcgrad" / room) for room in ("primitives", "control"))
PATIENCE = 10  # times as long as usual, and five seconds: a loop that does not end
PIECE = 400  # tests of a file that are measured in one go
MEMORY = 8 << 30  # bytes of address space beyond what the process has


@dataclass
class Judge:
    """A test that passes while nothing is broken."""

    item: pytest.Item
    seconds: float
    kills: int = 0

    @property
    def price(self) -> float:
        """Who is cheap, and was right before, is asked first."""
        return self.seconds / (1 + self.kills)


@dataclass
class Court:
    """All judges, by the lines that they run."""

    budget: float  # seconds of tests for one mutant; those that take longest are left out
    judges: list[Judge] = field(default_factory=list)
    by_line: dict[Place, list[Judge]] = field(default_factory=lambda: collections.defaultdict(list))

    def add(self, item: pytest.Item, seconds: float, lines: Iterable[Place]) -> None:
        judge = Judge(item, seconds)
        self.judges.append(judge)
        for line in lines:
            self.by_line[line].append(judge)

    def judges_of(self, mutant: Mutant, primitives: list[str]) -> list[Judge]:
        """Those who run what is broken, rows of these primitives first (for half of the budget),
        then the cheapest, as many as the budget pays for.
        """
        code = mutant.functions[0].__code__
        first = place_of(code.co_filename, code.co_firstlineno)
        found = self._on(mutant.places) or self._on([first])
        own, budget = tuple(f"[{name}-" for name in primitives), self.budget
        found.sort(key=lambda judge: judge.price)
        rows = affordable((j for j in found if any(o in j.item.nodeid for o in own)), budget / 2)
        own_rows = set(map(id, rows))
        others = (j for j in found if id(j) not in own_rows)
        return rows + affordable(others, budget - sum(j.seconds for j in rows))

    def _on(self, lines: Iterable[Place]) -> list[Judge]:
        found = {id(j): j for line in lines for j in self.by_line.get(line, ())}
        return list(found.values())

    def verdict(self, mutant: Mutant, primitives: list[str]) -> str:
        """The test that fails while the mutant lives; nothing if none does."""
        judges = self.judges_of(mutant, primitives)
        with child() as answer:
            if answer.here:
                limit_memory()
                mutant.__enter__()
                forget()
                for number, judge in enumerate(judges):
                    answer.give(number)
                    if not passes(judge.item, judge.seconds * PATIENCE + 5):
                        answer.give("failed")
                        break
                else:
                    answer.give("passed")
        if not answer.got or answer.got[-1] == "passed":
            return ""
        number = max(n for n in answer.got if isinstance(n, int))
        judges[number].kills += 1
        how = "" if answer.got[-1] == "failed" else " (did not come to an end)"
        return judges[number].item.nodeid + how


def affordable(judges: Iterable[Judge], budget: float) -> list[Judge]:
    """As many of them, from the front, as the budget pays for; one at least."""
    found: list[Judge] = []
    for judge in judges:
        budget -= judge.seconds
        if budget < 0 and found:
            break
        found.append(judge)
    return found


# ---- one test ------------------------------------------------------------------------------------


def passes(item: pytest.Item, seconds: float) -> bool:
    """Runs a test; the process is ended when time is up, also in the middle of a library."""
    limits = (
        (signal.SIGPROF, signal.ITIMER_PROF, seconds),  # of the processor: others may be busy
        (signal.SIGALRM, signal.ITIMER_REAL, 120 + 20 * seconds),  # for what waits
    )
    for kind, clock, limit in limits:
        signal.signal(kind, signal.SIG_DFL)
        signal.setitimer(clock, limit)
    reports = runtestprotocol(item, log=False, nextitem=None)
    for _, clock, _ in limits:
        signal.setitimer(clock, 0)
    return not any(report.failed for report in reports)


@functools.cache
def caches(loaded: int) -> list[Any]:
    """Everything in the package that remembers results, while that many modules are loaded."""
    modules = [m for name, m in list(sys.modules.items()) if name.startswith("funcgrad.")]
    kind = type(functools.cache(abs))
    values = {id(v): v for m in modules for v in vars(m).values() if isinstance(v, kind)}
    return list(values.values())


def forget() -> None:
    """No result of another version of the rules is used again."""
    for cache in caches(len(sys.modules)):
        cache.cache_clear()
    for primitive in registry:
        if primitive.units:
            primitive.units.clear()
    autodiff._composites.clear()
    fg.clear_caches()


def limit_memory() -> None:
    """No more than MEMORY beyond what this process has now, where the system says what that is."""
    pages = pathlib.Path("/proc/self/statm")
    if pages.exists():
        now = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))


# ---- who runs what -------------------------------------------------------------------------------


class Watch:
    """Notes the lines of rules that are run."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()

    def __enter__(self) -> Watch:
        sys.settrace(self._call)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)

    @property
    def lines(self) -> set[Place]:
        return {place_of(*line) for line in self.seen}

    def _call(self, frame: Any, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(HOMES):
            return None
        add = self.seen.add

        def line(frame: Any, event: str, argument: Any) -> Any:
            add((code.co_filename, frame.f_lineno))
            return line

        add((code.co_filename, code.co_firstlineno))
        return line


class Measure(NamedTuple):
    """What is remembered of a test, as long as the text of it and of the rules it runs is the
    same.
    """

    name: str
    text: str  # a digest of the test's file and its tables
    seconds: float
    good: bool
    lines: set[Place]

    def holds(self, texts: Mapping[str, str]) -> bool:
        """Is everything that it hangs on as it was?"""
        return texts.get(self.name) == self.text and {line[:2] for line in self.lines} <= RULES


def measured(tests: list[tuple[pytest.Item, str]]) -> list[Measure]:
    """Tests, each with a digest of its text, are run once under a trace."""
    with child() as answer:
        if answer.here:
            for item, text in tests:
                forget()
                start = time.perf_counter()
                with Watch() as watch:
                    good = passes(item, 300)
                seconds = time.perf_counter() - start
                answer.give(Measure(item.nodeid, text, seconds, good, watch.lines))
    return answer.got


def court(
    items: list[pytest.Item], budget: float, memory: pathlib.Path, processes: int, say: Any
) -> Court:
    """All tests that pass and run rules, measured now or earlier."""
    texts = {item.nodeid: text_of_test(item.path) for item in items}
    known = remembered(memory, texts)
    pieces = pieces_of([(i, texts[i.nodeid]) for i in items if i.nodeid not in known])
    for number, measures in in_parallel(measured, pieces, processes):
        good = sum(measure.good for measure in measures)
        say(f"{pieces[number][0][0].path.name}: {good} of {len(pieces[number])} tests pass")
        known.update({measure.name: measure for measure in measures})
        with memory.open("ab") as file:
            pickle.dump(measures, file)
    found = Court(budget)
    for item in items:
        if (measure := known.get(item.nodeid)) and measure.good and measure.lines:
            found.add(item, measure.seconds, measure.lines)
    return found


def pieces_of(tests: list[tuple[pytest.Item, str]]) -> list[list[tuple[pytest.Item, str]]]:
    """Tests of one file each, not too many of them; the largest pieces first."""
    files = collections.defaultdict(list)
    for item, text in tests:
        files[item.path].append((item, text))
    pieces = [g[i : i + PIECE] for g in files.values() for i in range(0, len(g), PIECE)]
    return sorted(pieces, key=len, reverse=True)


def remembered(memory: pathlib.Path, texts: Mapping[str, str]) -> dict[str, Measure]:
    """What was measured before and holds still; the rest is dropped from the file, too."""
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.touch()
    with memory.open("rb") as file:
        measures = [m for piece in unpickled(file) for m in piece if m.holds(texts)]
    memory.write_bytes(pickle.dumps(measures))
    return {measure.name: measure for measure in measures}


@functools.cache
def text_of_test(path: pathlib.Path) -> str:
    """A digest of the file of a test, and of the files beside it that hold its tables."""
    return digest(path, *family(path))


def family(path: pathlib.Path) -> list[pathlib.Path]:
    """The files beside a test's that hold its tables, if it has any from elsewhere."""
    if "from tests." not in path.read_text(encoding="utf-8"):
        return []
    return sorted(p for p in path.parent.glob("*.py") if not p.name.startswith("test_"))


def digest(*paths: pathlib.Path) -> str:
    return hashlib.sha256(b"".join(p.read_bytes() for p in paths)).hexdigest()


# The statements that rules stand in, as they are imported; files may be edited later.
RULES = {
    place_of(str(path), first_line(statement))[:2]
    for home in HOMES
    for path in pathlib.Path(home).rglob("*.py")
    for statement in parsed(str(path)).body
}

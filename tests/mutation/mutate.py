"""Breaks every rule of every primitive in turn and says which mutants no law kills.

    python -m tests.mutation.mutate                      all primitives
    python -m tests.mutation.mutate sin dot_general      some
    python -m tests.mutation.mutate --fields transpose batch --jobs 4 --sample 0.2

Each worker breaks a live function, runs the rows of the primitive through the laws of
tests/primitives/test_laws.py (for operations that hold programs, the laws of
tests/transforms/test_construct_laws.py), and repairs it. A mutant survives if all of them pass.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import multiprocessing
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
from funcgrad.config import config
from funcgrad.core.primitive import Construct, Primitive, registry
from funcgrad.transforms import autodiff
from tests.mutation.mutants import Mutant, functions_of, mutants
from tests.primitives import test_laws as laws
from tests.transforms import test_construct_laws as construct_laws

FIELDS = (
    "abstract",
    "value",
    "partials",
    "jvp",
    "transpose",
    "batch",
    "loops",
    "split",
    "run",
    "weak",
)
LAWS = (
    laws.test_abstract_is_what_comes_out,
    laws.test_its_program_evaluates_to_the_same,
    laws.test_batch_is_a_stacked_loop,
    laws.test_jvp_is_the_difference_quotient,
    laws.test_transpose_is_the_adjoint,
    laws.test_loop_form_says_what_value_computes,
    laws.test_second_derivatives,
    laws.test_compiled_is_the_same,
    laws.test_operands_are_not_written_to,
)
SECONDS = 20  # for one mutant; longer is a loop that does not end, and counts as killed


class TimeIsUp(Exception):
    """The laws did not come to an end."""


def rules_of(primitive: Primitive, fields: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """The functions in a primitive's fields, with the field's name."""
    for field in fields:
        value = getattr(primitive, field, None)
        for rule in value if isinstance(value, tuple) else (value,):
            if callable(rule):
                yield field, rule


def belongs(module: str) -> bool:
    """Is this a module whose functions are rules?"""
    return module.startswith(("funcgrad.primitives.", "funcgrad.control."))


@dataclass
class Target:
    """One piece of code, the primitives whose rule it is (or is part of), and in which field."""

    functions: list[Any]
    primitives: list[Primitive]
    field: str


AT_MOST = 3  # primitives stand for all that a factory has made


def targets(fields: tuple[str, ...]) -> list[Target]:
    """All pieces of code, each once, in the order of primitives' names."""
    found: dict[Any, Target] = {}
    for primitive in primitives([]):
        for field, rule in rules_of(primitive, fields):
            for function in functions_of(rule, belongs):
                target = found.setdefault(function.__code__, Target([], [], field))
                if not any(function is f for f in target.functions):
                    target.functions.append(function)
                if primitive not in target.primitives:
                    target.primitives.append(primitive)
    for target in found.values():
        target.primitives.sort(key=lambda p: (-operands(p), p.name))
        del target.primitives[AT_MOST:]
    return list(found.values())


def operands(primitive: Primitive) -> int:
    """The most operands that a row of the primitive has; those with parameters first."""
    rows = [case for _, case, _ in laws.CASES if case.primitive is primitive]
    return max((len(case.args) for case in rows), default=0)


# ---- killing -------------------------------------------------------------------------------------


@functools.cache
def caches() -> list[Any]:
    """Everything in the package that remembers results."""
    modules = [m for name, m in list(sys.modules.items()) if name.startswith("funcgrad.")]
    kind = type(functools.cache(abs))
    values = {id(v): v for m in modules for v in vars(m).values() if isinstance(v, kind)}
    return list(values.values())


def forget() -> None:
    """No result of another version of the rules is used again."""
    for cache in caches():
        cache.cache_clear()
    for primitive in registry:
        if primitive.units:
            primitive.units.clear()
    autodiff._composites.clear()
    fg.clear_caches()


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """TimeIsUp if the block takes longer."""

    def stop(*_: Any) -> None:
        raise TimeIsUp

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def checks_of(primitive: Primitive) -> list[Callable[[], None]]:
    """What must notice that a rule of the primitive is wrong."""
    rows = [(case, params) for _, case, params in laws.CASES if case.primitive is primitive]
    found: list[Callable[[], None]] = [
        functools.partial(law, case, params)
        for law in LAWS
        for case, params in rows
        if LAW_NAMES[law.__name__] not in case.skip
    ]
    if isinstance(primitive, Construct):
        functions = CONSTRUCTS.get(primitive.name, set())
        found += [
            test
            for test in tests_in(construct_laws)
            if getattr(test.keywords.get("function"), "__name__", None) in functions | {None}
        ]
    for module, names in MORE_TESTS.items():
        if primitive.name in names:
            found += tests_in(importlib.import_module(f"tests.{module}"))
    return found


# Which functions of test_construct_laws.py are about which operation.
CONSTRUCTS = {
    "scan": {"scan_all", "scan_backward", "scan_hoisted", "scan_of_scan", "while_fixed"},
    "cond": {"cond_on_data", "cond_fixed", "switch_on_data"},
    "while": {"while_fixed", "while_on_data", "fori_on_data"},
    "jit": {"calls"},
    "checkpoint": {"recomputed", "recomputed_loop", "while_fixed"},
    "custom_jvp_call": {"by_rule", "rule_in_loop"},
    "custom_vjp_call": {"by_backward_rule", "backward_rule_in_loop"},
    "custom_lin": {"by_backward_rule", "backward_rule_in_loop"},
}
# Tests beside the laws, which see what these do not: complex numbers, mixed types, weak types.
MORE_TESTS = {
    "primitives.test_complex_parts": {"abs", "complex", "conj", "imag", "real", "sign"},
    "primitives.test_convert": {
        "bitcast_convert_type",
        "convert_element_type",
        "reduce_precision",
        "copy",
    },
    "primitives.test_convolution": {"conv_general_dilated"},
    "primitives.test_ordering": {"sort", "top_k", "argmax", "argmin"},
    "primitives.test_reduce": {
        "cummax",
        "cummin",
        "cumprod",
        "cumsum",
        "cumlogsumexp",
        "reduce_prod",
    },
    "primitives.test_edges": set(
        "abs bessel_i1e conv_general_dilated cumlogsumexp cummax cummin dot_general gather "
        "integer_pow max min polygamma reduce_max reduce_min dynamic_slice".split()
    ),
    "control.test_callback": {"debug_callback", "io_callback", "pure_callback"},
    "control.test_cond": {"cond"},
    "control.test_scan": {"scan"},
    "control.test_while": {"while"},
    "primitives.test_weak_types": {p.name for p in registry if p.weak is not None},
}


@functools.cache
def tests_in(module: Any) -> list[Callable[[], None]]:
    """The tests of a module as functions without arguments, each set of parameters by itself."""
    tests = [f for name, f in vars(module).items() if name.startswith("test_") and callable(f)]
    return [call for test in tests if not hasattr(test, "hypothesis") for call in expanded(test)]


def expanded(test: Callable[..., None]) -> list[Any]:
    """One call for each set of parameters of a test."""
    calls: list[Any] = [functools.partial(test)]
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            names = mark.args[0]
            names = [n.strip() for n in names.split(",")] if isinstance(names, str) else names
            sets = [values_of(v, len(names)) for v in mark.args[1]]
            calls = [functools.partial(c, **dict(zip(names, v))) for c in calls for v in sets]
    return calls


def values_of(parameters: Any, count: int) -> Any:
    """One set of parameters, which may be marked, and need no tuple if it is one value."""
    if hasattr(parameters, "marks"):
        return parameters.values
    return parameters if count > 1 else (parameters,)


def sound(checks: list[Callable[[], None]]) -> list[Callable[[], None]]:
    """Those that pass while nothing is broken: tests that need a fixture are left out."""
    passing = []
    for check in checks:
        with contextlib.suppress(Exception, pytest.skip.Exception):
            check()
            passing.append(check)
    return passing


LAW_NAMES = {
    "test_abstract_is_what_comes_out": "abstract",
    "test_its_program_evaluates_to_the_same": "stage",
    "test_compiled_is_the_same": "jit",
    "test_operands_are_not_written_to": "value",
    "test_jvp_is_the_difference_quotient": "derivative",
    "test_transpose_is_the_adjoint": "transpose",
    "test_second_derivatives": "second",
    "test_batch_is_a_stacked_loop": "batch",
    "test_loop_form_says_what_value_computes": "loops",
}


def killed(mutant: Mutant, checks: list[Callable[[], None]]) -> str:
    """Who noticed; nothing if nobody did."""
    with mutant, warnings.catch_warnings(), config.override(check_jaxprs=True):
        warnings.simplefilter("ignore")
        forget()
        try:
            with limited(SECONDS), np.errstate(all="ignore"):
                for check in checks:
                    try:
                        check()
                    except pytest.skip.Exception:
                        continue
        except BaseException as error:  # whatever it is, the suite would have failed
            if isinstance(error, KeyboardInterrupt):
                raise
            return type(error).__name__
    return ""


# ---- the run -------------------------------------------------------------------------------------


def chosen(names: list[str]) -> set[str]:
    """These names, or those of all primitives."""
    return set(names) or {p.name for p in list(registry)}


def primitives(names: list[str]) -> list[Primitive]:
    """The primitives of these names, or all of ours that have checks, in order."""
    chosen = [p for p in list(registry) if (not names or p.name in names) and checks_of(p)]
    return sorted(chosen, key=lambda p: p.name)


def work(task: tuple[str, tuple[str, ...], int, float]) -> tuple[str, int, list[str]]:
    """All mutants of one primitive's own code: how many there were, and who survived."""
    name, fields, seed, share = task
    survivors, count = [], 0
    for target in targets(fields):
        if target.primitives[0].name != name:
            continue
        chosen = list(mutants(target.functions))
        if share < 1 and chosen:
            chosen = random.Random(seed).sample(chosen, max(1, round(share * len(chosen))))
        checks = sound([check for p in target.primitives for check in checks_of(p)])
        for mutant in chosen:
            count += 1
            if not killed(mutant, checks):
                survivors.append(f"{name}.{target.field}  {mutant.place}  {mutant.what}")
    forget()
    return name, count, survivors


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="primitives; all if none is named")
    parser.add_argument("--fields", nargs="+", default=FIELDS, choices=FIELDS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--sample", type=float, default=1.0, help="the share of mutants to try")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    fields = tuple(options.fields)
    names = sorted({t.primitives[0].name for t in targets(fields)} & chosen(options.names))
    tasks = [(name, fields, options.seed, options.sample) for name in names]
    start, total, alive = time.time(), 0, []
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=8) as pool:
        for name, count, survivors in pool.imap_unordered(work, tasks):
            total, alive = total + count, alive + survivors
            print(f"{name:28} {count:5} mutants, {len(survivors)} survived", flush=True)
            for line in survivors:
                print("    " + line, flush=True)
    print(f"{total} mutants, {len(alive)} survivors, {time.time() - start:.0f} s")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())

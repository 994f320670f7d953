"""What runs as native code: nearly all of random programs, and which primitives never do."""

from __future__ import annotations

import pytest

pytest.importorskip("llvmlite")

from benchmarks.nativeness import CONSTRUCTS, cell, count, random_functions
from funcgrad.backends.llvm.dense_routines import DENSE
from funcgrad.backends.llvm.routines import ROUTINES
from funcgrad.core.avals import typeof
from funcgrad.core.loops import Opaque
from tests.primitives.cases import all_cases
from tests.primitives.test_laws import arrays

# What runs outside has no row: factors of large matrices.
HOST: frozenset[str] = frozenset()


NAMES = sorted({case.primitive.name for _, case, _ in all_cases()})


@pytest.mark.parametrize("name", NAMES)
def test_the_routine_that_a_rule_names_exists(name: str) -> None:
    """Else its primitive would be left to NumPy, with the same values."""
    for _, case, params in all_cases():
        if case.primitive.name == name:
            avals = [typeof(x) for x in arrays(case.operands())]
            form = case.primitive.rule("loops", "compilation")(*avals, **params)
            if isinstance(form, Opaque):
                assert form.routine in {"", *ROUTINES, *DENSE}, form


def test_random_programs_are_native() -> None:
    native, total, outside = count()
    assert native >= 0.99 * total and total > 5000, outside


def test_random_numbers_are_native() -> None:
    found = random_functions()
    assert {name for name, others in found.items() if others} == {"gamma"}


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_rows_are_native(construct: str) -> None:
    """In every construct; exceptions are listed."""
    found = set()
    for _, case, params in all_cases():
        got = cell(case, params, construct)
        if got is not None and got != "native":
            found.update(got.split(", "))
    assert found <= HOST

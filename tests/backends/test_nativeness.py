"""What runs as native code: nearly all of random programs, and which primitives never do."""

from __future__ import annotations

import pytest

pytest.importorskip("llvmlite")

from benchmarks.nativeness import CONSTRUCTS, cell, count, random_functions
from tests.primitives.cases import all_cases

# Factorizations that LAPACK does, and functions of statistics that NumPy computes in series.
HOST = frozenset((
    "eig", "eigh", "svd", "qr", "igamma", "igammac", "igamma_grad_a", "zeta", "polygamma",
    "random_gamma_grad", "regularized_incomplete_beta",
))  # fmt: skip


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

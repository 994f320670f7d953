"""A few mutants, so that the script that makes all of them stays sharp (`make mutation`)."""

from __future__ import annotations

import pytest

import funcgrad as fg
from funcgrad.core.primitive import registry
from tests.mutation import mutate
from tests.mutation.mutants import mutants

FEW = ("tanh", "rsqrt", "relu")


def own_targets(name):
    return [t for t in mutate.targets(mutate.FIELDS) if t.primitives[0].name == name]


@pytest.mark.parametrize("name", FEW)
def test_no_mutant_of_a_few_primitives_survives(name):
    found = [
        (target, mutant)
        for target in own_targets(name)
        for mutant in list(mutants(target.functions))
    ]
    assert found
    alive = [
        f"{target.field} {mutant.place} {mutant.what}"
        for target, mutant in found
        if not mutate.killed(mutant, [c for p in target.primitives for c in mutate.checks_of(p)])
    ]
    assert not alive


def test_a_mutant_is_wrong_while_it_lives_and_leaves_nothing_behind():
    (target,) = [t for t in own_targets("tanh") if t.field == "partials"]
    before = float(fg.grad(fg.numpy.tanh)(0.5))
    slopes = set()
    for mutant in mutants(target.functions):
        with mutant:
            mutate.forget()
            slopes.add(float(fg.grad(fg.numpy.tanh)(0.5)))
    mutate.forget()
    assert slopes and before not in slopes
    assert float(fg.grad(fg.numpy.tanh)(0.5)) == before


def test_every_primitive_with_rows_has_mutants():
    """Else a change of the script or of the table could make it look at nothing."""
    counted = {t.primitives[0].name for t in mutate.targets(mutate.FIELDS)}
    assert {"dot_general", "gather", "scan", "cond", "while", "reduce_sum", "conj"} <= counted
    assert len(counted) >= 0.5 * len({p.name for p in registry})

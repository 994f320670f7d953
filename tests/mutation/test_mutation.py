"""A few mutants, so that the script that makes all of them stays sharp (`make mutation`)."""

from __future__ import annotations

import contextlib
import functools
import warnings
from fnmatch import fnmatchcase

import numpy as np
import pytest

import funcgrad as fg
from funcgrad.core.primitive import registry
from tests.mutation import equivalent
from tests.mutation.judges import forget
from tests.mutation.mutants import mutants, short_name
from tests.mutation.rules import targets
from tests.primitives import test_laws as laws

FEW = ("tanh", "rsqrt", "relu")
LAWS = (
    laws.test_abstract_is_what_comes_out,
    laws.test_jvp_is_the_difference_quotient,
    laws.test_transpose_is_the_adjoint,
    laws.test_batch_is_a_stacked_loop,
    laws.test_loop_form_says_what_value_computes,
    laws.test_compiled_is_the_same,
)


def own_targets(name):
    """The rules that no other primitive shares."""
    return [target for target in targets() if target.primitives == [name]]


def checks_of(name):
    """The laws of its rows, each for the rows that the law applies to."""
    rows = [(law, row.values) for law in LAWS for row in law.pytestmark[0].args[1]]
    return [functools.partial(law, *row) for law, row in rows if row[0].primitive.name == name]


def is_killed(mutant, checks):
    with mutant, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        forget()
        for check in checks:
            try:
                check()
            except Exception:
                return True
    return False


@pytest.mark.parametrize("name", FEW)
def test_no_mutant_of_a_few_primitives_survives(name):
    found = [mutant for target in own_targets(name) for mutant in mutants(target.functions)]
    checks = checks_of(name)
    assert not is_killed(contextlib.nullcontext(), checks)
    try:
        alive = [m for m in found if not is_killed(m, checks) and not equivalent.names_of(m)]
    finally:
        forget()
    assert found and not alive, "\n".join(map(str, alive))


def test_a_mutant_is_wrong_while_it_lives_and_leaves_nothing_behind():
    (target,) = [t for t in own_targets("tanh") if t.field == "partials"]
    before = float(fg.grad(fg.numpy.tanh)(0.5))
    slopes = set()
    for mutant in mutants(target.functions):
        with mutant:
            forget()
            slopes.add(float(fg.grad(fg.numpy.tanh)(0.5)))
    forget()
    assert slopes and before not in slopes
    assert float(fg.grad(fg.numpy.tanh)(0.5)) == before


def test_every_primitive_with_rules_has_mutants():
    """Else a change of the script or of the table could make it look at nothing."""
    counted = {name for target in targets() for name in target.primitives}
    assert {"dot_general", "gather", "scan", "cond", "while", "psum", "conj"} <= counted
    assert len(counted) >= 0.9 * len({p.name for p in registry if laws.is_ours(p)})


def test_equivalent_mutants_are_of_rules_that_exist():
    """That they are mutants still, a whole run of the script sees to."""
    rules = {
        (f.__code__.co_filename.rpartition("/funcgrad/")[2], short_name(f))
        for target in targets()
        for f in target.functions
    }
    for names in equivalent.EQUIVALENT.values():
        for file, function, *_ in names:
            assert any(f == file and fnmatchcase(g, function) for f, g in rules), (file, function)

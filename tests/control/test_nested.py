"""Constructs nested in each other, under stacks of transformations: against the unrolled program,
and against jax.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
from tests.control.programs import LOOPS_OF_UNKNOWN_LENGTH, PROGRAMS, transformed, unrolled

X = np.asarray([0.3, 0.7, 1.1])

NAMES = ("grad", "jvp", "vjp", "linearize", "vmap", "jit", "checkpoint")
SHORT = [(), *((name,) for name in NAMES)]
LONG = [*itertools.product(NAMES, repeat=2)] + [
    ("jit", "grad", "grad"),
    ("grad", "jit", "grad"),
    ("grad", "vmap", "grad"),
    ("grad", "grad", "vmap"),
    ("vmap", "grad", "jit"),
    ("checkpoint", "grad", "vmap"),
    ("jvp", "vmap", "grad"),
]
SHARES = 8  # programs take turns with the long stacks: each pair meets three programs
CASES = [
    (program, stack)
    for k, program in enumerate(PROGRAMS)
    for stack in SHORT + LONG[k % SHARES :: SHARES]
]
ORACLE_STACKS = [(), ("jvp", "vmap"), ("grad", "vmap"), ("vmap", "grad"), ("jit", "vjp")]
REVERSE = {"grad", "vjp", "linearize"}


def name_of(value: Any) -> str:
    return " of ".join(value) or "value" if isinstance(value, tuple) else value.__name__


@pytest.mark.parametrize("program, stack", CASES, ids=name_of)
def test_as_unrolled(program: Any, stack: tuple[str, ...]) -> None:
    with fg.config.override(enable_x64=True):
        x = fg.numpy.asarray(X)
        found, wanted = (transformed(lib, program, stack)(x) for lib in (fg, unrolled))
    assert found.shape == () and found.dtype == wanted.dtype
    # the same operations in float64, in another order where sums are accumulated
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-9, atol=1e-11)


@pytest.mark.oracle
@pytest.mark.parametrize("stack", ORACLE_STACKS, ids=name_of)
@pytest.mark.parametrize("program", PROGRAMS, ids=name_of)
def test_as_jax(program: Any, stack: tuple[str, ...]) -> None:
    jax = pytest.importorskip("jax")
    if program in LOOPS_OF_UNKNOWN_LENGTH and REVERSE.intersection(stack):
        stack = tuple("jvp" if name in REVERSE else name for name in stack)
    x = X.astype(np.float32)
    found = transformed(fg, program, stack)(fg.numpy.asarray(x))
    wanted = transformed(jax, program, stack)(jax.numpy.asarray(x))
    assert (found.shape, found.dtype, found.weak_type) == (
        wanted.shape,
        wanted.dtype,
        wanted.weak_type,
    )
    # float32 through some hundred operations, second derivatives among them
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=2e-4, atol=2e-5)

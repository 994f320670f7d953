"""Loops and branches around something that only Python can do: the rest of their bodies is native,
and what is done is done in order, each time.
"""

from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import debug, lax
from funcgrad.backends.llvm import outside
from funcgrad.config import config
from funcgrad.experimental import io_callback

pytest.importorskip("llvmlite")
pytestmark = pytest.mark.filterwarnings("error:jit. native:RuntimeWarning")

numbers = np.random.default_rng(2)
X = numbers.standard_normal((64, 48)).astype(np.float32)
SHAPE = fg.ShapeDtypeStruct((), np.float32)


def told(said, x):
    debug.callback(lambda n: said.append(round(float(n), 3)), x.mean(), ordered=True)


def scanned(x, said):
    def turn(c, row):
        c = jnp.tanh(c * 0.9 + row)
        told(said, c)
        return c, (c.sum(), c[0])

    return lax.scan(turn, x, jnp.arange(5.0))


def backwards(x, said):
    def turn(c, row):
        told(said, c * row.sum())
        return c * 0.5 + row, row * 2

    return lax.scan(turn, x, jnp.stack([x, x + 1, x + 2]), reverse=True)


def until(x, said):
    def going(c):
        told(said, c[1])
        return (c[0] < 4) & (c[1].sum() < 1e6)

    return lax.while_loop(going, lambda c: (c[0] + 1, c[1] * 1.5 + 1), (0, x))


def chosen(x, said):
    def loud(x):
        told(said, x)
        return jnp.exp(x)

    first = lax.cond(x.sum() > 1e6, loud, lambda x: x - 1, x)
    return first, lax.switch(2, [jnp.sin, jnp.cos, loud], x)


def nested(x, said):
    def outer(i, x):
        x = lax.fori_loop(0, 2, lambda j, x: (told(said, x * i), x * 0.9 + j)[1], x)
        return lax.cond(i % 2 == 0, lambda x: (told(said, x), x)[1], lambda x: x + 1, x)

    return lax.fori_loop(0, 3, outer, x)


def answered(x, said):
    """A value that Python makes goes on in native code; the carry of rank 0 is a number."""

    def turn(c, i):
        got = io_callback(lambda n: (said.append(float(n)), n * 2)[1], SHAPE, i, ordered=True)
        return c + got, x * got

    return lax.scan(turn, jnp.float32(0), jnp.arange(4.0))


def with_slopes(x, said):
    return fg.value_and_grad(lambda x: scanned(x, said)[0].sum())(x)


def with_eigenvalues(x, said):
    """No effect, but no native code either."""

    def turn(c, _):
        c = jnp.tanh(c @ c.T)[:, :48]
        return c, jnp.linalg.eigvals(c[:48] + 0j).real.sum()

    return lax.scan(turn, x, None, length=3)[0]


PROGRAMS = (
    scanned, backwards, until, chosen, nested, answered, with_slopes, with_eigenvalues,
)  # fmt: skip


def results(program, engine):
    said = []
    with config.override(engine=engine):
        compiled = fg.jit(lambda x: program(x, said))
        for _ in range(3):
            found = fg.tree.leaves(compiled(X))
    fg.effects_barrier()
    return [np.asarray(x) for x in found], said


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_results_and_order(program, monkeypatch):
    taken = []
    large = outside._is_large
    monkeypatch.setattr(outside, "_is_large", lambda p: taken.append(large(p)) or taken[-1])
    got, order = results(program, "llvm")
    assert any(taken)
    expected, expected_order = results(program, "reference")
    np.testing.assert_allclose(order, expected_order, rtol=1e-3)  # rounded to so many places
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=2e-5, atol=1e-5)


def test_small_bodies_are_left_to_numpy(monkeypatch):
    monkeypatch.setattr(outside, "LARGE", 1 << 30)
    got, order = results(scanned, "llvm")
    expected, expected_order = results(scanned, "reference")
    assert order == expected_order
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)

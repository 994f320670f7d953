"""The primitive that the documentation states, in under thirty lines, under all transformations."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding_a_primitive.md"


@pytest.fixture(scope="module")
def page():
    """The names that the page's program defines, its code, and what it prints as shown there."""
    section = PAGE.read_text(encoding="utf-8").partition("## A primitive of your own")[2]
    code, shown = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", section, re.S).groups()
    scope: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, str(PAGE), "exec"), scope)
    return scope, code, (out.getvalue(), shown)


def test_it_is_short_and_prints_what_is_shown(page):
    _, code, (printed, shown) = page
    stated = code.partition("\np = ")[0]
    assert len([line for line in stated.splitlines() if line.strip()]) < 30
    assert printed.split() == shown.split()


def test_its_errors_are_its_own(page):
    with pytest.raises(TypeError, match="xlogy: operands must have one type"):
        page[0]["xlogy_p"].bind(jnp.ones(2), jnp.ones(3))


@pytest.mark.oracle
def test_it_agrees_with_jax_under_every_transformation(page):
    jax = pytest.importorskip("jax")
    x = np.array([0.5, 1.5, 2.0], np.float32)

    def run(lib, xlogy):
        f = lambda v: lib.numpy.sum(xlogy(v, lib.numpy.sin(v)))
        results = [
            lib.grad(f)(x),
            lib.jit(lib.grad(f))(x),
            lib.jvp(f, (x,), (x,))[1],
            lib.hessian(f)(x),
            lib.vmap(lib.grad(f))(np.stack([x, x / 2])),
            lib.grad(lib.checkpoint(f))(x),
            lib.grad(lambda v: lib.lax.scan(lambda c, u: (xlogy(c + u, u), c), 1.0, v)[0])(x),
            lib.grad(lambda v: lib.lax.cond(v[0] > 0, f, lib.numpy.sum, v))(x),
        ]
        return [np.asarray(r) for r in results]

    for a, b in zip(run(fg, page[0]["xlogy"]), run(jax, jax.scipy.special.xlogy), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)

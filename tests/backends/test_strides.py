"""Elements that lie apart: loads and stores with every step, in place of gathers and scatters."""

from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax

pytest.importorskip("llvmlite")

from tests.backends.kernel_programs import block_of, guarded

numbers = np.random.default_rng(3)
DTYPES = ("float32", "int8", "bool", "int64", "float16", "bfloat16", "complex64")
SIZES = (1, 2, 16, 17, 31, 33, 100, 129)
STEPS = (-3, -2, -1, 2, 3, 7)


def array(shape, dtype):
    return jnp.asarray(numbers.integers(0, 2 if dtype == "bool" else 50, shape)).astype(dtype)


def check(function, *operands):
    """Natively, between guards, to the bit."""
    block = block_of(fg.make_jaxpr(lambda *a: (function(*a),))(*operands))
    (found,) = guarded(block, [np.asarray(x._buffer) for x in operands])
    with fg.disable_jit():
        expected = np.asarray(function(*operands))
    np.testing.assert_array_equal(found.astype(expected.dtype), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", STEPS)
def test_reading_apart(step, dtype):
    for size in SIZES:
        check(lambda x: jnp.where(x[::step] == 0, 1, x[::step]), array(size, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_writing_apart(dtype):
    """Long leading dimensions run over lanes, so that a transpose writes apart."""
    for rows, columns in ((1, 40), (16, 3), (33, 5), (47, 47), (100, 2)):
        x, y = array((rows, columns), dtype), array((rows, columns), dtype)
        check(lambda x, y: jnp.where(x == y, x, y).T, x, y)
        check(lambda x, y: jnp.where(x == y[::-1], x[::-1], y).T[::-1], x, y)


@pytest.mark.parametrize("dtype", ("float32", "complex64", "int8"))
def test_padding_between(dtype):
    for size in SIZES:
        zero = np.zeros((), np.asarray(array(1, dtype)).dtype)
        check(lambda x, zero=zero: lax.pad(x + x, zero, [(2, 1, 2)]), array(size, dtype))
        check(lambda x: lax.rev(x + x, (0,)), array(size, dtype))


def test_slices_that_pads_read_beyond_are_not_copied():
    """The second derivative of a chain of neighbours: slices, pads and a transpose."""

    def rosenbrock(x):
        return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    x = jnp.linspace(0.0, 1.0, 37)
    second = fg.jit(fg.hessian(rosenbrock))
    np.testing.assert_allclose(second(x), fg.hessian(rosenbrock)(x), rtol=1e-5, atol=1e-4)
    assert f"[{37 * 36}]" not in second.lower(x).as_text("kernels")

"""Primitives that are linear over the reals only: the adjoint, by the real part of the pairing.

And a look at the numbers themselves: a transpose without its minus sign would be its own adjoint
under a wrong pairing, but would not give the gradient of |z|^2.
"""

from __future__ import annotations

import numpy as np
import pytest

from funcgrad.api.autodiff import grad, linear_transpose
from funcgrad.core.array import ConcreteArray
from funcgrad.primitives import elementwise as e
from funcgrad.primitives.basis import add, mul
from funcgrad.transforms.autodiff import jvp_flat

RNG = np.random.default_rng(0)
REALS = RNG.normal(size=(4, 5))
Z, W = REALS[0] + 1j * REALS[1], REALS[2] + 1j * REALS[3]

FUNCTIONS = [
    (e.real, [Z], W.real),
    (e.imag, [Z], W.real),
    (e.conj, [Z], W),
    (e.conj, [Z.real], W),
    (e.complex, [Z.real, Z.imag], W),
    (lambda x: e.complex(x, x), [Z.real], W),
    (lambda x: e.complex(e.imag(x), e.real(x)), [Z], W),
]


def paired(x, y) -> float:
    return np.sum(np.real(np.asarray(x) * np.asarray(y)))


@pytest.mark.parametrize("function, args, cotangent", FUNCTIONS)
def test_transpose_is_the_adjoint_over_the_reals(function, args, cotangent):
    arrays = [ConcreteArray(x) for x in args]
    back = linear_transpose(function, *arrays)(ConcreteArray(cotangent))
    right = sum(paired(x, b) for x, b in zip(args, back, strict=True))
    assert paired(function(*arrays), cotangent) == pytest.approx(right, rel=1e-12)


def test_gradient_of_the_squared_magnitude():
    """As in jax, the gradient of |z|^2 is 2 conj(z)."""
    square = lambda z: add(mul(e.real(z), e.real(z)), mul(e.imag(z), e.imag(z)))
    z = ConcreteArray(np.complex128(3 - 2j))
    assert complex(grad(square)(z)) == 6 + 4j
    assert complex(grad(lambda z: e.square(e.abs(z)))(z)) == pytest.approx(6 + 4j)


def test_magnitude_has_a_derivative_at_zero():
    z = ConcreteArray(np.complex64(0))
    _, (tangent,) = jvp_flat(lambda z: [e.abs(z)], [z], [ConcreteArray(np.complex64(1 + 1j))])
    assert float(tangent) == 0.0

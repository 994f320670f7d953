"""Expressions evaluated twice, with funcgrad.numpy and with jax.numpy, and compared.

A row is Python text over the module `np` and the operands below, for example `np.sum(M, 0)`.
Values, shapes, dtypes and weak types must agree.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from typing import Any

import numpy
import pytest

import funcgrad
import funcgrad.numpy
from funcgrad.config import config

jax = pytest.importorskip("jax")

FLOAT = numpy.float32
OPERANDS = {
    "X": numpy.arange(24, dtype=FLOAT).reshape(2, 3, 4),
    "M": numpy.arange(12, dtype=FLOAT).reshape(3, 4),
    "V": numpy.array([3, 1, 4, 1, 5], FLOAT),
    "D": numpy.array([2.5, -1, 0.5, 4, -3], FLOAT),  # distinct, of both signs
    "I": numpy.array([3, 1, 4, 1, 5], numpy.int32),
    "B": numpy.array([True, False, True, True, False]),
    "N": numpy.array([[1, numpy.nan, 3, 4], [numpy.nan] * 4], FLOAT),
    "E": numpy.zeros(0, FLOAT),
}

# Sums are taken in another order than XLA's, and functions have their own last bits.
TOLERANCE = 3e-6


def rows(text: str) -> list[str]:
    """The lines of a table, without blank ones."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def evaluate(text: str, library: Any, operands: dict[str, Any]) -> Any:
    """The value of an expression in one library."""
    module = library.numpy
    names = dict(operands)
    names["W"] = module.full(4, 1.0)  # weakly typed
    return eval(text, {"np": module, "numpy": numpy, "nan": numpy.nan, "inf": numpy.inf}, names)


def arrays(library: Any) -> dict[str, Any]:
    """The operands as arrays of a library."""
    return {name: library.numpy.array(value) for name, value in OPERANDS.items()}


def leaves(value: Any) -> list[Any]:
    """The arrays in nested lists and tuples."""
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


@contextlib.contextmanager
def quiet():
    """Indexing as jax does it, and nothing said about 64 bits."""
    with warnings.catch_warnings(), config.override(eager_bounds_check=False):
        warnings.simplefilter("ignore")
        yield


def check(text: str, tolerance: float = TOLERANCE) -> None:
    """The expression gives the same here and there."""
    with quiet():
        expected = evaluate(text, jax, arrays(jax))
        actual = evaluate(text, funcgrad, arrays(funcgrad))
    agree(actual, expected, tolerance)


def check_raises(text: str) -> None:
    """The expression raises in jax, and here too, with a message that names the function."""
    with quiet():
        with pytest.raises(Exception):  # noqa: B017 - jax's classes vary
            evaluate(text, jax, arrays(jax))
        with pytest.raises((TypeError, ValueError, IndexError)) as error:
            evaluate(text, funcgrad, arrays(funcgrad))
    name = re.match(r"np\.(\w+)", text)[1]
    assert re.match(r"[a-z_0-9]+: ", str(error.value)), f"{name}: no name in {error.value}"


def agree(actual: Any, expected: Any, tolerance: float) -> None:
    """Equal structure, shapes, dtypes, weak types, and values within a tolerance."""
    for ours, theirs in zip(leaves(actual), leaves(expected), strict=True):
        a, b = numpy.asarray(ours), numpy.asarray(theirs)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert getattr(ours, "weak_type", None) == getattr(theirs, "weak_type", None)
        if a.dtype.kind in "fcV":
            wide = numpy.complex128 if a.dtype.kind == "c" else numpy.float64
            a, b = a.astype(wide), b.astype(wide)
            numpy.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            numpy.testing.assert_array_equal(a, b)


def check_jit(text: str) -> None:
    """Compiled with its operands as arguments, the expression gives what it gives eagerly."""
    with quiet():
        operands = arrays(funcgrad)
        compiled = funcgrad.jit(lambda given: evaluate(text, funcgrad, given))
        agree(compiled(operands), evaluate(text, funcgrad, operands), TOLERANCE)


def check_gradient(text: str, tolerance: float = 1e-5) -> None:
    """Gradients of a weighted sum of the results, with respect to all float operands, are jax's."""
    names = [n for n in OPERANDS if re.search(rf"\b{n}\b", text) and OPERANDS[n].dtype == FLOAT]

    def gradients(library: Any) -> Any:
        operands = arrays(library)

        def weighted(*values: Any) -> Any:
            results = evaluate(text, library, operands | dict(zip(names, values, strict=True)))
            terms = [
                library.numpy.sum(
                    library.numpy.sin(r) * (1 + library.numpy.arange(r.size).reshape(r.shape))
                )
                for r in leaves(results)
                if r.dtype == FLOAT
            ]
            return sum(terms[1:], terms[0])

        wrt = tuple(range(len(names)))
        return library.grad(weighted, wrt)(*(operands[name] for name in names))

    with quiet():
        agree(gradients(funcgrad), gradients(jax), tolerance)

"""Reductions where their derivatives are subtle: at ties, zeros, infinities and NaN."""

from __future__ import annotations

import types

import numpy as np
import pytest

from funcgrad.api.autodiff import grad, jvp
from funcgrad.api.jacobians import hessian, jacrev
from funcgrad.core.array import ConcreteArray
from funcgrad.primitives import cumulative, reduce, shape
from funcgrad.primitives.basis import add, mul


def array(*values, dtype="float32"):
    return ConcreteArray(np.array(values, dtype))


def gradient(function, *values):
    return np.asarray(grad(function)(array(*values))).tolist()


def test_ties_share_the_derivative_of_an_extremum():
    assert gradient(lambda x: reduce.reduce_max(x, (0,)), 2, 1, 2, 2, 0) == pytest.approx(
        [1 / 3, 0, 1 / 3, 1 / 3, 0]
    )
    assert gradient(lambda x: reduce.reduce_min(x, (0,)), 2, 1, 2, 1, 3) == [0, 0.5, 0, 0.5, 0]


def test_nan_spoils_an_extremum_and_its_derivative():
    assert np.isnan(np.asarray(reduce.reduce_max(array(1, np.nan, 2), (0,))))
    assert np.isnan(gradient(lambda x: reduce.reduce_max(x, (0,)), 1, np.nan, 2)).all()


@pytest.mark.parametrize("zeros", [(), (0,), (3,), (0, 3), (1, 2, 4)])
def test_derivatives_of_a_product_are_exact_where_factors_are_zero(zeros):
    """Each entry is the product of the others, each second one the product without two of them."""
    values = np.array([3, -2, 5, 7, 2.0], np.float32)
    values[list(zeros)] = 0

    def product(x):
        return reduce.reduce_prod(x, (0,))

    def without(*left_out):
        return np.prod(np.delete(values, left_out))

    first = [without(i) for i in range(5)]
    second = [[0 if i == j else without(i, j) for j in range(5)] for i in range(5)]
    assert gradient(product, *values) == first
    assert np.asarray(hessian(product)(array(*values))).tolist() == second


@pytest.mark.parametrize("reverse", [False, True])
def test_derivatives_of_a_running_product_are_exact_where_factors_are_zero(reverse):
    values = np.array([3, 0, 5, 0, 2.0], np.float32)
    jacobian = np.asarray(jacrev(lambda x: cumulative.cumprod(x, 0, reverse))(array(*values)))
    for k in range(5):
        covered = range(k, 5) if reverse else range(k + 1)
        expected = [
            np.prod([values[j] for j in covered if j != i]) * (i in covered) for i in range(5)
        ]
        assert jacobian[k].tolist() == expected


def test_ties_share_the_derivative_of_a_running_maximum():
    jacobian = np.asarray(jacrev(lambda x: cumulative.cummax(x))(array(1, 1, 0, 1, 2)))
    third = np.float32(1 / 3)
    assert jacobian.tolist() == [
        [1, 0, 0, 0, 0],
        [0.5, 0.5, 0, 0, 0],
        [0.5, 0.5, 0, 0, 0],
        [third, third, 0, third, 0],
        [0, 0, 0, 0, 1],
    ]


def test_running_logsumexp_of_infinities():
    x = array(-np.inf, -np.inf, 1, 2)
    value = np.asarray(cumulative.cumlogsumexp(x))
    np.testing.assert_allclose(value, [-np.inf, -np.inf, 1, np.logaddexp(1, 2)], rtol=1e-6)
    jacobian = np.asarray(jacrev(cumulative.cumlogsumexp)(x))
    assert np.isfinite(jacobian).all()
    share = 1 / (1 + np.e)
    np.testing.assert_allclose(jacobian[3], [0, 0, share, 1 - share], rtol=1e-6)


def test_third_derivative_of_running_logsumexp_at_a_tie():
    """log(e**x + e**0) has derivatives 1/2, 1/4 and 0 at 0: the logistic function's."""

    def last(x):
        return shape.index_in_dim(cumulative.cumlogsumexp(shape.concatenate([x, array(0)], 0)), 1)

    def summed(x):
        return reduce.reduce_max(last(x), (0,))

    derivatives, function = [], summed
    for _ in range(3):
        function = _directional(function)
        derivatives.append(float(np.asarray(function(array(0))).reshape(())))
    np.testing.assert_allclose(derivatives, [0.5, 0.25, 0], atol=1e-6)


def _directional(function):
    return lambda x: jvp(function, (x,), (array(1),))[1]


def test_empty_reductions():
    nothing = ConcreteArray(np.zeros((2, 0), np.float32))
    assert np.asarray(reduce.reduce_prod(nothing, (1,))).tolist() == [1, 1]
    assert reduce.reduce_max(nothing, (0,)).shape == (0,)
    for function in (reduce.reduce_max, reduce.reduce_min):
        with pytest.raises(ValueError):
            function(nothing, (1,))
    for function in (reduce.argmax, reduce.argmin):
        with pytest.raises(ValueError):
            function(nothing, 1)


def test_narrow_floats_are_accumulated_in_float32():
    ones = ConcreteArray(np.ones(1000, "bfloat16"))
    assert float(np.asarray(cumulative.cumsum(ones))[-1]) == 1000
    tenths = ConcreteArray(np.full(100, 1.01, "bfloat16"))
    exact = np.prod(np.asarray(tenths).astype(np.float32))
    assert float(np.asarray(reduce.reduce_prod(tenths, (0,)))) == float(
        np.asarray(exact, "bfloat16")
    )


def test_a_sum_of_products_differentiates_through_both():
    """The tree and the doubling scan agree with each other, in value and in derivative."""

    def difference(x):
        last = shape.index_in_dim(cumulative.cumprod(x), x.shape[0] - 1, keepdims=False)
        return add(reduce.reduce_prod(x, (0,)), mul(last, array(-1).reshape(())))

    values = np.linspace(0.5, 1.5, 13)
    np.testing.assert_allclose(gradient(difference, *values), np.zeros(13), atol=1e-5)


RUNNING = {
    "maximum": cumulative.cummax_p,
    "minimum": cumulative.cummin_p,
    "logaddexp": cumulative.cumlogsumexp_p,
}


@pytest.mark.parametrize("name", RUNNING)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_running_reductions_of_modules_that_cannot_accumulate(name, axis):
    """CuPy's universal functions have no `accumulate`, or refuse."""
    ufunc = getattr(np, name)
    x = np.random.default_rng(0).normal(size=(2, 7, 3))
    kept = x.copy()

    def refuses(a, b):
        return ufunc(a, b)

    def refuse(x, axis):
        raise NotImplementedError

    for stand_in in (lambda a, b: ufunc(a, b), refuses):
        refuses.accumulate = refuse
        module = types.SimpleNamespace(moveaxis=np.moveaxis, **{name: stand_in})
        found = RUNNING[name].value(module, x, axis=axis, reverse=False)
        np.testing.assert_allclose(found, ufunc.accumulate(x, axis), rtol=1e-12)
        np.testing.assert_array_equal(x, kept)


def test_running_logsumexp_of_what_is_far_apart():
    """Each weight is exp(x - total), also where exp(x) alone would overflow."""
    values = [0.0, 500.0, -500.0, 499.0, 3.0, 498.0]
    jacobian = np.asarray(jacrev(cumulative.cumlogsumexp)(array(*values)))
    x = np.array(values)
    totals = np.logaddexp.accumulate(x)
    expected = np.tril(np.exp(x[None] - totals[:, None]))
    np.testing.assert_allclose(jacobian, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
def test_equal_infinities_share_the_derivative_of_a_running_logsumexp(infinity):
    jacobian = np.asarray(jacrev(cumulative.cumlogsumexp)(array(infinity, infinity)))
    np.testing.assert_array_equal(jacobian, [[1, 0], [0.5, 0.5]])


BITS = {
    "bitwise_and": reduce.reduce_and_p,
    "bitwise_or": reduce.reduce_or_p,
    "bitwise_xor": reduce.reduce_xor_p,
}


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_reductions_of_bits_in_modules_that_cannot_reduce(name, axes):
    ufunc = getattr(np, name)

    def halves(a, b):
        assert a.shape == b.shape
        return ufunc(a, b)

    def refuse(x, axes):
        raise NotImplementedError

    halves.reduce = refuse
    module = types.SimpleNamespace(
        moveaxis=np.moveaxis, concatenate=np.concatenate, **{name: halves}
    )
    x = np.random.default_rng(0).integers(0, 1 << 16, (7, 6, 5))
    found = BITS[name].value(module, x, axes=axes)
    np.testing.assert_array_equal(found, ufunc.reduce(x, axes))

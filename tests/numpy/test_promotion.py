"""How types meet: every pair of dtypes and Python numbers, on both sides of every operator.

jax is the oracle for the table. What differs on purpose is tested by its own words: 64 bits that
somebody asked for are kept without any switch, and nothing is narrowed silently.
"""

from __future__ import annotations

import operator
import warnings

import numpy as np
import pytest

import funcgrad.numpy as fnp
from funcgrad.api.autodiff import grad
from funcgrad.api.compile import jit
from funcgrad.config import config
from funcgrad.core import inputs
from funcgrad.core.dtypes import bfloat16
from funcgrad.numpy.promote import broadcast_shapes, promote_args, promote_args_inexact

jax = pytest.importorskip("jax")
jnp = jax.numpy

NARROW = [np.bool_, np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32,
          bfloat16, np.float16, np.float32, np.complex64]  # fmt: skip
ALL = [*NARROW, np.int64, np.uint64, np.float64, np.complex128]
NUMBERS = [True, 1, 1.5, 1.5 + 2j]
ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv,
              operator.mod, operator.pow, divmod]  # fmt: skip
BITS = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
OPERATORS = ARITHMETIC + BITS + COMPARISONS


def described(x) -> tuple:
    if isinstance(x, tuple):
        return tuple(map(described, x))
    weak = bool(x.weak_type) and x.dtype != np.bool_  # a weak bool means nothing
    return str(x.dtype), x.shape, weak


def outcome(function, *args):
    """The type of the result, or that there is none."""
    try:
        return described(function(*args))
    except (TypeError, ValueError):
        return "refused"


def array_pair(dtype):
    """The same small array in both libraries."""
    values = np.ones(2, dtype)
    return fnp.array(values, dtype), jnp.array(values, dtype)


def operand_pairs(dtypes):
    return [array_pair(d) for d in dtypes] + [(n, n) for n in NUMBERS]


@pytest.mark.parametrize("function", OPERATORS, ids=lambda f: f.__name__)
def test_operators_have_the_types_of_jax_for_all_operands(function):
    operands = operand_pairs(NARROW)
    for ours, theirs in operands[: len(NARROW)]:
        for our_other, their_other in operands:
            for swapped in (False, True):
                a, b = (our_other, ours) if swapped else (ours, our_other)
                x, y = (their_other, theirs) if swapped else (theirs, their_other)
                if function is operator.pow and described_pair(a, b) in POWER_OF_BOOLS:
                    continue
                assert outcome(function, a, b) == outcome(jax_staged(function), x, y), (a, b)


POWER_OF_BOOLS = {("int", "bool"), ("bool", "int")}  # jax forgets that the base was weak


def described_pair(a, b) -> tuple[str, str]:
    return tuple(x.dtype.name if hasattr(x, "dtype") else type(x).__name__ for x in (a, b))


def jax_staged(function):
    """Types without running anything: eval_shape keeps weak types, Python numbers stay
    constants.
    """

    def call(*args):
        arrays = [x for x in args if not isinstance(x, (bool, int, float, complex))]

        def program(*given):
            rest = iter(given)
            return function(*[x if isinstance(x, (bool, int, float, complex)) else next(rest)
                              for x in args])  # fmt: skip

        return jax.eval_shape(program, *arrays)

    return call


@pytest.mark.parametrize("name", ["promote_types", "result_type"])
def test_promotion_of_all_pairs_is_the_lattice_of_jax(name):
    with jax.enable_x64(True), config.override(enable_x64=True):
        for a in ALL:
            for b in ALL:
                ours = getattr(fnp, name)(a, b)
                assert ours == getattr(jnp, name)(a, b), (a, b)


@pytest.mark.parametrize("spelling", [np.dtype, lambda d: np.dtype(d).name, lambda d: d])
def test_an_explicit_64_bit_type_is_strong_in_every_spelling(spelling):
    """np.dtype("float64") equals Python's float, which is weak, but is not it."""
    for wide, narrow in (("float64", "float32"), ("int64", "int32"), ("complex128", "complex64")):
        for function in (fnp.promote_types, fnp.result_type):
            assert function(spelling(np.dtype(wide).type), narrow) == np.dtype(wide)
    assert fnp.promote_types(float, "float32") == fnp.result_type(float, "float32") == np.float32


@pytest.mark.parametrize("a", ALL, ids=lambda d: np.dtype(d).name)
def test_sums_of_all_pairs_in_64_bit_mode(a):
    with jax.enable_x64(True), config.override(enable_x64=True):
        ours, theirs = array_pair(a)
        for other, their_other in operand_pairs(ALL):
            assert outcome(operator.add, ours, other) == described(
                jax_staged(operator.add)(theirs, their_other)
            )
            assert outcome(fnp.arctan2, ours, other) == outcome(
                jax_staged(jnp.arctan2), theirs, their_other
            )


# ---- Python and NumPy scalars ------------------------------------------------------------------

SCALARS = [2, 2.5, np.float32(2.5), np.float64(2.5), np.int32(2), np.int64(2)]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: f"{type(s).__name__}")
@pytest.mark.parametrize("function", ARITHMETIC, ids=lambda f: f.__name__)
def test_scalars_on_both_sides_of_every_operator_under_grad_d9_d13(function, scalar):
    def total(result):
        return sum(r.sum() for r in result) if isinstance(result, tuple) else result.sum()

    x, their_x = np.float32([1.25, 3.0]), jnp.float32([1.25, 3.0])
    for ours, theirs in [
        (lambda t: total(function(t, scalar)),) * 2,
        (lambda t: total(function(scalar, t)),) * 2,
    ]:
        slope = grad(ours)(fnp.array(x))
        assert slope.dtype == np.float32
        np.testing.assert_allclose(slope, jax.grad(theirs)(their_x), rtol=1e-5)
        np.testing.assert_allclose(jit(grad(ours))(fnp.array(x)), slope, rtol=1e-6)


def test_number_on_the_left_has_the_right_gradient_d21():
    x = fnp.array([0.5, 2.0])
    np.testing.assert_array_equal(grad(lambda t: (2 * t).sum())(x), [2, 2])
    np.testing.assert_array_equal(grad(lambda t: (1 - t).sum())(x), [-1, -1])
    np.testing.assert_array_equal(grad(lambda t: (1 / t).sum())(x), [-4, -0.25])
    np.testing.assert_allclose(grad(lambda t: (2.0**t).sum())(x), np.log(2) * 2 ** np.array(x))


@pytest.mark.parametrize("dtype", [np.float32, bfloat16, np.float16, np.float64], ids=str)
def test_a_python_constant_never_changes_the_dtype_d24b(dtype):
    x = fnp.ones(3, dtype)
    for function in ARITHMETIC:
        for constant in (2, 2.5, True):
            for result in (function(x, constant), function(constant, x)):
                for r in result if isinstance(result, tuple) else (result,):
                    assert r.dtype == dtype and not r.weak_type
    for function in (fnp.exp, fnp.tanh, fnp.sqrt, fnp.sinc, fnp.log2, fnp.reciprocal):
        assert function(x).dtype == dtype
    assert grad(lambda t: (t * 3.5 + 1).sum())(x).dtype == dtype


def test_numpy_arrays_defer_to_ours():
    x = fnp.ones(2)
    for left in (np.ones(2, np.float32), np.float32(3), np.float64(3), np.int64(3)):
        assert isinstance(left * x, type(x)) and (left * x).dtype == np.float32
        assert isinstance(left < x, type(x))


# ---- 64 bits -----------------------------------------------------------------------------------


def test_64_bits_that_were_asked_for_stay_without_a_switch():
    x = fnp.array([1, 2], "float64")
    for result in (
        x + 1,
        x * 2.5,
        fnp.exp(x),
        x + fnp.ones(2),
        x / 3,
        x.sum(),
        grad(fnp.sin)(x[0]),
    ):
        assert result.dtype == np.float64
    assert (fnp.array([2**40], "int64") + 1).dtype == np.int64
    assert int((fnp.array([2**40], "int64") + 1)[0]) == 2**40 + 1
    assert fnp.sqrt(fnp.array([4], "int64")).dtype == np.float64


def test_narrowing_of_data_warns_once_and_says_how_to_keep_it(monkeypatch):
    monkeypatch.setattr(inputs, "_warned", False)
    with pytest.warns(UserWarning, match="float64 becomes float32.*dtype='float64'") as caught:
        fnp.sin(np.ones(2))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fnp.sin(np.ones(2))
        fnp.sin(np.float64(2))


def test_integers_that_do_not_fit_raise():
    with pytest.raises(OverflowError, match=r"add: .* holds 1099511627776, which does not fit"):
        fnp.add(np.array([1, 2**40]), 1)
    with pytest.raises(OverflowError, match="multiply: the integer 1099511627776 does not fit"):
        fnp.arange(3) * 2**40
    with pytest.raises(OverflowError, match="add: the integer 1000 does not fit into i8"):
        fnp.ones(3, "int8") + 1000
    with pytest.raises(OverflowError, match="the integer -1 does not fit into u8"):
        fnp.ones(3, "uint8") + (-1)


def test_strict_promotion_refuses_mixed_types():
    with config.override(numpy_dtype_promotion="strict"):
        assert (fnp.ones(2) + 1).dtype == np.float32
        with pytest.raises(TypeError, match="add: numpy_dtype_promotion is strict"):
            fnp.ones(2) + fnp.arange(2)


# ---- shapes ------------------------------------------------------------------------------------

SHAPES = [(), (1,), (3,), (1, 3), (4, 1), (4, 3), (2, 1, 3), (2, 4, 3), (0,), (0, 3)]


@pytest.mark.parametrize("a", SHAPES, ids=str)
def test_shapes_broadcast_as_in_numpy(a):
    for b in SHAPES:
        x, y = fnp.ones(a), fnp.ones(b)
        try:
            expected = np.broadcast_shapes(a, b)
        except ValueError:
            for function in (fnp.add, fnp.hypot, jit(fnp.add)):
                with pytest.raises(ValueError, match=r"(add|hypot): shapes .* do not broadcast"):
                    function(x, y)
            continue
        assert broadcast_shapes("test", a, b) == expected
        assert (x + y).shape == fnp.hypot(x, y).shape == expected
        assert jit(fnp.add)(x, y).shape == expected


def test_gradients_have_the_shapes_of_the_operands_d2():
    for a in SHAPES[:8]:
        for b in SHAPES[:8]:
            shape = np.broadcast_shapes(a, b)
            for function in (fnp.add, fnp.subtract, fnp.multiply, fnp.divide, fnp.maximum):
                x, y = fnp.full(a, 3.0), fnp.full(b, 2.0)
                dx, dy = grad(lambda x, y, f=function: f(x, y).sum(), (0, 1))(x, y)
                assert (dx.shape, dy.shape) == (a, b)
                if function is fnp.add:
                    np.testing.assert_array_equal(dx, np.full(a, np.prod(shape) / np.prod(a)))
                    np.testing.assert_array_equal(dy, np.full(b, np.prod(shape) / np.prod(b)))


def test_rank_promotion_can_be_refused():
    x, y = fnp.ones((2, 3)), fnp.ones(3)
    with config.override(numpy_rank_promotion="raise"):
        for call in (lambda: x + y, lambda: fnp.add(x, y), lambda: fnp.hypot(x, y)):
            with pytest.raises(ValueError, match=r"broadcasts over ranks, from shapes \(2,3\) and"):
                call()
        assert (x + 1.0).shape == (2, 3)
    with config.override(numpy_rank_promotion="warn"):
        with pytest.warns(UserWarning, match="add: broadcasts over ranks"):
            x + y


def test_operands_of_primitives_have_one_type_and_one_shape_or_rank_0():
    x, y = promote_args("add", fnp.arange(3), fnp.ones((2, 1)))
    assert (x.dtype, x.shape) == (y.dtype, y.shape) == (np.float32, (2, 3))
    x, y = promote_args_inexact("divide", fnp.arange(3), 2)
    assert (x.dtype, x.shape, y.dtype, y.shape) == (np.float32, (3,), np.float32, ())

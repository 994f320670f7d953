"""Operators and methods of arrays: each is the function of its name, eagerly and under tracing."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import funcgrad.numpy as fnp
from funcgrad import random
from funcgrad.api.autodiff import grad
from funcgrad.api.compile import jit
from funcgrad.api.devices import devices
from funcgrad.core.array import Array, Tracer
from funcgrad.core.dtypes import bfloat16, promote
from funcgrad.errors import ConcretizationTypeError

X = np.float32([[3, 1, 2], [0, 5, 4]])
Z = (X + 1j * X[:, ::-1]).astype(np.complex64)
I = np.array([2, 0, 1], np.int32)

# name, arguments after the array, keywords
CALLS = [
    ("all", (), {}), ("any", (1,), {"keepdims": True}), ("argmax", (), {}), ("argmin", (1,), {}),
    ("argpartition", (1,), {}), ("argsort", (), {"axis": 0}), ("astype", ("int32",), {}),
    ("clip", (1, 3), {}), ("clip", (), {"max": 2}), ("conj", (), {}), ("conjugate", (), {}),
    ("copy", (), {}), ("cumprod", (1,), {}), ("cumsum", (), {}), ("diagonal", (1,), {}),
    ("dot", (X.T,), {}), ("flatten", (), {}), ("max", (0,), {}), ("mean", (), {"axis": -1}),
    ("min", (), {"keepdims": True}), ("prod", (1,), {}), ("ptp", (0,), {}), ("ravel", (), {}),
    ("repeat", (2,), {"axis": 1}), ("reshape", (3, 2), {}), ("reshape", ((3, -1),), {}),
    ("reshape", (-1,), {}), ("round", (1,), {}), ("sort", (1,), {}), ("std", (), {"ddof": 1}),
    ("sum", (0,), {"dtype": "float16"}), ("sum", (), {"keepdims": True}), ("swapaxes", (0, 1), {}),
    ("take", (I,), {"axis": 1}), ("trace", (), {}), ("transpose", (), {}),
    ("transpose", (1, 0), {}), ("transpose", ((1, 0),), {}), ("transpose", (None,), {}),
    ("var", (0,), {}), ("view", ("int32",), {}), ("view", ("uint8",), {}),
    ("compress", (np.array([True, False]),), {"axis": 0, "size": 1}),
]  # fmt: skip


def same(ours, theirs) -> None:
    assert (str(ours.dtype), ours.shape) == (str(theirs.dtype), theirs.shape)
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-6)


@pytest.mark.parametrize("name, args, options", CALLS)
def test_methods_equal_those_of_jax(name, args, options):
    jnp = pytest.importorskip("jax").numpy
    theirs = getattr(jnp.array(X), name)(*args, **options)
    same(getattr(fnp.array(X), name)(*args, **options), theirs)
    same(jit(lambda x: getattr(x, name)(*args, **options))(X), theirs)


def test_methods_of_jax_are_all_there():
    jax = pytest.importorskip("jax")
    placement = {
        "addressable_data", "addressable_shards", "committed", "device_buffer", "device_buffers",
        "global_shards", "is_fully_addressable", "is_fully_replicated", "sharding", "traceback",
        "format", "platform", "clone", "flat", "byteswap", "unsafe_buffer_pointer",
        "on_device_size_in_bytes", "tobytes", "unsafe_raw_buffer",
    }  # fmt: skip
    public = {name for name in dir(jax.numpy.ones(2)) if not name.startswith("_")} - placement
    assert public <= set(dir(fnp.ones(2)))


def test_properties():
    x, z = fnp.array(X), fnp.array(Z)
    same(x.T, X.T)
    same(fnp.ones((2, 3, 4)).mT, np.ones((2, 4, 3), np.float32))
    same(z.real, Z.real)
    same(z.imag, Z.imag)
    same(z.conj(), Z.conj())
    assert x.real is x
    assert (x.ndim, x.size, x.nbytes, x.itemsize, len(x)) == (2, 6, 24, 4, 2)
    assert x.device == devices("cpu")[0] and x.devices() == {x.device} and x.is_ready()
    same(x.to_device(x.device), X)
    assert x.__array_namespace__() is fnp


def test_values_leave_as_python_numbers():
    x = fnp.array(X)
    assert x.tolist() == X.tolist() and x[0, 0].item() == 3.0 and x.item(1, 2) == 4.0
    assert type(fnp.arange(3)[1].item()) is int
    assert x.tobytes() == X.tobytes()
    for name in ("item", "tolist"):
        with pytest.raises(ConcretizationTypeError, match=name):
            jit(lambda x, name=name: getattr(x, name)())(X[0, 0])


def test_nonzero_and_searchsorted():
    for ours, theirs in zip(fnp.array(X).nonzero(), X.nonzero(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(fnp.arange(5.0).searchsorted(fnp.array([1.5, 4])), [2, 4])


def test_indexing_and_updates():
    x = fnp.array(X)
    same(x[1, ::-1], X[1, ::-1])
    assert float(x.at[0, 1].set(9.0)[0, 1]) == 9.0
    assert [float(row[0]) for row in x] == [3.0, 0.0]
    with pytest.raises(TypeError, match=r"x\.at\[i\]\.set"):
        x[0] = 1


# ---- view --------------------------------------------------------------------------------------

VIEWS = [
    ("float32", "complex64", (2, 4)), ("complex64", "float32", (2, 3)), ("bool", "uint8", (3,)),
    ("uint8", "bool", (3,)), ("float32", "uint16", (3,)), ("uint8", "float32", (2, 8)),
    ("complex64", "uint8", (2,)), ("int16", "complex64", (8,)), ("float32", "float32", ()),
    ("int8", "bool", ()), ("int64", "int32", (2,)),
]  # fmt: skip


@pytest.mark.parametrize("old, new, shape", VIEWS)
def test_view_reads_the_same_bytes_as_numpy(old, new, shape):
    x = np.arange(int(np.prod(shape))).reshape(shape).astype(old)
    same(fnp.array(x, old).view(new), x.view(new))


def test_view_says_what_does_not_divide():
    with pytest.raises(ValueError, match=r"view: .* shape \(3,\) does not fill f32"):
        fnp.zeros(3, "uint8").view("float32")
    with pytest.raises(ValueError, match="view: an array of rank 0 cannot become several u8"):
        fnp.asarray(1.0).view("uint8")


# ---- operators ---------------------------------------------------------------------------------

STRANGERS = [None, "a", [1, 2], (1, 2)]
ALL = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
       operator.pow, operator.matmul, operator.lt, operator.ge, operator.and_,
       operator.lshift]  # fmt: skip


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.__name__)
def test_lists_strings_and_none_are_refused(function):
    x = fnp.ones(2)
    for stranger in STRANGERS:
        kind = type(stranger).__name__
        with pytest.raises(TypeError, match=f": needs arrays or numbers, but got {kind}"):
            function(x, stranger)
        if not (function is operator.mod and isinstance(stranger, str)):  # "a" % x formats
            with pytest.raises(TypeError, match="needs arrays or numbers"):
                function(stranger, x)


def test_equality_with_strangers_is_false_as_in_jax():
    x = fnp.ones(2)
    assert (x == None) is False and (x != None) is True and (x == "a") is False  # noqa: E711
    with pytest.raises(TypeError, match="equal: needs arrays or numbers, but got list"):
        bool(x == [1, 1])


class Stranger:
    """Knows what to do with arrays on its left."""

    def __radd__(self, other):
        return "radd", other

    def __rmatmul__(self, other):
        return "rmatmul", other

    __lt__ = __eq__ = __gt__ = lambda self, other: "compared"
    __hash__ = None


def test_strangers_get_their_turn():
    x = fnp.ones(2)
    assert (x + Stranger())[0] == "radd" and (x @ Stranger())[0] == "rmatmul"
    assert (x > Stranger()) == "compared" and (x == Stranger()) == "compared"
    with pytest.raises(TypeError, match="unsupported operand"):
        x - Stranger()
    with pytest.raises(TypeError, match="unsupported operand"):
        x - {}


class Measured:
    """Converts itself to an array on request."""

    def __jax_array__(self):
        return fnp.array([1.0, 2.0])


def test_objects_that_convert_themselves_are_operands():
    same(fnp.ones(2) + Measured(), np.float32([2, 3]))
    same(fnp.exp(Measured()), np.exp(np.float32([1, 2])))


UNARY = [operator.neg, operator.pos, abs, round, lambda x: round(x, 1)]


@pytest.mark.parametrize("function", UNARY)
def test_unary_operators_equal_jax(function):
    jnp = pytest.importorskip("jax").numpy
    for x in (X - 2.26, np.array([3, -4], np.int32)):
        same(function(fnp.array(x)), function(jnp.array(x)))
        same(jit(function)(x), function(jnp.array(x)))
    same(~fnp.array(I), ~I)
    same(~fnp.array([True]), ~np.array([True]))


def test_powers_have_two_arguments():
    assert float(pow(fnp.asarray(3.0), 2)) == 9.0
    with pytest.raises(TypeError, match="pow: takes two arguments"):
        pow(fnp.ones(2), 2, 3)


@pytest.mark.parametrize("function", ALL[:8], ids=lambda f: f.__name__)
def test_operators_on_tracers_give_tracers_and_the_same_values(function):
    x, seen = np.float32([[1, 2], [3, 4]]), []

    def program(x):
        result = function(x, x + 1)
        seen.append(type(result))
        return result

    same(jit(program)(x), np.asarray(program(fnp.array(x))))
    assert issubclass(seen[0], Tracer) and issubclass(seen[1], Array)


def test_float32_is_one_object_however_an_array_is_made():
    """The shortcuts of operators compare dtypes by identity."""
    makers = [
        fnp.ones(2), fnp.zeros(2, "float32"), fnp.arange(2.0), fnp.array([1.0]), fnp.array(X),
        fnp.asarray(X.astype(">f4")), fnp.array([1], dtype=fnp.float32), fnp.eye(2),
        fnp.arange(3).astype(float), fnp.linspace(0, 1, 3), fnp.full(2, 0.5), fnp.ones(2).sum(),
        fnp.ones(2, "float64").astype("float32"), fnp.ones(2) @ fnp.ones((2, 2)),
    ]  # fmt: skip
    assert all(x.dtype is np.dtype("float32") for x in makers)


def test_random_keys_can_be_compared_and_nothing_else():
    keys = random.split(random.key(0), 2)
    assert (keys == keys[0]).tolist() == [True, False]
    assert (keys != keys[0]).tolist() == [False, True]
    for function in (operator.add, operator.lt, fnp.sin, operator.neg):
        with pytest.raises(TypeError, match="random keys take part in no arithmetic"):
            function(*[keys] * (2 if function in (operator.add, operator.lt) else 1))


def test_eager_operators_change_nothing_for_other_types():
    """The shortcut of float32 must not be taken by anything else."""
    for dtype in ("int32", "bool", bfloat16, "float16", "float64", "complex64"):
        x = fnp.ones(2, dtype)
        assert (x + x).dtype == x.dtype and (x * 1).dtype == fnp.multiply(x, 1).dtype
        common, _ = promote(((np.dtype("float32"), False), (x.dtype, False)))
        assert (fnp.ones(2) + x).dtype == common
        assert (x < x if dtype != "complex64" else x == x).dtype == np.bool_
    weak = fnp.asarray(2.0)
    assert weak.weak_type and (weak * 2).weak_type and not (weak * fnp.ones(2)).weak_type
    assert not (weak < 3).weak_type
    assert float(grad(lambda x: x * 2.0 + 1)(1.0)) == 2.0

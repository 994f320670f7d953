"""Arrays: immutable, thin, and good citizens of Python and NumPy."""

from __future__ import annotations

import copy
import pickle
import weakref

import ml_dtypes
import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.core import dtypes

DTYPES = list(dtypes.ALL)


def example(dtype):
    return jnp.asarray(np.arange(6).reshape(2, 3) % 2, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtypes.short_name)
def test_what_an_array_says_of_itself(dtype):
    x = example(dtype)
    assert (x.shape, x.dtype, x.ndim, x.size) == ((2, 3), dtype, 2, 6)
    assert x.itemsize == dtype.itemsize and x.nbytes == 6 * dtype.itemsize
    assert len(x) == 2 and [row.shape for row in x] == [(3,), (3,)]
    assert isinstance(x, fg.Array) and not x.weak_type
    assert str(x.aval) == f"{dtypes.short_name(dtype)}[2,3]"


@pytest.mark.parametrize("dtype", DTYPES, ids=dtypes.short_name)
def test_numpy_sees_the_same_memory_and_may_not_write(dtype):
    x = example(dtype)
    view = np.asarray(x)
    assert view.dtype == dtype and np.shares_memory(view, np.asarray(x))
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    own = np.array(x)
    own[:] = 0
    assert bool((x == example(dtype)).all())
    assert np.asarray(x, dtype=np.complex128).dtype == np.complex128


def test_what_goes_in_is_copied():
    source = np.ones(3, np.float32)
    arrays = [jnp.array(source), jnp.asarray(source), fg.device_put(source)]
    source[:] = 5
    for x in arrays:
        assert x.sum() == 3


@pytest.mark.parametrize("dtype", DTYPES, ids=dtypes.short_name)
@pytest.mark.parametrize("weak", [False, True])
def test_pickles_and_copies(dtype, weak):
    x = jnp.full((2,), 1.0) if weak else example(dtype)
    for y in (pickle.loads(pickle.dumps(x)), copy.copy(x), copy.deepcopy(x)):
        assert (y.dtype, y.shape, y.weak_type) == (x.dtype, x.shape, weak)
        assert bool((y == x).all())
    assert not np.shares_memory(np.asarray(copy.deepcopy(x)), np.asarray(x))


def test_keys_pickle_and_copy():
    key = fg.random.split(fg.random.key(3), 2)
    for other in (pickle.loads(pickle.dumps(key)), copy.deepcopy(key)):
        assert other.dtype == key.dtype and other.shape == (2,)
        assert bool((fg.random.key_data(other) == fg.random.key_data(key)).all())
    with pytest.raises(TypeError, match="random.key_data"):
        np.asarray(key)
    with pytest.raises(TypeError, match="random keys"):
        key + 1


@pytest.mark.parametrize(
    "dtype", [d for d in DTYPES if d not in (dtypes.bfloat16, dtypes.bool_)], ids=dtypes.short_name
)
def test_dlpack_both_ways(dtype):
    x = example(dtype)
    there = np.from_dlpack(x)
    np.testing.assert_array_equal(there, np.asarray(x))
    assert x.__dlpack_device__() == (1, 0)
    if there.flags.writeable:
        there[:] = 0
    assert bool((x == example(dtype)).all()), "who writes to what was exported writes to a copy"
    back = jnp.from_dlpack(np.asarray(example(dtype)).copy())
    assert isinstance(back, fg.Array) and back.dtype == dtype and bool((back == x).all())


def test_dlpack_with_torch():
    torch = pytest.importorskip("torch")
    there = torch.from_dlpack(example(dtypes.float32))
    assert there.shape == (2, 3) and float(there.sum()) == 3
    back = jnp.from_dlpack(torch.arange(3.0))
    np.testing.assert_array_equal(back, [0, 1, 2])


def test_there_is_no_cuda_memory_here():
    assert not hasattr(jnp.ones(2), "__cuda_array_interface__")


FORMS = [
    (jnp.float32(1.5), "Array(1.5, dtype=float32)"),
    (jnp.asarray(1.5), "Array(1.5, dtype=float32, weak_type=True)"),
    (jnp.arange(3), "Array([0, 1, 2], dtype=int32)"),
    (jnp.ones((2, 2)), "Array([[1., 1.],\n       [1., 1.]], dtype=float32)"),
    (jnp.asarray([True]), "Array([ True], dtype=bool)"),
    (jnp.zeros((0, 3)), "Array([], shape=(0, 3), dtype=float32)"),
    (jnp.ones(2, "bfloat16"), "Array([1, 1], dtype=bfloat16)"),
]


@pytest.mark.oracle
@pytest.mark.parametrize("x, text", FORMS, ids=lambda v: "" if isinstance(v, str) else str(v.aval))
def test_repr_and_str_are_those_of_jax(x, text):
    jax = pytest.importorskip("jax")
    assert repr(x) == text
    theirs = jax.numpy.asarray(1.5) if x.weak_type else jax.numpy.asarray(np.asarray(x))
    assert repr(x) == repr(theirs) and str(x) == str(theirs)


def test_format_of_scalars():
    assert f"{jnp.float32(3.14159):.2f}" == "3.14" and f"{jnp.arange(2)[1]:03d}" == "001"
    assert f"{jnp.float32(2)}" == "2.0" and f"{jnp.arange(2)}" == "[0 1]"


def test_python_numbers():
    assert (float(jnp.float32(2)), int(jnp.float32(2.7)), complex(jnp.complex64(1j))) == (2, 2, 1j)
    assert bool(jnp.float32(0)) is False and bool(jnp.ones((1, 1))) is True
    assert [10, 20][jnp.int32(1)] == 20 and list(range(jnp.uint8(2))) == [0, 1]
    assert jnp.int32(7).item() == 7 and jnp.arange(3).tolist() == [0, 1, 2]
    assert type(jnp.int32(7).item()) is int and type(jnp.float32(7).item()) is float
    for wrong, kind in (
        (lambda: bool(jnp.ones(2)), ValueError),
        (lambda: float(jnp.ones(1)), TypeError),
        (lambda: int(jnp.ones(2)), TypeError),
        (lambda: [1][jnp.float32(0)], TypeError),
        (lambda: [1][jnp.arange(1)], TypeError),
        (lambda: jnp.ones(2).item(), (TypeError, ValueError)),
    ):
        with pytest.raises(kind):
            wrong()


def test_numpy_functions_give_numpy_arrays_and_operators_give_ours():
    x = jnp.ones(3)
    assert type(np.sin(x)) is np.ndarray
    for y in (np.ones(3, np.float32) * x, x * np.ones(3, np.float32), np.float32(2) - x):
        assert isinstance(y, fg.Array)


def test_arrays_are_thin():
    x = jnp.ones(3)
    assert not hasattr(x, "__dict__") and weakref.ref(x)() is x
    with pytest.raises(AttributeError):
        x.anything = 1


def test_deleted_arrays_can_be_looked_at():
    x = jnp.ones(3) * 1
    x.delete()
    assert x.is_deleted() and repr(x) == str(x) == "Array(deleted)"
    with pytest.raises(RuntimeError, match="deleted"):
        x.shape  # noqa: B018 - asking raises


def test_isinstance_holds_for_tracers_too():
    seen = []
    for transform in (fg.jit, fg.grad, fg.vmap):
        f = lambda x: seen.append(isinstance(x, fg.Array)) or jnp.sum(x)
        transform(f)(jnp.ones(3) if transform is fg.vmap else 1.0)
    assert seen == [True] * 3


def test_bfloat16_is_the_type_of_ml_dtypes():
    assert jnp.ones(2, "bfloat16").dtype == ml_dtypes.bfloat16 == jnp.bfloat16

"""Where arrays live, on a machine with nothing but a CPU."""

from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp


def test_there_is_one_cpu():
    (cpu,) = fg.devices("cpu")
    assert str(cpu) == "cpu:0" and repr(cpu) == "Device(cpu:0)" and cpu.platform == "cpu"
    assert fg.devices()[0] == cpu and hash(cpu) == hash(fg.local_devices(backend="cpu")[0])
    assert fg.device_count() == fg.local_device_count() == 1
    assert (fg.process_count(), fg.process_index(), fg.default_backend()) == (1, 0, "cpu")
    assert cpu.process_index == 0 and cpu.device_kind == "cpu" and cpu.id == 0


def test_arrays_say_where_they_are():
    (cpu,) = fg.devices("cpu")
    x = jnp.ones(3)
    assert x.device == cpu and x.devices() == {cpu} and x.is_ready()
    assert fg.jit(jnp.sin)(x).device == cpu


def test_trees_are_put_and_got():
    tree = {"a": np.ones(3, np.float32), "b": (2.0, jnp.arange(2))}
    put = fg.device_put(tree, fg.devices("cpu")[0])
    assert all(isinstance(leaf, fg.Array) for leaf in fg.tree.leaves(put))
    assert put["b"][0].weak_type
    got = fg.device_get(put)
    assert all(isinstance(leaf, np.ndarray) for leaf in fg.tree.leaves(got))
    np.testing.assert_array_equal(got["a"], tree["a"])
    assert fg.block_until_ready(put) is put
    assert fg.device_put(jnp.ones(2), "cpu:0").shape == (2,)


def test_putting_is_the_identity_for_derivatives():
    f = lambda x: jnp.sum(fg.device_put(x, "cpu") ** 2)
    np.testing.assert_array_equal(fg.grad(f)(jnp.arange(3.0)), [0, 2, 4])
    np.testing.assert_array_equal(fg.vmap(fg.grad(f))(jnp.ones((2, 3))), np.full((2, 3), 2.0))
    assert fg.jit(f)(jnp.arange(3.0)) == 5


def test_keys_can_be_put():
    key = fg.device_put(fg.random.key(1), "cpu")
    assert key.dtype == fg.random.key(1).dtype


def test_a_default_device_holds_in_its_block():
    with fg.default_device("cpu"):
        assert jnp.zeros(2).device == fg.devices("cpu")[0]
    with fg.default_device(None):
        assert fg.default_backend() == "cpu"


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: fg.devices("tpu"), RuntimeError, "there is no platform 'tpu'.*'cpu'"),
        (lambda: fg.device_put(1.0, 3), TypeError, "needs a Device, its name or None, but got 3"),
        (lambda: fg.device_put("text"), TypeError, "device_put: .*got str 'text'"),
    ],
)
def test_what_is_not_there_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_gpu_needs_cupy():
    try:
        fg.devices("gpu")
    except (ImportError, RuntimeError) as error:
        assert "cupy" in str(error).lower() or "gpu" in str(error).lower()

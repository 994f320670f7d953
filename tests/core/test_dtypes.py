"""Element types: the lattice in both widths, 64 bits that were asked for, and narrowing."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.config import config
from funcgrad.core import dtypes, inputs

WIDE = (dtypes.int64, dtypes.uint64, dtypes.float64, dtypes.complex128)
OPERANDS = [(d, w) for d in dtypes.ALL for w in (False, True)]


def has_weak(dtype, wide):
    """Weak types are those of Python numbers, at the default width."""
    narrow = (dtypes.int32, dtypes.float32, dtypes.complex64)
    return dtype in (WIDE[0], WIDE[2], WIDE[3]) if wide else dtype in narrow


@pytest.mark.oracle
@pytest.mark.parametrize("wide", [False, True], ids=["x32", "x64"])
def test_every_pair_promotes_as_in_jax(wide):
    jax = pytest.importorskip("jax")
    names = [d for d in dtypes.ALL if wide or d not in WIDE]
    operands = [(d, w) for d in names for w in (False, True) if not w or has_weak(d, wide)]
    with jax.enable_x64(wide), config.override(enable_x64=wide):
        for a, b in itertools.product(operands, repeat=2):
            pair = [jax.ShapeDtypeStruct((), d, weak_type=w) for d, w in (a, b)]
            theirs = jax.eval_shape(lambda x, y: x + y, *pair)
            dtype, weak = dtypes.promote((a, b))
            assert dtype == theirs.dtype, (a, b)
            if dtype != dtypes.bool_:
                assert weak == theirs.weak_type, (a, b)


def test_promotion_is_a_join():
    """Commutative, associative among strong types of one kind, idempotent, and above both."""
    strong = [(d, False) for d in dtypes.ALL]
    for a, b in itertools.product(strong, repeat=2):
        ab = dtypes.promote((a, b))
        assert ab == dtypes.promote((b, a))
        assert dtypes.promote((ab, a)) == ab == dtypes.promote((ab, b))


@pytest.mark.parametrize("dtype", WIDE, ids=dtypes.short_name)
def test_64_bits_that_were_asked_for_survive_every_operation(dtype):
    x = jnp.asarray([1, 2, 3], dtype)
    assert x.dtype == dtype == x.astype(dtype).dtype == jnp.zeros(2, dtype).dtype
    operations = [
        lambda x: x + 1,
        lambda x: 2 * x - x,
        lambda x: x * x + jnp.asarray([1, 2, 3], "uint8"),
        lambda x: jnp.where(x == x, x, 0),
        lambda x: jnp.concatenate([x, x])[1:4],
        lambda x: jnp.sum(x),
        lambda x: jnp.cumsum(x),
        lambda x: x.reshape(3, 1) @ x.reshape(1, 3),
        lambda x: x.at[0].set(5),
        lambda x: jnp.stack([x, x]).T,
        lambda x: lax.scan(lambda c, v: (c + v, c), x[0], x)[1],
        lambda x: lax.fori_loop(0, 3, lambda i, c: c + x[i], x[0]),
        lambda x: lax.cond(True, lambda v: v + 1, lambda v: v, x),
        lambda x: fg.vmap(lambda v: v * 2)(x),
        lambda x: jnp.prod(x) ** 2,
    ]
    if dtypes.is_inexact(dtype):
        operations += [jnp.exp, jnp.sqrt, lambda x: x / 3, lambda x: x**2.5, jnp.mean, jnp.tanh]
        operations += [lambda x: jnp.var(x) if dtype.kind == "f" else x]
    for operation in operations:
        for run in (operation, fg.jit(operation)):
            assert run(x).dtype == dtype
    if dtype == dtypes.float64:
        for transform in (fg.grad, fg.jit, lambda f: fg.jit(fg.grad(f)), fg.jacfwd, fg.hessian):
            assert transform(lambda x: jnp.sum(jnp.sin(x) * x))(x).dtype == dtype


def test_defaults_are_narrow_and_the_switch_makes_them_wide():
    makers = [
        lambda: jnp.ones(2),
        lambda: jnp.arange(3),
        lambda: jnp.asarray(1j),
        lambda: jnp.asarray(1),
    ]
    assert [m().dtype for m in makers] == [np.float32, np.int32, np.complex64, np.int32]
    with fg.enable_x64():
        assert [m().dtype for m in makers] == [np.float64, np.int64, np.complex128, np.int64]
        assert fg.grad(jnp.sin)(1.0).dtype == np.float64
    assert jnp.ones(2).dtype == np.float32


def test_python_types_mean_the_default_width():
    for kind, dtype in (
        (float, np.float32),
        (int, np.int32),
        (complex, np.complex64),
        (bool, np.bool_),
    ):
        assert jnp.zeros(2, kind).dtype == dtype
    assert jnp.zeros(2, np.float64).dtype == np.float64 == jnp.zeros(2, "float64").dtype


def test_narrowing_is_never_silent(monkeypatch):
    monkeypatch.setattr(inputs, "_warned", False)
    with pytest.warns(
        UserWarning, match=r"float64 becomes float32.*numpy.array\(x, dtype="
    ) as caught:
        jnp.exp(np.ones(3))
    assert caught[0].filename == __file__, "the warning names the user's line"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jnp.exp(np.ones(3)), jnp.exp(np.float64(1.0)), jnp.exp(np.arange(3))
    with pytest.raises(
        OverflowError, match=r"int64 holds 4294967296, which does not fit into int32"
    ):
        jnp.exp(np.asarray([2**32]))
    with pytest.raises(OverflowError, match="the integer 2147483648 does not fit into i32"):
        jnp.asarray(2**31)
    assert int(jnp.asarray(2**31, "int64")) == 2**31
    assert int(jnp.asarray(np.asarray([2**40]), "int64")[0]) == 2**40
    with fg.enable_x64():
        assert int(jnp.asarray(2**40)) == 2**40


@pytest.mark.oracle
def test_classes_of_types_as_jax():
    jax = pytest.importorskip("jax")
    kinds = [np.integer, np.signedinteger, np.unsignedinteger, np.floating, np.inexact, np.number]
    kinds += [np.complexfloating, np.generic, np.bool_]
    for d, kind in itertools.product(dtypes.ALL, kinds):
        assert jnp.issubdtype(d, kind) == jax.numpy.issubdtype(d, kind), (d, kind)
    for a, b in itertools.product(dtypes.ALL, repeat=2):
        assert jnp.issubdtype(a, b) == jax.numpy.issubdtype(a, b), (a, b)


def test_keys_are_no_numbers():
    key = fg.random.key(0)
    assert jnp.issubdtype(key.dtype, fg.dtypes.prng_key) and not jnp.issubdtype(
        key.dtype, np.number
    )
    assert dtypes.short_name(key.dtype) == "key<fry>"

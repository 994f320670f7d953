"""Which results are weakly typed: as in jax, for every choice of weak operands."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

F, I = np.dtype("float32"), np.dtype("int32")
# name: (function of a library's lax, types of its operands)
CALLS = {
    "sin": (lambda lax, x: lax.sin(x), [((3,), F)]),
    "add": (lambda lax, x, y: lax.add(x, y), [((3,), F)] * 2),
    "lt": (lambda lax, x, y: lax.lt(x, y), [((3,), F)] * 2),
    "pow": (lambda lax, x, y: lax.pow(x, y), [((3,), F)] * 2),
    "integer_pow": (lambda lax, x: lax.integer_pow(x, 3), [((3,), F)]),
    "clamp": (lambda lax, a, x, b: lax.clamp(a, x, b), [((3,), F)] * 3),
    "select": (lambda lax, x, y: lax.select(np.ones(3, bool), x, y), [((3,), F)] * 2),
    "reshape": (lambda lax, x: lax.reshape(x, (3, 1)), [((3,), F)]),
    "transpose": (lambda lax, x: lax.transpose(x, (1, 0)), [((2, 3), F)]),
    "broadcast": (lambda lax, x: lax.broadcast_in_dim(x, (2, 3), (1,)), [((3,), F)]),
    "slice": (lambda lax, x: lax.slice(x, (1,), (2,)), [((3,), F)]),
    "rev": (lambda lax, x: lax.rev(x, (0,)), [((3,), F)]),
    "pad": (lambda lax, x, p: lax.pad(x, p, [(1, 1, 0)]), [((3,), F), ((), F)]),
    "concatenate": (lambda lax, x, y: lax.concatenate([x, y], 0), [((3,), F)] * 2),
    "sum": (lambda lax, x: lax.reduce_sum_p.bind(x, axes=(0,), **EXTRA[lax]), [((3,), F)]),
    "max": (lambda lax, x: lax.reduce_max_p.bind(x, axes=(0,), **EXTRA[lax]), [((3,), F)]),
    "argmax": (lambda lax, x: lax.argmax(x, 0, np.int32), [((3,), F)]),
    "cumsum": (lambda lax, x: lax.cumsum(x, 0), [((3,), F)]),
    "sort": (lambda lax, x: lax.sort(x), [((3,), F)]),
    "dot": (lambda lax, x, y: lax.dot(x, y), [((3,), F)] * 2),
    "dynamic_slice": (lambda lax, x, i: lax.dynamic_slice(x, (i,), (2,)), [((3,), F), ((), I)]),
    "gather": (
        lambda lax, x, i: lax.gather(
            x,
            i,
            lax.GatherDimensionNumbers(
                offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,)
            ),
            (1,),
        ),
        [((3,), F), ((2, 1), I)],
    ),
    "scatter": (
        lambda lax, x, i, u: lax.scatter(
            x,
            i,
            u,
            lax.ScatterDimensionNumbers(
                update_window_dims=(),
                inserted_window_dims=(0,),
                scatter_dims_to_operand_dims=(0,),
            ),
        ),
        [((3,), F), ((2, 1), I), ((2,), F)],
    ),
    "dynamic_update_slice": (
        lambda lax, x, u: lax.dynamic_update_slice(x, u, (0,)),
        [((3,), F), ((2,), F)],
    ),
    "convert": (lambda lax, x: lax.convert_element_type(x, np.float32), [((3,), F)]),
    "convert to another": (lambda lax, x: lax.convert_element_type(x, np.int32), [((3,), F)]),
    "bitcast": (lambda lax, x: lax.bitcast_convert_type(x, np.int32), [((3,), F)]),
    "is_finite": (lambda lax, x: lax.is_finite(x), [((3,), F)]),
    "abs": (lambda lax, x: lax.abs(x), [((3,), F)]),
    "stop_gradient": (lambda lax, x: lax.stop_gradient(x), [((3,), F)]),
    "nextafter": (lambda lax, x, y: lax.nextafter(x, y), [((3,), F)] * 2),
    "erf": (lambda lax, x: lax.erf(x), [((3,), F)]),
    "conv": (
        lambda lax, x, w: lax.conv_general_dilated(x, w, (1,), "VALID"),
        [((1, 1, 5), F), ((1, 1, 2), F)],
    ),
    "scan": (lambda lax, x: lax.scan(lambda c, v: (c, v), x[0], x)[1], [((3,), F)]),
    "cond": (lambda lax, x: lax.cond(True, lambda v: v, lambda v: v * 2, x), [((3,), F)]),
}
EXTRA = {jax.lax: {"out_sharding": None}, lax: {}}


@pytest.mark.parametrize("name", CALLS)
def test_weak_types_as_jax(name):
    function, types = CALLS[name]
    for weak in itertools.product((False, True), repeat=len(types)):
        expected = outcome(jax, jax.lax, function, types, weak)
        assert outcome(fg, lax, function, types, weak) == expected, (name, weak)


def outcome(library, its_lax, function, types, weak):
    structs = [
        library.ShapeDtypeStruct(shape, dtype, weak_type=w)
        for (shape, dtype), w in zip(types, weak)
    ]
    try:
        out = library.eval_shape(lambda *args: function(its_lax, *args), *structs)
    except TypeError:
        extra = {k: v for k, v in EXTRA[its_lax].items() if k != "out_sharding"}
        EXTRA[its_lax] = extra
        out = library.eval_shape(lambda *args: function(its_lax, *args), *structs)
    return out.shape, out.dtype, out.weak_type and out.dtype != bool


@pytest.mark.parametrize("name", CALLS)
def test_weak_types_are_the_same_eagerly(name):
    function, types = CALLS[name]
    for weak in itertools.product((False, True), repeat=len(types)):
        args = [
            jnp.full(shape, 1.0 if dtype == F else 0) if w else jnp.ones(shape, dtype)
            for (shape, dtype), w in zip(types, weak)
        ]
        if any(x.weak_type != w for x, w in zip(args, weak)):
            continue
        eager = function(lax, *args)
        staged = fg.eval_shape(lambda *a: function(lax, *a), *args)
        assert (eager.dtype, eager.weak_type) == (staged.dtype, staged.weak_type), (name, weak)


def test_comparisons_are_never_weak():
    weak = jnp.full((3,), 1.0)
    assert weak.weak_type
    for compare in (lax.eq, lax.ne, lax.lt, lax.le, lax.gt, lax.ge):
        assert not compare(weak, weak).weak_type
        assert not fg.eval_shape(compare, weak, weak).weak_type
    assert not lax.is_finite(weak).weak_type
    assert not any(x.weak_type for x in lax.top_k(weak, 2))

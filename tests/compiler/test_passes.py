"""Each pass by the text of a program before and after it; each rule of `simplify` by one line."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.compiler import pipeline
from funcgrad.compiler.passes.dead import drop_dead
from funcgrad.compiler.passes.fold import fold_constants
from funcgrad.compiler.passes.inline import inline_calls
from funcgrad.compiler.passes.keys import physical_keys
from funcgrad.compiler.passes.share import share_common
from funcgrad.compiler.passes.simplify import RULES, simplify
from funcgrad.config import config

x = np.arange(3, dtype=np.float32)
m = np.arange(6, dtype=np.float32).reshape(2, 3)
row = np.ones((1, 3), np.dtype(np.float32))
n = np.arange(3, dtype=np.int32)
p = x > 1


def traced(function, *args):
    return fg.jit(function).trace(*args).jaxpr


def text(jaxpr):
    """A program's equations, one a line, without its head."""
    lines = str(jaxpr).replace("{ lambda", "").splitlines()
    return "\n".join(line.strip() for line in lines)


def equations(jaxpr):
    return [e.primitive.name for e in jaxpr.eqns]


# ---- passes one by one
# ---------------------------------------------------------------------------------


def test_inline_calls():
    inner = fg.jit(lambda a: jnp.sin(a) * 2)
    before = traced(lambda a: inner(inner(a)) + 1, x)
    assert equations(before) == ["jit", "jit", "add"]
    assert str(inline_calls(before)) == (
        "{ lambda ; a:f32[3]. let\n"
        "    b:f32[3] = sin a\n"
        "    c:f32[3] = mul b 2.0:f32[]\n"
        "    d:f32[3] = sin c\n"
        "    e:f32[3] = mul d 2.0:f32[]\n"
        "    f:f32[3] = add e 1.0:f32[]\n"
        "  in (f,) }"
    )


def test_inline_takes_constants_along():
    table = jnp.array([1.0, 2.0, 3.0])
    inner = fg.jit(lambda a: a + table)
    after = inline_calls(traced(lambda a: inner(a) * inner(a), x))
    assert equations(after) == ["add", "add", "mul"] and len(after.consts) == 2


def test_custom_rules_are_inlined_and_checkpoints_are_not():
    @fg.custom_vjp
    def f(a):
        return a * a

    f.defvjp(lambda a: (f(a), a), lambda r, ct: (r * ct,))
    assert equations(inline_calls(traced(lambda a: f(a) + 1, x))) == ["mul", "add"]
    assert equations(inline_calls(traced(lambda a: fg.checkpoint(jnp.sin)(a), x))) == ["checkpoint"]


def test_physical_keys():
    before = traced(lambda k: fg.random.bits(k, (4,)), fg.random.key(0))
    after = pipeline.run_passes(before, (inline_calls, physical_keys, simplify, fold_constants))
    assert "key" not in str(after)
    assert str(drop_dead(after)) == (
        "{ lambda a:u32[4] ; b:u32[2]. let\n"
        "    c:u32[1] = slice[limit_indices=(1,) start_indices=(0,)] b\n"
        "    d:u32[] = reshape[new_sizes=()] c\n"
        "    e:u32[1] = slice[limit_indices=(2,) start_indices=(1,)] b\n"
        "    f:u32[] = reshape[new_sizes=()] e\n"
        "    g:u32[4] h:u32[4] = threefry2x32 d f 0:u32[] a\n"
        "    i:u32[4] = xor g h\n"
        "  in (i,) }"
    )


def test_physical_keys_reach_into_inner_programs():
    def walk(k):
        return lax.scan(lambda k, _: (fg.random.fold_in(k, 1), fg.random.key_data(k)), k, length=2)

    assert "key" not in str(physical_keys(inline_calls(traced(walk, fg.random.key(0)))))


def test_fold_constants():
    before = traced(lambda a: a * jnp.arange(3.0) + jnp.sin(jnp.float32(0)), x)
    after = drop_dead(fold_constants(inline_calls(before)))
    assert str(after) == (
        "{ lambda a:f32[3] ; b:f32[3]. let\n"
        "    c:f32[3] = mul b a\n"
        "    d:f32[3] = add c 0.0:f32[]\n"
        "  in (d,) }"
    )


def test_large_constants_are_not_folded():
    large = traced(lambda: jnp.arange(5000.0) * 2)
    assert equations(fold_constants(inline_calls(large))) == equations(inline_calls(large))


def test_share_common():
    after = share_common(traced(lambda a: jnp.sin(a) * 2 + jnp.sin(a) * 2, x))
    assert equations(drop_dead(after)) == ["sin", "mul", "add"]


def test_signed_zeros_and_types_are_not_shared():
    after = share_common(traced(lambda a: (a * 0.0, a * -0.0), x))
    assert equations(after) == ["mul", "mul"]


def test_checkpoints_are_not_shared():
    body = fg.checkpoint(jnp.sin)
    assert equations(share_common(traced(lambda a: body(a) + body(a), x))).count("checkpoint") == 2


def test_drop_dead():
    after = drop_dead(traced(lambda a: (jnp.sin(a), jnp.cos(a) * 3)[0], x))
    assert equations(after) == ["sin"]


# ---- the rules of simplify
# -----------------------------------------------------------------------------


def full(value):
    return jnp.full((3,), value, jnp.float32)


def zeros_around(a, low, high):
    return lax.pad(a, np.float32(0), [(low, high, 0)])


BECOMES = {
    "plus_zero": [(lambda a: a + 0, n, []), (lambda a: a + -0.0, x, []), (lambda a: a + 0.0, x,
    ["add"])], "plus_negative": [(lambda a: a + -(a * 3), x, ["mul", "sub"]), (lambda a: -a + a * 3,
    x, ["mul", "sub"])], "plus_itself": [(lambda a: a + a, x, ["mul"])], "minus_zero": [(lambda a: a
    - 0.0, x, []), (lambda a: a - -0.0, x, ["sub"])], "minus_negative": [(lambda a: a * 3 - -a, x,
    ["mul", "add"])], "negative_twice": [(lambda a: -(-a), x, [])], "times_one": [(lambda a: a * 1,
    x, []), (lambda a: full(1.0) * a, x, []), (lambda a: a * (1 + 0j), x, ["convert_element_type",
    "mul"])], "times_minus_one": [(lambda a: a * -1.0, x, ["neg"])], "times_zero": [(lambda a: a *
    0.0, x, ["mul"])], "divided_by_one": [(lambda a: a / 1.0, x, [])], "divided_by_power_of_two":
    [(lambda a: a / 8, x, ["mul"]), (lambda a: a / 3, x, ["div"]), (lambda a: a / 1e30, x,
    ["div"])], "small_power": [         (lambda a: lax.integer_pow(a, 1), x, []), (lambda a:
    lax.integer_pow(a, 2), x, ["square"]), (lambda a: lax.integer_pow(a, 3), x, ["square", "mul"]),
    (lambda a: lax.integer_pow(a, 5), x, ["integer_pow"]), ], "known_choice": [(lambda a:
    jnp.where(True, a, a * 2), x, [])], "equal_cases": [(lambda a: lax.select_n(jnp.asarray(p), a,
    a), x, [])], "with_itself": [(lambda a: jnp.maximum(a, a), x, [])], "sign_of_rectified":
    [(lambda a: (jnp.maximum(a, 0), a > 0)[1], x, ["max", "gt"])], "not_twice": [(lambda a: ~~(a >
    1), x, ["gt"])], "only_for_derivatives": [(lambda a: lax.stop_gradient(a), x, [])],
    "conjugate_twice": [(lambda a: jnp.conj(jnp.conj(a)), x.astype(np.complex64), [])],
    "convert_twice": [         (lambda a: lax.convert_element_type(lax.convert_element_type(a,
    np.dtype(np.float64)), np.dtype(np.float32)), x, []), (lambda a:
    lax.convert_element_type(lax.convert_element_type(a, np.dtype(np.float16)),
    np.dtype(np.float32)), x, ["convert_element_type"] * 2), (lambda a:
    lax.convert_element_type(lax.convert_element_type(a, np.dtype(np.float32)), np.dtype(np.int8)),
    n.astype(np.uint8), ["convert_element_type"] * 2), (lambda a:
    lax.convert_element_type(lax.convert_element_type(a, np.dtype(np.int32)), np.dtype(np.int8)),
    n.astype(np.uint8), ["convert_element_type"]), ], "reshape_once": [(lambda a: a.reshape(3,
    1).reshape(1, 3), x, ["reshape"]), (lambda a: a.reshape(3, 1).reshape(3), x, [])],
    "moves_equal_elements": [(lambda a: a + jnp.full((1, 3), 2.0).reshape(3), x, ["add"])],
    "transpose_once": [(lambda a: a.T.T, m, []), (lambda a: a.T.T.T, m, ["transpose"])],
    "transpose_moves_ones": [(lambda a: a.T, row, ["reshape"])], "broadcast_once": [(lambda a:
    jnp.broadcast_to(jnp.broadcast_to(a, (2, 3)), (4, 2, 3)), x, ["broadcast_in_dim"])],
    "broadcast_of_reshape": [(lambda a: jnp.broadcast_to(a.reshape(1, 3), (2, 3)), x,
    ["broadcast_in_dim"])], "broadcast_repeats_nothing": [(lambda a: a[None, :, None], x,
    ["reshape"])], "reduce_over_ones": [         (lambda a: jnp.sum(a, 0), row, ["reshape"]),
    (lambda a: jnp.max(a, (0, 1)), row, ["reshape", "reduce_max"]), ], "slice_everything": [(lambda
    a: lax.slice_p.bind(a, start_indices=(0, ), limit_indices=(3, ), strides=None), x, [])],
    "slice_of_one_part": [         (lambda a: jnp.concatenate([a, a * 2])[3:], x, ["mul"]), (lambda
    a: jnp.concatenate([a, a * 2])[2:4], x, ["mul", "concatenate", "slice"]), ], "reverse_twice":
    [(lambda a: a[::-1][::-1], x, [])], "copy_nothing": [(lambda a: lax.copy_p.bind(a), x, [])],
    "sum_of_pieces": [
        (lambda a: zeros_around(a, 0, 2) + zeros_around(jnp.sin(a[:2]), 3, 0), x,
         ["slice", "sin", "concatenate"]),
        (lambda a: zeros_around(a, 0, 2) + zeros_around(a, 2, 0), x, ["pad", "pad", "add"]),
    ],
    "piece_into_zeros": [
        (lambda a: jnp.concatenate([a, full(0.0), a * 2]) + zeros_around(jnp.sin(a), 3, 3), x,
         ["mul", "sin", "concatenate"]),
    ],
}  # fmt: skip
UNREACHED_BY_USERS = {"remember_rectified", "to_its_own_type", "join_one", "pad_nothing"}


@pytest.mark.parametrize("name, row_", [(name, r) for name, rows in BECOMES.items() for r in rows])
def test_rule(name, row_):
    function, argument, expected = row_
    before = inline_calls(traced(function, argument))
    after = drop_dead(simplify(before))
    assert equations(after) == expected, f"{name}: {after}"


def test_every_rule_has_a_row():
    names = {rule.__name__ for rules in RULES.values() for rule in rules}
    assert names == set(BECOMES) | UNREACHED_BY_USERS
    assert all(rule.__doc__ for rules in RULES.values() for rule in rules)


def test_operands_that_repeat_a_scalar_become_it():
    after = drop_dead(simplify(traced(lambda a: a * full(2.0) + jnp.broadcast_to(a[0], (3,)), x)))
    assert "broadcast_in_dim" not in equations(after)


def test_maps_of_repeated_operands_are_computed_once():
    def function(a, b):
        return a + jnp.exp(jnp.broadcast_to(b, (2, 3)) * 2)

    after = drop_dead(simplify(inline_calls(traced(function, m, x))))
    assert [str(e.outs[0].aval) for e in after.eqns] == ["f32[3]", "f32[3]", "f32[2,3]", "f32[2,3]"]


# ---- the pipeline
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({step.__name__ for step in pipeline.PIPELINE}))
def test_passes_can_be_switched_off(name):
    def function(k, a):
        b = fg.jit(lambda a: a * 1 + jnp.arange(3.0))(a)
        return b + fg.random.uniform(k, (3,)) + jnp.sin(a) + jnp.sin(a), fg.random.split(k)[0]

    k = fg.random.key(3)
    expected = fg.jit(function)(k, x)
    calls = []
    with config.override(disabled_passes=name):
        got = fg.jit(function)(k, x)
        pipeline.optimise(traced(function, k, x))
        del calls
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-6)
    assert np.array_equal(fg.random.key_data(got[1]), fg.random.key_data(expected[1]))


def test_a_disabled_pass_does_not_run():
    before = traced(lambda a: a * 1, x)
    assert equations(pipeline.optimise(before)) == []
    with config.override(disabled_passes="simplify, fold_constants"):
        assert equations(pipeline.optimise(before)) == ["mul"]


def test_passes_are_shown(capsys):
    with config.override(show="simplify"):
        pipeline.optimise(traced(lambda a: a * 1 + 2, x))
    shown = "after simplify:\n{ lambda ; a:f32[3]. let b:f32[3] = add a 2.0:f32[] in (b,) }\n"
    assert capsys.readouterr().err == shown * pipeline.PIPELINE.count(simplify)
    with config.override(show="all"):
        pipeline.optimise(traced(lambda a: a * 1, x))
    shown = capsys.readouterr().err
    assert [
        line.split()[1].rstrip(":") for line in shown.splitlines() if line.startswith("after")
    ] == [step.__name__ for step in pipeline.PIPELINE]


def test_optimised_programs_are_kept():
    jaxpr = traced(lambda a: a * 1 + 2, x)
    assert pipeline.optimise(jaxpr) is pipeline.optimise(jaxpr)

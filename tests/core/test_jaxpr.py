"""Programs: their printed form, their evaluation, and the checker that finds malformed ones."""

from __future__ import annotations

import re

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.config import config
from funcgrad.core.array import ConcreteArray
from funcgrad.core.avals import ShapedArray
from funcgrad.core.check import check_jaxpr
from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal, Var, eval_jaxpr
from funcgrad.core.stage import rebuild, stage
from funcgrad.core.trace import EVAL
from funcgrad.errors import JaxprTypeError
from funcgrad.primitives.basis import add_p, neg_p, reduce_sum_p

F3 = ShapedArray((3,), np.dtype("float32"))
F = ShapedArray((), np.dtype("float32"))
I3 = ShapedArray((3,), np.dtype("int32"))
X = np.asarray([0.5, 1.0, 2.0], np.float32)

# ---- printed form

PROGRAMS = {
    "sin": lambda lib, n: (lib.lax.sin, (X,)),
    "two operations": lambda lib, n: (lambda x, y: lib.lax.sin(lib.lax.mul(x, y)), (X, X)),
    "literal": lambda lib, n: (lambda x: lib.lax.add(x, n.float32(2)), (np.float32(1),)),
    "trees": lambda lib, n: (lambda p: (p["b"], lib.lax.neg(p["a"])), ({"b": X, "a": X},)),
    "no arguments": lambda lib, n: (lambda: 3, ()),
    "unused": lambda lib, n: (lambda x, y: lib.lax.cos(y), (X, X)),
    "reduction": lambda lib, n: (lambda x: lib.lax.exp(lib.lax.neg(x)), (X.reshape(3, 1),)),
    "integers": lambda lib, n: (lambda x: lib.lax.max(x, x), (np.arange(3, dtype=np.int32),)),
    "comparison": lambda lib, n: (lambda x: lib.lax.lt(x, x), (X,)),
    "convert": lambda lib, n: (lambda x: lib.lax.tanh(lib.lax.abs(x)), (X.astype(np.float16),)),
    "power": lambda lib, n: (lambda x: lib.lax.integer_pow(x, 3), (X,)),
    "transpose": lambda lib, n: (
        lambda x: lib.lax.transpose(x, (1, 0)),
        (np.ones((2, 3), np.float32),),
    ),
    "many": lambda lib, n: (
        lambda x: [x := lib.lax.sin(x) for _ in range(30)][-1],
        (X,),
    ),
}


def shown(jaxpr) -> str:
    """The words of a program. Marks of weak types are left out, as jax does, and so is layout."""
    return " ".join(re.sub(r"[~;]", " ", str(jaxpr)).split())


@pytest.mark.oracle
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_printed_in_the_notation_of_jax(name):
    jax = pytest.importorskip("jax")
    ours, args = PROGRAMS[name](fg, jnp)
    theirs, _ = PROGRAMS[name](jax, jax.numpy)
    assert shown(fg.make_jaxpr(ours)(*args)) == shown(jax.make_jaxpr(theirs)(*args))


PRINTED = {
    "one line": (lambda x: jnp.sin(x), "{ lambda ; a:f32[3]. let b:f32[3] = sin a in (b,) }"),
    "parameters": (
        lambda x: jnp.sum(x),
        "{ lambda ; a:f32[3]. let b:f32[] = reduce_sum[axes=(0,)] a in (b,) }",
    ),
    "dead result": (
        lambda x: lax.sort((x, x), num_keys=1)[0],
        "_:f32[3] = sort[",
    ),
    "closed-over array": (
        lambda x: x * jnp.arange(3.0),
        "a:f32[3]. let",
    ),
    "weak": (lambda x: jnp.sin(2.0) * x, "~f32[] = sin 2.0:f32[]"),
    "call": (
        lambda x: fg.jit(lambda y: jnp.sin(y))(x),
        "jit[name=<lambda> jaxpr={ lambda ; a:f32[3]. let b:f32[3] = sin a in (b,) }] a",
    ),
    "branches": (
        lambda x: lax.cond(True, lambda v: v, lambda v: -v, x),
        "branches=(\n        { lambda ; a:f32[3]. let b:f32[3] = neg a in (b,) }\n"
        "        { lambda ; a:f32[3]. let in (a,) }\n      )",
    ),
}


@pytest.mark.parametrize("name", PRINTED)
def test_printed_form(name):
    function, part = PRINTED[name]
    text = str(fg.make_jaxpr(function)(X))
    assert part in text
    assert text == str(fg.make_jaxpr(function)(X)), "the text is deterministic"


def test_make_jaxpr_takes_statics_shapes_and_keywords():
    made = fg.make_jaxpr(lambda x, n, y=None: x * n + y, static_argnums=1, return_shape=True)
    jaxpr, shape = made(fg.ShapeDtypeStruct((3,), "float32"), 2, y=X)
    assert [str(a) for a in jaxpr.in_avals] == ["f32[3]", "f32[3]"] and shape.shape == (3,)


def test_eval_shape_computes_nothing():
    big = fg.ShapeDtypeStruct((10**6, 10**6), "float32")
    out = fg.eval_shape(lambda p: {"y": p["x"] @ p["x"].T, "n": 3}, {"x": big})
    assert out["y"] == fg.ShapeDtypeStruct((10**6, 10**6), "float32")
    assert out["n"].dtype == np.int32 and out["n"].weak_type
    assert fg.typeof(X).shape == (3,) and str(fg.typeof(1.0)) == "~f32[]"


# ---- evaluation


def test_a_program_evaluates_to_what_the_function_computes():
    function = lambda x, y: [jnp.sin(x) * y, (x + y).sum(), y]
    jaxpr, captured = stage(function, [F3, F3])
    args = [ConcreteArray(X), ConcreteArray(2 * X)]
    assert not captured
    for ours, direct in zip(eval_jaxpr(jaxpr, args, EVAL), function(*args), strict=True):
        np.testing.assert_array_equal(ours, direct)


def test_constants_are_leading_inputs_and_copies():
    weights = np.asarray([1.0, 2.0, 3.0], np.float32)
    jaxpr, _ = stage(lambda x: [x * weights, x + jnp.asarray(weights)], [F3])
    assert len(jaxpr.consts) == 2 and len(jaxpr.args) == 1
    ours = ConcreteArray(weights)
    assert len(stage(lambda x: [x * ours, x + ours], [F3])[0].consts) == 1, "each once"
    weights[:] = 0
    product, _ = eval_jaxpr(jaxpr, [ConcreteArray(X)], EVAL)
    np.testing.assert_array_equal(product, X * [1, 2, 3])


def test_rank_0_constants_are_literals():
    jaxpr, _ = stage(lambda x: [x * jnp.float32(3), x + np.float32(2)], [F3])
    assert not jaxpr.consts
    assert all(any(type(a) is Literal for a in e.args) for e in jaxpr.eqns)


def test_rebuilding_offers_each_equation():
    jaxpr, _ = stage(lambda x: [jnp.sin(x) * 2 + jnp.sin(x)], [F3])
    seen = []

    def visit(eqn, operands):
        seen.append(eqn.primitive.name)
        return jnp.cos(operands[0]) if eqn.primitive.name == "sin" else None

    changed = rebuild(jaxpr, visit)
    assert seen == ["sin", "mul", "sin", "add"]
    (out,) = eval_jaxpr(changed, [ConcreteArray(X)], EVAL)
    np.testing.assert_allclose(out, 3 * np.cos(X), rtol=1e-6)
    kept = rebuild(jaxpr, lambda eqn, operands: None)
    assert str(kept) == str(jaxpr) and kept is not jaxpr


def test_equations_know_their_line():
    def user_function(x):
        y = jnp.sin(x)  # line 2
        return y * 2  # line 3

    first = user_function.__code__.co_firstlineno
    for transform in (lambda f: f, fg.vmap, lambda f: fg.jacfwd(f), fg.checkpoint):
        jaxpr = fg.make_jaxpr(transform(user_function))(X)
        inner = [j for e in jaxpr.eqns for j in e.params.values() if isinstance(j, Jaxpr)] or [
            jaxpr
        ]
        lines = {
            e.source.line - first
            for j in inner
            for e in j.eqns
            if e.primitive.name in ("sin", "cos")
        }
        assert lines == {1}
        assert all(e.source.file == __file__ for j in inner for e in j.eqns if e.source)


# ---- the checker


def good() -> dict:
    a, b, c = Var(F3), Var(F3), Var(F3)
    return {
        "inputs": [a],
        "eqns": [Eqn(neg_p, [a], {}, [b]), Eqn(add_p, [b, a], {}, [c])],
        "outputs": [c],
    }


def test_a_good_program_passes():
    assert check_jaxpr(jaxpr := Jaxpr(**good())) is jaxpr


def unbound(p):
    p["eqns"][0] = p["eqns"][0].replace(args=[Var(F3)])


def used_before_bound(p):
    p["eqns"].reverse()


def bound_twice(p):
    p["eqns"][1] = p["eqns"][1].replace(outs=p["eqns"][0].outs)


def bound_as_input_too(p):
    p["eqns"][1] = p["eqns"][1].replace(outs=p["inputs"])


def input_twice(p):
    p["inputs"] = p["inputs"] * 2


def wrong_shape(p):
    p["eqns"][1] = p["eqns"][1].replace(outs=[Var(F)])
    p["outputs"] = p["eqns"][1].outs


def wrong_dtype(p):
    p["eqns"][1] = p["eqns"][1].replace(outs=[Var(I3)])
    p["outputs"] = p["eqns"][1].outs


def too_many_results(p):
    p["eqns"][0] = p["eqns"][0].replace(outs=[*p["eqns"][0].outs, Var(F3)])


def unbound_output(p):
    p["outputs"] = [Var(F3)]


def big_literal(p):
    p["eqns"][1] = p["eqns"][1].replace(args=[Literal(ConcreteArray(X)), p["inputs"][0]])


def literal_input(p):
    p["inputs"] = [*p["inputs"], Literal(ConcreteArray(np.float32(1)))]


def too_many_constants(p):
    p["consts"] = [1, 2]


def malformed_inside(p):
    inner = good()
    unbound(inner)
    call = fg.make_jaxpr(lambda x: fg.jit(jnp.neg if hasattr(jnp, "neg") else jnp.negative)(x))(X)
    (eqn,) = call.eqns
    a = p["inputs"][0]
    p["eqns"][0] = eqn.replace(
        args=[a], params={**eqn.params, "jaxpr": Jaxpr(**inner)}, outs=p["eqns"][0].outs
    )


BREAKERS = [
    unbound, used_before_bound, bound_twice, bound_as_input_too, input_twice, wrong_shape,
    wrong_dtype, too_many_results, unbound_output, big_literal, literal_input, too_many_constants,
    malformed_inside,
]  # fmt: skip


@pytest.mark.parametrize("breaker", BREAKERS, ids=lambda f: f.__name__)
def test_the_checker_finds_each_kind_of_malformed_program(breaker):
    parts = good()
    breaker(parts)
    with pytest.raises(JaxprTypeError, match="malformed program: .*\\.$"):
        check_jaxpr(Jaxpr(**parts))


def test_parameters_must_be_hashable_and_operands_fit():
    parts = good()
    parts["eqns"][0] = Eqn(reduce_sum_p, parts["inputs"], {"axes": [0]}, [Var(F)])
    parts["eqns"][1] = Eqn(neg_p, parts["eqns"][0].outs, {}, [Var(F)])
    parts["outputs"] = parts["eqns"][1].outs
    with pytest.raises((TypeError, JaxprTypeError)):
        check_jaxpr(Jaxpr(**parts))
    parts = good()
    parts["eqns"][1] = parts["eqns"][1].replace(args=[parts["eqns"][0].outs[0], Var(I3)])
    parts["inputs"].append(parts["eqns"][1].args[1])
    with pytest.raises(TypeError, match="add"):
        check_jaxpr(Jaxpr(**parts))


def test_programs_are_checked_when_the_setting_says_so(monkeypatch):
    checked = []
    monkeypatch.setattr("funcgrad.core.stage.check_jaxpr", lambda j: checked.append(j) or j)
    with config.override(check_jaxprs=False):
        fg.make_jaxpr(jnp.sin)(X)
    assert not checked
    with config.override(check_jaxprs=True):
        fg.make_jaxpr(jnp.sin)(X)
    assert len(checked) == 1

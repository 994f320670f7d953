"""Missing rules of primitives, and custom derivative rules that break their contract."""

from __future__ import annotations

import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import errors
from funcgrad.core.primitive import Primitive
from tests.errors.raising import refused, shows_only_the_user

X = jnp.arange(3.0)


def primitive(name, *rules):
    """A user's primitive with some rules of the identity."""
    known = dict(
        abstract=lambda x: x, value=lambda xp, x: x, linear=(0,), transpose=lambda ct, x: [ct]
    )
    return Primitive(name, **{rule: known[rule] for rule in rules})


bare = primitive("bare")
unvalued = primitive("unvalued", "abstract")
unruled = primitive("unruled", "abstract", "value")
untransposed = primitive("untransposed", "abstract", "value", "linear")

MISSING = {
    "value": (lambda: bare.bind(X), "evaluation: the primitive bare"),
    "abstract": (lambda: fg.jit(bare.bind)(X), "tracing: the primitive bare"),
    "value under jit": (lambda: fg.jit(unvalued.bind)(X), "evaluation: the primitive unvalued"),
    "jvp": (lambda: fg.jvp(unruled.bind, (X,), (X,)), "differentiation: the primitive unruled"),
    "grad": (
        lambda: fg.grad(lambda x: unruled.bind(x).sum())(X),
        "differentiation: the primitive unruled",
    ),
    "grad of jit": (
        lambda: fg.grad(fg.jit(lambda x: unruled.bind(x).sum()))(X),
        "differentiation: the primitive unruled",
    ),
    "transpose": (
        lambda: fg.grad(lambda x: untransposed.bind(x).sum())(X),
        "transposition: the primitive untransposed",
    ),
    "transpose of jit": (
        lambda: fg.grad(fg.jit(lambda x: untransposed.bind(x).sum()))(X),
        "transposition: the primitive untransposed",
    ),
    "linear_transpose": (
        lambda: fg.linear_transpose(untransposed.bind, X)(X),
        "transposition: the primitive untransposed",
    ),
    "batch": (lambda: fg.vmap(unruled.bind)(X), "vmap: the primitive unruled"),
    "batch of jit": (lambda: fg.vmap(fg.jit(unruled.bind))(X), "vmap: the primitive unruled"),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_rule_names_primitive_and_transformation(name):
    call, part = MISSING[name]
    error = refused(call, errors.MissingRuleError, part, "State one on its Primitive")
    if name != "value":  # an operation by itself has no boundary
        shows_only_the_user(error)


def test_forward_mode_needs_no_transpose():
    assert fg.jvp(untransposed.bind, (X,), (X,))[1].shape == (3,)
    assert fg.linearize(untransposed.bind, X)[1](X).shape == (3,)


# ---- custom_jvp


def double(x):
    return 2 * x


def by_jvp(rule, function=double):
    custom = fg.custom_jvp(function)
    if rule is not None:
        custom.defjvp(rule)
    return lambda: fg.grad(lambda x: custom(x) * 1.0)(1.0)


def closing_over(kind):
    def loss(k):
        custom = kind(lambda x: x * k)
        if kind is fg.custom_jvp:
            custom.defjvp(lambda p, t: (p[0] * k, t[0] * k))
        else:
            custom.defvjp(lambda x: (x * k, None), lambda _, ct: (ct * k,))
        return custom(1.0)

    return lambda: fg.grad(loss)(2.0)


JVP = {
    "no rule": (by_jvp(None), AttributeError, ["double has no rule yet", "@double.defjvp"]),
    "no pair": (
        by_jvp(lambda p, t: p[0]),
        TypeError,
        ["custom_jvp double: the rule must return a pair (out, tangent_out)", "returned f32[]"],
    ),
    "three values": (by_jvp(lambda p, t: (p[0], t[0], 1)), TypeError, ["returned 3 values"]),
    "structure": (
        by_jvp(lambda p, t: ((p[0],), (t[0],))),
        TypeError,
        ["custom_jvp double: the rule's result and tangent must have the function's structure"],
    ),
    "structure of the tangent": (
        by_jvp(lambda p, t: (p[0], (t[0],))),
        TypeError,
        ["must have the function's structure"],
    ),
    "type of the result": (
        by_jvp(lambda p, t: (jnp.ones(3), jnp.ones(3) * t[0])),
        TypeError,
        ["custom_jvp double: the rule's result must have the type of the function's, f32[]"]
        + ["but has f32[3]"],
    ),
    "shape of the tangent": (
        by_jvp(lambda p, t: (2 * p[0], jnp.ones(3) * t[0])),
        TypeError,
        ["custom_jvp double: a tangent must have the type of its primal, f32[], but got f32[3]"],
    ),
    "dtype of the tangent": (
        by_jvp(lambda p, t: (2 * p[0], 1)),
        TypeError,
        ["the type of its primal, f32[], but got i32[]"],
    ),
    "not linear": (
        by_jvp(lambda p, t: (2 * p[0], jnp.sin(t[0]))),
        TypeError,
        ["a derivative rule computes sin of a tangent, which is not linear"],
    ),
    "square of the tangent": (
        by_jvp(lambda p, t: (2 * p[0], t[0] * t[0])),
        TypeError,
        ["a derivative rule computes mul of a tangent, which is not linear"],
    ),
    "result of tangents": (
        by_jvp(lambda p, t: (p[0] * t[0], t[0])),
        TypeError,
        ["custom_jvp double: the rule's primal result depends on a tangent"],
    ),
    "closed-over value": (
        closing_over(fg.custom_jvp),
        TypeError,
        ["differentiated with respect to a value that the function closes over", "argument"],
    ),
    "keyword-only": (
        lambda: fg.grad(with_keyword_only)(1.0),
        TypeError,
        ["with_keyword_only has keyword-only arguments", "Make them positional"],
    ),
}


@fg.custom_jvp
def with_keyword_only(x, *, scale=1.0):
    return x * scale


with_keyword_only.defjvps(lambda t, out, x: t)


# ---- custom_vjp


def keep(x):
    return 2 * x, None


def by_vjp(fwd, bwd=None, run=fg.grad):
    custom = fg.custom_vjp(double)
    if fwd is not None:
        custom.defvjp(fwd, bwd)
    return lambda: run(lambda x: custom(x) * 1.0)(1.0)


def forward(function):
    return lambda x: fg.jvp(function, (x,), (1.0,))


VJP = {
    "no rule": (
        by_vjp(None),
        AttributeError,
        ["double has no rule yet", "double.defvjp(fwd, bwd)"],
    ),
    "fwd without a pair": (
        by_vjp(lambda x: 2 * x),
        TypeError,
        ["custom_vjp double: fwd must return a pair (out, residuals), but returned f32[]"],
    ),
    "fwd's structure": (
        by_vjp(lambda x: ((2 * x,), None), lambda _, ct: (ct,)),
        TypeError,
        ["custom_vjp double: fwd's result must have the function's structure"],
    ),
    "fwd's type": (
        by_vjp(lambda x: (jnp.ones(3), None), lambda _, ct: (ct,)),
        TypeError,
        ["fwd's result must have the type of the function's, f32[], but has f32[3]"],
    ),
    "bwd without a tuple": (
        by_vjp(keep, lambda _, ct: ct),
        TypeError,
        ["custom_vjp double: bwd must return a tuple with one cotangent for each of the 1"],
    ),
    "bwd's count": (
        by_vjp(keep, lambda _, ct: (ct, ct)),
        TypeError,
        ["one cotangent for each of the 1 arguments, but returned 2 values"],
    ),
    "bwd's structure": (
        by_vjp(keep, lambda _, ct: ((ct, ct),)),
        ValueError,
        ["custom_vjp double: the result of bwd", "a tuple of length 2", "a leaf"],
    ),
    "bwd's shape": (
        by_vjp(keep, lambda _, ct: (jnp.ones(3),)),
        ValueError,
        ["custom_vjp double: bwd's cotangent must have its argument's type f32[], but has f32[3]"],
    ),
    "bwd's dtype": (
        by_vjp(keep, lambda _, ct: (1,)),
        ValueError,
        ["its argument's type f32[], but has i32[]"],
    ),
    "forward mode": (
        by_vjp(keep, lambda _, ct: (ct,), run=forward),
        TypeError,
        ["custom_vjp double: forward-mode differentiation (jvp, jacfwd, hessian)", "custom_jvp"],
    ),
    "jacfwd": (by_vjp(keep, lambda _, ct: (ct,), run=fg.jacfwd), TypeError, ["forward-mode"]),
    "closed-over value": (
        closing_over(fg.custom_vjp),
        TypeError,
        ["differentiated with respect to a value that the function closes over"],
    ),
}


@pytest.mark.parametrize("name", JVP)
def test_custom_jvp(name):
    call, kind, parts = JVP[name]
    shows_only_the_user(refused(call, kind, *parts))


@pytest.mark.parametrize("name", VJP)
def test_custom_vjp(name):
    call, kind, parts = VJP[name]
    shows_only_the_user(refused(call, kind, *parts))


def test_custom_rules_are_refused_inside_jit_too():
    custom = fg.custom_jvp(double)
    custom.defjvp(lambda p, t: (2 * p[0], t[0] * t[0]))
    refused(lambda: fg.grad(fg.jit(custom))(1.0), TypeError, "not linear")


def test_defjvps_has_no_place_for_nondiff_arguments():
    custom = fg.custom_jvp(lambda n, x: x * n, nondiff_argnums=(0,))
    refused(lambda: custom.defjvps(None, None), TypeError, "nondiff_argnums", "defjvp")

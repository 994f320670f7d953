"""Errors of the transformations: what each needs, what it got, what to do."""

from __future__ import annotations

from functools import partial

import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from tests.errors.raising import refused, shows_only_the_user

X = jnp.arange(3.0)
INTEGERS = jnp.arange(3)


def loss(x):
    return 2.0 * x


def pair(x):
    return x, x


def total(p):
    return sum(jnp.sum(leaf) for leaf in fg.tree.leaves(p)) * 1.0


GRAD = {
    "vector": (
        lambda: fg.grad(loss)(X),
        TypeError,
        ["grad: the function must return a scalar", "loss returned f32[3]", ".mean()", "jacrev"],
    ),
    "value_and_grad of a vector": (
        lambda: fg.value_and_grad(loss)(X),
        TypeError,
        ["value_and_grad: the function must return a scalar", "f32[3]"],
    ),
    "integer": (
        lambda: fg.grad(loss)(3),
        TypeError,
        ["grad: can only differentiate with respect to floating-point", "i32[]", "(argument 0)"]
        + ["astype", "argnums", "allow_int=True"],
    ),
    "integer leaf": (
        lambda: fg.grad(total)({"b": X, "w": INTEGERS}),
        TypeError,
        ["i32[3] (argument 0['w'])"],
    ),
    "integer second argument": (
        lambda: fg.grad(lambda x, y: x * y, argnums=(0, 1))(1.0, 2),
        TypeError,
        ["i32[] (argument 1)"],
    ),
    "bool": (lambda: fg.grad(loss)(True), TypeError, ["bool[] (argument 0)"]),
    "complex output": (
        lambda: fg.grad(lambda x: x * 1j)(1.0),
        TypeError,
        ["grad: the function must return a real number", "c64[]", "holomorphic=True"],
    ),
    "integer output": (
        lambda: fg.grad(lambda x: jnp.int32(1))(1.0),
        TypeError,
        ["grad: the function must return a floating-point number", "i32[]"],
    ),
    "holomorphic of a real": (
        lambda: fg.grad(loss, holomorphic=True)(1.0),
        TypeError,
        ["grad: with holomorphic=True arguments must be complex", "f32[]"],
    ),
    "tuple": (
        lambda: fg.grad(pair)(1.0),
        TypeError,
        ["grad: the function must return a scalar, but pair returned", "has_aux=True"],
    ),
    "nothing": (lambda: fg.grad(lambda x: None)(1.0), TypeError, ["must return a scalar"]),
    "text": (
        lambda: fg.grad(lambda x: "text")(1.0),
        TypeError,
        ["must return arrays or numbers, but returned 'text' of type str"],
    ),
    "no pair for has_aux": (
        lambda: fg.grad(loss, has_aux=True)(1.0),
        TypeError,
        ["grad: with has_aux=True, loss must return a pair (output, aux)", "returned f32[]"],
    ),
    "text argument": (
        lambda: fg.grad(loss)("a"),
        TypeError,
        ["grad: argument 0: needs arrays or numbers, but got str 'a'"],
    ),
    "argnums out of range": (
        lambda: fg.grad(loss, argnums=2)(1.0),
        TypeError,
        ["grad: argnums 2 needs at least 3 positional arguments", "loss was called with 1"],
    ),
    "argnums of another kind": (
        lambda: fg.grad(loss, argnums="x"),
        TypeError,
        ["grad: argnums must be an integer or a tuple of integers, but got 'x'"],
    ),
    "no function": (
        lambda: fg.grad(3),
        TypeError,
        ["grad: needs a function, but got 3 of type int"],
    ),
    "jacfwd of an integer": (lambda: fg.jacfwd(loss)(3), TypeError, ["jacfwd: ", "i32[]"]),
    "jacfwd of a complex": (
        lambda: fg.jacfwd(lambda z: z.real)(1j),
        TypeError,
        ["jacfwd: arguments must be real, but got c64[] (argument 0)", "holomorphic=True"],
    ),
    "jacrev to complex": (
        lambda: fg.jacrev(lambda x: x * 1j)(1.0),
        TypeError,
        ["jacrev: the function must return real numbers", "c64[]", "holomorphic=True"],
    ),
    "hessian of an integer": (lambda: fg.hessian(loss)(3), TypeError, ["i32[]"]),
}

TREES = {
    "cotangent's structure": (
        lambda: fg.vjp(pair, 1.0)[1](1.0),
        TypeError,
        ["vjp: the cotangent must have the structure of the function's output", "(*, *)"],
    ),
    "cotangent's shape": (
        lambda: fg.vjp(loss, X)[1](jnp.ones(4)),
        TypeError,
        ["vjp: the cotangent must have the type of its output, f32[3], but got f32[4]"],
    ),
    "cotangent's dtype": (
        lambda: fg.vjp(loss, X)[1](INTEGERS),
        TypeError,
        ["the type of its output, f32[3], but got i32[3]", "astype"],
    ),
    "tangents' structure": (
        lambda: fg.jvp(loss, (X,), ((X, X),)),
        TypeError,
        ["jvp: primals and tangents must have one structure, but have", "((*, *),)"],
    ),
    "tangent's shape": (
        lambda: fg.jvp(loss, (X,), (jnp.ones(4),)),
        TypeError,
        ["jvp: the tangent must have the type of its primal, f32[3], but got f32[4]"],
    ),
    "no tuple of primals": (
        lambda: fg.jvp(loss, X, X),
        TypeError,
        ["jvp: primals must be a tuple or a list, but got f32[3]. Write (primal,)"],
    ),
    "tangent of an integer": (
        lambda: fg.jvp(loss, (INTEGERS,), (INTEGERS,)),
        TypeError,
        ["jvp: the primal of type i32[3] has no derivative", "float0"],
    ),
    "tangents of linearize": (
        lambda: fg.linearize(loss, 1.0)[1](1.0, 2.0),
        TypeError,
        ["linearize: tangents must have the primals' structure"],
    ),
    "trees of map": (
        lambda: fg.tree.map(max, {"a": 1}, {"b": 1}),
        ValueError,
        ["tree.map: the trees must have the same structure", "['a']", "['b']"],
    ),
    "cotangent of linear_transpose": (
        lambda: fg.linear_transpose(loss, X)(jnp.ones(4)),
        TypeError,
        ["linear_transpose: the cotangent", "f32[3]", "f32[4]"],
    ),
    "linear_transpose of sin": (
        lambda: fg.linear_transpose(jnp.sin, 1.0)(1.0),
        fg.errors.MissingRuleError,
        ["transposition: the primitive sin has no rule"],
    ),
    "linear_transpose of a square": (
        lambda: fg.linear_transpose(lambda x: x * x, 1.0)(1.0),
        TypeError,
        ["mul has several operands that depend on the input", "not linear"],
    ),
}

VMAP = {
    "axis out of range": (
        lambda: fg.vmap(loss, in_axes=1)(X),
        ValueError,
        ["vmap: in_axes maps axis 1 of argument 0, whose type is f32[3]"],
    ),
    "rank 0": (
        lambda: fg.vmap(loss)(1.0),
        ValueError,
        ["vmap: in_axes maps axis 0 of argument 0, whose type is f32[]", "in_axes=None"],
    ),
    "sizes": (
        lambda: fg.vmap(lambda x, y: x)(X, jnp.ones(4)),
        ValueError,
        ["vmap: mapped axes must have one size", "argument 0: axis 0 of f32[3] has size 3"]
        + ["argument 1: axis 0 of f32[4] has size 4"],
    ),
    "sizes of keyword arguments": (
        lambda: fg.vmap(lambda x, y: x)(X, y=jnp.ones(4)),
        ValueError,
        ["argument 'y': axis 0 of f32[4] has size 4"],
    ),
    "sizes of leaves": (
        lambda: fg.vmap(total)({"a": X, "b": jnp.ones((4, 2))}),
        ValueError,
        ["argument 0['a']: axis 0 of f32[3] has size 3", "0['b']: axis 0 of f32[4,2] has size 4"],
    ),
    "axis_size": (
        lambda: fg.vmap(loss, axis_size=4)(X),
        ValueError,
        ["vmap: mapped axes must have one size", "3", "4"],
    ),
    "structure of in_axes": (
        lambda: fg.vmap(total, in_axes=({"b": 0},))({"a": X}),
        ValueError,
        ["vmap: in_axes must be a tree prefix", "at [0]", "['b']", "['a']"],
    ),
    "number of in_axes": (
        lambda: fg.vmap(loss, in_axes=(0, 0))(X),
        ValueError,
        ["vmap: in_axes (0, 0) has 2 entries, but loss was called with 1"],
    ),
    "in_axes of another kind": (
        lambda: fg.vmap(loss, in_axes="a"),
        TypeError,
        ["vmap: in_axes must be an integer, None or a tree of these, but got 'a'"],
    ),
    "a leaf of in_axes of another kind": (
        lambda: fg.vmap(loss, in_axes=(1.5,))(X),
        TypeError,
        ["vmap: in_axes must hold integers and None, but holds 1.5 for argument 0"],
    ),
    "nothing mapped": (
        lambda: fg.vmap(loss, in_axes=None),
        ValueError,
        ["vmap: with in_axes=None nothing is mapped", "axis_size"],
    ),
    "out_axes None": (
        lambda: fg.vmap(loss, out_axes=None)(X),
        ValueError,
        ["vmap: out_axes is None for a result of loss that depends on the mapped axis"],
    ),
    "out_axes out of range": (
        lambda: fg.vmap(loss, out_axes=3)(X),
        ValueError,
        ["vmap: out_axes 3 does not fit a result of rank 1"],
    ),
    "structure of out_axes": (
        lambda: fg.vmap(pair, out_axes=(0, 0, 0))(X),
        ValueError,
        ["vmap: out_axes must be a tree prefix", "length 3", "length 2"],
    ),
    "unbound name": (
        lambda: fg.vmap(lambda x: lax.psum(x, "j"), axis_name="i")(X),
        NameError,
        ["unbound axis name: 'j'", "Names bound here: 'i'", "axis_name='j'"],
    ),
    "name bound twice": (
        lambda: fg.vmap(fg.vmap(loss, axis_name="i"), axis_name="i")(jnp.ones((2, 2))),
        ValueError,
        ["vmap: the axis name 'i' is already used by an enclosing vmap"],
    ),
}

JIT = {
    "unhashable static argument": (
        lambda: fg.jit(lambda x, n: x, static_argnums=1)(1.0, [1]),
        ValueError,
        ["jit: static argument 1 of <lambda> must be hashable", "[1] of type list", "tuple"],
    ),
    "unhashable static name": (
        lambda: fg.jit(lambda x, n: x, static_argnames="n")(1.0, n={}),
        ValueError,
        ["jit: static argument 'n' of <lambda> must be hashable", "{} of type dict"],
    ),
    "array as static argument": (
        lambda: fg.jit(loss, static_argnums=0)(X),
        ValueError,
        ["jit: static argument 0 of loss must be hashable", "Array", "do not mark it static"],
    ),
    "static_argnums out of range": (
        lambda: fg.jit(loss, static_argnums=3),
        ValueError,
        ["jit: static_argnums 3 does not exist: loss has 1 positional"],
    ),
    "negative static_argnums out of range": (
        lambda: fg.jit(loss, static_argnums=-2),
        ValueError,
        ["jit: static_argnums -2 does not exist"],
    ),
    "donate_argnums out of range": (
        lambda: fg.jit(loss, donate_argnums=(0, 3)),
        ValueError,
        ["jit: donate_argnums 3 does not exist: loss has 1 positional"],
    ),
    "static_argnames unknown": (
        lambda: fg.jit(loss, static_argnames="y"),
        ValueError,
        ["jit: static_argnames 'y' does not exist: loss has x"],
    ),
    "static_argnums of another kind": (
        lambda: fg.jit(loss, static_argnums=(1.5,)),
        TypeError,
        ["jit: static_argnums must hold integers, but holds 1.5"],
    ),
    "static and donated": (
        lambda: fg.jit(loss, static_argnums=0, donate_argnums=0),
        ValueError,
        ["jit: an argument cannot be both static and donated"],
    ),
    "text": (
        lambda: fg.jit(loss)("hello"),
        TypeError,
        ["jit: argument 0: needs arrays or numbers, but got str 'hello'"],
    ),
    "text in a dict": (
        lambda: fg.jit(loss)(x={"name": "hello"}),
        TypeError,
        ["jit: argument 'x'['name']: needs arrays or numbers"],
    ),
    "text result": (
        lambda: fg.jit(lambda x: "hello")(1.0),
        TypeError,
        ["jit: <lambda> must return arrays or numbers, but returned 'hello' of type str"],
    ),
    "no function": (lambda: fg.jit(3), TypeError, ["jit: needs a function, but got 3"]),
    "compiled for others": (
        lambda: fg.jit(loss).lower(X).compile()(jnp.ones(4)),
        TypeError,
        ["loss was compiled for f32[3]", "but got f32[4]"],
    ),
    "compiled for another structure": (
        lambda: fg.jit(loss).lower(X).compile()((X,)),
        TypeError,
        ["loss was compiled for arguments"],
    ),
    "make_jaxpr of nothing": (
        lambda: fg.make_jaxpr(3),
        TypeError,
        ["make_jaxpr: needs a function"],
    ),
    "eval_shape": (
        partial(fg.eval_shape, lambda a, b: a + b, fg.ShapeDtypeStruct((2,), "float32"), X),
        ValueError,
        ["add: shapes (2,) and (3,) do not broadcast"],
    ),
    "concrete checkpoint": (
        lambda: fg.checkpoint(loss, concrete=True),
        ValueError,
        ["checkpoint: concrete=True is no longer possible", "static_argnums"],
    ),
}

LOOPS = {
    "carry's type": (
        lambda: lax.scan(lambda c, x: ({"a": c["a"].astype("int32")}, x), {"a": X}, X),
        TypeError,
        ["scan: the carry must keep its types", "carry['a']: f32[3] given, i32[3] returned"],
    ),
    "carry's structure": (
        lambda: lax.scan(lambda c, x: ((c, c), x), 1.0, X),
        TypeError,
        ["scan: the body must return a carry of the initial one's structure", "(*, *)"],
    ),
    "no pair": (
        lambda: lax.scan(lambda c, x: c, 1.0, X),
        TypeError,
        ["scan: the body must return a pair (carry, y)"],
    ),
    "leading sizes": (
        lambda: lax.scan(lambda c, x: (c, x), 1.0, (X, jnp.ones(4))),
        ValueError,
        ["scan: leading sizes must agree, but got xs[0] 3, xs[1] 4"],
    ),
    "length and xs": (
        lambda: lax.scan(lambda c, x: (c, x), 1.0, X, length=5),
        ValueError,
        ["scan: leading sizes must agree, but got xs 3, length 5"],
    ),
    "nothing to scan": (
        lambda: lax.scan(lambda c, x: (c, x), 1.0),
        ValueError,
        ["scan: give xs or length"],
    ),
    "rank 0": (
        lambda: lax.scan(lambda c, x: (c, x), 1.0, 2.0),
        ValueError,
        ["scan: xs has rank 0"],
    ),
    "while's carry": (
        lambda: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1].sum()), (0, X)),
        TypeError,
        ["while_loop: the carry must keep its types", "carry[1]: f32[3] given, f32[] returned"],
    ),
    "while's condition": (
        lambda: lax.while_loop(lambda c: c, lambda c: c, 1.0),
        TypeError,
        ["while_loop: cond_fun must return a bool scalar, but returned f32[]"],
    ),
    "cond's types": (
        lambda: lax.cond(True, lambda: {"a": X}, lambda: {"a": X.sum()}),
        TypeError,
        ["cond: branches must return the same types", "output['a']", "f32[]", "f32[3]"],
    ),
    "cond's structures": (
        lambda: lax.cond(True, lambda: (X,), lambda: X),
        TypeError,
        ["cond: branches must return trees of one structure"],
    ),
    "cond's predicate": (
        lambda: lax.cond(X, lambda: 1, lambda: 2),
        TypeError,
        ["cond: the predicate must be a scalar, but got f32[3]", "numpy.where"],
    ),
    "switch's index": (
        lambda: lax.switch(1.0, [lambda: 1, lambda: 2]),
        TypeError,
        ["switch: the index must be an integer scalar, but got f32[]"],
    ),
    "no branches": (lambda: lax.switch(0, []), ValueError, ["switch: needs at least one branch"]),
    "fori_loop's carry": (
        lambda: lax.fori_loop(0, 3, lambda i, c: c.sum(), X),
        TypeError,
        ["the carry must keep its types", "f32[3] given, f32[] returned"],
    ),
}

ALL = [
    pytest.param(*row, id=f"{table}: {name}")
    for table, rows in (
        ("grad", GRAD),
        ("tree", TREES),
        ("vmap", VMAP),
        ("jit", JIT),
        ("loop", LOOPS),
    )
    for name, row in rows.items()
]


@pytest.mark.parametrize("call, kind, parts", ALL)
def test_message_and_traceback(call, kind, parts):
    error = refused(call, kind, *parts)
    if call is not TREES["trees of map"][0]:  # a plain function of trees: there is no boundary
        shows_only_the_user(error)

"""What operations that hold programs say of themselves to compilers."""

from __future__ import annotations

from typing import Any

import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.core.avals import typeof
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.loops import Call
from funcgrad.core.stage import stage


@fg.custom_jvp
def ruled(x: Any) -> Any:
    return jnp.sin(x)


@fg.custom_vjp
def backwards(x: Any) -> Any:
    return jnp.sin(x)


ruled.defjvp(lambda primals, tangents: (ruled(*primals), tangents[0]))
backwards.defvjp(lambda x: (backwards(x), x), lambda x, ct: (ct * x,))

# name: how it is computed, which of its parameters are programs, an example
CALLS = {
    "jit": ("call", ("jaxpr",), fg.jit(jnp.sin)),
    "checkpoint": ("checkpoint", ("jaxpr",), fg.checkpoint(jnp.sin)),
    "cond": ("cond", ("branches",), lambda x: lax.cond(x > 0, jnp.sin, jnp.cos, x)),
    "scan": ("scan", ("jaxpr",), lambda x: lax.scan(lambda c, _: (c * x, c), x, None, length=3)),
    "while": (
        "while",
        ("cond_jaxpr", "body_jaxpr"),
        lambda x: lax.while_loop(lambda c: c < 9, lambda c: c + 1, x),
    ),
    "custom_jvp_call": ("call", ("call_jaxpr",), ruled),
    "custom_vjp_call": ("call", ("call_jaxpr",), backwards),
    "linear_call": (
        "call",
        ("callee",),
        lambda x: fg.custom_derivatives.linear_call(
            lambda r, v: r * v, lambda r, ct: r * ct, 2.0, x
        ),
    ),
    "custom_vmap_call": ("call", ("call_jaxpr",), fg.custom_batching.sequential_vmap(jnp.sin)),
    "custom_linear_solve": (
        "call",
        ("jaxpr",),
        lambda x: lax.custom_linear_solve(lambda y: 2 * y, x, lambda _, b: b / 2),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_names_the_parameters_that_are_programs(name: str) -> None:
    kind, programs, function = CALLS[name]
    jaxpr, _ = stage(lambda x: fg.tree.leaves(function(x)), [typeof(jnp.float32(1))])
    (call,) = [e for e in jaxpr.eqns if e.primitive.name == name]
    form = call.primitive.loops(*[v.aval for v in call.args], **call.params)
    assert isinstance(form, Call)
    assert (form.kind, form.jaxprs) == (kind, programs)
    for program in programs:
        held = call.params[program]
        assert all(isinstance(p, Jaxpr) for p in (held if isinstance(held, tuple) else (held,)))

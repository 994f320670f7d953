"""Every pass in a line: what a small program looks like before and after it. Its values stay.

Whole texts, and where a pass must leave things as they are, are in the tests named after passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax, random
from funcgrad.compiler import pipeline
from funcgrad.compiler.pipeline import Pass, drop_dead, inline_calls, optimise
from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr, subjaxprs
from funcgrad.core.trace import EVAL

_rng = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape).astype(np.float32)


ROW, MATRIX, IMAGE = numbers(3), numbers(2, 3), numbers(1, 2, 4, 4)
KEY = np.array([3, 4], np.uint32)
STATE, WEIGHT, STEPS = numbers(5, 24), numbers(24, 24), numbers(7, 5, 24)


def recurrent(w: Any, xs: Any) -> Any:
    return lax.scan(lambda h, x: (jnp.tanh(x @ w + h), None), STATE, xs)[0]


def recurrent_slope(w: Any, xs: Any) -> Any:
    def loss(w: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = jnp.tanh(h @ w + x)
            return h, h

        return jnp.sum(lax.scan(step, STATE, xs)[1])

    return fg.grad(loss)(w)


class Row(NamedTuple):
    function: Callable[..., Any]
    args: Sequence[Any]
    before: str
    after: str
    first: tuple[Pass, ...] = (inline_calls,)  # passes that come before


BECOMES = {
    "inline_calls": Row(
        lambda a: fg.jit(jnp.sin)(a) + 1, [ROW],
        "jit(sin) add",
        "sin add", ()),
    "physical_keys": Row(
        lambda k: random.key_data(random.split(random.wrap_key_data(k))), [KEY],
        "random_wrap random_split random_unwrap",
        "slice squeeze slice squeeze iota threefry2x32 broadcast_in_dim broadcast_in_dim "
        "concatenate"),
    "settle_empty": Row(
        lambda a: jnp.sum(a[:, :0] * 2, 1) + 1, [MATRIX],
        "slice mul reduce_sum add",
        "broadcast_in_dim add"),
    "drop_dead": Row(
        lambda a: (jnp.sin(a), jnp.cos(a) * 3)[0], [ROW],
        "sin cos mul",
        "sin"),
    "fold_constants": Row(
        lambda a: a + jnp.sin(jnp.arange(3.0)), [ROW],
        "iota sin add",
        "add"),
    "simplify": Row(
        lambda a: -(-a) * 1 + a**2, [ROW],
        "neg neg mul integer_pow add",
        "square add"),
    "share_common": Row(
        lambda a: jnp.sin(a) * jnp.sin(a), [ROW],
        "sin sin mul",
        "sin mul"),
    "optimise_bodies": Row(
        lambda a: lax.scan(lambda c, x: (c * 1 + x, -(-c)), 0.0, a), [ROW],
        "scan(mul add neg neg)",
        "scan(add)"),
    "split_scans": Row(
        recurrent, [WEIGHT, STEPS],
        "scan(dot_general add tanh)",
        "dot_general scan(add tanh)"),
    "sink_transposes": Row(
        lambda a: jnp.exp(a.T).T, [MATRIX],
        "transpose exp transpose",
        "exp transpose transpose"),  # which `simplify` makes nothing of
    "recomputing": Row(
        lambda a: fg.checkpoint(jnp.sin)(a) + jnp.sin(a), [ROW],
        "checkpoint(sin) sin add",
        "sin sin add"),
    "channels_last": Row(
        lambda x: lax.conv_general_dilated(x, jnp.ones((2, 2, 3, 3)), (1, 1), "SAME") * 2, [IMAGE],
        "broadcast_in_dim conv_general_dilated mul",
        "broadcast_in_dim transpose conv_general_dilated mul transpose"),
    "multiply_outer": Row(
        lambda a, b: jnp.einsum("i,j->ij", a, b), [ROW, ROW],
        "dot_general",
        "broadcast_in_dim broadcast_in_dim mul"),
    "widen_products": Row(
        lambda a: jnp.concatenate([a, a]) @ a, [WEIGHT.astype(np.int8)],
        "concatenate dot_general",
        "concatenate convert_element_type convert_element_type dot_general convert_element_type"),
    "choose_residuals": Row(
        recurrent_slope, [WEIGHT, STEPS],
        "scan(dot_general add tanh square sub) broadcast_in_dim broadcast_in_dim transpose "
        "scan(add mul dot_general) dot_general add",
        "scan(dot_general add tanh) broadcast_in_dim broadcast_in_dim transpose "
        "scan(square sub add mul dot_general) dot_general add", (optimise,)),
}  # fmt: skip


def outline(jaxpr: Jaxpr) -> str:
    """The names of the operations in order, those of inner programs in parentheses."""
    parts = []
    for e in jaxpr.eqns:
        inner = " ".join(outline(body) for body in subjaxprs(e.params))
        parts.append(e.primitive.name + (f"({inner})" if inner else ""))
    return " ".join(parts)


@pytest.mark.parametrize("name", BECOMES)
def test_a_program_before_and_after(name: str) -> None:
    row = BECOMES[name]
    step = getattr(pipeline, name)
    before = fg.jit(row.function).trace(*row.args).jaxpr
    for earlier in row.first:
        before = earlier(before)
    after = drop_dead(step(before))
    assert (outline(before), outline(after)) == (row.before, row.after)
    operands = [jnp.asarray(x) for x in row.args]
    found, wanted = (eval_jaxpr(program, operands, EVAL) for program in (after, before))
    for x, y in zip(found, wanted, strict=True):
        # float32 products of 24 terms and sums of 35, in another order
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-4, atol=1e-4)


def test_every_pass_has_a_row() -> None:
    passes = {step.__name__ for step in (*pipeline.PIPELINE, *pipeline.PREPARATION)}
    assert passes == set(BECOMES)

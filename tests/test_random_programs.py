"""Random programs over the public functions: every way to run them agrees.

hypothesis draws a list of steps; each makes a new array from earlier ones, all of shape (2, 3), so
that any list is a program. All functions are smooth where they are evaluated, so that central
differences are an oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.config import config

SHAPE = (2, 3)

# One operand. Values stay within a few units: nothing overflows, however often it is applied.
UNARY: dict[str, Callable[[Any], Any]] = {
    "sin": jnp.sin,
    "tanh": jnp.tanh,
    "logistic": lambda x: 1 / (1 + jnp.exp(-x)),
    "softplus": lambda x: jnp.log1p(jnp.exp(-jnp.abs(x) - 0.5)) + 0.5 * x,
    "root": lambda x: jnp.sqrt(1 + x**2),
    "square": lambda x: x**2 / (1 + x * x),
    "negative": lambda x: -x,
    "reshape": lambda x: x.reshape(3, 2).T * 0.5,
    "transpose": lambda x: jnp.transpose(x).reshape(SHAPE),
    "flip": lambda x: x[::-1, ::-1],
    "roll": lambda x: jnp.roll(x, 1, axis=1),
    "slices": lambda x: jnp.concatenate([x[:, 1:], x[:, :1]], axis=1),
    "row": lambda x: jnp.broadcast_to(x[1], SHAPE),
    "column": lambda x: x[:, 2:] + jnp.zeros(SHAPE, x.dtype),
    "gather": lambda x: x[jnp.asarray([1, 0])][:, jnp.asarray([0, 0, 2])],
    "scatter": lambda x: jnp.zeros_like(x).at[jnp.asarray([0, 0]), :2].add(x[:, :2]),
    "update": lambda x: x.at[0].multiply(0.5),
    "pad": lambda x: jnp.pad(x, 1)[1:-1, :-2],
    "sum": lambda x: jnp.sum(x, axis=0) / 2 * jnp.ones(SHAPE, x.dtype),
    "mean": lambda x: x - jnp.mean(x, axis=1, keepdims=True),
    "cumsum": lambda x: jnp.cumsum(x, axis=1) / 3,
    "variance": lambda x: x / (1 + jnp.var(x)),
    "gram": lambda x: jnp.dot(x, jnp.dot(x.T, x)) / (2 + jnp.sum(x**2)),
    "einsum": lambda x: jnp.einsum("ij,kj,kl->il", x, x, x) / (2 + jnp.sum(x**2)),
    "stack": lambda x: jnp.stack([x, 2 * x]).sum(0) / 3,
    "convert": lambda x: x.astype("float64") * 0.5,
    "mapped": lambda x: fg.vmap(lambda row: jnp.sin(row) * row.sum())(x) / 3,
    "jit": lambda x: fg.jit(lambda y: jnp.cos(y) * x)(x),
    "checkpoint": lambda x: fg.checkpoint(lambda y: jnp.sin(jnp.sin(y) + y))(x),
    "scan": lambda x: lax.scan(lambda c, row: (jnp.sin(c + row), c * row), x[0], x)[1] / 2,
    "reverse scan": lambda x: lax.scan(lambda c, v: (c * 0.5 + v, c), x[0], x, reverse=True)[1],
    "fori": lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.sin(c) + i * x * 0.1, x),
    "while": lambda x: lax.while_loop(
        lambda c: c[0] < 2, lambda c: (c[0] + 1, 0.5 * c[1] * jnp.cos(x)), (0, x)
    )[1],
    "cond": lambda x: lax.cond(True, lambda v: v * jnp.sin(v), lambda v: v, x),
    "switch": lambda x: lax.switch(1, [jnp.sin, lambda v: jnp.cos(v) * x, jnp.tanh], x),
    "gradient": lambda x: fg.grad(lambda y: jnp.sum(jnp.sin(y) * x))(x),
    "tangent": lambda x: fg.jvp(jnp.sin, (x,), (0.5 * x,))[1],
}
# Two operands.
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: (x + y) / 2,
    "subtract": lambda x, y: (x - y) / 2,
    "multiply": lambda x, y: x * y / (1 + y * y),
    "divide": lambda x, y: x / (1.5 + jnp.tanh(y)),
    "power": lambda x, y: (1.1 + jnp.sin(x)) ** jnp.tanh(y),
    "arctan2": lambda x, y: jnp.arctan2(x, 2 + jnp.cos(y)),
    "where": lambda x, y: jnp.where(jnp.asarray([[True, False, True]] * 2), x, y),
    "product": lambda x, y: jnp.matmul(x, y.T) @ y / (3 + jnp.sum(y**2)),
    "outer": lambda x, y: jnp.outer(x[:, 0], y[1]) / (1 + jnp.sum(y**2)),
    "closure": lambda x, y: fg.jit(lambda v: jnp.sin(v * y))(x),
    "closed scan": lambda x, y: lax.scan(lambda c, v: (c * 0.5 + y[0], c * v), x[0], y)[1],
    "mixed ranks": lambda x, y: x * y[0] / 2 + y[1, 1],
}

STEP = st.one_of(
    st.tuples(st.sampled_from(sorted(UNARY)), st.integers(0, 9)),
    st.tuples(st.sampled_from(sorted(BINARY)), st.integers(0, 9), st.integers(0, 9)),
)
PROGRAMS = st.lists(STEP, min_size=1, max_size=8)
FEW = hypothesis.settings(max_examples=40)


def build(steps: Any) -> Callable[[Any, Any], Any]:
    """The program of these steps: two arrays in, one out."""

    def program(x: Any, y: Any) -> Any:
        made = [x, y]
        for name, *places in steps:
            operands = [made[-1 - place % len(made)] for place in places]
            made.append((UNARY if len(places) == 1 else BINARY)[name](*operands))
        return made[-1] + 0.1 * sum(made[2:-1], jnp.zeros(SHAPE, x.dtype))

    return program


def inputs(seed: int = 0, *batch: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    draw = lambda: jnp.asarray(rng.normal(size=(*batch, *SHAPE)), "float64")
    return draw(), draw()


def close(ours: Any, expected: Any, tolerance: float = 1e-10) -> None:
    for a, b in zip(fg.tree.leaves(ours), fg.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype == np.float64
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


@FEW
@hypothesis.given(PROGRAMS)
def test_compiled_is_eager(steps: Any) -> None:
    program, (x, y) = build(steps), inputs()
    eager = program(x, y)
    assert eager.shape == SHAPE
    for engine in ("reference", "numpy", "auto"):
        with config.override(engine=engine):
            close(fg.jit(build(steps))(x, y), eager)
    with fg.disable_jit():
        close(program(x, y), eager)


@FEW
@hypothesis.given(PROGRAMS)
def test_gradients_are_central_differences(steps: Any) -> None:
    program, (x, y), (dx, dy) = build(steps), inputs(), inputs(1)
    loss = lambda x, y: jnp.sum(jnp.sin(program(x, y)))
    gradient = fg.grad(loss, (0, 1))(x, y)
    step = 1e-5  # errors of 1e-10 and 1e-16 / step, times third derivatives of a few hundred
    expected = (loss(x + step * dx, y + step * dy) - loss(x - step * dx, y - step * dy)) / (
        2 * step
    )
    slope = jnp.sum(gradient[0] * dx) + jnp.sum(gradient[1] * dy)
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-7)
    close(fg.jit(fg.grad(loss, (0, 1)))(x, y), gradient)
    close(fg.grad(fg.jit(loss), (0, 1))(x, y), gradient)
    close(fg.grad(fg.checkpoint(loss), (0, 1))(x, y), gradient)


@FEW
@hypothesis.given(PROGRAMS)
def test_forward_and_reverse_mode_agree(steps: Any) -> None:
    program, point, direction = build(steps), inputs(), inputs(1)
    out, tangent = fg.jvp(program, point, direction)
    again, push = fg.linearize(program, *point)
    primal, pull = fg.vjp(program, *point)
    close((out, again, push(*direction)), (primal, primal, tangent))
    cotangent = inputs(2)[0]
    back = pull(cotangent)
    left = jnp.sum(tangent * cotangent)
    np.testing.assert_allclose(
        left, sum(jnp.sum(b * d) for b, d in zip(back, direction)), rtol=1e-9, atol=1e-10
    )
    close(fg.jit(lambda *args: fg.jvp(program, args, direction)[1])(*point), tangent)


@FEW
@hypothesis.given(PROGRAMS, st.sampled_from([(0, 0), (0, None), (None, 0), (1, -1)]))
def test_mapped_is_a_loop(steps: Any, axes: Any) -> None:
    program, (x, y) = build(steps), inputs(3, 4)
    operands = [x[0] if a is None else jnp.moveaxis(v, 0, a) for v, a in zip((x, y), axes)]
    rows = [program(*(v[0] if a is None else v[i] for v, a in zip((x, y), axes))) for i in range(4)]
    if axes[1] is None:
        rows = [program(x[i], y[0]) for i in range(4)]
        operands[1] = y[0]
    close(fg.vmap(program, axes)(*operands), jnp.stack(rows))
    close(fg.jit(fg.vmap(program, axes))(*operands), jnp.stack(rows))


@hypothesis.settings(max_examples=10)
@hypothesis.given(st.lists(STEP, min_size=1, max_size=4))
def test_second_derivatives_are_differences_of_first_ones(steps: Any) -> None:
    program, (x, y), (dx, _) = build(steps), inputs(), inputs(1)
    gradient = fg.grad(lambda v: jnp.sum(jnp.sin(program(v, y))))
    step = 1e-5
    expected = (gradient(x + step * dx) - gradient(x - step * dx)) / (2 * step)
    np.testing.assert_allclose(fg.jvp(gradient, (x,), (dx,))[1], expected, rtol=1e-5, atol=1e-6)
    twice = fg.grad(lambda v: jnp.sum(gradient(v) * dx))(x)
    np.testing.assert_allclose(twice, expected, rtol=1e-5, atol=1e-6)
    mapped = fg.vmap(gradient)(jnp.stack([x, 2 * x]))
    close(mapped, jnp.stack([gradient(x), gradient(2 * x)]))


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_every_step_by_itself(name: str) -> None:
    """The laws above for each single step, so that none is missed by chance."""
    steps = [(name, 0)] if name in UNARY else [(name, 0, 1)]
    program, (x, y), (dx, dy) = build(steps), inputs(), inputs(1)
    eager = program(x, y)
    close(fg.jit(program)(x, y), eager)
    step = 1e-5
    expected = (program(x + step * dx, y + step * dy) - program(x - step * dx, y - step * dy)) / (
        2 * step
    )
    np.testing.assert_allclose(fg.jvp(program, (x, y), (dx, dy))[1], expected, rtol=1e-6, atol=1e-7)
    close(fg.vmap(program)(x[None], y[None]), eager[None])

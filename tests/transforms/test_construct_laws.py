"""Operations that hold programs, through the laws of derivatives and maps: for every choice of
operands that vary and of operands that are mapped.

Forward and reverse mode are compared with central differences in double precision, maps with loops.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax

STEP = 1e-5  # of differences in double precision: error about STEP**2, and 1e-16 / STEP


@fg.custom_jvp
def ruled(x: Any, y: Any, n: Any) -> Any:
    return jnp.sin(x) * y, n + 1, x * n


@ruled.defjvp
def _ruled_jvp(primals: Any, tangents: Any) -> Any:
    (x, y, n), (dx, dy, _) = primals, tangents
    out = jnp.cos(x) * y * dx + jnp.sin(x) * dy, np.zeros(np.shape(n), fg.float0), dx * n
    return (jnp.sin(x) * y, n + 1, x * n), out


@functools.partial(fg.custom_jvp, nondiff_argnums=(0,))
def scaled(power: int, x: Any) -> Any:
    return x**power


@scaled.defjvp
def _scaled_jvp(power: int, primals: Any, tangents: Any) -> Any:
    (x,), (t,) = primals, tangents
    return scaled(power, x), power * scaled(power - 1, x) * t


@fg.custom_vjp
def backwards(x: Any, p: Any, n: Any) -> Any:
    return {"first": jnp.sin(x) * p["y"], "second": (x * n, n)}


def _backwards_fwd(x: Any, p: Any, n: Any) -> Any:
    return backwards(x, p, n), (x, p["y"], n)


def _backwards_bwd(kept: Any, ct: Any) -> Any:
    x, y, n = kept
    first, (second, _) = ct["first"], ct["second"]
    return jnp.cos(x) * y * first + n * second, {"y": jnp.sin(x) * first, "unused": None}, None


backwards.defvjp(_backwards_fwd, _backwards_bwd)


# Each takes two vectors and a matrix and returns a vector or a tree.


def scan_all(x: Any, y: Any, w: Any) -> Any:
    """Constants, several carries (one an integer, one unused), inputs, two stacks of outputs."""

    def body(carry: Any, row: Any) -> Any:
        a, i, idle = carry
        a = jnp.sin(w @ a) + row * i
        return (a, i + 1, idle), (a * y, row)

    (a, _, idle), (stack, rows) = lax.scan(body, (x, 1, y), w)
    return a + idle, stack.sum(0) * rows[0]


def scan_backward(x: Any, y: Any, w: Any) -> Any:
    return lax.scan(lambda c, v: (c * 0.5 + v[0] * y, c * v[1]), x, (w, w.T), reverse=True)


def scan_hoisted(x: Any, y: Any, w: Any) -> Any:
    """What depends on constants alone leaves the loop."""
    return lax.scan(lambda c, _: (jnp.sin(c * jnp.exp(jnp.sin(y))), c @ w), x, None, length=4)


def scan_of_scan(x: Any, y: Any, w: Any) -> Any:
    inner = lambda c, v: lax.scan(lambda d, u: (jnp.sin(d * u + y[0]), d), c, v)
    return lax.scan(inner, x[0], w)


def cond_on_data(x: Any, y: Any, w: Any) -> Any:
    """Branches that keep different values, and give different outputs a derivative."""
    yes = lambda a, b: (jnp.sin(a) * jnp.exp(b), b, jnp.sum(a) * 3)
    no = lambda a, b: (a @ w, a * b, jnp.float64(2.0))
    return lax.cond(jnp.sum(x * y) > 0.1, yes, no, x, y)


def cond_fixed(x: Any, y: Any, w: Any) -> Any:
    return lax.cond(False, lambda a: a, lambda a: jnp.cos(a * y) @ w, x)


def switch_on_data(x: Any, y: Any, w: Any) -> Any:
    which = jnp.asarray(jnp.floor(jnp.abs(y[0]) * 3), "int32")
    return lax.switch(which, [lambda a: a * y, lambda a: jnp.sin(a @ w), jnp.exp], x)


def while_fixed(x: Any, y: Any, w: Any) -> Any:
    step = lambda c: (c[0] + 1, jnp.sin(w @ c[1]) * y, c[2])
    return lax.while_loop(lambda c: c[0] < 3, step, (0, x, y))[1:]


def while_on_data(x: Any, y: Any, w: Any) -> Any:
    """The number of trips depends on the data; the condition closes over some of it."""
    limit = 2 + jnp.sum(y**2)
    return lax.while_loop(lambda c: jnp.sum(c**2) < limit, lambda c: c * 1.3 + 0.1 * w[0], x)


def fori_on_data(x: Any, y: Any, w: Any) -> Any:
    stop = jnp.asarray(2 + jnp.floor(jnp.abs(y[1])), "int32")
    return lax.fori_loop(0, stop, lambda i, c: jnp.sin(c) + i * w[0] * 0.1, x)


def calls(x: Any, y: Any, w: Any) -> Any:
    """Arguments that are not used, results that are arguments or constants, calls in calls."""
    inner = fg.jit(lambda a, unused: (jnp.sin(a * y), a, 2.0))
    outer = fg.jit(lambda a, b: [inner(a, b)[0] @ w, b, inner(b, a)])
    return outer(x, y)


def recomputed(x: Any, y: Any, w: Any) -> Any:
    policy = fg.checkpoint_policies.dots_saveable
    inner = fg.checkpoint(lambda a: jnp.sin(jnp.sin(a @ w) * y), policy=policy)
    return fg.checkpoint(lambda a, b: (inner(inner(a)) + b, b))(x, y)


def recomputed_loop(x: Any, y: Any, w: Any) -> Any:
    body = fg.checkpoint(lambda c, v: (jnp.sin(c * v + y), jnp.exp(jnp.sin(c))))
    return lax.scan(body, x, w)


def by_rule(x: Any, y: Any, w: Any) -> Any:
    first, count, third = ruled(x, jnp.sin(y), jnp.asarray([1, 2, 3]))
    return first * count, third, scaled(3, w @ y)


def rule_in_loop(x: Any, y: Any, w: Any) -> Any:
    return lax.scan(lambda c, v: (scaled(2, c) * 0.1 + ruled(v, y, 2)[0], c), x, w)


def by_backward_rule(x: Any, y: Any, w: Any) -> Any:
    out = backwards(x @ w, {"y": y, "unused": x}, jnp.asarray([1, 2, 3]))
    return out["first"], out["second"][0] * out["second"][1]


def backward_rule_in_loop(x: Any, y: Any, w: Any) -> Any:
    body = lambda c, v: (
        backwards(c, {"y": y, "unused": v}, 2)["first"],
        backwards(v, {"y": c, "unused": c}, 3),
    )
    last, rows = lax.scan(body, x, w)
    return last, rows["first"]


def all_together(x: Any, y: Any, w: Any) -> Any:
    def body(c: Any, v: Any) -> Any:
        kept = fg.checkpoint(
            lambda a: lax.cond(jnp.sum(a) > 0, lambda b: jnp.sin(b) * v, jnp.cos, a)
        )
        grown = lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, kept(s[1]) * y), (0, c))
        return grown[1], fg.jit(lambda a: a * c)(v)

    return lax.scan(body, x, w)


BOTH_MODES = [
    scan_all, scan_backward, scan_hoisted, scan_of_scan, cond_on_data, cond_fixed, switch_on_data,
    while_fixed, while_on_data, fori_on_data, calls, recomputed, recomputed_loop, by_rule,
    rule_in_loop, all_together,
]  # fmt: skip
REVERSE_ONLY = [by_backward_rule, backward_rule_in_loop]
FUNCTIONS = BOTH_MODES + REVERSE_ONLY
SUBSETS = [s for s in itertools.product((False, True), repeat=3) if any(s)]

every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)


def operands(seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=s), "float64") for s in ((3,), (3,), (3, 3))]


def total(out: Any) -> Any:
    """One number of a tree of results, in which each element counts differently."""
    terms = [
        jnp.sum(jnp.sin(leaf) * (1 + jnp.arange(leaf.size).reshape(leaf.shape) / 7))
        for leaf in map(jnp.asarray, fg.tree.leaves(out))
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return functools.reduce(jnp.add, terms)


def fixed(function: Callable[..., Any], subset: Any, args: Any) -> Callable[..., Any]:
    """The total as a function of the operands in the subset."""

    def of_some(*some: Any) -> Any:
        given = iter(some)
        return total(function(*(next(given) if v else a for v, a in zip(subset, args))))

    return of_some


def moved(args: Any, directions: Any, step: float) -> list[Any]:
    return [a + step * d for a, d in zip(args, directions)]


@every_function
def test_compiled_is_eager(function: Callable[..., Any]) -> None:
    args = operands()
    with fg.disable_jit():
        plain = total(function(*args))
    np.testing.assert_allclose(total(function(*args)), plain, rtol=1e-12)
    np.testing.assert_allclose(fg.jit(lambda *a: total(function(*a)))(*args), plain, rtol=1e-12)


@pytest.mark.parametrize("function", [scan_all, while_on_data, fori_on_data, cond_on_data])
def test_derivatives_with_jit_disabled(function: Callable[..., Any]) -> None:
    args = operands()
    gradient = fg.grad(lambda *a: total(function(*a)), (0, 1, 2))
    mapped = fg.vmap(gradient)
    rows = [jnp.stack([a, 0.5 * a]) for a in args]
    with fg.disable_jit():
        plain, lanes = gradient(*args), mapped(*rows)
    for a, b in zip((*plain, *lanes), (*gradient(*args), *mapped(*rows)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@every_function
def test_derivatives_are_differences(function: Callable[..., Any]) -> None:
    for seed, subset in enumerate(SUBSETS):
        args = operands(seed)
        f = fixed(function, subset, args)
        some = [a for a, v in zip(args, subset) if v]
        directions = [a for a, v in zip(operands(seed + 50), subset) if v]
        expected = (f(*moved(some, directions, STEP)) - f(*moved(some, directions, -STEP))) / (
            2 * STEP
        )
        numbers = tuple(range(len(some)))
        for transform in (lambda g: g, fg.jit):
            slopes = transform(fg.grad(f, numbers))(*some)
            found = sum(jnp.sum(s * d) for s, d in zip(slopes, directions))
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
        if function in BOTH_MODES:
            np.testing.assert_allclose(
                fg.jvp(f, some, directions)[1], expected, rtol=1e-6, atol=1e-7
            )
            _, push = fg.linearize(f, *some)
            np.testing.assert_allclose(push(*directions), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("function", BOTH_MODES, ids=lambda f: f.__name__)
def test_second_derivatives_are_differences(function: Callable[..., Any]) -> None:
    args, directions = operands(3), operands(53)
    gradient = fg.grad(lambda *a: total(function(*a)), (0, 1, 2))
    plus, minus = (
        gradient(*moved(args, directions, STEP)),
        gradient(*moved(args, directions, -STEP)),
    )
    forward = fg.jvp(gradient, args, directions)[1]
    inner = lambda *a: sum(jnp.sum(s * d) for s, d in zip(gradient(*a), directions))
    reverse = fg.grad(inner, (0, 1, 2))(*args)
    for a, b, p, m in zip(forward, reverse, plus, minus, strict=True):
        expected = (p - m) / (2 * STEP)
        np.testing.assert_allclose(a, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(b, expected, rtol=1e-5, atol=1e-5)


@every_function
def test_mapped_is_a_loop(function: Callable[..., Any]) -> None:
    samples = [operands(seed) for seed in (5, 6)]
    for subset in SUBSETS:
        args = [
            jnp.stack([s[i] for s in samples]) if m else samples[0][i] for i, m in enumerate(subset)
        ]
        axes = tuple(0 if m else None for m in subset)
        rows = [[s[i] if m else samples[0][i] for i, m in enumerate(subset)] for s in samples]
        f = lambda *a: total(function(*a))
        np.testing.assert_allclose(fg.vmap(f, axes)(*args), [f(*row) for row in rows], rtol=1e-10)
        gradient = fg.grad(f, (0, 1, 2))
        found = fg.vmap(gradient, axes)(*args)
        summed = fg.grad(lambda *a, axes=axes: fg.vmap(f, axes)(*a).sum(), (0, 1, 2))(*args)
        for i, m in enumerate(subset):
            expected = jnp.stack([gradient(*row)[i] for row in rows])
            np.testing.assert_allclose(found[i], expected, rtol=1e-9, atol=1e-9)
            if not m:
                expected = expected.sum(0)
            np.testing.assert_allclose(summed[i], expected, rtol=1e-9, atol=1e-9)


def test_branches_that_talk_to_other_lanes() -> None:
    """With a collective inside, all lanes compute all branches; the choice is made afterwards."""

    def lane(x: Any, i: Any) -> Any:
        yes = lambda v: (v * lax.psum(v, "i"), v)
        no = lambda v: (v - lax.pmean(v**2, "i"), 2 * v)
        third = lambda v: (v * 3, v + lax.pmax(v, "i"))
        two = lax.cond(x > 0.5, yes, no, x)
        return two, lax.switch(i, [yes, no, third], x)

    x, i = jnp.asarray([0.25, 1.0, 2.0]), jnp.asarray([2, 0, 1])
    xs = np.asarray(x)
    sums, means, top = xs.sum(), (xs**2).mean(), xs.max()
    (first, second), (third, fourth) = fg.vmap(lane, axis_name="i")(x, i)
    np.testing.assert_allclose(first, np.where(xs > 0.5, xs * sums, xs - means), rtol=1e-6)
    np.testing.assert_allclose(second, np.where(xs > 0.5, xs, 2 * xs), rtol=1e-6)
    np.testing.assert_allclose(third, [xs[0] * 3, xs[1] * sums, xs[2] - means], rtol=1e-6)
    np.testing.assert_allclose(fourth, [xs[0] + top, xs[1], 2 * xs[2]], rtol=1e-6)

"""scan: results, types, structures, edges; operands of every kind; cost, memory and messages."""

from __future__ import annotations

import collections
import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.backends.numpy import inner_call, program_of
from funcgrad.compiler.pipeline import optimise
from funcgrad.config import config
from funcgrad.core.jaxpr import Jaxpr, subjaxprs
from tests.control.as_jax import assert_as_jax

Pair = collections.namedtuple("Pair", "a b")
XS = np.asarray([0.5, -1.0, 2.0, 0.25], np.float32)


# ---- values, types and structures ---------------------------------------------------------------

WITHOUT_DERIVATIVES = {
    "python carry": lambda lib: lib.lax.scan(lambda c, x: (c + x, -x), 0.0, lib.numpy.asarray(XS)),
    "weak carry that becomes strong": lambda lib: lib.lax.scan(
        lambda c, x: (c * x, None), 1, lib.numpy.asarray([1, 2], "int8")
    ),
    "weak carry that stays": lambda lib: lib.lax.scan(
        lambda c, x: (c * 2, c + x), 1.0, lib.numpy.asarray(XS)
    ),
    "weak output": lambda lib: lib.lax.scan(lambda c, x: (c, 1.0), 1.0, lib.numpy.asarray(XS)),
    "integers": lambda lib: lib.lax.scan(
        lambda c, x: (c + x, c * x), np.int32(7), lib.numpy.arange(4)
    ),
    "bools": lambda lib: lib.lax.scan(
        lambda c, x: (c ^ x, c & x), np.True_, lib.numpy.asarray([True, False, True])
    ),
    "complex": lambda lib: lib.lax.scan(
        lambda c, x: (c * x, c + x), lib.numpy.asarray(1j), lib.numpy.asarray(XS, "complex64")
    ),
    "bfloat16": lambda lib: lib.lax.scan(
        lambda c, x: (c * x + x, c), lib.numpy.asarray(1, "bfloat16"),
        lib.numpy.asarray(XS, "bfloat16"),
    ),
    "length only": lambda lib: lib.lax.scan(lambda c, x: (c + 1, x), 0, None, length=3),
    "length too": lambda lib: lib.lax.scan(lambda c, x: (c, x), 0, lib.numpy.asarray(XS), 4),
    "no steps": lambda lib: lib.lax.scan(
        lambda c, x: (c + x, (c, x)), np.float32(3), lib.numpy.zeros((0,))
    ),
    "no steps by length": lambda lib: lib.lax.scan(lambda c, _: (c, c), 1.5, None, length=0),
    "one step": lambda lib: lib.lax.scan(lambda c, x: (x, x * c), 0.5, lib.numpy.ones(1)),
    "empty rows": lambda lib: lib.lax.scan(
        lambda c, x: (c + 1, x), 0, lib.numpy.zeros((3, 0, 2), "float16")
    ),
    "empty carry": lambda lib: lib.lax.scan(lambda c, x: (c, x * 2), (), lib.numpy.asarray(XS)),
    "reverse": lambda lib: lib.lax.scan(
        lambda c, x: (c + x, c), np.float32(0), lib.numpy.asarray(XS), reverse=True
    ),
    "unroll": lambda lib: lib.lax.scan(
        lambda c, x: (c + x, c), np.float32(0), lib.numpy.asarray(XS), unroll=3
    ),
    "unroll all": lambda lib: lib.lax.scan(
        lambda c, x: (c + x, c), np.float32(0), lib.numpy.asarray(XS), unroll=True
    ),
    "trees": lambda lib: lib.lax.scan(
        lambda c, x: (Pair(c.a + x["u"], {"k": c.b["k"], "none": None}), [x["v"], None, c.a]),
        Pair(lib.numpy.zeros(2), {"k": lib.numpy.ones(()), "none": None}),
        {"u": lib.numpy.ones((3, 2)), "v": lib.numpy.arange(3)},
    ),
    "constant outputs": lambda lib: lib.lax.scan(
        lambda c, x: (c, (2, lib.numpy.arange(3))), 0.0, lib.numpy.asarray(XS)
    ),
    "carries change places": lambda lib: lib.lax.scan(
        lambda c, x: ((c[1], c[0]), c[0]), (np.float32(1), np.float32(2)), None, 3
    ),
    "a carry that is an input": lambda lib: lib.lax.scan(
        lambda c, x: (x, c), np.zeros(2, np.float32), lib.numpy.asarray(XS).reshape(2, 2)
    ),
    "keys": lambda lib: lib.lax.scan(
        lambda key, _: (lib.random.split(key)[0], lib.random.uniform(key, (2,))),
        lib.random.PRNGKey(0), None, 3,
    ),
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", WITHOUT_DERIVATIVES)
def test_values_and_types_as_jax(name: str, jitted: bool) -> None:
    program = WITHOUT_DERIVATIVES[name]
    assert_as_jax(program, jitted)


def test_structures_are_those_of_the_arguments() -> None:
    init = Pair(1.0, {"none": None, "list": [2]})
    carry, ys = lax.scan(lambda c, x: (c, (x, None, c.b)), init, {"x": jnp.arange(3)})
    assert fg.tree.structure(carry) == fg.tree.structure(init)
    assert fg.tree.structure(ys) == fg.tree.structure(({"x": 0}, None, {"none": None, "list": [2]}))


def test_typed_keys_are_carried_and_stacked() -> None:
    def body(key: Any, _: Any) -> Any:
        new, own = fg.random.split(key)
        return new, own

    last, used = fg.jit(lambda key: lax.scan(body, key, None, length=3))(fg.random.key(0))
    key, wanted = fg.random.key(0), []
    for _ in range(3):
        key, own = fg.random.split(key)
        wanted.append(fg.random.key_data(own))
    assert used.dtype == fg.random.key(0).dtype and used.shape == (3,)
    np.testing.assert_array_equal(fg.random.key_data(used), np.stack(wanted))
    np.testing.assert_array_equal(fg.random.key_data(last), fg.random.key_data(key))


def test_without_jit_the_body_is_called_step_by_step() -> None:
    seen = []

    def body(c: Any, x: Any) -> Any:
        seen.append(float(x))
        return c + x, c

    with fg.disable_jit():
        last, ys = lax.scan(body, 0.0, jnp.asarray(XS), reverse=True)
    assert seen == XS[::-1].tolist() and float(last) == XS.sum()
    np.testing.assert_array_equal(ys, [1.25, 2.25, 0.25, 0.0])


# ---- operands of every kind under every transformation ------------------------------------------


def body_of_all(w: Any, c: Any, x: Any) -> Any:
    """Constants, carry and inputs meet in both results."""
    new = jnp.sin(c * w) + x
    return new, new * x + w


def unrolled_of_all(w: Any, c: Any, xs: Any) -> Any:
    ys = []
    for i in range(xs.shape[0]):
        c, y = body_of_all(w, c, xs[i])
        ys.append(y)
    return c, jnp.stack(ys)


def scanned_of_all(w: Any, c: Any, xs: Any) -> Any:
    return lax.scan(lambda c, x: body_of_all(w, c, x), c, xs)


OPERANDS = (jnp.asarray(0.7), jnp.asarray(-0.4), jnp.asarray(XS))
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(range(3), n)]


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("varied", SUBSETS, ids=str)
def test_derivatives_in_all_operand_combinations(varied: Any, jitted: bool) -> None:
    def sums(function: Any) -> Any:
        def value(*args: Any) -> Any:
            last, ys = function(*args)
            return last**2 + jnp.sum(ys * jnp.cos(ys))

        first = lambda *args: sum(jnp.sum(g**2) for g in fg.grad(value, varied)(*args))
        both = lambda *args: (fg.grad(value, varied)(*args), fg.grad(first, varied)(*args))
        return (fg.jit(both) if jitted else both)(*OPERANDS)

    for found, wanted in zip(
        *map(fg.tree.leaves, map(sums, (scanned_of_all, unrolled_of_all))), strict=True
    ):
        # float32; second derivatives of four chained sines
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("mapped", SUBSETS, ids=str)
def test_vmap_in_all_operand_combinations(mapped: Any) -> None:
    shapes = [(), (), (4,)]
    rng = np.random.default_rng(3)
    axes = [(len(shapes[i]) if i == 2 else 0) if i in mapped else None for i in range(3)]
    args = [
        jnp.asarray(rng.normal(size=(*shape, 3) if i in mapped else shape), "float32")
        for i, shape in enumerate(shapes)
    ]
    found = fg.vmap(scanned_of_all, axes)(*args)
    lanes = [
        unrolled_of_all(*(a if d is None else jnp.take(a, k, axis=d) for a, d in zip(args, axes)))
        for k in range(3)
    ]
    for a, b in zip(found, zip(*lanes), strict=True):
        np.testing.assert_allclose(a, np.stack(b), rtol=1e-5)


def test_closed_over_tracers_of_several_levels() -> None:
    def f(x: Any) -> Any:
        def g(y: Any) -> Any:
            return lax.scan(lambda c, _: (c * x + y, None), 1.0, None, length=3)[0]

        return fg.jit(fg.grad(g))(x) * fg.grad(g)(2.0 * x)

    # g = x^3 + y (x^2 + x + 1), so f = (x^2 + x + 1)^2
    x = 0.3
    assert np.isclose(fg.grad(f)(x), 2 * (x * x + x + 1) * (2 * x + 1), rtol=1e-5)


def test_integers_in_the_carry_have_no_tangent() -> None:
    def f(x: Any) -> Any:
        body = lambda c, _: ((c[0] * x + c[1], c[1] + 1), c[1])
        (v, n), ns = lax.scan(body, (x, 0), None, length=4)
        return v * ns.sum() + n

    found = fg.jvp(f, (2.0,), (1.0,))
    power = 2.0**5 + 0 * 2.0**3 + 1 * 2.0**2 + 2 * 2.0 + 3
    slope = 5 * 2.0**4 + 2 * 2.0 + 2
    assert np.allclose(found, (power * 6 + 4, slope * 6))


# ---- cost ---------------------------------------------------------------------------------------


def equations(jaxpr: Jaxpr) -> int:
    """Equations of a program, inner programs included."""
    return sum(1 + sum(map(equations, subjaxprs(e.params))) for e in jaxpr.eqns)


def chain(steps: int) -> Any:
    return lambda x: lax.scan(lambda c, _: (jnp.sin(c) * x, c), x, None, length=steps)[0]


@pytest.mark.parametrize("order", [0, 1, 2])
def test_programs_do_not_grow_with_length_or_batch(order: int) -> None:
    def count(steps: int, lanes: int) -> int:
        f = chain(steps)
        for _ in range(order):
            f = fg.grad(f)
        return equations(fg.make_jaxpr(fg.vmap(f))(jnp.ones(lanes)))

    assert count(3, 2) == count(300, 2) == count(3, 50)


def test_programs_grow_linearly_with_the_body() -> None:
    def count(operations: int) -> int:
        def body(c: Any, _: Any) -> Any:
            for _ in range(operations):
                c = jnp.sin(c)
            return c, None

        return equations(fg.make_jaxpr(fg.grad(lambda x: lax.scan(body, x, None, 5)[0]))(1.0))

    small, middle, large = count(10), count(20), count(40)
    assert large - middle == 2 * (middle - small)


def work(jaxpr: Jaxpr) -> int:
    """Equations of all loop bodies, as they are compiled."""
    bodies = [optimise(j) for e in optimise(jaxpr).eqns for j in subjaxprs(e.params)]
    return sum(len(j.eqns) for j in bodies)


@pytest.mark.parametrize("function", [jnp.sin, jnp.tanh, lambda c: c * c, jnp.exp])
def test_the_gradient_computes_at_most_three_times_as_much(function: Any) -> None:
    def f(x: Any, xs: Any) -> Any:
        return lax.scan(lambda c, v: (function(c) * v + c, None), x, xs)[0]

    value, gradient = (fg.make_jaxpr(g)(1.0, jnp.ones(5)) for g in (f, fg.grad(f)))
    assert work(value) == 3 and work(gradient) <= 3 * work(value)


def test_bodies_are_written_into_the_loop() -> None:
    """No calls, no Arrays and no copies in a step: as many statements as operations."""
    f = lambda x, xs: lax.scan(lambda c, v: (jnp.sin(c) * v + c, c), x, xs)
    (step,) = program_of(fg.make_jaxpr(f)(np.float32(1), jnp.ones(5))).steps
    lines = inner_call(step).source.splitlines()
    loop = lines[next(i for i, text in enumerate(lines) if "for " in text) + 1 : -1]
    # the operands' names, three operations, the output into its stack, the carry
    assert len(loop) == 6, loop


def body_calls(f: Any, x: Any) -> Any:
    """How often Python runs the body while a function is evaluated."""
    calls = []

    def body(c: Any, _: Any) -> Any:
        calls.append(1)
        return jnp.sin(c), None

    f(lambda y, n: lax.scan(body, y, None, length=n)[0])(x)
    return len(calls)


def test_the_body_is_traced_once_whatever_the_length() -> None:
    for transform in (lambda f: f, fg.grad, fg.jit, lambda f: fg.jit(fg.grad(fg.grad(f)))):
        calls = {body_calls(lambda s, n=n: transform(lambda y: s(y, n)), 1.0) for n in (2, 50)}
        assert len(calls) == 1


def test_nested_bodies_are_traced_once_from_weak_carries() -> None:
    """Numbers of Python as carries become strong in the body: no reason to trace it again."""
    traced = []

    def nest(depth: int, xs: Any) -> Any:
        traced.append(depth)
        body = lambda c, x: (c + (nest(depth - 1, xs) if depth else 1.0) * x, None)
        return lax.scan(body, 0.0, xs)[0]

    found = fg.jit(lambda xs: nest(3, xs))(jnp.arange(3.0))
    assert (traced, float(found), found.weak_type) == ([3, 2, 1, 0], 81.0, False)


def test_what_does_not_vary_is_not_stacked() -> None:
    """`exp(sin(w))` and its derivative are the same in all steps: kept once, not once a step."""
    w, c = jnp.ones((3, 3)), jnp.ones((3, 3))

    def f(steps: int) -> Any:
        def function(w: Any, c: Any) -> Any:
            body = lambda c, _: (jnp.sin(c * jnp.exp(jnp.sin(w))), None)
            return lax.scan(body, c, None, length=steps)[0]

        return function

    per_step = (residuals(f(16), w, c) - residuals(f(8), w, c)) / 8
    # the carry and the cosine of each step: two arrays of nine numbers
    assert per_step == 18
    assert residuals(f(8), w, c) <= 170 + 36


def residuals(f: Any, *args: Any) -> int:
    """Numbers that the forward pass hands to the backward pass."""
    jaxpr = fg.make_jaxpr(lambda *a: fg.vjp(f, *a)[1](jnp.ones((3, 3))))(*args)
    forward = next(e for e in jaxpr.eqns if e.primitive.name == "scan")
    backward = [e for e in jaxpr.eqns if e.primitive.name == "scan"][-1]
    made = {o for e in jaxpr.eqns[: jaxpr.eqns.index(backward)] for o in e.outs}
    assert forward is not backward
    read = [a for a in backward.args if a in made or a in jaxpr.inputs]
    return sum(int(np.prod(a.aval.shape)) for a in read)


def test_a_long_scan_runs_in_constant_memory() -> None:
    """100 000 steps over a counter: nothing is kept of them."""
    f = fg.jit(lambda x: lax.scan(lambda c, _: (jnp.sin(c) + x, None), x, None, length=100_000)[0])
    f(jnp.float32(0.5))
    tracemalloc.start()
    f(jnp.float32(0.5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000, f"{peak} bytes"


def test_results_belong_to_the_caller() -> None:
    """A result shares memory neither with an operand nor with another result."""
    x = jnp.asarray(XS)
    rows = jnp.stack([x, x])
    last, ys = fg.jit(lambda x, rows: lax.scan(lambda c, r: (r, c), x, rows))(x, rows)
    same, _ = fg.jit(lambda x: lax.scan(lambda c, _: (c, None), (x, x), None, length=2))(x)
    buffers = [np.asarray(v) for v in (x, rows, last, ys, *same)]
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(buffers, 2))


# ---- errors -------------------------------------------------------------------------------------

WRONG = {
    "carry shape": (
        lambda: lax.scan(lambda c, x: ({"h": jnp.zeros(3)}, None), {"h": jnp.zeros(2)}, None, 2),
        TypeError, r"scan: .*\n  carry\['h'\]: f32\[2\] given, f32\[3\] returned",
    ),
    "carry dtype": (
        lambda: lax.scan(lambda c, x: (c + 0.5, None), jnp.int32(1), None, 2),
        TypeError, r"carry: i32\[\] given, f32\[\] returned",
    ),
    "carry structure": (
        lambda: lax.scan(lambda c, x: ((c, c), None), 1.0, None, 2), TypeError, "structure",
    ),
    "no pair": (lambda: lax.scan(lambda c, x: c, 1.0, None, 2), TypeError, "pair"),
    "negative length": (
        lambda: lax.scan(lambda c, x: (c, x), 1.0, None, length=-1), ValueError, "negative",
    ),
    "negative unroll": (
        lambda: lax.scan(lambda c, x: (c, x), 1.0, None, 2, unroll=-1), ValueError, "unroll must",
    ),
    "no length": (lambda: lax.scan(lambda c, x: (c, x), 1.0), ValueError, "xs or length"),
    "traced length": (
        lambda: fg.jit(lambda n: lax.scan(lambda c, x: (c, x), 1.0, None, length=n))(3),
        fg.errors.TracerIntegerConversionError, "Python integer is needed",
    ),
    "sizes": (
        lambda: lax.scan(lambda c, x: (c, x), 1.0, {"a": jnp.ones(2), "b": jnp.ones(3)}),
        ValueError, r"xs\['a'\] 2, xs\['b'\] 3",
    ),
    "length and size": (
        lambda: lax.scan(lambda c, x: (c, x), 1.0, jnp.ones(2), 3), ValueError, "length 3",
    ),
    "rank 0": (lambda: lax.scan(lambda c, x: (c, x), 1.0, 2.0), ValueError, "rank 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_messages(name: str) -> None:
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("reverse", [False, True])
def test_the_reference_engine_runs_loops(reverse: bool) -> None:
    """Constants, two carries of different types, several inputs and stacks, no row at all."""
    y = np.float32([2.0, -1.0])

    def run(xs: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            total, count = carry
            total = total * y + row["a"] - row["b"]
            return (total, count + 1), (total[0], jnp.stack([row["b"], total]))

        return lax.scan(step, (jnp.float32([1.0, 3.0]), 0), xs, reverse=reverse)

    def in_python(xs: Any) -> Any:
        total, firsts, pairs = np.float32([1.0, 3.0]), [], []
        rows = list(zip(xs["a"], xs["b"]))
        for a, b in reversed(rows) if reverse else rows:
            total = total * y + a - b
            firsts.append(total[0])
            pairs.append(np.stack([b, total]))
        turned = slice(None, None, -1) if reverse else slice(None)
        shapes = (len(rows),), (len(rows), 2, 2)
        stacks = (np.reshape(s[turned], d) for s, d in zip((firsts, pairs), shapes))
        return (total, len(rows)), tuple(stacks)

    rng = np.random.default_rng(0)
    for length in (4, 1, 0):
        xs = {k: rng.normal(size=(length, 2)).astype(np.float32) for k in "ab"}
        with config.override(engine="reference"):
            found = run(xs)
        for a, b in zip(fg.tree.leaves(found), fg.tree.leaves(in_python(xs)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_reference_engine_counts() -> None:
    with config.override(engine="reference"):
        run = lambda n, x: lax.fori_loop(0, n, lambda i, c: c * x + i, 1.0)
        assert [float(run(jnp.int32(n), 3.0)) for n in (0, 1, 3)] == [1.0, 3.0, 32.0]
        last, rows = lax.scan(lambda c, _: (c + 1, (c, c > 1)), 0, None, length=3)
        assert (int(last), rows[0].tolist(), rows[1].tolist()) == (3, [0, 1, 2], [0, 0, 1])


def test_the_reference_engine_differentiates_loops() -> None:
    """x**3 + x + 2 by Horner's rule: the loop backward counts its rows and holds x."""
    with config.override(engine="reference"):
        last = lambda x: lax.fori_loop(0, jnp.int32(3), lambda i, c: c * x + i, 1.0)
        assert (float(last(3.0)), float(fg.grad(last)(3.0))) == (32.0, 28.0)
        assert [float(fg.jit(f)(3.0)) for f in (last, fg.grad(last))] == [32.0, 28.0]
        doubled = lambda y: lax.while_loop(lambda c: c[0] < 9 * y, lambda c: (c[0] * 2, y), (y, y))
        assert [float(v) for v in fg.jit(doubled)(1.5)] == [24.0, 1.5]
        rows = jnp.array([1.0, 2.0, 4.0])
        run = fg.jit(lambda y: lax.scan(lambda c, row: (c * y + row, c), 1.0, rows))
        final, befores = run(10.0)
        assert (float(final), befores.tolist()) == (1124.0, [1.0, 11.0, 112.0])


def test_inputs_that_no_step_reads_have_no_slope() -> None:
    total = lambda a, b, c: lax.scan(lambda s, row: (s + 2 * row[0], None), 0.0, (a, b, c))[0]
    rows = jnp.array([1.0, 2.0, 3.0])
    for transform in (lambda f: f, fg.jit):
        slopes = transform(fg.grad(total, (0, 1, 2)))(rows, rows, rows)
        np.testing.assert_array_equal(slopes[0], [2, 2, 2])
        assert not any(s.any() for s in slopes[1:])


def test_carries_that_a_step_replaces_have_no_slope() -> None:
    rows = jnp.array([1.0, 2.0, 3.0])
    programs = (
        (lambda x, a: lax.scan(lambda c, r: (r * 2, None), x, a)[0], 0.0, [0, 0, 2]),
        (lambda x, a: lax.scan(lambda c, r: (r * 2, c * 3), x, a)[1].sum(), 3.0, [6, 6, 0]),
        (lambda x, a: lax.scan(lambda c, r: (1.0, c * r), x, a)[1].sum(), 1.0, [2, 1, 1]),
        (lambda x, a: lax.scan(lambda c, r: ((c[0] * r, r), None), (x, x), a)[0][1], 0, [0, 0, 1]),
    )
    for program, of_start, of_rows in programs:
        for transform in (lambda f: f, fg.jit):
            start, each = transform(fg.grad(program, (0, 1)))(2.0, rows)
            assert float(start) == of_start
            np.testing.assert_array_equal(each, of_rows)

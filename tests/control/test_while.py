"""while_loop and fori_loop: trips, types, both modes of differentiation, trips per lane."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.core.jaxpr import Jaxpr, subjaxprs
from tests.control.as_jax import assert_as_jax

# ---- values and types ---------------------------------------------------------------------------

PROGRAMS = {
    "weak carry": lambda lib: lib.lax.while_loop(lambda x: x < 100, lambda x: 2.5 * x, 3.0),
    "weak carry that becomes strong": lambda lib: lib.lax.while_loop(
        lambda x: x < 9, lambda x: x + lib.numpy.int16(2), 1
    ),
    "no trips": lambda lib: lib.lax.while_loop(lambda x: False, lambda x: x + 1, 7),
    "trees": lambda lib: lib.lax.while_loop(
        lambda c: c["n"] < 5,
        lambda c: {"n": c["n"] + 1, "v": (c["v"][0] * 2, None)},
        {"n": 0, "v": (lib.numpy.ones(2), None)},
    ),
    "fori, static": lambda lib: lib.lax.fori_loop(2, 6, lambda i, c: c + i, 0),
    "fori, weak float": lambda lib: lib.lax.fori_loop(0, 4, lambda i, c: c * 2, 1.0),
    "fori, empty": lambda lib: lib.lax.fori_loop(5, 2, lambda i, c: c + 1, 3),
    "fori, int8": lambda lib: lib.lax.fori_loop(
        np.int8(0), np.int8(3), lambda i, c: c + i, np.int8(0)
    ),
    "fori, traced": lambda lib: lib.jit(
        lambda n: lib.lax.fori_loop(0, n, lambda i, c: c + i * 2, 0)
    )(4),
    "fori, unrolled": lambda lib: lib.lax.fori_loop(
        0, 5, lambda i, c: c + i, lib.numpy.zeros(2, "int32"), unroll=2
    ),
    "keys": lambda lib: lib.random.uniform(
        lib.lax.fori_loop(0, 3, lambda i, k: lib.random.fold_in(k, i), lib.random.key(2))
    ),
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_types_as_jax(name: str, jitted: bool) -> None:
    assert_as_jax(PROGRAMS[name], jitted)


# ---- derivatives --------------------------------------------------------------------------------


def step(w: Any, v: Any) -> Any:
    return jnp.sin(v * w) + 0.1 * v


def counted(n: Any, w: Any, v: Any) -> Any:
    """`n` steps, by a loop that does not know their number."""
    return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, step(w, c[1])), (0, v))[1]


def scanned(n: int, w: Any, v: Any) -> Any:
    return lax.scan(lambda c, _: (step(w, c), None), v, None, length=n)[0]


TRANSFORMS = {
    "grad": lambda f: fg.grad(f, (0, 1)),
    "jit of grad": lambda f: fg.jit(fg.grad(f, (0, 1))),
    "grad of jit": lambda f: fg.grad(fg.jit(f), (0, 1)),
    "jvp": lambda f: lambda w, v: fg.jvp(f, (w, v), (v, w)),
    "linearize": lambda f: lambda w, v: fg.linearize(f, w, v)[1](v, w),
    "second order": lambda f: fg.hessian(f, (0, 1)),
    "grad of grad": lambda f: fg.grad(lambda w, v: fg.grad(f)(w, v) * fg.grad(f, 1)(w, v), (0, 1)),
    "third order": lambda f: fg.grad(fg.grad(fg.grad(f))),
    "vmap of grad": lambda f: lambda w, v: fg.vmap(fg.grad(f, (0, 1)))(*_lanes(w, v)),
    "grad of vmap": lambda f: fg.grad(lambda w, v: jnp.sum(fg.vmap(f)(*_lanes(w, v))), (0, 1)),
    "checkpoint": lambda f: fg.grad(fg.checkpoint(f), (0, 1)),
    "in scan": lambda f: fg.grad(
        lambda w, v: lax.scan(lambda c, _: (f(w, c), None), v, None, length=3)[0], (0, 1)
    ),
}


def _lanes(w: Any, v: Any) -> Any:
    return jnp.stack([w, 2 * w]), jnp.stack([v, v + 1])


def counted_in_segments(n: Any, w: Any, v: Any) -> Any:
    """The same, keeping less."""
    advance = lambda c: (c[0] + 1, step(w, c[1]))
    return lax.while_loop(lambda c: c[0] < n, advance, (0, v), checkpoint=True)[1]


@pytest.mark.parametrize("loop", [counted, counted_in_segments], ids=["plain", "checkpoint"])
@pytest.mark.parametrize("trips", [0, 1, 5, 7])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_derivatives_as_those_of_a_scan(name: str, trips: int, loop: Any) -> None:
    with fg.config.override(enable_x64=True):
        found, wanted = (
            fg.tree.leaves(TRANSFORMS[name](lambda w, v, f=f: f(trips, w, v))(0.7, 0.4))
            for f in (loop, scanned)
        )
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_the_number_of_trips_may_be_traced() -> None:
    g = fg.jit(fg.grad(counted, (1, 2)))
    for n in (0, 3, 6):
        wanted = fg.grad(lambda w, v, n=n: scanned(n, w, v), (0, 1))(0.7, 0.4)
        np.testing.assert_allclose(g(n, 0.7, 0.4), wanted, rtol=1e-5)


def test_segments_need_less_memory() -> None:
    """400 trips over 8 kB: all carries are 3.2 MB, 2 sqrt(400) of them 0.3 MB."""

    def peak(checkpoint: bool) -> int:
        def f(x: Any) -> Any:
            advance = lambda c: (c[0] + 1, jnp.sin(c[1]))
            last = lax.while_loop(lambda c: c[0] < 400, advance, (0, x), checkpoint=checkpoint)
            return jnp.sum(last[1])

        g, x = fg.jit(fg.grad(f)), jnp.ones(2000)
        g(x)
        tracemalloc.start()
        g(x)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(False) > 3_000_000 and peak(True) < 1_000_000


def test_programs_do_not_grow_with_the_trips() -> None:
    texts = {str(fg.make_jaxpr(fg.grad(lambda v, n=n: counted(n, 0.5, v)))(1.0)) for n in (5, 500)}
    assert len({t.count("\n") for t in texts}) == 1


def equations(jaxpr: Jaxpr) -> int:
    return sum(1 + sum(map(equations, subjaxprs(e.params))) for e in jaxpr.eqns)


def test_programs_do_not_grow_with_the_batch() -> None:
    f = lambda x: lax.while_loop(lambda v: v < 9.0, lambda v: v * 1.5, x)
    for g in (f, fg.grad(f), fg.grad(fg.grad(f))):
        counts = {equations(fg.make_jaxpr(fg.vmap(g))(jnp.ones(n))) for n in (2, 64)}
        assert len(counts) == 1


# ---- lanes --------------------------------------------------------------------------------------


def halvings(limit: Any, w: Any, x: Any) -> Any:
    return lax.while_loop(lambda c: c[1] > limit, lambda c: (c[0] + 1, c[1] * w), (jnp.int32(0), x))


def halvings_in_python(limit: float, w: Any, x: Any) -> Any:
    n = 0
    while x > limit:
        n, x = n + 1, x * w
    return jnp.int32(n), x


MASKS = [m for m in itertools.product([0, None], repeat=3) if any(d == 0 for d in m)]


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("axes", MASKS, ids=str)
def test_vmap_in_all_operand_combinations(axes: Any, jitted: bool) -> None:
    whole = (jnp.array([1.0, 0.3, 40.0]), jnp.array([0.5, 0.7, 0.2]), jnp.array([8.0, 3.0, 30.0]))
    args = [x if d == 0 else x[0] for x, d in zip(whole, axes)]
    slopes = fg.grad(lambda *a: halvings(*a)[1], (1, 2))
    both = fg.vmap(lambda *a: (halvings(*a), slopes(*a)), axes)
    found = fg.tree.leaves((fg.jit(both) if jitted else both)(*args))
    for k in range(3):
        row = [x[k] if d == 0 else x for x, d in zip(args, axes)]
        values = halvings_in_python(*row)
        slope = fg.grad(lambda w, x, row=row: halvings_in_python(row[0], w, x)[1], (0, 1))(*row[1:])
        lane = [float(leaf[k]) for leaf in found]
        np.testing.assert_allclose(lane, [float(v) for v in (*values, *slope)], rtol=1e-5)


def test_lanes_with_different_trips_end() -> None:
    """A lane that is done is not computed any further: it would overflow here."""
    f = lambda n: lax.fori_loop(0, n, lambda i, v: v * 1e3, jnp.float32(1.0))
    found = fg.vmap(f)(jnp.array([1, 0, 12]))
    np.testing.assert_allclose(found, [1e3, 1.0, 1e36], rtol=1e-5)


def test_lanes_that_talk_to_each_other() -> None:
    """The loop runs while any lane does; lanes that are done keep their value."""
    f = lambda x: lax.while_loop(lambda v: v < 10.0, lambda v: v + lax.pmax(v, "i"), x)
    found = fg.vmap(f, axis_name="i")(jnp.array([1.0, 4.0]))
    # 1+4, 4+4; 5+8, 8+8; both are done
    np.testing.assert_array_equal(found, [13.0, 16.0])


def test_results_belong_to_the_caller() -> None:
    x = jnp.arange(3.0)
    a, b = fg.jit(lambda x: lax.while_loop(lambda c: False, lambda c: c, (x, x)))(x)
    buffers = [np.asarray(v) for v in (x, a, b)]
    assert not any(np.shares_memory(p, q) for p, q in itertools.combinations(buffers, 2))


# ---- errors -------------------------------------------------------------------------------------

WRONG = {
    "condition of rank 1": (
        lambda: lax.while_loop(lambda x: x < 1, lambda x: x, jnp.zeros(2)), TypeError,
        r"bool scalar, but returned bool\[2\]",
    ),
    "condition of a wrong type": (
        lambda: lax.while_loop(lambda x: x, lambda x: x, jnp.float32(1)), TypeError,
        r"bool scalar, but returned f32\[\]",
    ),
    "carry": (
        lambda: lax.while_loop(lambda c: True, lambda c: (c[0], c[1][:1]), (0, jnp.zeros(2))),
        TypeError, r"carry\[1\]: f32\[2\] given, f32\[1\] returned",
    ),
    "structure": (
        lambda: lax.while_loop(lambda c: True, lambda c: [c], 1.0), TypeError, "structure",
    ),
    "fori carry": (
        lambda: lax.fori_loop(0, 3, lambda i, c: c > i, jnp.int32(1)), TypeError, "fori_loop|carry",
    ),
    "weak carry that would lose its fraction": (
        lambda: lax.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1].astype("int32")), (0, 1.5)
        ), TypeError, r"carry\[1\]: f32\[\] given, i32\[\] returned",
    ),
    "fori unrolled by data": (
        lambda: fg.jit(lambda n: lax.fori_loop(0, n, lambda i, c: c, 0, unroll=2))(3), ValueError,
        "needs bounds that are known",
    ),
    "fori bounds of two kinds": (
        lambda: lax.fori_loop(0, np.float32(2), lambda i, c: c, 0), TypeError, "one dtype",
    ),
    "fori bounds": (
        lambda: fg.jit(lambda n: lax.fori_loop(np.int8(0), n, lambda i, c: c, 0))(np.int16(3)),
        TypeError, "one dtype",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_messages(name: str) -> None:
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_lanes_that_stop_by_themselves_with_values_that_are_no_lanes(jitted: bool) -> None:
    """Some results of the body are constants, the same in all lanes; the trip counts are not."""

    def run(n: Any, x: Any) -> Any:
        return lax.fori_loop(0, n, lambda i, c: (5.0, c[1] + i * x, i), (1.0, 0.5, -1))

    counts = jnp.array([0, 3, 1, 2])
    mapped = fg.vmap(run, (0, None))
    first, second, last = (fg.jit(mapped) if jitted else mapped)(counts, 2.0)
    np.testing.assert_array_equal(first, [1.0, 5.0, 5.0, 5.0])
    np.testing.assert_array_equal(second, [0.5, 6.5, 0.5, 2.5])
    np.testing.assert_array_equal(last, [-1, 2, 0, 1])


def test_constants_of_the_condition_and_of_the_body() -> None:
    limit = jnp.array(3)
    cube = lambda y: lax.while_loop(
        lambda c: c[0] < limit, lambda c: (c[0] + 1, c[1] * y), (0, 1.0)
    )[1]
    np.testing.assert_array_equal(fg.vmap(cube)(jnp.array([1.0, 2.0, 3.0])), [1.0, 8.0, 27.0])
    assert fg.jvp(cube, (2.0,), (1.0,)) == (8.0, 12.0)

    @fg.jit
    def powers(limit: Any, ys: Any) -> Any:
        step = lambda y: lambda c: (c[0] + 1, c[1] * y)
        power = lambda y: lax.while_loop(lambda c: c[0] < limit, step(y), (0, 1.0))[1]
        return fg.vmap(power)(ys)

    np.testing.assert_array_equal(powers(2, jnp.array([1.0, 2.0, 3.0])), [1.0, 4.0, 9.0])

    @fg.jit
    def columns(limit: Any, ys: Any) -> Any:
        step = lambda y: lambda c: (c[0] + 1, c[1] * y)
        start = (0, jnp.ones(2))
        power = lambda y: lax.while_loop(lambda c: c[0] < limit, step(y), start)[1]
        return fg.vmap(power, 1)(ys)

    rows = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(columns(2, rows), rows.T**2)


def test_lanes_that_talk_with_constants_of_their_own() -> None:
    """Each lane runs until its own limit, with a body that asks all lanes; one result is the same
    in all lanes that ran.
    """

    def run(limit: Any, y: Any) -> Any:
        body = lambda c: (c[0] + y + lax.pmax(0 * y, "i"), 7.0)
        return lax.while_loop(lambda c: c[0] < limit, body, (0.0, 1.0))

    limits, steps = jnp.array([5, 0, 3]), jnp.array([2.0, 1.0, 1.0])
    found, ran = fg.vmap(run, axis_name="i")(limits, steps)
    np.testing.assert_array_equal(found, [6.0, 0.0, 3.0])
    np.testing.assert_array_equal(ran, [7.0, 1.0, 7.0])
    until = lambda limit: lax.while_loop(
        lambda c: lax.psum(c, "i") * 0 + c < limit, lambda c: c + 2.0, 0.0
    )
    np.testing.assert_array_equal(fg.vmap(until, axis_name="i")(limits), [6.0, 0.0, 4.0])
    both = lambda limit: lax.while_loop(
        lambda c: lax.psum(c, "i") * 0 + c < limit, lambda c: c + 2 + lax.pmin(0 * c, "i"), 0.0
    )
    np.testing.assert_array_equal(fg.vmap(both, axis_name="i")(limits), [6.0, 0.0, 4.0])


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_slopes_of_lanes_with_trip_counts_of_their_own(jitted: bool) -> None:
    """Horner's rule: 1, x, x**2 + 1, x**3 + x + 2 after so many trips."""
    f = lambda n, x: lax.fori_loop(0, n, lambda i, c: c * x + i, 1.0)
    both = fg.vmap(fg.value_and_grad(f, 1), (0, None))
    values, slopes = (fg.jit(both) if jitted else both)(jnp.array([2, 0, 3, 1]), 3.0)
    np.testing.assert_array_equal(values, [10, 1, 32, 3])
    np.testing.assert_array_equal(slopes, [6, 0, 28, 1])
    pushed = fg.vmap(lambda n, x: fg.linearize(lambda x: f(n, x), x)[1](1.0), (0, None))
    tangents = (fg.jit(pushed) if jitted else pushed)(jnp.array([2, 0, 3, 1]), 3.0)
    np.testing.assert_array_equal(tangents, [6, 0, 28, 1])


@pytest.mark.parametrize("engine", ["reference", "numpy"])
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_lanes_count_over_what_is_the_same_in_all(jitted: bool, engine: str) -> None:
    """Each trip replaces one value by x**2, which no lane has as its own: after 0, 1, 2, 3 trips
    the carry is (x, 1), (x, x**2), (x**3, x**2), (x**3, x**2).
    """
    counts, made = jnp.array([0, 1, 2, 3]), fg.jit if jitted else lambda f: f
    trips = lambda n, x: lax.fori_loop(0, n, lambda i, c: (c[1] * x, x * x), (x, 1.0))
    wanted = [([1, 1, 27, 27], [0, 0, 18, 18]), ([0, 6, 6, 6], [0, 2, 2, 2])]
    for which, (slopes, curvatures) in enumerate(wanted):
        first = fg.grad(lambda n, x, which=which: trips(n, x)[which], 1)
        with fg.config.override(engine=engine):
            for derivative, numbers in ((first, slopes), (fg.grad(first, 1), curvatures)):
                found = made(fg.vmap(derivative, (0, None)))(counts, 3.0)
                np.testing.assert_allclose(found, numbers, rtol=1e-6)


def test_conditions_with_arrays_of_their_own_and_of_others() -> None:
    """limit[0] + more[1] trips: one array is known to the condition, the other is traced."""
    more = jnp.array([0, 2])

    def power(limit: Any, x: Any) -> Any:
        below = lambda c: c[0] < limit[0] + more[1]
        return lax.while_loop(below, lambda c: (c[0] + 1, c[1] * x), (0, 1.0))[1]

    assert float(fg.jit(fg.grad(power, 1))(jnp.array([1, 7]), 3.0)) == 27.0


def test_flags_that_are_carried_and_not_known() -> None:
    """A scan's derivative is taken with its carry unknown, and so is the flag computed from it.
    From c / 4 the loop multiplies by x until 9 is reached: six times, then twice.
    """

    def multiplied(y: Any, x: Any) -> Any:
        advance = lambda c: (c[1] * x < 9, c[1] * x)
        return lax.while_loop(lambda c: c[0], advance, (y < 9, y))[1]

    steps = lambda c, x: lax.scan(lambda c, _: (multiplied(c / 4, x), None), c, None, length=2)[0]
    assert float(steps(1.0, 2.0)) == 16.0  # x**8 / 16
    assert float(fg.grad(steps, 1)(1.0, 2.0)) == 64.0

"""Mistakes of earlier systems, each as a test that carries its number.

Those of layers, losses, optimizers, data and saving stand in tests/nn; the numbers D53 and D56 in
test_surface.py, D55 (examples of docstrings are run) in test_docs.py, D14 in test_custom.py.
"""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax, nn
from funcgrad.core.jaxpr import subjaxprs

SHAPES = [(), (3,), (1, 3), (4, 1), (4, 3), (2, 1, 3), (2, 4, 3)]
BINARY = {
    "add": jnp.add,
    "subtract": jnp.subtract,
    "multiply": jnp.multiply,
    "divide": jnp.divide,
    "power": jnp.power,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "arctan2": jnp.arctan2,
    "hypot": jnp.hypot,
    "logaddexp": jnp.logaddexp,
    "remainder": jnp.remainder,
}


def equations(jaxpr: Any) -> int:
    """All equations, nested ones too."""
    inner = (j for e in jaxpr.eqns for j in subjaxprs(e.params))
    return len(jaxpr.eqns) + sum(map(equations, inner))


def draw(shape: tuple[int, ...], seed: int) -> Any:
    return jnp.asarray(np.random.default_rng(seed).uniform(0.5, 2.5, shape), "float64")


# ---- shared subexpressions


@pytest.mark.parametrize(
    "transform", [lambda f: f, fg.jit, fg.checkpoint], ids=["eager", "jit", "remat"]
)
def test_D1_shared_subexpressions_have_exact_gradients(transform: Any) -> None:
    def squares(x: Any) -> Any:
        y = x * x
        return y + y

    assert float(fg.grad(transform(squares))(2.0)) == 8
    first, second = fg.grad(transform(lambda x, y: x + y + x), (0, 1))(1.0, 1.0)
    assert (float(first), float(second)) == (2, 1)

    def doublings(x: Any, n: int) -> Any:
        for _ in range(n):
            x = x + x
        return x

    for n in range(0, 61, 5):
        slope = fg.grad(transform(lambda x, n=n: doublings(x, n)))(1.0)
        assert float(slope) == 2.0**n


def test_D1_work_grows_with_the_number_of_doublings_only() -> None:
    def doublings(x: Any, n: int) -> Any:
        for _ in range(n):
            x = x + x
        return x

    counts = [
        equations(fg.make_jaxpr(fg.grad(lambda x, n=n: doublings(x, n)))(1.0)) for n in (20, 40, 60)
    ]
    assert counts[2] - counts[1] == counts[1] - counts[0] <= 60


def diamonds(x: Any, n: int) -> Any:
    for _ in range(n):
        x = jnp.sin(x) * jnp.cos(x)
    return x


def test_D5_stacked_diamonds_are_visited_once_each() -> None:
    """Counted: equations of the gradient of 200 diamonds are twice those of 100, not 2**100."""
    for wrap in (lambda f: f, fg.jit, fg.checkpoint):
        counts = []
        for n in (100, 200):
            gradient = fg.grad(wrap(lambda x, n=n: diamonds(x, n)))
            counts.append(equations(fg.make_jaxpr(gradient)(0.5)))
        assert counts[1] <= 2 * counts[0] + 10 and counts[1] <= 12 * 3 * 200


def test_D5_gradients_of_stacked_diamonds_are_right() -> None:
    x, expected = jnp.float64(0.4), 1.0
    value = 0.4
    for _ in range(200):
        expected *= np.cos(2 * value)
        value = np.sin(value) * np.cos(value)
    np.testing.assert_allclose(fg.grad(lambda x: diamonds(x, 200))(x), expected, rtol=1e-12)


@pytest.mark.parametrize("name", BINARY)
def test_D5b_both_operands_may_be_the_same(name: str) -> None:
    function, x = BINARY[name], draw((3,), 0)
    if name == "remainder":
        x = x * jnp.asarray([1.0, 2.0, 3.0])
    # x and a copy of it as two operands: the sum of both gradients
    first, second = fg.grad(lambda a, b: function(a, b).sum(), (0, 1))(x, x + 0)
    np.testing.assert_allclose(
        fg.grad(lambda a: function(a, a).sum())(x), first + second, rtol=1e-12, atol=1e-12
    )


def test_D5b_the_cases_of_the_report() -> None:
    assert [
        float(fg.grad(f)(3.0)) for f in (lambda a: a * a, lambda a: a + a, lambda a: a - a)
    ] == [6, 2, 0]


LONG = 10_000


def chain(x: Any) -> Any:
    for _ in range(LONG):
        x = x * 1.0001
    return x


@pytest.mark.parametrize(
    "run",
    [
        lambda f: fg.grad(f)(1.0),
        lambda f: fg.grad(fg.jit(f))(1.0),
        lambda f: fg.jit(fg.grad(f))(1.0),
        lambda f: fg.grad(fg.checkpoint(f))(1.0),
        lambda f: fg.jvp(f, (1.0,), (1.0,))[1],
        lambda f: fg.vmap(fg.grad(f))(jnp.ones(2))[0],
    ],
    ids=["grad", "grad of jit", "jit of grad", "grad of checkpoint", "jvp", "vmap of grad"],
)
def test_D5c_ten_thousand_operations_in_a_row(run: Any) -> None:
    assert sys.getrecursionlimit() == 1000
    np.testing.assert_allclose(run(chain), 1.0001**LONG, rtol=2e-3)  # 10 000 roundings to float32


# ---- broadcasting


@pytest.mark.parametrize("name", BINARY)
def test_D2_D4_D19_gradients_are_summed_over_broadcast_axes(name: str) -> None:
    function = BINARY[name]
    for a, b in itertools.product(SHAPES, repeat=2):
        x, y = draw(a, 1), draw(b, 2)
        if name in ("remainder", "maximum", "minimum"):
            y = y + 0.01 * jnp.arange(y.size).reshape(b)
        shape = np.broadcast_shapes(a, b)
        weights = draw(shape, 3)
        ours = fg.grad(lambda x, y, w=weights: (function(x, y) * w).sum(), (0, 1))(x, y)
        whole = [jnp.broadcast_to(v, shape) for v in (x, y)]
        full = fg.grad(lambda x, y, w=weights: (function(x, y) * w).sum(), (0, 1))(*whole)
        for gradient, operand, spread in zip(ours, (a, b), full, strict=True):
            assert gradient.shape == operand
            np.testing.assert_allclose(gradient, reduced(np.asarray(spread), operand), rtol=1e-10)


def reduced(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The sum over the axes along which `shape` was broadcast."""
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    return x.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True).reshape(shape)


def test_D4_gradients_add_up() -> None:
    f, g, x = (lambda x: (x**2).sum()), (lambda x: jnp.sin(x).sum()), draw((4, 1), 4)
    total = fg.grad(lambda x: f(x) + g(x))(x)
    np.testing.assert_allclose(total, fg.grad(f)(x) + fg.grad(g)(x), rtol=1e-14)


# ---- numbers


OPERATORS: dict[str, Any] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    "number", [2, 2.0, np.float32(2), np.float64(2), np.int32(2)], ids=lambda v: type(v).__name__
)
def test_D9_D13_numbers_on_both_sides_of_every_operator(operator: str, number: Any) -> None:
    f, x, h = OPERATORS[operator], jnp.float32(1.5), 1e-6
    for side in (lambda x: f(x, number), lambda x: f(number, x)):
        exact = lambda v: side(np.float64(v))
        slope = fg.grad(side)(x)
        assert slope.dtype == np.float32
        expected = (exact(1.5 + h) - exact(1.5 - h)) / (2 * h)
        np.testing.assert_allclose(slope, expected, rtol=1e-5)
    assert fg.grad(lambda x: -x)(2.0) == -1 and fg.grad(lambda x: x[0])(jnp.ones(2))[0] == 1


def test_D21_a_number_on_the_left_gets_no_gradient() -> None:
    x = jnp.asarray([0.5, 2.0, 4.0])
    for f, expected in (
        (lambda x: 2 * x, [2, 2, 2]),
        (lambda x: 1 - x, [-1, -1, -1]),
        (lambda x: 1 / x, [-4, -0.25, -0.0625]),
    ):
        np.testing.assert_array_equal(fg.grad(lambda x, f=f: f(x).sum())(x), expected)


def test_D22_the_exponent_has_a_gradient() -> None:
    x, y = draw((5,), 5), draw((5,), 6)
    slope = fg.grad(lambda x, y: (x**y).sum(), 1)(x, y)
    np.testing.assert_allclose(slope, np.asarray(x) ** np.asarray(y) * np.log(x), rtol=1e-12)
    at_zero = fg.grad(lambda x, y: x**y, (0, 1))
    assert [float(v) for v in at_zero(0.0, 2.0)] == [0, 0]
    assert [float(v) for v in at_zero(0.0, 1.0)] == [1, 0]
    assert np.isfinite(fg.grad(lambda x: x**2)(-3.0)) and fg.grad(lambda x: x**2)(-3.0) == -6


def test_D23_log_is_natural_and_its_gradient_is_one_over_x() -> None:
    x = jnp.asarray([0.5, 1.0, 3.0])
    np.testing.assert_allclose(jnp.log(x), np.log(np.asarray(x)), rtol=1e-6)
    np.testing.assert_allclose(fg.grad(lambda x: jnp.log(x).sum())(x), 1 / np.asarray(x), rtol=1e-6)


def test_D24_D50_derivatives_at_kinks_and_ties() -> None:
    assert float(fg.grad(jnp.abs)(0.0)) == 0 and float(fg.grad(jnp.abs)(-2.0)) == -1
    assert float(fg.grad(nn.relu)(0.0)) == 0 and float(fg.grad(nn.relu)(1.0)) == 1
    np.testing.assert_array_equal(fg.grad(jnp.max)(jnp.asarray([2.0, 1.0, 2.0])), [0.5, 0, 0.5])
    np.testing.assert_array_equal(fg.grad(jnp.min)(jnp.asarray([1.0, 1.0, 2.0])), [0.5, 0.5, 0])
    np.testing.assert_array_equal(fg.grad(jnp.maximum, (0, 1))(1.0, 1.0), [0.5, 0.5])
    assert float(fg.grad(lambda x: jnp.clip(x, 0, 1))(0.5)) == 1
    assert float(fg.grad(jnp.sign)(0.0)) == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_D24b_no_operation_widens(dtype: str) -> None:
    x = jnp.asarray([0.25, 0.5, 0.75], dtype)
    for f in (
        lambda x: x * 2.0 + 1,
        lambda x: 1 / (1 + jnp.exp(-x)),
        lambda x: jnp.where(x > 0.5, x, 0.0),
        lambda x: jnp.mean(x) + jnp.var(x) + jnp.std(x),
        lambda x: nn.gelu(x) + nn.softmax(x) + nn.softplus(x),
        lambda x: jnp.linspace(0, 1, 3, dtype=x.dtype) * x,
        lambda x: jnp.concatenate([x, x]).reshape(2, 3) @ x,
        lambda x: jnp.clip(x, 0.1, 0.9) ** 2,
        lambda x: lax.scan(lambda c, v: (c + v, c * 2), x[0], x)[1],
    ):
        assert f(x).dtype == x.dtype == fg.jit(f)(x).dtype
        assert fg.grad(lambda x, f=f: f(x).sum())(x).dtype == x.dtype


def test_D30_integers_and_bools_stay_what_they_are() -> None:
    label = jnp.asarray([16_777_217])
    assert label.dtype == np.int32 and int(label[0]) == 16_777_217
    assert int((label + 1)[0]) == 16_777_218 and (label > 0).dtype == np.bool_
    big = jnp.asarray([2**63 - 1], "int64")
    assert int(big[0]) == 2**63 - 1 and int(fg.jit(lambda x: x - 1)(big)[0]) == 2**63 - 2
    assert jnp.arange(3).dtype == np.int32 and jnp.float64(1).dtype == np.float64
    assert int(jnp.take(jnp.arange(5), jnp.asarray(3, "int64"))) == 3


# ---- shapes and indices


def test_D12_D25_matmul_gradients_for_all_pairs_of_ranks() -> None:
    shapes = {1: (3,), 2: (2, 3), 3: (4, 2, 3), 4: (5, 4, 2, 3)}
    for (m, left), (n, right) in itertools.product(shapes.items(), repeat=2):
        right = right if n == 1 else (*right[:-2], right[-1], right[-2])
        x, y = draw(left, m), draw(right, 10 + n)
        weights = draw(np.matmul(np.asarray(x), np.asarray(y)).shape, 20)
        loss = lambda x, y, w=weights: (jnp.matmul(x, y) * w).sum()
        for f in (fg.grad(loss, (0, 1)), fg.jit(fg.grad(loss, (0, 1)))):
            for i, slope in enumerate(f(x, y)):
                assert slope.shape == (x, y)[i].shape
                other = [x, y]
                direction = draw(slope.shape, 30)
                plus, minus = (
                    [*other[:i], other[i] + s * direction, *other[i + 1 :]] for s in (0.5, -0.5)
                )
                expected = loss(*plus) - loss(*minus)  # bilinear: exact for any step
                np.testing.assert_allclose((slope * direction).sum(), expected, rtol=1e-9)


def test_D25_batches_unsqueezing_and_indexing_work_under_jit() -> None:
    x = draw((2, 3, 4), 0)
    f = lambda x: (jnp.expand_dims(x, (0, 2))[0, 1, 0, ::2] ** 2).sum() + x[0][1, 2]
    np.testing.assert_allclose(fg.jit(fg.grad(f))(x), fg.grad(f)(x))
    shape = fg.eval_shape(fg.grad(f), fg.ShapeDtypeStruct((2, 3, 4), np.float64))
    assert shape.shape == (2, 3, 4)


def test_D27b_another_batch_size_works() -> None:
    step = fg.jit(fg.grad(lambda w, x: jnp.tanh(x @ w).mean()))
    w = draw((3, 2), 0)
    for size in (4, 7, 1, 4):
        x = draw((size, 3), size)
        with fg.disable_jit():
            expected = step(w, x)
        # 1 - tanh**2 near 1 - 1 keeps few digits: what it loses is measured against 1.
        np.testing.assert_allclose(step(w, x), expected, rtol=1e-12, atol=1e-15)


def along_axis(name: str) -> Any:
    return lambda x, axis: getattr(jnp, name)(x, axis=axis)


AXIS_FUNCTIONS: dict[str, Any] = {
    **{
        name: along_axis(name)
        for name in "sum mean max min prod var std cumsum cumprod sort flip".split()
    },
    "logsumexp": lambda x, axis: nn.logsumexp(x, axis=axis),
    "softmax": lambda x, axis: nn.softmax(x, axis=axis),
    "log_softmax": lambda x, axis: nn.log_softmax(x, axis=axis),
    "concatenate": lambda x, axis: jnp.concatenate([x, x * 2], axis),
    "stack": lambda x, axis: jnp.stack([x, x * 2], axis),
    "expand_dims": lambda x, axis: jnp.expand_dims(x, axis) * 2,
    "take": lambda x, axis: jnp.take(x, jnp.asarray([1, 0, 1]), axis=axis),
    "take_along_axis": lambda x, axis: jnp.take_along_axis(x, jnp.argsort(x, axis=axis), axis=axis),
    "roll": lambda x, axis: jnp.roll(x, 1, axis) * x,
    "diff": lambda x, axis: jnp.diff(x, axis=axis),
    "split": lambda x, axis: jnp.split(x, [1], axis)[1],
    "swapaxes": lambda x, axis: jnp.swapaxes(x, axis, 0) * 2,
    "moveaxis": lambda x, axis: jnp.moveaxis(x, axis, 0) ** 2,
    "norm": lambda x, axis: jnp.linalg.norm(x, axis=axis),
    "median": lambda x, axis: jnp.median(x, axis=axis),
    "repeat": lambda x, axis: jnp.repeat(x, 2, axis=axis),
    "vmap": lambda x, axis: fg.vmap(jnp.sum, in_axes=axis)(x**2),
}


@pytest.mark.parametrize("name", AXIS_FUNCTIONS)
def test_D28_negative_axes_are_positive_ones(name: str) -> None:
    function, x = AXIS_FUNCTIONS[name], draw((2, 3, 4), 7)
    rank = 4 if name in ("stack", "expand_dims") else 3
    for axis in range(rank):
        positive, negative = (
            (lambda x, a=a: (function(x, a) * 1.5).sum(), lambda x, a=a: function(x, a))
            for a in (axis, axis - rank)
        )
        np.testing.assert_array_equal(positive[1](x), negative[1](x))
        np.testing.assert_array_equal(fg.grad(positive[0])(x), fg.grad(negative[0])(x))


def test_D15_D29_gradients_of_repeated_indices_accumulate() -> None:
    x, i = jnp.asarray([1.0, 2.0, 3.0]), jnp.asarray([0, 0, 1])
    np.testing.assert_array_equal(fg.grad(lambda x: x[i].sum())(x), [2, 1, 0])
    table = jnp.ones((4, 2))
    rows = fg.grad(lambda t: (t[jnp.asarray([[3, 3], [3, 0]])] * 2).sum())(table)
    np.testing.assert_array_equal(rows[:, 0], [2, 0, 0, 6])
    np.testing.assert_array_equal(fg.grad(lambda x: jnp.take(x, i).sum())(x), [2, 1, 0])
    grouped = fg.grad(lambda x: (jnp.zeros(2).at[i[:2]].add(x[:2]) ** 2).sum())(x)
    np.testing.assert_array_equal(grouped, [6, 6, 0])


def test_D37_transposes_of_every_permutation() -> None:
    for rank in range(5):
        shape = (2, 3, 4, 5)[:rank]
        x = draw(shape, rank)
        for order in [None, *itertools.permutations(range(rank))]:
            moved = np.transpose(np.asarray(x), order)
            weights = draw(moved.shape, 9)
            slope = fg.grad(lambda x, o=order, w=weights: (jnp.transpose(x, o) * w).sum())(x)
            back = None if order is None else np.argsort(order)
            np.testing.assert_array_equal(jnp.transpose(x, order), moved)
            np.testing.assert_array_equal(slope, np.transpose(np.asarray(weights), back))


def test_D8_softmax_for_every_rank_and_axis_without_a_square_matrix() -> None:
    for shape in ((5,), (2, 5), (2, 3, 5), (2, 3, 4, 5)):
        for axis in range(-len(shape), len(shape)):
            x = draw(shape, len(shape))
            np.testing.assert_allclose(nn.softmax(x, axis).sum(axis), 1, rtol=1e-12)
            np.testing.assert_allclose(
                jnp.exp(nn.log_softmax(x, axis)), nn.softmax(x, axis), rtol=1e-12
            )
    for f in (nn.softmax, nn.log_softmax):
        jaxpr = fg.make_jaxpr(fg.grad(lambda x, f=f: (f(x) ** 2).sum()))(draw((7, 50), 0))
        assert max(sizes(jaxpr)) <= 7 * 50


def sizes(jaxpr: Any) -> list[int]:
    found = [o.aval.size for e in jaxpr.eqns for o in e.outs]
    return found + [s for e in jaxpr.eqns for j in subjaxprs(e.params) for s in sizes(j)]


# ---- extreme values


def test_D39_no_warnings_and_the_right_limits() -> None:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing = jnp.full(3, -jnp.inf)
        assert float(nn.logsumexp(nothing)) == -np.inf
        huge = jnp.asarray([-1e4, -100.0, 0.0, 100.0, 1e4])
        np.testing.assert_allclose(nn.sigmoid(huge), [0, 0, 0.5, 1, 1], atol=1e-30)
        assert np.isfinite(np.asarray(nn.silu(huge))).all()
        for f in (nn.sigmoid, nn.silu, nn.softplus, jnp.tanh, nn.gelu, nn.log_sigmoid):
            for run in (lambda x, f=f: f(x), fg.jit(f), fg.grad(lambda x, f=f: f(x).sum())):
                assert np.isfinite(np.asarray(run(huge))).all()
        np.testing.assert_array_equal(fg.grad(lambda x: (x**2).sum())(-huge), -2 * huge)
        assert np.isnan(jnp.log(-1.0)) and np.isinf(jnp.divide(1.0, 0.0))


def test_D39_only_differentiated_operands_cost_anything() -> None:
    text = str(fg.make_jaxpr(fg.grad(lambda x, y: x**y))(2.0, 3.0))
    assert "log" not in text, "the exponent is not differentiated"


def test_D33_max_pooling_pads_with_minus_infinity() -> None:
    x = jnp.asarray([[-1.03, -2.0], [-3.0, -4.0]])
    pooled = lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (1, 1), ((1, 0), (1, 0)))
    np.testing.assert_array_equal(pooled, np.float32([[-1.03, -1.03], [-1.03, -1.03]]))


# ---- memory, platforms


def growth(call: Any, times: int) -> int:
    """Bytes that Python holds more after many calls than after a few."""
    for _ in range(20):
        call()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(times):
        call()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit], ids=["eager", "jit"])
def test_D31_repeated_evaluation_takes_constant_memory(wrap: Any) -> None:
    w, x = jnp.ones((20, 20)), jnp.ones((5, 20))
    loss = wrap(lambda w: jnp.tanh(x @ w).sum())
    assert growth(lambda: loss(w), 200) < 50_000
    assert growth(lambda: fg.grad(loss)(w), 200) < 50_000


def test_D32_a_thousand_training_steps_take_constant_memory() -> None:
    x, y = draw((8, 4), 0), draw((8, 1), 1)

    @fg.jit
    def step(state: Any) -> Any:
        def loss(w: Any) -> Any:
            out = jnp.tanh(x @ w)
            return ((out - y) ** 2).mean(), out.mean(0)

        (_, mean), slope = fg.value_and_grad(loss, has_aux=True)(state["w"])
        return {"w": state["w"] - 0.1 * slope, "mean": 0.9 * state["mean"] + 0.1 * mean}

    state = {"w": draw((4, 1), 2), "mean": jnp.zeros(1, "float64")}

    def advance() -> None:
        nonlocal state
        state = step(state)

    assert growth(advance, 1000) < 20_000


def test_D20_everything_here_runs_on_numpy() -> None:
    assert fg.default_backend() == "cpu"
    assert type(np.asarray(fg.random.normal(fg.random.key(0), (2,)))) is np.ndarray


def test_D47_work_on_the_cpu_is_the_same_wherever_arrays_have_been() -> None:
    x = jnp.arange(3.0)
    before = np.asarray(jnp.sin(x))
    (cpu,) = fg.devices("cpu")
    moved = fg.device_put(x, cpu)
    assert moved.device == cpu
    with fg.default_device(cpu):
        np.testing.assert_array_equal(jnp.sin(moved), before)
    slope = fg.grad(lambda x: jnp.sin(fg.device_put(x, cpu)).sum())(x)
    np.testing.assert_allclose(slope, np.cos(np.arange(3.0)), rtol=1e-6)


def test_D53_no_optional_package_is_imported() -> None:
    program = (
        "import sys, funcgrad as fg, funcgrad.numpy as np\n"
        "fg.jit(fg.grad(lambda x: np.sin(x @ x)))(np.ones(3))\n"
        "print([m for m in ('cupy', 'jax', 'torch', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

"""Every primitive through every law: types, derivatives, transposition, batching, staging,
compiling, loop forms.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.lax
from funcgrad.api.autodiff import cotangents_in
from funcgrad.compiler import interpret
from funcgrad.config import config
from funcgrad.core import backend, dtypes, loops
from funcgrad.core.array import ConcreteArray
from funcgrad.core.avals import typeof
from funcgrad.core.jaxpr import eval_jaxpr
from funcgrad.core.primitive import Construct, registry
from funcgrad.core.stage import stage
from funcgrad.core.tangent import Zero, is_zero
from funcgrad.core.trace import EVAL, Axis
from funcgrad.transforms.autodiff import jvp_flat, linearize_flat
from funcgrad.transforms.batching import batch_flat
from tests.primitives.cases import Case, all_cases

CASES = all_cases()
STEP = 1e-6  # of central differences in float64: error about STEP**2 and 1e-16 / STEP


def law(name: str, applies: Callable[[Case], bool] = lambda case: True) -> Any:
    """Runs the test for every row that the law applies to."""
    rows = [
        pytest.param(case, params, id=label)
        for label, case, params in CASES
        if name not in case.skip and applies(case)
    ]
    return pytest.mark.parametrize("case, params", rows)


def differentiable(values: Any) -> list[bool]:
    return [typeof(v).has_tangent for v in values]


def has_tangents(case: Case) -> bool:
    return any(differentiable(case.operands()))


def has_cotangents(case: Case) -> bool:
    return has_tangents(case) and not case.primitive.constant


def arrays(values: Any) -> list[ConcreteArray]:
    return [ConcreteArray(v) for v in values]


def flat(case: Case, params: dict[str, Any]) -> Any:
    """The primitive as a function on and to lists."""

    def function(*args: Any) -> list[Any]:
        out = case.primitive.bind(*args, **params)
        return list(out) if case.primitive.multiple_results else [out]

    return function


def buffers(values: Any) -> list[np.ndarray]:
    return [np.asarray(v._buffer if isinstance(v, ConcreteArray) else v) for v in values]


def widened(values: Any) -> list[np.ndarray]:
    """Operands with floats in double precision, for differences."""
    return [v.astype(_WIDE.get(v.dtype, v.dtype)) for v in values]


_WIDE = {
    dtypes.bfloat16: np.float64, dtypes.float16: np.float64, dtypes.float32: np.float64,
    dtypes.complex64: np.complex128,
}  # fmt: skip


def direction(value: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(1000 + seed)
    t = rng.normal(size=value.shape)
    return np.asarray(
        t + 1j * rng.normal(size=value.shape) if value.dtype.kind == "c" else t, value.dtype
    )


def same(actual: Any, expected: Any, exact: bool = True) -> None:
    for a, e in zip(buffers(actual), buffers(expected), strict=True):
        assert a.shape == e.shape and a.dtype == e.dtype
        if exact:
            np.testing.assert_array_equal(a, e)
        else:
            close(a, e)


def close(a: np.ndarray, e: np.ndarray) -> None:
    """Equal up to the order of summation."""
    a, e = (
        np.asarray(v, np.float64) if v.dtype in (dtypes.bfloat16, dtypes.float16) else v
        for v in (a, e)
    )
    exponent = {4: 1e-5, 8: 1e-5 if e.dtype.kind == "c" else 1e-12, 16: 1e-12}.get(
        e.dtype.itemsize, 0
    )
    np.testing.assert_allclose(a, e, rtol=exponent, atol=exponent * 10)


def test_every_primitive_has_a_row() -> None:
    ours = [
        p for p in registry if not isinstance(p, Construct) and p.value is not None and is_ours(p)
    ]
    covered = {case.primitive for _, case, _ in CASES}
    collectives = {
        "psum",
        "pmax",
        "pmin",
        "axis_index",
        "all_gather",
        "reduce_scatter",
        "ppermute",
        "all_to_all",
    }
    missing = sorted(p.name for p in ours if p not in covered and p.name not in collectives)
    assert not missing, f"primitives without a row in the table: {missing}"


def is_ours(primitive: Any) -> bool:
    return (getattr(primitive.value, "__module__", None) or "").startswith("funcgrad.")


@law("abstract")
def test_abstract_is_what_comes_out(case: Case, params: dict[str, Any]) -> None:
    operands = arrays(case.operands())
    outs = flat(case, params)(*operands)
    avals = case.primitive.results(operands, params)
    assert [typeof(o) for o in outs] == avals


@law("stage")
def test_its_program_evaluates_to_the_same(case: Case, params: dict[str, Any]) -> None:
    operands = arrays(case.operands())
    jaxpr, captured = stage(flat(case, params), [typeof(x) for x in operands])
    assert not captured
    same(eval_jaxpr(jaxpr, operands, EVAL), flat(case, params)(*operands))


@law("jit")
def test_compiled_is_the_same(case: Case, params: dict[str, Any]) -> None:
    operands = arrays(case.operands())
    with config.override(engine="numpy"):
        compiled = fg.jit(lambda *args: tuple(flat(case, params)(*args)))(*operands)
    same(compiled, flat(case, params)(*operands), exact=False)


@law("value")
def test_operands_are_not_written_to(case: Case, params: dict[str, Any]) -> None:
    values = case.operands()
    kept = [v.copy() for v in values]
    flat(case, params)(*arrays(values))
    for v, k in zip(values, kept, strict=True):
        np.testing.assert_array_equal(v, k)


def tangents_for(values: Any, varied: Any) -> list[Any]:
    return [
        ConcreteArray(direction(v, i)) if m else Zero(typeof(v).tangent())
        for i, (v, m) in enumerate(zip(values, varied))
    ]


@law("derivative", has_tangents)
def test_jvp_is_the_difference_quotient(case: Case, params: dict[str, Any]) -> None:
    values = widened(case.operands())
    function, params = flat(case, retyped(case, params)), params
    for varied in choices(differentiable(values)):
        tangents = tangents_for(values, varied)
        outs, touts = jvp_flat(function, arrays(values), tangents)
        plus, minus = (
            function(
                *arrays(v if is_zero(t) else v + h * t._buffer for v, t in zip(values, tangents))
            )
            for h in (STEP, -STEP)
        )
        for o, t, a, b in zip(outs, touts, buffers(plus), buffers(minus), strict=True):
            if not typeof(o).has_tangent:
                assert is_zero(t)
                continue
            expected = (a - b) / (2 * STEP)
            actual = np.zeros_like(expected) if is_zero(t) else np.asarray(t._buffer)
            assert actual.shape == np.shape(o._buffer)
            np.testing.assert_allclose(
                actual, expected, rtol=case.tolerance, atol=case.tolerance * scale(expected)
            )


def scale(x: np.ndarray) -> float:
    return max(1.0, float(np.max(np.abs(x), initial=0.0)))


def choices(flags: list[bool]) -> list[list[bool]]:
    """All operands at once, and each by itself."""
    alone = [[j == i for j in range(len(flags))] for i, f in enumerate(flags) if f]
    return [flags, *alone] if len(alone) > 1 else [flags]


def retyped(case: Case, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters that name the operand's dtype, for operands in double precision."""
    wide = {"float32": np.dtype("float64"), "complex64": np.dtype("complex128")}
    keys = ("preferred_element_type",)
    return {k: wide.get(str(v), v) if k in keys else v for k, v in params.items()}


@law("transpose", has_cotangents)
def test_transpose_is_the_adjoint(case: Case, params: dict[str, Any]) -> None:
    values = widened(case.operands())
    function = flat(case, retyped(case, params))
    for varied in choices(differentiable(values)):
        tangents = tangents_for(values, varied)
        _, touts = jvp_flat(function, arrays(values), tangents)
        outs, linear = linearize_flat(function, arrays(values), varied)
        cts = [
            Zero(typeof(o).tangent())
            if not typeof(o).has_tangent
            else ConcreteArray(direction(np.asarray(o._buffer), 50 + i))
            for i, o in enumerate(outs)
        ]
        back = cotangents_in(linear, cts)
        left = inner(touts, cts)
        right = inner([t for t, m in zip(tangents, varied) if m], back)
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)
        for g, (v, m) in zip(back, [(v, m) for v, m in zip(values, varied) if m], strict=True):
            assert m and np.shape(g._buffer) == v.shape and g.dtype == v.dtype


def inner(xs: Any, ys: Any) -> Any:
    """The bilinear pairing: without conjugation."""
    total: Any = 0.0
    for x, y in zip(xs, ys, strict=True):
        if not is_zero(x) and not is_zero(y):
            total = total + np.sum(np.asarray(x._buffer) * np.asarray(y._buffer))
    return total


@law("second", has_cotangents)
def test_second_derivatives(case: Case, params: dict[str, Any]) -> None:
    values = widened(case.operands())
    function, varied = flat(case, retyped(case, params)), differentiable(values)

    def gradient(*args: Any) -> list[Any]:
        outs, linear = linearize_flat(function, args, varied)
        cts = [
            Zero(typeof(o).tangent())
            if not typeof(o).has_tangent
            else ConcreteArray(direction(np.zeros(typeof(o).shape, typeof(o).dtype), 60 + i))
            for i, o in enumerate(outs)
        ]
        return cotangents_in(linear, cts)

    tangents = tangents_for(values, varied)
    _, touts = jvp_flat(gradient, arrays(values), tangents)
    plus, minus = (
        gradient(*arrays(v if is_zero(t) else v + h * t._buffer for v, t in zip(values, tangents)))
        for h in (STEP, -STEP)
    )
    for t, a, b in zip(touts, buffers(plus), buffers(minus), strict=True):
        expected = (a - b) / (2 * STEP)
        actual = np.zeros_like(expected) if is_zero(t) else np.asarray(t._buffer)
        np.testing.assert_allclose(
            actual, expected, rtol=20 * case.tolerance, atol=20 * case.tolerance * scale(expected)
        )


@law("batch")
def test_batch_is_a_stacked_loop(case: Case, params: dict[str, Any]) -> None:
    samples = [case.operands(seed) for seed in range(3)]
    count = len(samples[0])
    function = flat(case, params)
    for mapped in mapped_choices(count):
        for last in (False, True):
            dims = [samples[0][i].ndim if last else 0 if m else None for i, m in enumerate(mapped)]
            dims = [d if m else None for d, m in zip(dims, mapped)]
            stacked = [
                np.stack([s[i] for s in samples], d) if d is not None else samples[0][i]
                for i, d in enumerate(dims)
            ]
            outs, out_dims = batch_flat(function, Axis(3), arrays(stacked), dims)
            rows = [
                function(*arrays(s[i] if m else samples[0][i] for i, m in enumerate(mapped)))
                for s in samples
            ]
            for k, (o, d) in enumerate(zip(outs, out_dims)):
                expected = np.stack([np.asarray(row[k]._buffer) for row in rows])
                actual = np.asarray(o._buffer)
                actual = (
                    np.moveaxis(actual, d, 0)
                    if d is not None
                    else np.broadcast_to(actual, expected.shape)
                )
                assert actual.shape == expected.shape and actual.dtype == expected.dtype
                close(actual, expected)


@law("batch")
def test_types_of_batches_are_stated(case: Case, params: dict[str, Any]) -> None:
    """What a batch rule binds has the types, staged, that come out."""
    values, function = case.operands(), flat(case, params)
    for mapped in mapped_choices(len(values)):
        dims = [0 if m else None for m in mapped]
        stacked = arrays(np.stack([v] * 3) if m else v for v, m in zip(values, mapped))
        batch = lambda *args, dims=dims: batch_flat(function, Axis(3), args, dims)[0]
        jaxpr, _ = stage(batch, [typeof(x) for x in stacked])
        assert jaxpr.out_avals == [typeof(o) for o in batch(*stacked)]


@law("transpose", has_cotangents)
def test_types_of_derivatives_are_stated(case: Case, params: dict[str, Any]) -> None:
    """In the operands' own dtypes: tangents have the result's, cotangents the operands'."""
    operands = arrays(case.operands())
    function, varied = flat(case, params), differentiable(operands)

    def derivatives(*args: Any) -> list[Any]:
        tangents = tangents_for([v._buffer for v in operands], varied)
        _, touts = jvp_flat(function, args, tangents)
        outs, linear = linearize_flat(function, args, varied)
        cts = [
            Zero(typeof(o).tangent())
            if not typeof(o).has_tangent
            else ConcreteArray(direction(np.zeros(typeof(o).shape, typeof(o).dtype), 70 + i))
            for i, o in enumerate(outs)
        ]
        return [*(t for t in touts if not is_zero(t)), *cotangents_in(linear, cts)]

    found = derivatives(*operands)
    jaxpr, captured = stage(lambda *args: derivatives(*args), [typeof(x) for x in operands])
    assert jaxpr.out_avals == [typeof(o) for o in found]
    wanted = [typeof(x) for x, m in zip(operands, varied) if m]
    assert [(g.shape, g.dtype) for g in found[-len(wanted) :]] == [
        (w.shape, w.dtype) for w in wanted
    ]


def mapped_choices(count: int) -> list[tuple[bool, ...]]:
    """Every choice of mapped operands; for many operands each alone and all together."""
    if count > 4:
        return [tuple(j == i for j in range(count)) for i in range(count)] + [(True,) * count]
    return [m for m in itertools.product((False, True), repeat=count) if any(m)]


# Computed by value alone: their algorithms are no nest of loops over elements.
BY_VALUE = {
    "cholesky", "eig", "eigh", "igamma", "igamma_grad_a", "igammac", "linear_solve", "lu",
    "lu_pivots_to_permutation", "polygamma", "qr", "random_gamma_grad", "random_seed",
    "random_wrap", "regularized_incomplete_beta", "select_and_gather_add",
    "select_and_scatter_add", "sort", "svd", "top_k", "triangular_solve", "zeta",
}  # fmt: skip


def form_of(case: Case, operands: list[ConcreteArray], params: dict[str, Any]) -> Any:
    rule = case.primitive.rule("loops", "compilation")
    return rule(*[typeof(x) for x in operands], **params)


@law("loops", lambda case: case.primitive.name in BY_VALUE)
def test_computed_by_value_alone(case: Case, params: dict[str, Any]) -> None:
    form = form_of(case, arrays(case.operands()), params)
    assert isinstance(form, loops.Opaque | loops.Call), "its loops are a law's matter now"


@law("loops", lambda case: case.primitive.name not in BY_VALUE)
def test_loop_form_says_what_value_computes(case: Case, params: dict[str, Any]) -> None:
    operands = arrays(case.operands())
    form = form_of(case, operands, params)
    avals = case.primitive.results(operands, params)
    computed = interpret.run(form, buffers(operands), avals)
    for actual, expected in zip(computed, buffers(flat(case, params)(*operands)), strict=True):
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        close(np.asarray(actual), expected)


def test_namespaces_are_adaptors() -> None:
    assert backend.NUMPY.module is np

"""Random exact programs: eager, interpreted kernels and native code give the same bits."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

pytest.importorskip("llvmlite")

import funcgrad as fg
from funcgrad.backends.llvm.target import host
from funcgrad.compiler.fusion import Fusion
from funcgrad.config import config
from funcgrad.core.backend import NARROW
from tests.backends.drawn_programs import STEPS, build, operand, programs
from tests.backends.kernel_programs import block_of, guarded, interpreted

MANY = hypothesis.settings(max_examples=60, deadline=None)
FEW = hypothesis.settings(max_examples=15, deadline=None)


def buffers(values: Any) -> list[np.ndarray]:
    return [np.asarray(x._buffer) for x in values]


def same(found: Any, expected: Any) -> None:
    for a, e in zip(found, expected, strict=True):
        assert a.shape == e.shape and a.dtype == e.dtype
        if a.dtype in NARROW:
            a, e = a.astype(np.float32), e.astype(np.float32)
        np.testing.assert_array_equal(a, e)


def program_of(steps: Any, x: Any) -> Any:
    return fg.make_jaxpr(lambda x: tuple(build(steps)(x)))(x)


@MANY
@hypothesis.given(programs())
def test_interpreted_kernels_are_eager(drawn: Any) -> None:
    shape, dtype, steps = drawn
    x = operand(shape, dtype)
    expected = buffers(build(steps)(x))
    same(interpreted(block_of(program_of(steps, x)), buffers([x])), expected)


@MANY
@hypothesis.given(programs())
def test_native_code_is_eager(drawn: Any) -> None:
    shape, dtype, steps = drawn
    x, other = operand(shape, dtype), operand(shape, dtype, 1)
    expected = buffers(build(steps)(x))
    with config.override(engine="llvm"):
        compiled = fg.jit(build(steps))
        same(buffers(compiled(x)), expected)
        compiled(other)
        same(buffers(compiled(x)), expected)  # on memory that holds other results


@FEW
@hypothesis.given(programs(4), st.integers(0, 99))
def test_special_values(drawn: Any, seed: int) -> None:
    """NaN, infinities and negative zeros among the numbers; signs of zeros are not compared."""
    shape, dtype, steps = drawn
    hypothesis.assume(0 not in shape and dtype.startswith(("float", "bfloat")))
    values = np.array(np.asarray(operand(shape, dtype)))
    places = np.random.default_rng(seed).integers(0, values.size, 4)
    values.reshape(-1)[places] = [np.nan, np.inf, -np.inf, -0.0]
    x = fg.numpy.asarray(values, dtype)
    expected = buffers(build(steps)(x))
    same(interpreted(block_of(program_of(steps, x)), buffers([x])), expected)
    with config.override(engine="llvm"):
        same(buffers(fg.jit(build(steps))(x)), expected)


@MANY
@hypothesis.given(programs(5))
def test_native_code_stays_inside(drawn: Any) -> None:
    """Each value between guards, in memory full of NaN."""
    shape, dtype, steps = drawn
    x = operand(shape, dtype)
    block = block_of(program_of(steps, x))
    hypothesis.assume(block.is_native)
    same(guarded(block, buffers([x])), buffers(build(steps)(x)))


@FEW
@hypothesis.given(programs(6))
def test_what_is_merged_does_not_matter(drawn: Any) -> None:
    """One kernel for each value that lies in memory, and kernels merged where that pays."""
    shape, dtype, steps = drawn
    x = operand(shape, dtype)
    jaxpr = program_of(steps, x)
    merged = interpreted(block_of(jaxpr), buffers([x]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fusion, "_try", lambda self, a, b: None)
        apart = block_of(jaxpr)
    same(interpreted(apart, buffers([x])), merged)
    if apart.is_native:
        same(guarded(apart, buffers([x])), merged)


@pytest.fixture(params=["avx2", "sse"])
def narrower(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine without its widest registers."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("registers of x86 processors")
    monkeypatch.setenv("FUNCGRAD_TARGET", request.param)
    host.cache_clear()
    yield
    host.cache_clear()


@pytest.mark.usefixtures("narrower")
@pytest.mark.parametrize("name", sorted(STEPS))
def test_narrower_registers(name: str) -> None:
    """Each step in three forms, on a shape with odd tails."""
    for dtype in ("float32", "bfloat16", "int16"):
        x = operand((3, 17), dtype)
        steps = [(name, 0, n, n + 1) for n in (1, 6, 14)]
        block = block_of(program_of(steps, x))
        run = guarded if block.is_native else interpreted
        same(run(block, buffers([x])), buffers(build(steps)(x)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool", "complex64"])
@pytest.mark.parametrize("size", [*range(1, 20), 31, 32, 33, 47, 48, 49, 63, 64, 65, 129])
def test_tails_end_where_arrays_end(size: int, dtype: str) -> None:
    """Elements behind the last whole vector, of every number of them."""
    x = operand((size,), dtype)
    steps = [("unary", 0, 1, 1), ("binary", 0, 0, 0), ("convert", 1, 5, 0)]
    block = block_of(program_of(steps, x))
    same(guarded(block, buffers([x])), buffers(build(steps)(x)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("count", [3, 16, 17])
def test_many_updates_of_one_place(count: int, dtype: str) -> None:
    """Turns of a loop that store to the same element must not run side by side."""
    places = fg.numpy.asarray(np.arange(count) - 1, "int32")
    x, y = operand((1, 5), dtype), operand((5,), dtype, 1)

    def program(x: Any) -> tuple[Any, ...]:
        one = x[:, :1]
        return (
            x.at[places].set(y, mode="drop"),
            one.at[places, places].set(y[0], mode="drop"),
            one[0].at[places].set(y[1], mode="clip"),
        )

    jaxpr = fg.make_jaxpr(program)(x)
    same(guarded(block_of(jaxpr), buffers([x])), buffers(program(x)))

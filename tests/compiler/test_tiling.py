"""Transposes are walked in tiles, with the same results."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.config import config

pytest.importorskip("llvmlite")


@pytest.mark.parametrize(
    "shape, axes",
    [
        ((128, 96), (1, 0)),
        ((130, 64), (1, 0)),
        ((67, 71), (1, 0)),
        ((4, 33, 40), (0, 2, 1)),
        ((4, 32, 48), (2, 1, 0)),
        ((2, 16, 20, 24), (0, 3, 1, 2)),
    ],
)
def test_transposes(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def moved(x):
        return jnp.transpose(x, axes) * 2 + 1

    with config.override(engine="llvm"):
        np.testing.assert_array_equal(fg.jit(moved)(x), np.transpose(x, axes) * 2 + 1)


def test_the_loop_that_reads_follow_is_cut() -> None:
    x = np.ones((128, 96), np.float32)
    with config.override(engine="llvm"):
        text = fg.jit(lambda x: x.T + 1).lower(x).as_text("kernels")
    assert "in 16" in text.split("\n")[1]

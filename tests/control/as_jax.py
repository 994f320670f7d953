"""Programs written for either library, run by both and compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgrad as fg


def assert_as_jax(program: Callable[[Any], Any], jitted: bool = False, rtol: float = 1e-6) -> None:
    """Equal shapes, dtypes, weak types and values of what the program makes with a library."""
    jax = pytest.importorskip("jax")
    ours, theirs = (leaves(lib, program, jitted) for lib in (fg, jax))
    for a, b in zip(ours, theirs, strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol)


def leaves(lib: Any, program: Callable[[Any], Any], jitted: bool) -> list[Any]:
    run = lambda: program(lib)
    return [lib.numpy.asarray(x) for x in lib.tree.leaves(lib.jit(run)() if jitted else run())]

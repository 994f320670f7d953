"""Comparisons with jax. It has no tests: without jax, whoever imports it is skipped as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg

jax = pytest.importorskip("jax")


def same(ours: Any, theirs: Any, tolerance: float = 2e-6) -> None:
    """Equal structure, shapes, dtypes, weak types and values."""
    a, b = fg.tree.leaves(ours), jax.tree.leaves(theirs)
    assert len(a) == len(b)
    shape = jax.tree.structure(jax.tree.map(lambda _: 0, theirs))
    assert str(shape) == str(jax.tree.structure(fg.tree.map(lambda _: 0, ours)))
    for x, y in zip(a, b, strict=True):
        assert np.shape(x) == np.shape(y)
        if y.dtype == jax.dtypes.float0:
            assert x.dtype == fg.float0
            continue
        assert x.dtype == y.dtype
        if hasattr(y, "weak_type") and y.dtype != bool:
            assert x.weak_type == y.weak_type
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tolerance, atol=tolerance)

"""Every row of the table of primitives on the native engine: the results of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
from funcgrad.config import config
from funcgrad.core import dtypes
from tests.primitives.cases import Case, all_cases
from tests.primitives.test_laws import arrays, buffers, flat

pytest.importorskip("llvmlite")

ROWS = [
    pytest.param(case, params, id=label)
    for label, case, params in all_cases()
    if "jit" not in case.skip
]
# Units in the last place of the result's type, and of its largest element: own functions, and
# sums in another order.
ULPS = {"f": 40, "c": 80, "V": 2}


def tolerance(dtype: np.dtype) -> float:
    real = dtypes.real_part(dtype) if dtype.kind == "c" else dtype
    return ULPS[dtype.kind] * float(dtypes.finfo(real).eps)


def agree(a: np.ndarray, e: np.ndarray) -> None:
    """Exactly for integers and bools; for floats within rounding."""
    assert a.shape == e.shape and a.dtype == e.dtype
    if not dtypes.is_inexact(e.dtype):
        np.testing.assert_array_equal(a, e)
        return
    t = tolerance(e.dtype)
    wide = [x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for x in (a, e)]
    finite = np.abs(wide[1][np.isfinite(wide[1])])
    scale = float(finite.max()) if finite.size else 1.0
    np.testing.assert_allclose(*wide, rtol=t, atol=t * min(scale, 1e3))


@pytest.mark.parametrize("case, params", ROWS)
def test_native_is_the_same(case: Case, params: dict[str, Any]) -> None:
    operands = arrays(case.operands())
    expected = flat(case, params)(*operands)
    with config.override(engine="llvm"):
        found = fg.jit(lambda *args: tuple(flat(case, params)(*args)))(*operands)
    for a, e in zip(buffers(found), buffers(expected), strict=True):
        agree(a, e)

"""Graphics cards for tests: the stand-in everywhere, and the first real one where CuPy finds it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import util
from funcgrad.backends.cupy import device
from funcgrad.core import backend
from funcgrad.core.array import KeyArray
from tests.backends import stand_in_cupy


def _number_of_real_cards() -> int:
    if importlib.util.find_spec("cupy") is None:
        return 0
    cupy = importlib.import_module("cupy")
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:  # there is no driver
        return 0


A_REAL_ONE = _number_of_real_cards() > 0
KINDS = ["stand-in", "gpu"] if A_REAL_ONE else ["stand-in"]

# Functions of CUDA are within a few units in the last place of float32 and float64, and a rule is
# made of some ten; the stand-in computes with NumPy, but adds in another order here and there.
UNITS = {"stand-in": 4, "gpu": 64}


class Card:
    """A device, the module that drives it, and how exact it is."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.device = fg.devices("gpu")[0]
        self.module = device.namespace().module

    def put(self, tree: Any) -> Any:
        """The tree of arrays on the card."""
        return fg.device_put(fg.tree.map(jnp.asarray, tree), self.device)

    def holds(self, x: Any) -> bool:
        """Is the array's buffer on the card?"""
        return isinstance(x._buffer, self.module.ndarray)

    def agree(self, found: Any, expected: Any, slack: float = 1.0) -> None:
        """Equal dtypes and shapes; integers equal, floats within the card's exactness."""
        found, expected = _host(found), _host(expected)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        if found.dtype.kind not in "fc":
            np.testing.assert_array_equal(found, expected)
            return
        info = np.finfo(found.dtype)
        unit, denormal = UNITS[self.kind] * slack * float(info.eps), float(info.tiny)
        finite = np.abs(expected[np.isfinite(expected)])
        largest = float(finite.max(initial=0.0))
        np.testing.assert_allclose(found, expected, rtol=unit, atol=unit * largest + denormal)


def _host(x: Any) -> np.ndarray:
    if isinstance(x, KeyArray):
        x = fg.random.key_data(x)
    return np.asarray(fg.device_get(x))


def cards(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """The body of a fixture that is parametrized by KINDS."""
    util.optional.cache_clear()
    if kind == "stand-in":
        for name, module in stand_in_cupy.modules().items():
            monkeypatch.setitem(sys.modules, name, module)
    yield Card(kind)
    device._namespace = None
    backend.register_device_namespace(None)
    util.optional.cache_clear()

"""The table of primitives: one row or more for each, put through all laws by `test_laws.py`.

A row gives operands (made anew from a seed, so that batching can stack different ones) and
parameters. The rows stand in `cases_<family>.py`, each in a list named CASES.
"""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgrad.core.primitive import Primitive

Maker = Callable[[np.random.Generator], np.ndarray]


def normal(*shape: int, dtype: Any = "float32") -> Maker:
    """Normal draws; complex ones if the dtype is."""

    def make(rng: np.random.Generator) -> np.ndarray:
        x = rng.normal(size=shape)
        if np.dtype(dtype).kind == "c":
            x = x + 1j * rng.normal(size=shape)
        return np.asarray(x, dtype)

    return make


def uniform(low: float, high: float, *shape: int, dtype: Any = "float32") -> Maker:
    """Uniform draws, away from both ends by a hundredth of the interval."""
    margin = (high - low) / 100
    return lambda rng: np.asarray(rng.uniform(low + margin, high - margin, size=shape), dtype)


def positive(*shape: int, dtype: Any = "float32") -> Maker:
    """Draws between 0.3 and 2.3."""
    return lambda rng: np.asarray(rng.uniform(0.3, 2.3, size=shape), dtype)


def distinct(*shape: int, dtype: Any = "float32") -> Maker:
    """Values that are well apart from each other: for max, sort and their like."""

    def make(rng: np.random.Generator) -> np.ndarray:
        count = int(np.prod(shape, dtype=int))
        return np.asarray((rng.permutation(count) - count / 2 + 0.25) / 3, dtype).reshape(shape)

    return make


def integers(low: int, high: int, *shape: int, dtype: Any = "int32") -> Maker:
    """Integers from `low` to `high - 1`."""
    return lambda rng: np.asarray(rng.integers(low, high, size=shape), dtype)


def bools(*shape: int) -> Maker:
    """Coin flips."""
    return lambda rng: np.asarray(rng.random(size=shape) < 0.5)


def exactly(value: Any, dtype: Any = None) -> Maker:
    """The same value each time."""
    return lambda rng: np.asarray(value, dtype)


@dataclass
class Case:
    """One row: operands and one or more sets of parameters.

    `skip` names laws that do not apply, with the reason: derivative, transpose, batch, second, jit,
    loops. `tolerance` is relative, for the derivative laws (which run in float64).
    """

    primitive: Primitive
    args: Sequence[Maker]
    params: Sequence[dict[str, Any]] | dict[str, Any] = field(default_factory=dict)
    name: str = ""
    skip: dict[str, str] = field(default_factory=dict)
    tolerance: float = 1e-5

    def rows(self) -> list[dict[str, Any]]:
        """The sets of parameters."""
        return [self.params] if isinstance(self.params, dict) else list(self.params)

    def operands(self, seed: int = 0) -> list[np.ndarray]:
        """The operands for a seed."""
        rng = np.random.default_rng(seed)
        return [make(rng) for make in self.args]


def all_cases() -> list[tuple[str, Case, dict[str, Any]]]:
    """(identifier, case, parameters) of every row of every family."""
    found = []
    for path in sorted(pathlib.Path(__file__).parent.glob("cases_*.py")):
        module = importlib.import_module(f"tests.primitives.{path.stem}")
        for i, case in enumerate(module.CASES):
            for j, params in enumerate(case.rows()):
                label = case.name or f"{i}.{j}"
                found.append((f"{case.primitive.name}-{label}-{j}", case, params))
    return found

"""Scalar rules as straight-line code: what `scalar(k, ...)` computes, written down operation by
operation.

`record` runs a rule on a `Recorder`, whose methods are the operations of `k`; nothing is computed.
Backends render the result, one line each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad.core import dtypes

COMPARISONS = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))
TESTS = frozenset(("is_finite",))
OPERATIONS = frozenset((
    "add", "sub", "mul", "div", "rem", "neg", "abs", "min", "max", "sqrt", "rsqrt", "cbrt", "floor",
    "ceil", "round", "exp", "exp2", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "pow", "atan2", "logistic", "erf",
    "erfc", "erf_inv", "lgamma", "digamma", "sign", "nextafter", "and_", "or_", "xor", "not_",
    "shl", "shr_logical", "shr_arithmetic", "popcount", "clz", "conj",
))  # fmt: skip


class Constant(NamedTuple):
    """A number of known dtype, written into the code."""

    value: Any

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype


class Lane:
    """A value while a rule is recorded: operand number `index`, or the result of operation
    `index`.
    """

    __slots__ = ("index", "dtype")

    def __init__(self, index: int, dtype: np.dtype) -> None:
        self.index, self.dtype = index, dtype


class ScalarOp(NamedTuple):
    """One operation. Arguments are numbers of lanes (operands first, then results in order) and
    constants.
    """

    name: str
    args: tuple[int | Constant, ...]
    dtype: np.dtype


class Recorder:
    """The `k` that scalar rules are given: notes each operation."""

    def __init__(self, operand_dtypes: Sequence[np.dtype]) -> None:
        self.operands = [Lane(i, t) for i, t in enumerate(operand_dtypes)]
        self.ops: list[ScalarOp] = []

    def note(self, name: str, args: Sequence[Any], dtype: np.dtype) -> Lane:
        """Adds an operation; returns the lane of its result."""
        refs = tuple([a.index if type(a) is Lane else a for a in args])
        self.ops.append(ScalarOp(name, refs, dtype))
        return Lane(len(self.operands) + len(self.ops) - 1, dtype)

    def __getattr__(self, name: str) -> Callable[..., Lane]:
        if name in COMPARISONS or name in TESTS:
            return lambda *args: self.note(name, args, dtypes.bool_)
        if name not in OPERATIONS:
            raise AttributeError(f"there is no scalar operation {name!r}")
        return lambda *args: self.note(name, args, args[0].dtype)

    def abs(self, x: Any) -> Lane:
        return self.note("abs", [x], dtypes.real_part(x.dtype))

    def real(self, x: Any) -> Lane:
        return self.note("real", [x], dtypes.real_part(x.dtype))

    def imag(self, x: Any) -> Lane:
        return self.note("imag", [x], dtypes.real_part(x.dtype))

    def complex(self, re: Any, im: Any) -> Lane:
        return self.note(
            "complex", [re, im], {dtypes.float64: dtypes.complex128}.get(re.dtype, dtypes.complex64)
        )

    def select(self, condition: Any, yes: Any, no: Any) -> Lane:
        return self.note("select", [condition, yes, no], yes.dtype)

    def convert(self, x: Any, dtype: np.dtype) -> Any:
        return x if x.dtype == dtype else self.note("convert", [x], dtype)

    def bitcast(self, x: Any, dtype: np.dtype) -> Lane:
        return self.note("bitcast", [x], dtype)

    def const(self, value: Any, dtype: np.dtype) -> Constant:
        return Constant(dtype.type(value))

    def dtype(self, x: Any) -> np.dtype:
        return x.dtype


Body = tuple[ScalarOp, ...]


def record(
    scalar: Callable[..., Any], operand_dtypes: Sequence[np.dtype]
) -> tuple[Body, tuple[Any, ...]]:
    """The operations of a rule, and which lanes or constants are its results."""
    k = Recorder(operand_dtypes)
    found = scalar(k, *k.operands)
    several = isinstance(found, (tuple, list)) and type(found) is not Constant
    results = found if several else [found]
    return tuple(k.ops), tuple(r.index if type(r) is Lane else r for r in results)


@functools.lru_cache(maxsize=1024)
def record_cached(
    scalar: Callable[..., Any], operand_dtypes: tuple[np.dtype, ...]
) -> tuple[Body, tuple[Any, ...]]:
    """As `record`, kept for rules without parameters, which are the same function each time."""
    return record(scalar, operand_dtypes)

"""Maps as NumPy's ufuncs: the table of scalar operations, and the code of one equation.

A map whose primitive names a ufunc is that ufunc. Others are written out by their scalar rule, in
float32 and float64 only: 16-bit floats must be rounded once, and NumPy's integer division and
shifts have other edges. What has no code here is left to the primitive's `value`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from funcgrad.compiler.scalar import Body, Constant, ScalarOp, record, record_cached
from funcgrad.core import dtypes
from funcgrad.core.jaxpr import Eqn
from funcgrad.core.loops import Map

WIDE_FLOATS = (dtypes.float32, dtypes.float64)

UFUNCS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "rem": "fmod", "neg":
    "negative", "abs": "absolute", "min": "minimum", "max": "maximum", "sqrt": "sqrt", "cbrt":
    "cbrt", "floor": "floor", "ceil": "ceil", "round": "rint", "exp": "exp", "exp2": "exp2",
    "expm1": "expm1", "log": "log", "log1p": "log1p", "sin": "sin", "cos": "cos", "tan": "tan",
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "sinh": "sinh", "cosh": "cosh", "tanh":
    "tanh", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh", "pow": "power", "atan2":
    "arctan2", "nextafter": "nextafter", "is_finite": "isfinite", "eq": "equal", "ne": "not_equal",
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}  # fmt: skip
LOGIC = {"and_": "logical_and", "or_": "logical_or", "xor": "logical_xor", "not_": "logical_not"}


class Call(NamedTuple):
    """One NumPy call: a ufunc by name, or "where" or "astype". Arguments as in `ScalarOp`."""

    function: str
    args: tuple[int | Constant, ...]
    dtype: Any


def calls_of(e: Eqn, form: Map) -> tuple[Call, ...] | None:
    """The calls that compute one equation, the last one its result; None if `value` must do it."""
    out = e.outs[0].aval.dtype
    if form.ufunc is not None:
        return (Call(form.ufunc, tuple(range(len(e.args))), out),)
    operand_dtypes = tuple([a.aval.dtype for a in e.args])
    if len(e.outs) != 1 or any(dtypes.is_key(t) for t in operand_dtypes):
        return None
    body, results = (record if e.params else record_cached)(form.scalar, operand_dtypes)
    return _rendered(body, results, operand_dtypes)


def _rendered(
    body: Body, results: tuple[Any, ...], operand_dtypes: tuple[Any, ...]
) -> tuple[Call, ...] | None:
    (result,) = results
    if not body or result != len(operand_dtypes) + len(body) - 1:
        return None
    known: list[Any] = list(operand_dtypes)
    writer = _Writer(len(operand_dtypes))
    for op in body:
        if not writer.add(op, [a.dtype if isinstance(a, Constant) else known[a] for a in op.args]):
            return None
        known.append(op.dtype)
    return tuple(writer.calls)


class _Writer:
    """Calls for operations, whose results may take several calls: numbers are translated."""

    def __init__(self, operands: int) -> None:
        self.calls: list[Call] = []
        self.numbers = list(range(operands))
        self.operands = operands

    def call(self, function: str, args: Any, dtype: Any) -> int:
        self.calls.append(Call(function, tuple(args), dtype))
        return self.operands + len(self.calls) - 1

    def add(self, op: ScalarOp, argument_dtypes: list[Any]) -> bool:
        """Adds an operation; False if NumPy has nothing of exactly that meaning."""
        args = [a if isinstance(a, Constant) else self.numbers[a] for a in op.args]
        number = self._special(op, args, argument_dtypes)
        if number is None:
            return False
        self.numbers.append(number)
        return True

    def _special(self, op: ScalarOp, args: list[Any], known: list[Any]) -> int | None:
        if op.name == "select":
            return self.call("where", args, op.dtype)
        if op.name == "convert":
            return self.call("astype", args, op.dtype) if _converts(known[0], op.dtype) else None
        if op.name in LOGIC and all(t == dtypes.bool_ for t in known):
            return self.call(LOGIC[op.name], args, op.dtype)
        if not all(t in WIDE_FLOATS for t in known):
            return None
        if op.name == "rsqrt":
            return self.call("reciprocal", [self.call("sqrt", args, op.dtype)], op.dtype)
        if op.name == "logistic":
            return self._logistic(args, op.dtype)
        return self.call(UFUNCS[op.name], args, op.dtype) if op.name in UFUNCS else None

    def _logistic(self, args: list[Any], dtype: Any) -> int:
        power = self.call("exp", [self.call("negative", args, dtype)], dtype)
        return self.call(
            "reciprocal", [self.call("add", [power, Constant(dtype.type(1))], dtype)], dtype
        )


def _converts(old: Any, new: Any) -> bool:
    """Is NumPy's cast what JAX defines? Not from floats to integers, which clamps, nor from
    complex to real.
    """
    if dtypes.is_complex(old):
        return dtypes.is_complex(new)
    return not (dtypes.is_inexact(old) and dtypes.is_integer(new))

"""The scalar operations of kernels as instructions, for every dtype.

In registers a bool is one bit, a float of 16 bits an f32 number that is rounded after each
equation (`round_narrow`), and a complex number a pair. The meaning of each operation is that of
`funcgrad.compiler.scalar_values` and of the primitives' `value`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from funcgrad.backends.llvm.builder import Builder, Type, Value
from funcgrad.backends.llvm.complex_functions import Complex, absolute
from funcgrad.backends.llvm.complexes import COMPARE, COMPLEX
from funcgrad.backends.llvm.conversions import (
    bitcast,
    convert,
    from_memory,
    memory_kind,
    register_kind,
    to_memory,
)
from funcgrad.backends.llvm.floats import FLOAT, is_finite, nextafter
from funcgrad.backends.llvm.integers import BOOL, INTEGER
from funcgrad.backends.llvm.narrow import NARROW, read_narrow, round_narrow, write_narrow
from funcgrad.backends.llvm.values import constant
from funcgrad.compiler.scalar import COMPARISONS
from funcgrad.core import dtypes

Pair: TypeAlias = tuple[Value, Value]
Number: TypeAlias = Value | Pair

FLOAT_PREDICATES = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}


def render(
    b: Builder,
    name: str,
    args: Sequence[Any],
    arg_dtypes: Sequence[np.dtype],
    dtype: np.dtype,
    lanes: int,
) -> Number:
    """The instructions of one scalar operation: `name` as in `funcgrad.compiler.scalar`, arguments
    with their dtypes, the dtype of the result. Complex numbers are pairs of values.
    """
    if name == "select":
        return _select(b, *args)
    if name == "convert":
        return _convert(b, args[0], arg_dtypes[0], dtype)
    if name == "complex":
        re, im = args
        return re, im
    if dtypes.is_complex(arg_dtypes[0]):
        return _complex(b, name, [Complex(*x) for x in args])
    return _real(b, name, args, arg_dtypes, dtype)


def constant_of(value: Any, dtype: np.dtype, lanes: int) -> Number:
    """A number of the dtype in every lane, as it is held in registers."""
    if dtypes.is_complex(dtype):
        part = Type(register_kind(dtypes.real_part(dtype)), lanes)
        return constant(value.real, part), constant(value.imag, part)
    return constant(value, Type(register_kind(dtype), lanes))


def _select(b: Builder, condition: Any, yes: Any, no: Any) -> Number:
    if isinstance(yes, Value):
        return b.select(condition, yes, no)
    return b.select(condition, yes[0], no[0]), b.select(condition, yes[1], no[1])


def _convert(b: Builder, x: Any, old: np.dtype, new: np.dtype) -> Number:
    """Complex numbers become real ones by dropping the imaginary part, and true if not 0."""
    if not dtypes.is_complex(new):
        if not dtypes.is_complex(old):
            return convert(b, x, old, new)
        parts = [convert(b, p, dtypes.real_part(old), new) for p in x]
        return b.or_(*parts) if new == dtypes.bool_ else parts[0]
    part = dtypes.real_part(new)
    if dtypes.is_complex(old):
        re, im = (convert(b, p, dtypes.real_part(old), part) for p in x)
        return re, im
    re = convert(b, x, old, part)
    return re, b.like(0.0, re)


def _complex(b: Builder, name: str, args: Sequence[Complex]) -> Number:
    if name == "real":
        return args[0].re
    if name == "imag":
        return args[0].im
    if name == "abs":
        return absolute(b, args[0])
    return COMPARE[name](b, *args) if name in COMPARE else COMPLEX[name](b, *args)


def _real(
    b: Builder, name: str, args: Sequence[Any], arg_dtypes: Sequence[np.dtype], dtype: np.dtype
) -> Value:
    of = arg_dtypes[0]
    if name == "bitcast":
        return bitcast(b, args[0], of, dtype)
    if name in COMPARISONS:
        return _compare(b, name, args, of)
    if name == "is_finite":
        return is_finite(b, args[0])
    if name == "nextafter":
        x, y = args
        return nextafter(b, x, y, of)
    if of == dtypes.bool_:
        return BOOL[name](b, *args)
    if dtypes.is_integer(of):
        return INTEGER[name](b, *args, signed=of.kind == "i")
    return FLOAT[name](b, *args)


def _compare(b: Builder, name: str, args: Sequence[Value], of: np.dtype) -> Value:
    x, y = args
    if x.type.is_float:
        return b.fcmp(FLOAT_PREDICATES[name], x, y)
    if name in ("eq", "ne"):
        return b.icmp(name, x, y)
    return b.icmp(("s" if of.kind == "i" else "u") + name, x, y)


__all__ = [
    "NARROW", "Number", "constant_of", "from_memory", "memory_kind", "read_narrow",
    "register_kind", "render", "round_narrow", "to_memory", "write_narrow",
]  # fmt: skip

"""One number as another type: `convert` keeps the value where it can, `bitcast` the bits.

Floats become integers toward zero, clamped to the range, NaN becoming 0. Floats of 16 bits are f32
numbers in registers; whatever becomes one is rounded here.
"""

from __future__ import annotations

import numpy as np

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.narrow import (
    NARROW,
    read_narrow,
    round_narrow,
    rounded_to_odd,
    write_narrow,
)
from funcgrad.core import dtypes


def register_kind(dtype: np.dtype) -> str:
    """The kind of scalar that a real number of this dtype is in registers."""
    if dtype == dtypes.bool_:
        return "i1"
    if dtypes.is_integer(dtype):
        return f"i{8 * dtype.itemsize}"
    return "f64" if dtype == dtypes.float64 else "f32"


def memory_kind(dtype: np.dtype) -> str:
    """The kind of scalar that a real number of this dtype is in memory."""
    if dtype == dtypes.bool_:
        return "i8"
    return "i16" if dtype in NARROW else register_kind(dtype)


def from_memory(b: Builder, stored: Value, dtype: np.dtype) -> Value:
    """What was loaded as `memory_kind`, as it is held in registers."""
    if dtype == dtypes.bool_:
        return b.icmp("ne", stored, b.like(0, stored))
    return read_narrow(b, stored, dtype) if dtype in NARROW else stored


def to_memory(b: Builder, x: Value, dtype: np.dtype) -> Value:
    """What is stored as `memory_kind`. Floats of 16 bits must be rounded already."""
    if dtype == dtypes.bool_:
        return b.cast("zext", x, "i8")
    return write_narrow(b, x, dtype) if dtype in NARROW else x


# ---- convert -------------------------------------------------------------------------------------


def convert(b: Builder, x: Value, old: np.dtype, new: np.dtype) -> Value:
    """A real number as another real dtype."""
    if new == dtypes.bool_:
        return _nonzero(b, x)
    if dtypes.is_integer(new):
        return _to_integer(b, x, old, new)
    return _to_float(b, x, old, new)


def _nonzero(b: Builder, x: Value) -> Value:
    if x.type.kind == "i1":
        return x
    zero = b.like(0, x)
    return b.fcmp("une", x, zero) if x.type.is_float else b.icmp("ne", x, zero)


def _to_integer(b: Builder, x: Value, old: np.dtype, new: np.dtype) -> Value:
    kind = register_kind(new)
    if x.type.is_float:
        return _saturated(b, x, new)
    if x.type.bits >= 8 * new.itemsize:
        return b.cast("trunc", x, kind)
    return b.cast("sext" if old.kind == "i" else "zext", x, kind)


def _saturated(b: Builder, x: Value, new: np.dtype) -> Value:
    """Narrow integers go through i32, which every machine converts to. A lane whose conversion is
    undefined is not chosen.
    """
    info, kind = np.iinfo(new), register_kind(new)
    through = "i32" if new.itemsize < 4 else kind
    unsigned = info.min == 0 and through == kind
    number = b.cast("fptoui" if unsigned else "fptosi", x, through)
    number = b.cast("trunc", number, kind)
    above = b.fcmp("oge", x, b.like(float(int(info.max) + 1), x))
    below = b.fcmp("olt", x, b.like(float(info.min), x))
    number = b.select(above, b.like(int(info.max), number), number)
    number = b.select(below, b.like(int(info.min), number), number)
    return b.select(b.fcmp("uno", x, x), b.like(0, number), number)


def _to_float(b: Builder, x: Value, old: np.dtype, new: np.dtype) -> Value:
    if new == dtypes.float16 and (old == dtypes.float64 or x.type.bits > 32):
        return round_narrow(b, rounded_to_odd(b, _number(b, x, old, "f64")), new)
    number = _number(b, x, old, register_kind(new))
    return round_narrow(b, number, new) if new in NARROW and old != new else number


def _number(b: Builder, x: Value, old: np.dtype, kind: str) -> Value:
    """A number of any real type as f32 or f64."""
    if x.type.kind == "i1":
        one, zero = (b.const(v, x.type.of(kind)) for v in (1.0, 0.0))
        return b.select(x, one, zero)
    if not x.type.is_float:
        return b.cast("sitofp" if old.kind == "i" else "uitofp", x, kind)
    return b.cast("fpext" if kind == "f64" else "fptrunc", x, kind)


# ---- bits ----------------------------------------------------------------------------------------


def bitcast(b: Builder, x: Value, old: np.dtype, new: np.dtype) -> Value:
    """The same bits as another dtype of the same size."""
    if old == new:
        return x
    return from_memory(b, b.bitcast(to_memory(b, x, old), memory_kind(new)), new)

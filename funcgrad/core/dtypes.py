"""Element types: names, classes, default widths, and the lattice by which types are promoted.

Python numbers are *weak*: they take the type of their partner and fall back to the default width,
32 bits unless `enable_x64`. A 64-bit type that somebody asked for is always honoured, and stays 64
bits through every operation.
"""

from __future__ import annotations

import functools
from typing import Any, NoReturn, TypeAlias

import ml_dtypes
import numpy as np

from funcgrad.config import config

bool_ = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(t) for t in (np.int8, np.int16, np.int32, np.int64))
uint8, uint16, uint32, uint64 = (np.dtype(t) for t in (np.uint8, np.uint16, np.uint32, np.uint64))
bfloat16 = np.dtype(ml_dtypes.bfloat16)
float16, float32, float64 = (np.dtype(t) for t in (np.float16, np.float32, np.float64))
complex64, complex128 = np.dtype(np.complex64), np.dtype(np.complex128)
float0 = np.dtype([("float0", np.void, 0)])

SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
FLOATS = (bfloat16, float16, float32, float64)
COMPLEX = (complex64, complex128)
ALL = (bool_, *UNSIGNED, *SIGNED, *FLOATS, *COMPLEX)

_SHORT = {
    bool_: "bool",
    bfloat16: "bf16",
    **{t: f"{'i' if t.kind == 'i' else t.kind}{8 * t.itemsize}" for t in SIGNED + UNSIGNED},
    **{t: f"{t.kind}{8 * t.itemsize}" for t in (float16, float32, float64, *COMPLEX)},
    float0: "float0",
}


class KeyDtype:
    """The element type of random keys. One key is `words` 32-bit words of the buffer's last
    dimension.
    """

    __slots__ = ("name", "tag", "words")
    kind, itemsize = "K", 8

    def __init__(self, name: str, tag: str, words: int) -> None:
        self.name, self.tag, self.words = name, tag, words

    @property
    def type(self) -> NoReturn:
        """What turns numbers into this type: nothing does."""
        raise TypeError("random keys are not numbers: use random.key_data(key) for their bits.")

    def __repr__(self) -> str:
        return f"key<{self.tag}>"

    def __reduce__(self) -> str:
        return "threefry_key"


threefry_key = KeyDtype("threefry2x32", "fry", 2)

DType: TypeAlias = Any  # a numpy.dtype or a KeyDtype; what a primitive accepts says which


def short_name(dtype: DType) -> str:
    """`f32`, `i8`, `bool`, `key<fry>`: as programs are printed."""
    return _SHORT.get(dtype) or str(dtype)  # type: ignore[arg-type]


def is_key(dtype: Any) -> bool:
    return type(dtype) is KeyDtype


def is_float(dtype: Any) -> bool:
    """Real floating point, bfloat16 included (NumPy files it under 'V')."""
    return dtype in FLOATS


def is_complex(dtype: Any) -> bool:
    return dtype.kind == "c"


def is_inexact(dtype: Any) -> bool:
    """Floating or complex: the types that have tangents."""
    return dtype.kind in "fc" or dtype == bfloat16


def is_integer(dtype: Any) -> bool:
    return dtype.kind in "iu"


# ---- classes of types, for issubdtype ------------------------------------------------------------


class prng_key(np.generic):
    """The class of random key types: `issubdtype(key.dtype, prng_key)`."""


def issubdtype(a: Any, b: Any) -> bool:
    """Is type `a` in class `b`? As `numpy.issubdtype`, with bfloat16 floating and keys apart."""
    if is_key(a):
        return b is prng_key or b is a
    if b is prng_key or is_key(b):
        return False
    if a is prng_key:
        return False
    left = a if isinstance(a, type) and issubclass(a, np.generic) else np.dtype(a)
    right = b if isinstance(b, type) and issubclass(b, np.generic) else np.dtype(b)
    if left == bfloat16 or left is ml_dtypes.bfloat16:
        return right in (
            bfloat16,
            ml_dtypes.bfloat16,
            np.floating,
            np.inexact,
            np.number,
            np.generic,
        )
    return bool(np.issubdtype(left, right))


# ---- defaults and canonical types
# ------------------------------------------------------------------


def wide() -> bool:
    """Are the defaults 64 bits wide?"""
    return config.current().enable_x64


def default_int() -> np.dtype:
    return int64 if wide() else int32


def default_float() -> np.dtype:
    return float64 if wide() else float32


def default_complex() -> np.dtype:
    return complex128 if wide() else complex64


_NARROW = {int64: int32, uint64: uint32, float64: float32, complex128: complex64}


def narrowed(dtype: DType) -> DType:
    """The default width of a type that nobody asked for by name: 64 bits become 32 unless
    `enable_x64`.
    """
    return dtype if wide() else _NARROW.get(dtype, dtype)  # type: ignore[call-overload, arg-type]


_PYTHON = {bool: lambda: bool_, int: default_int, float: default_float, complex: default_complex}


@functools.lru_cache(maxsize=1024)
def _explicit(dtype: Any) -> DType:
    if is_key(dtype):
        return dtype
    result = np.dtype(dtype)
    long = result.itemsize > (16 if result.kind == "c" else 8)  # than double, as C's long double
    if (
        long
        or result.kind in "OSUMm"
        or (result.kind == "V" and result != bfloat16 and result != float0)
    ):
        if result not in _EXTENDED:
            raise TypeError(f"dtype {result} is not one of: {', '.join(map(short_name, ALL))}.")
    return result if result.isnative else np.dtype(result.type)  # the one object of its kind


_EXTENDED = tuple(
    np.dtype(getattr(ml_dtypes, name))
    for name in (
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3b11fnuz",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
    )
)


def as_dtype(dtype: Any) -> DType:
    """The type that a user's `dtype=` means: 64 bits are honoured; Python's types are the
    default width.
    """
    try:
        if dtype in _PYTHON:
            return _PYTHON[dtype]()
        if not isinstance(dtype, (np.dtype, KeyDtype, type)):
            dtype = getattr(dtype, "dtype", dtype)
            if isinstance(dtype, str) and dtype == "bfloat16":
                return bfloat16
        return _explicit(dtype)
    except TypeError:
        raise TypeError(
            "dtype: needs a type of numbers, such as 'float32' or numpy.int8, "
            f"but got {dtype!r:.60}."
        ) from None


def real_part(dtype: np.dtype) -> np.dtype:
    """The type of the real and imaginary parts."""
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def accumulator(dtype: np.dtype) -> np.dtype:
    """The type in which sums and products of `dtype` are accumulated."""
    return float32 if dtype in (bfloat16, float16) else dtype


def finfo(dtype: Any) -> Any:
    """Limits of a floating type (or of the parts of a complex one), bfloat16 included: eps, max,
    tiny, ...
    """
    return ml_dtypes.finfo(as_dtype(dtype))


def iinfo(dtype: Any) -> Any:
    """Limits of an integer type: bits, min, max."""
    return ml_dtypes.iinfo(as_dtype(dtype))


@functools.lru_cache(maxsize=256)
def tangent_dtype(dtype: DType) -> DType:
    """The type of tangents: its own for inexact types, float0 for the others."""
    return dtype if not is_key(dtype) and is_inexact(dtype) else float0


# ---- promotion
# --------------------------------------------------------------------------------------

WEAK_INT, WEAK_FLOAT, WEAK_COMPLEX = "i*", "f*", "c*"
_LATTICE: dict[Any, tuple[Any, ...]] = {
    bool_: (WEAK_INT,),
    WEAK_INT: (uint8, int8),
    uint8: (int16, uint16),
    int8: (int16,),
    uint16: (int32, uint32),
    int16: (int32,),
    uint32: (int64, uint64),
    int32: (int64,),
    uint64: (WEAK_FLOAT,),
    int64: (WEAK_FLOAT,),
    WEAK_FLOAT: (bfloat16, float16, WEAK_COMPLEX),
    bfloat16: (float32,),
    float16: (float32,),
    float32: (float64, complex64),
    float64: (complex128,),
    WEAK_COMPLEX: (complex64,),
    complex64: (complex128,),
    complex128: (),
}


def _above(node: Any) -> frozenset[Any]:
    return frozenset({node}).union(*(_above(parent) for parent in _LATTICE[node]))


_ABOVE = {node: _above(node) for node in _LATTICE}


def _join(nodes: frozenset[Any]) -> Any:
    """The least type above all of `nodes`."""
    common = frozenset.intersection(*(_ABOVE[node] for node in nodes))
    return next(node for node in common if common <= _ABOVE[node])


def _node(dtype: DType, weak: bool) -> Any:
    if dtype in _EXTENDED:
        raise TypeError(f"{dtype} promotes to no other type by itself: convert with astype first.")
    if is_key(dtype):
        raise TypeError(
            "random keys take part in no arithmetic: use random.key_data for their bits."
        )
    if not weak or dtype == bool_:
        return dtype
    return WEAK_INT if is_integer(dtype) else WEAK_COMPLEX if is_complex(dtype) else WEAK_FLOAT


@functools.lru_cache(maxsize=4096)
def _promote(
    operands: tuple[tuple[DType, bool], ...], x64: bool, strict: bool
) -> tuple[DType, bool]:
    dtypes = {dtype for dtype, _ in operands}
    all_weak = all(weak for _, weak in operands)
    if len(dtypes) == 1:
        return next(iter(dtypes)), all_weak
    strong = {dtype for dtype, weak in operands if not weak}
    if strict and len(strong) > 1:
        names = ", ".join(sorted(map(short_name, strong)))
        raise TypeError(
            f"numpy_dtype_promotion is strict, and the operands have types {names}: use astype."
        )
    keep = x64 or any(dtype.itemsize >= (16 if is_complex(dtype) else 8) for dtype in dtypes)
    nodes = frozenset(_node(dtype, weak and not all_weak) for dtype, weak in operands)
    joined = _join(nodes)
    weak = all_weak or joined in (WEAK_INT, WEAK_FLOAT, WEAK_COMPLEX)
    wide_default = {WEAK_INT: int64, WEAK_FLOAT: float64, WEAK_COMPLEX: complex128}.get(
        joined, joined
    )
    return (
        wide_default if keep else _NARROW.get(wide_default, wide_default)
    ), weak and wide_default != bool_


def promote(operands: tuple[tuple[DType, bool], ...]) -> tuple[DType, bool]:
    """The common type of (dtype, weak) pairs, and whether it is weak: JAX's lattice.

    A join that leaves 32 bits (int32 with uint32) gives the default width, unless an operand is 64
    bits wide itself.
    """
    state = config.current()
    return _promote(operands, state.enable_x64, state.numpy_dtype_promotion == "strict")


@functools.lru_cache(maxsize=1024)
def to_inexact(dtype: DType) -> DType:
    """The floating type in which a function of integers is computed, float64 for 64-bit ones
    only; floats stay.
    """
    if is_key(dtype):
        raise TypeError(
            "random keys take part in no arithmetic: use random.key_data for their bits."
        )
    if is_inexact(dtype):
        return dtype
    return float64 if dtype in (int64, uint64) else float32

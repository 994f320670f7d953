"""Steps that the functions share: powers of two by their bits, products and sums without error,
code that only rare arguments need.

Nothing here relies on a fused multiply-add where exactness matters: products that must be exact
have factors with few bits, or are split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from funcgrad.backends.llvm.builder import Builder, Type, Value
from funcgrad.backends.llvm.target import Target
from funcgrad.backends.llvm.values import literal

Function = Callable[..., Value]


class Format(NamedTuple):
    """What is stored where in a float: the bits of the mantissa and the bias of the exponent."""

    mantissa: int
    bias: int
    smallest: float  # the smallest normal number
    split: float  # 2**k + 1 cuts a number into halves whose products are exact (Veltkamp)


FORMATS = {
    "f32": Format(23, 127, 2.0**-126, 2.0**12 + 1),
    "f64": Format(52, 1023, 2.0**-1022, 2.0**27 + 1),
}


def format_of(x: Value) -> Format:
    return FORMATS[x.type.kind]


# ---- powers of two -------------------------------------------------------------------------------


class Rounded(NamedTuple):
    """An integer as a float and as bits."""

    number: Value
    integer: Value


def rounded(b: Builder, x: Value) -> Rounded:
    """The nearest integers, for numbers below 2**21 (f32) or 2**50 (f64): adding 1.5 * 2**mantissa
    leaves them in the lowest bits. NaN gives some integer.
    """
    magic = b.like(1.5 * 2.0 ** format_of(x).mantissa, x)
    return _unshifted(b, b.fadd(x, magic), magic)


def rounded_product(b: Builder, x: Value, factor: float) -> Rounded:
    """The integers nearest to x * factor; either neighbour half-way."""
    magic = b.like(1.5 * 2.0 ** format_of(x).mantissa, x)
    return _unshifted(b, b.fma(x, b.like(factor, x), magic), magic)


def _unshifted(b: Builder, shifted: Value, magic: Value) -> Rounded:
    return Rounded(b.fsub(shifted, magic), b.sub(b.bits(shifted), b.bits(magic)))


def power_of_two(b: Builder, n: Value, kind: str) -> Value:
    """2**n for integers whose power is a normal number."""
    form = FORMATS[kind]
    return b.from_bits(b.shl(b.add(n, b.like(form.bias, n)), form.mantissa))


def has_scaling(b: Builder, x: Value) -> bool:
    """Does the machine multiply a full register by powers of two in one instruction?"""
    return b.module.target.vector_bytes == 64 and x.type.bits * x.type.lanes == 512


def scaled(b: Builder, x: Value, n: Rounded) -> Value:
    """x * 2**n, rounded once, for 1/4 <= |x| <= 4, or x = 0, and results of any size."""
    if has_scaling(b, x):
        kind, mask = ("ps", "i16") if x.type.kind == "f32" else ("pd", "i8")
        args = [x, n.number, x, Value("-1", Type(mask)), Value("4", Type("i32"))]
        return b.call(f"llvm.x86.avx512.mask.scalef.{kind}.512", x.type, args)
    half = b.ashr(n.integer, 1)
    rest = b.sub(n.integer, half)
    partly = b.fmul(x, power_of_two(b, half, x.type.kind))
    return b.fmul(partly, power_of_two(b, rest, x.type.kind))


# ---- sums and products with their errors ---------------------------------------------------------


class Double(NamedTuple):
    """The unevaluated sum of a number and a correction to it."""

    high: Value
    low: Value


def two_sum(b: Builder, x: Value, y: Value) -> Double:
    """x + y exactly (Knuth)."""
    high = b.fadd(x, y)
    part = b.fsub(high, x)
    return Double(high, b.fadd(b.fsub(x, b.fsub(high, part)), b.fsub(y, part)))


def quick_two_sum(b: Builder, x: Value, y: Value) -> Double:
    """x + y exactly where |x| >= |y| (Dekker)."""
    high = b.fadd(x, y)
    return Double(high, b.fsub(y, b.fsub(high, x)))


def halves(b: Builder, x: Value) -> Double:
    """A number as a sum of two with half as many bits each."""
    wide = b.fmul(x, b.like(format_of(x).split, x))
    high = b.fsub(wide, b.fsub(wide, x))
    return Double(high, b.fsub(x, high))


def two_product(b: Builder, x: Value, y: Value) -> Double:
    """x * y exactly, for numbers far from overflow and underflow (Dekker without fused
    multiply-add).
    """
    high = b.fmul(x, y)
    if b.module.target.fma:
        return Double(high, b.fma(x, y, b.fneg(high)))
    (a, c), (d, e) = halves(b, x), halves(b, y)
    error = b.fsub(b.fmul(a, d), high)
    error = b.fadd(b.fadd(error, b.fmul(a, e)), b.fmul(c, d))
    return Double(high, b.fadd(error, b.fmul(c, e)))


def double_product(b: Builder, x: Double, y: Double) -> Double:
    """The product of two sums, to about twice the bits of a number."""
    high, low = two_product(b, x.high, y.high)
    cross = b.fma(x.high, y.low, b.fmul(x.low, y.high))
    return quick_two_sum(b, high, b.fadd(low, cross))


def double_sum(b: Builder, x: Double, y: Double) -> Double:
    """The sum of two sums, to about twice the bits of a number unless they cancel."""
    high, low = two_sum(b, x.high, y.high)
    return quick_two_sum(b, high, b.fadd(low, b.fadd(x.low, y.low)))


# ---- polynomials and tables ----------------------------------------------------------------------


LONG = 9  # from so many coefficients on, waiting for one product after the other costs most


def polynomial(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """Highest power first; long ones as p(x**2) + x q(x**2), two chains side by side."""
    if len(coefficients) < LONG:
        return b.polynomial(x, coefficients)
    z, lowest_first = b.fmul(x, x), coefficients[::-1]
    even, odd = (b.polynomial(z, lowest_first[k::2][::-1]) for k in (0, 1))
    return b.fma(odd, x, even)


LOOKED_UP = 16  # numbers at once


def has_lookup(target: Target) -> bool:
    """Does the machine choose from 32 numbers in registers, one for each lane of 32 bits?"""
    return target.vector_bytes == 64


def lookup(b: Builder, index: Value, table: Sequence[float]) -> Value:
    """Entries of a table of 32 numbers; of the index the lowest five bits count."""
    type = index.type.of("f32")
    halves = [
        Value(f"<{', '.join('float ' + literal(v, 'f32') for v in table[k : k + 16])}>", type)
        for k in (0, 16)
    ]
    return b.call("llvm.x86.avx512.vpermi2var.ps.512", type, [halves[0], index, halves[1]])


# ---- choices -------------------------------------------------------------------------------------


def choose(b: Builder, otherwise: Value, *cases: tuple[Value, float | Value]) -> Value:
    """The value of the last case whose condition holds, or `otherwise`."""
    result = otherwise
    for condition, value in cases:
        chosen = value if isinstance(value, Value) else b.like(value, otherwise)
        result = b.select(condition, chosen, result)
    return result


def at_most(b: Builder, x: Value, limit: float) -> Value:
    """The smaller of x and a number; NaN stays."""
    return b.fmin(b.like(limit, x), x)


def at_least(b: Builder, x: Value, limit: float) -> Value:
    """The larger of x and a number; NaN stays."""
    return b.fmax(b.like(limit, x), x)


def compared(b: Builder, predicate: str, x: Value, number: float) -> Value:
    """A comparison with a number."""
    return b.fcmp(predicate, x, b.like(number, x))


def is_nan(b: Builder, x: Value) -> Value:
    return b.fcmp("uno", x, x)


# ---- rare and dear code --------------------------------------------------------------------------


def where_rare(b: Builder, rare: Value, common: Value, compute: Callable[[], Value]) -> Value:
    """`common`, but `compute()` in the lanes marked `rare`; jumped over if there are none."""
    (result,) = b.branch(b.any(rare), lambda: [b.select(rare, compute(), common)], lambda: [common])
    return result


def outlined(b: Builder, name: str, write: Function, *args: Value, result: Type) -> Value:
    """A call of a function that is written once for the types of its arguments."""
    types = [a.type for a in args]
    full = f"{name}_{'_'.join(t.suffix for t in types)}"
    b.module.function(full, types, result, write, "noinline ")
    return b.call(full, result, args)


_DEAR: set[Function] = set()


def dear(write: Function) -> Function:
    """A function whose code is long: every call of it calls one copy."""
    if write in _DEAR:
        return write
    name = f"math_{write.__name__.strip('_')}"

    def called(b: Builder, *args: Value) -> Value:
        return outlined(b, name, write, *args, result=args[0].type)

    called.__name__, called.__doc__ = write.__name__, write.__doc__
    _DEAR.add(called)
    return called


def in_float64(b: Builder, function: Function, *args: Value) -> Value:
    """A function of f32 numbers, computed in f64 and rounded once."""
    wide = function(b, *(b.cast("fpext", a, "f64") for a in args))
    return b.cast("fptrunc", wide, args[0].type.kind)

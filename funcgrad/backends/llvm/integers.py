"""Operations on integers and bools: the edges of division and shifts are those of the primitives.

LLVM leaves division by zero, overflow and wide shifts undefined; operands are replaced there, and
then the result.
"""

from __future__ import annotations

from collections.abc import Callable

from funcgrad.backends.llvm.builder import I1, Builder, Value

Operation = Callable[..., Value]


def lowest(x: Value, signed: bool) -> int:
    """The smallest value of the type."""
    return -(1 << (x.type.bits - 1)) if signed else 0


# ---- division ------------------------------------------------------------------------------------


def div(b: Builder, x: Value, y: Value, signed: bool) -> Value:
    """x / y towards zero; all bits set where y is 0; the lowest value by -1 stays itself."""
    by_zero = b.icmp("eq", y, b.like(0, y))
    return b.select(by_zero, b.like(-1, x), _quotient(b, x, _divisor(b, x, y, signed), signed))


def rem(b: Builder, x: Value, y: Value, signed: bool) -> Value:
    """What x / y leaves; x where y is 0."""
    safe = _divisor(b, x, y, signed)
    rest = b.sub(x, b.mul(_quotient(b, x, safe, signed), safe))
    return b.select(b.icmp("eq", y, b.like(0, y)), x, rest)


def _divisor(b: Builder, x: Value, y: Value, signed: bool) -> Value:
    """y, or 1 where the quotient is undefined or is x itself."""
    undefined = b.icmp("eq", y, b.like(0, y))
    if signed:
        least = b.icmp("eq", x, b.like(lowest(x, True), x))
        undefined = b.or_(undefined, b.and_(least, b.icmp("eq", y, b.like(-1, y))))
    return b.select(undefined, b.like(1, y), y)


def _quotient(b: Builder, x: Value, y: Value, signed: bool) -> Value:
    """Vectors divide as floats with more than twice the bits, whose rounding cannot reach the next
    integer.
    """
    if x.type.lanes == 1 or x.type.bits == 64:
        return b.binary("sdiv" if signed else "udiv", x, y)
    kind = "f64" if x.type.bits == 32 else "f32"
    extend = "sitofp" if signed else "uitofp"
    quotient = b.fdiv(b.cast(extend, x, kind), b.cast(extend, y, kind))
    if x.type.bits == 32:
        return b.cast("fptosi" if signed else "fptoui", quotient, "i32")
    return b.cast("trunc", b.cast("fptosi", quotient, "i32"), x.type.kind)


# ---- order and sign ------------------------------------------------------------------------------


def minimum(b: Builder, x: Value, y: Value, signed: bool) -> Value:
    return b.intrinsic("smin" if signed else "umin", x, y)


def maximum(b: Builder, x: Value, y: Value, signed: bool) -> Value:
    return b.intrinsic("smax" if signed else "umax", x, y)


def negated(b: Builder, x: Value, signed: bool) -> Value:
    return b.sub(b.like(0, x), x)


def absolute(b: Builder, x: Value, signed: bool) -> Value:
    """The lowest value stays itself."""
    if not signed:
        return x
    return b.select(b.icmp("slt", x, b.like(0, x)), negated(b, x, signed), x)


def sign(b: Builder, x: Value, signed: bool) -> Value:
    """-1, 0 or 1."""
    positive = b.cast("zext", b.icmp("sgt" if signed else "ugt", x, b.like(0, x)), x.type.kind)
    return b.or_(positive, b.ashr(x, x.type.bits - 1)) if signed else positive


# ---- shifts and counts ---------------------------------------------------------------------------


def _shifted(b: Builder, operation: str, x: Value, y: Value) -> Value:
    """0 where the amount, read as an unsigned number, is not below the width."""
    inside = b.icmp("ult", y, b.like(x.type.bits, y))
    return b.select(inside, b.binary(operation, x, y), b.like(0, x))


def shift_left(b: Builder, x: Value, y: Value, signed: bool) -> Value:
    return _shifted(b, "shl", x, y)


def shift_right_logical(b: Builder, x: Value, y: Value, signed: bool) -> Value:
    return _shifted(b, "lshr", x, y)


def shift_right_arithmetic(b: Builder, x: Value, y: Value, signed: bool) -> Value:
    """The topmost bit everywhere where the amount is not below the width."""
    return b.ashr(x, b.intrinsic("umin", y, b.like(x.type.bits - 1, y)))


def population_count(b: Builder, x: Value, signed: bool) -> Value:
    return b.intrinsic("ctpop", x)


def count_leading_zeros(b: Builder, x: Value, signed: bool) -> Value:
    return b.call(f"llvm.ctlz.{x.type.suffix}", x.type, [x, Value("false", I1)])


INTEGER: dict[str, Operation] = {
    "add": lambda b, x, y, signed: b.add(x, y),
    "sub": lambda b, x, y, signed: b.sub(x, y),
    "mul": lambda b, x, y, signed: b.mul(x, y),
    "and_": lambda b, x, y, signed: b.and_(x, y),
    "or_": lambda b, x, y, signed: b.or_(x, y),
    "xor": lambda b, x, y, signed: b.xor(x, y),
    "not_": lambda b, x, signed: b.xor(x, b.like(-1, x)),
    "div": div, "rem": rem, "neg": negated, "abs": absolute, "sign": sign, "min": minimum,
    "max": maximum, "shl": shift_left, "shr_logical": shift_right_logical,
    "shr_arithmetic": shift_right_arithmetic, "popcount": population_count,
    "clz": count_leading_zeros,
}  # fmt: skip

# One bit is an unsigned number; sums and products are those of logic.
BOOL: dict[str, Operation] = {
    "and_": lambda b, x, y: b.and_(x, y),
    "or_": lambda b, x, y: b.or_(x, y),
    "xor": lambda b, x, y: b.xor(x, y),
    "not_": lambda b, x: b.xor(x, b.like(True, x)),
    "add": lambda b, x, y: b.or_(x, y),
    "mul": lambda b, x, y: b.and_(x, y),
    "min": lambda b, x, y: b.and_(x, y),
    "max": lambda b, x, y: b.or_(x, y),
    "abs": lambda b, x: x,
}

"""sin, cos and tan, from the sine and cosine of the reduced angle."""

from __future__ import annotations

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.angle_reduction import Angle, reduced_angle
from funcgrad.backends.llvm.vector_math.parts import dear, polynomial

# (sin(r) - r) / r**3 in r**2, for |r| <= 0.787
SIN_F32 = (-1.9507781e-04, 8.332106e-03, -1.6666654e-01)  # error 2**-27.8
SIN_F64 = (  # error 2**-57.9
    1.5895590824880683e-10, -2.505073709448097e-08, 2.7557313555729895e-06,
    -0.0001984126982940794, 0.008333333333321901, -0.1666666666666663,
)  # fmt: skip
# (cos(r) - 1 + r**2/2) / r**4 in r**2
COS_F32 = (2.443217e-05, -1.3887308e-03, 4.1666646e-02)  # error 2**-33
COS_F64 = (  # error 2**-63.9
    -1.1358085513980032e-11, 2.0875692332123486e-09, -2.75573141182738e-07,
    2.4801587288646403e-05, -0.001388888888887274, 0.04166666666666659,
)  # fmt: skip
SIN = {"f32": SIN_F32, "f64": SIN_F64}
COS = {"f32": COS_F32, "f64": COS_F64}


def sine(b: Builder, angle: Angle, z: Value) -> Value:
    """sin(r) with z = r**2."""
    cubic = b.fmul(b.fmul(z, angle.r), polynomial(b, z, SIN[z.type.kind]))
    if angle.rest is not None:
        cubic = b.fadd(cubic, angle.rest)
    return b.fadd(cubic, angle.r)


def cosine(b: Builder, angle: Angle, z: Value) -> Value:
    """cos(r) with z = r**2; 1 - z/2 is corrected by what it loses."""
    one = b.like(1.0, z)
    quartic = b.fmul(b.fmul(z, z), polynomial(b, z, COS[z.type.kind]))
    half = b.fmul(z, b.like(0.5, z))
    if angle.rest is None:
        return b.fadd(b.fsub(one, half), quartic)
    main = b.fsub(one, half)
    lost = b.fsub(b.fsub(one, main), half)
    lost = b.fsub(lost, b.fmul(angle.r, angle.rest))
    return b.fadd(main, b.fadd(lost, quartic))


def _is_odd(b: Builder, n: Value) -> Value:
    return b.icmp("ne", b.and_(n, b.like(1, n)), b.like(0, n))


def _turned(b: Builder, angle: Angle, n: Value) -> tuple[Value, Value]:
    """The sine of r + n pi/2 without its sign, and that sign as the topmost bit."""
    z = b.fmul(angle.r, angle.r)
    value = b.select(_is_odd(b, n), cosine(b, angle, z), sine(b, angle, z))
    return value, b.shl(b.and_(n, b.like(2, n)), n.type.bits - 2)


def sin(b: Builder, x: Value) -> Value:
    """The sine of x radians."""
    angle = reduced_angle(b, b.fabs(x))
    value, sign = _turned(b, angle, angle.n)
    own = b.and_(b.bits(x), b.bits(b.like(-0.0, x)))
    return b.from_bits(b.xor(b.bits(value), b.xor(sign, own)))


def cos(b: Builder, x: Value) -> Value:
    """The cosine of x radians."""
    angle = reduced_angle(b, b.fabs(x))
    value, sign = _turned(b, angle, b.add(angle.n, b.like(1, angle.n)))
    return b.from_bits(b.xor(b.bits(value), sign))


@dear
def tan(b: Builder, x: Value) -> Value:
    """The tangent of x radians."""
    angle = reduced_angle(b, b.fabs(x))
    z = b.fmul(angle.r, angle.r)
    s, c, odd = sine(b, angle, z), cosine(b, angle, z), _is_odd(b, angle.n)
    value = b.fdiv(b.select(odd, c, s), b.select(odd, s, c))
    own = b.and_(b.bits(x), b.bits(b.like(-0.0, x)))
    sign = b.shl(angle.n, x.type.bits - 1)
    return b.from_bits(b.xor(b.bits(value), b.xor(sign, own)))

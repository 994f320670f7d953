"""Singular values and vectors of real bidiagonal matrices, by implicit QR steps.

Demmel and Kahan 1990, "Accurate singular values of bidiagonal matrices": steps without a shift keep
the relative accuracy of small values. Directions, shifts, criteria and signs are those of LAPACK's
routines bdsqr, lasv2 and las2, so that vectors have the same signs.
"""

from __future__ import annotations

from funcgrad.backends.llvm.builder import I1, Type, Value
from funcgrad.backends.llvm.planes import Panel, Planes
from funcgrad.backends.llvm.terms import Term, hypotenuse, larger, where
from funcgrad.backends.llvm.tiles import whole
from funcgrad.backends.llvm.tridiagonal import SMALLEST, UNIT, Band, Block, givens, swap_rows

STEPS = 6  # times the square of the size: rotations, at most
TOLERANCE = min(100.0, UNIT ** (-1 / 8)) * UNIT


def smaller_of_two(f: Term, g: Term, h: Term) -> Term:
    """The smaller singular value of [[f, g], [0, h]]."""
    f, g, h = abs(f), abs(g), abs(h)
    low, high = where(f < h, f, h), where(f < h, h, f)
    safe = where(high == 0.0, 1.0, high)
    plus, minus = 1.0 + low / safe, (high - low) / safe
    ratio = g / safe
    near = low * (2.0 / (hypotenuse(plus, ratio) + hypotenuse(minus, ratio)))
    inverse = high / where(g == 0.0, 1.0, g)
    one = inverse * 0.0 + 1.0
    divisor = hypotenuse(one, plus * inverse) + hypotenuse(one, minus * inverse)
    far = 2.0 * (low / divisor) * inverse
    return where(low == 0.0, 0.0, where(g < high, near, far))


Rotation = tuple[Term, Term]


def singular_of_two(f: Term, g: Term, h: Term) -> tuple[Term, Term, Rotation, Rotation]:
    """Of [[f, g], [0, h]]: the larger and the smaller singular value with signs, and the rotations
    (cosine, sine) from the left and from the right that make it diagonal.
    """
    one = f * 0.0 + 1.0
    swapped = abs(h) > abs(f)
    ft, ht = where(swapped, h, f), where(swapped, f, h)
    fa, ga, ha = abs(ft), abs(g), abs(ht)
    diagonal = ga == 0.0
    dominated = ga > fa
    huge = dominated & (fa / where(diagonal, 1.0, ga) < UNIT)
    d = fa - ha
    l = where(d == fa, 1.0, d / where(fa == 0.0, 1.0, fa))
    m = g / where(ft == 0.0, 1.0, ft)
    t = 2.0 - l
    s, r = hypotenuse(t, m), where(l == 0.0, abs(m), hypotenuse(l, m))
    a = 0.5 * (s + r)
    flat = m * m == 0.0
    signed = g / where(d == 0.0, 1.0, d).signed(ft) + m / t
    limit = where(l == 0.0, (2.0 * one).signed(ft) * one.signed(g), signed)
    general = (m / (s + t) + m / where(r + l == 0.0, 1.0, r + l)) * (1.0 + a)
    t = where(flat, limit, general)
    length = (t * t + 4.0).sqrt()
    cr, sr = 2.0 / length, t / length
    cl = (cr + sr * m) / a
    sl = (ht / where(ft == 0.0, 1.0, ft)) * sr / a
    low, high = ha / a, fa * a
    far = where(ha > 1.0, fa / where(huge, ga / where(ha == 0.0, 1.0, ha), 1.0), (fa / ga) * ha)
    safe = where(diagonal, 1.0, g)
    low, high = where(huge, far, low), where(huge, ga, high)
    cl, sl = where(huge, 1.0, cl), where(huge, ht / safe, sl)
    cr, sr = where(huge, ft / safe, cr), where(huge, 1.0, sr)
    low, high = where(diagonal, ha, low), where(diagonal, fa, high)
    cl, cr = where(diagonal, 1.0, cl), where(diagonal, 1.0, cr)
    sl, sr = where(diagonal, 0.0, sl), where(diagonal, 0.0, sr)
    left = where(swapped, sr, cl), where(swapped, cr, sl)
    right = where(swapped, sl, cr), where(swapped, cl, sr)
    middle = dominated & ~diagonal
    one_right = where(middle | swapped, right[1], right[0])
    one_left = where(~middle & swapped, left[1], left[0])
    given = where(middle, g, where(swapped, h, f))
    sign = one.signed(one_right) * one.signed(one_left) * one.signed(given)
    return high.signed(sign), low.signed(sign * one.signed(f) * one.signed(h)), left, right


class Bidiagonal(Band):
    """A real upper bidiagonal matrix, and the rows that rotations from the left and from the right
    act on: planes of the same strides, if any. A step is a rotation.
    """

    def __init__(self, panel: Panel, size: int, sides: tuple[Planes, Planes] | None) -> None:
        super().__init__(panel, size)
        self.sides = sides
        self.threshold = panel.b.alloca("f64", 1)

    def rotate(self, side: Planes | None, i: Value, k: Value, rotation: Rotation) -> None:
        """The rotation of rows i and k."""
        if side is not None:
            c, s = rotation
            self.panel.rotate(side, i, k, c.value, s.value)

    def _sides(self, turned: Value) -> tuple[Planes, Planes] | tuple[None, None]:
        """What rotations from the left and from the right act on; exchanged where the matrix is
        seen from its other end.
        """
        if self.sides is None:
            return None, None
        x, y = self.sides
        b = self.b
        one = b.select(turned, y.pointer, x.pointer)
        return x._replace(pointer=one), y._replace(pointer=b.select(turned, x.pointer, y.pointer))

    # ---- blocks

    def make_upper(self) -> None:
        """Of a lower bidiagonal matrix; by rotations from the left."""
        b = self.b
        left = self.sides[0] if self.sides else None

        def one(i: Value, _: list[Value]) -> None:
            following = b.add(i, whole(1))
            c, s, r = givens(self.d(i), self.e(i))
            self.set_d(i, r)
            self.set_e(i, s * self.d(following))
            self.set_d(following, c * self.d(following))
            self.rotate(left, i, following, (c, s))

        b.loop(0, self.size - 1, 1, [], one)

    def solve(self, finite: Value) -> None:
        """The diagonal becomes the singular values, which descend."""
        b = self.b
        budget = whole(STEPS * self.size * self.size)
        b.store(b.select(finite, budget, whole(0)), self.left)
        b.store(self._least().value, self.threshold)

        def more(carried: list[Value]) -> Value:
            left = b.icmp("sgt", b.load(self.left, Type("i64")), whole(0))
            return b.and_(left, b.icmp("sgt", carried[0], whole(0)))

        minus = whole(-1)
        b.while_([whole(self.size - 1), minus, minus, b.const(0, I1)], more, self._turn)
        self._make_positive()
        self._sort()

    def _least(self) -> Term:
        """What is negligible beside the smallest singular value."""
        b = self.b
        first = abs(self.d(0))

        def one(i: Value, carried: list[Value]) -> list[Value]:
            mu, least = (Term(b, x) for x in carried)
            mu = _next(mu, self.d(i), self.e(b.sub(i, whole(1))))
            return [mu.value, where(mu < least, mu, least).value]

        _, least = b.loop(1, self.size, 1, [first.value, first.value], one)
        bound = TOLERANCE * (Term(b, least) / self.size**0.5)
        return larger(bound, STEPS * self.size * (self.size * SMALLEST))

    def _turn(self, carried: list[Value]) -> list[Value]:
        """The last block: split, finished, or worked on once."""
        b = self.b
        high, old_low, old_high, turned = carried
        low, most = self._start(high)
        size = b.sub(high, low)

        def single() -> list[Value]:
            return [b.sub(high, whole(1)), old_low, old_high, turned]

        def pair() -> list[Value]:
            self._pair(low)
            return [b.sub(high, whole(2)), old_low, old_high, turned]

        def longer() -> list[Value]:
            other = b.or_(b.icmp("sgt", low, old_high), b.icmp("slt", high, old_low))
            downhill = (abs(self.d(low)) < abs(self.d(high))).value
            way = b.select(other, downhill, turned)
            block = Block(b, low, high, way)
            split, least = self._split(block)

            def step() -> list[Value]:
                self._step(block, most, least)
                return [high, low, high, way]

            return b.branch(split, lambda: [high, old_low, old_high, way], step)

        one, two = (b.icmp("eq", size, whole(n)) for n in (0, 1))
        return b.branch(one, single, lambda: b.branch(two, pair, longer))

    def _start(self, high: Value) -> tuple[Value, Term]:
        """The first row of the block that ends at `high`, and its largest number."""
        b = self.b
        threshold = Term(b, b.load(self.threshold, Type("f64")))

        def linked(carried: list[Value]) -> Value:
            low = carried[0]
            inside = b.icmp("sgt", low, whole(0))
            before = b.select(inside, b.sub(low, whole(1)), whole(0))
            small = (abs(self.e(before)) <= threshold).value
            return b.and_(inside, b.xor(small, b.const(1, I1)))

        def further(carried: list[Value]) -> list[Value]:
            low, most = b.sub(carried[0], whole(1)), Term(b, carried[1])
            most = larger(larger(abs(self.d(low)), abs(self.e(low))), most)
            return [low, most.value]

        low, most = b.while_([high, abs(self.d(high)).value], linked, further)
        zero = self.panel.number(0.0)
        inside = b.icmp("sgt", low, whole(0))
        b.when(inside, lambda: self.set_e(b.sub(low, whole(1)), zero))
        return low, Term(b, most)

    def _pair(self, i: Value) -> None:
        """Two rows alone."""
        b = self.b
        following = b.add(i, whole(1))
        high, low, left, right = singular_of_two(self.d(i), self.e(i), self.d(following))
        self.set_d(i, high)
        self.set_d(following, low)
        self.set_e(i, self.panel.number(0.0))
        if self.sides is not None:
            self.rotate(self.sides[0], i, following, left)
            self.rotate(self.sides[1], i, following, right)

    def _split(self, block: Block) -> tuple[Value, Term]:
        """Makes one negligible element zero: was there one, and the smallest value's bound."""
        b, zero = self.b, self.panel.number(0.0)
        last = block.link(b.sub(block.last, whole(1)))
        at_end = abs(self.e(last)) <= TOLERANCE * abs(self.d(block.row(block.last)))
        first = abs(self.d(block.row(whole(0)))).value

        def large(carried: list[Value]) -> Value:
            j, mu = carried[0], Term(b, carried[1])
            inside = b.icmp("slt", j, block.last)
            at = block.link(b.select(inside, j, whole(0)))
            small = (abs(self.e(at)) <= TOLERANCE * mu).value
            return b.and_(inside, b.xor(small, b.const(1, I1)))

        def further(carried: list[Value]) -> list[Value]:
            j, mu, least = carried[0], Term(b, carried[1]), Term(b, carried[2])
            following = b.add(j, whole(1))
            mu = _next(mu, self.d(block.row(following)), self.e(block.link(j)))
            return [following, mu.value, where(mu < least, mu, least).value]

        def search() -> list[Value]:
            j, _, least = b.while_([whole(0), first, first], large, further)
            found = b.icmp("slt", j, block.last)
            b.when(found, lambda: self.set_e(block.link(j), zero))
            return [found, least]

        def ended() -> list[Value]:
            self.set_e(last, zero)
            return [b.const(1, I1), first]

        split, least = b.branch(at_end.value, ended, search)
        return split, Term(b, least)

    # ---- steps

    def _step(self, block: Block, most: Term, least: Term) -> None:
        b = self.b
        b.store(b.sub(b.load(self.left, Type("i64")), block.last), self.left)
        shift = self._shift(block, most, least)
        zero = (shift == 0.0).value

        def without() -> list[Value]:
            self._without_shift(block)
            return []

        def shifted() -> list[Value]:
            self._with_shift(block, shift)
            return []

        b.branch(zero, without, shifted)
        end = block.link(b.sub(block.last, whole(1)))
        threshold = Term(b, b.load(self.threshold, Type("f64")))
        small = (abs(self.e(end)) <= threshold).value
        b.when(small, lambda: self.set_e(end, self.panel.number(0.0)))

    def _shift(self, block: Block, most: Term, least: Term) -> Term:
        """The smaller singular value of the last two rows; zero if it would cost accuracy."""
        b = self.b
        before = b.sub(block.last, whole(1))
        d = lambda j: self.d(block.row(j))
        found = smaller_of_two(d(before), self.e(block.link(before)), d(block.last))
        first = abs(d(whole(0)))
        ratio = found / where(first == 0.0, 1.0, first)
        small = (first > 0.0) & (ratio * ratio < UNIT)
        delicate = self.size * TOLERANCE * (least / most) <= max(UNIT, 0.01 * TOLERANCE)
        return where(small | delicate, 0.0, found)

    def _without_shift(self, block: Block) -> None:
        b, p = self.b, self.panel
        left, right = self._sides(block.turned)
        d = lambda j: self.d(block.row(j))
        one, zero = p.number(1.0).value, p.number(0.0).value

        def turn(j: Value, carried: list[Value]) -> list[Value]:
            c, old_c, old_s = (Term(b, x) for x in carried)
            following = b.add(j, whole(1))
            c, s, r = givens(d(j) * c, self.e(block.link(j)))
            b.when(
                b.icmp("sgt", j, whole(0)),
                lambda: self.set_e(block.link(b.sub(j, whole(1))), old_s * r),
            )
            old_c, old_s, length = givens(old_c * r, d(following) * s)
            self.set_d(block.row(j), length)
            here, there = block.row(j), block.row(following)
            self.rotate(right, here, there, (c, s))
            self.rotate(left, here, there, (old_c, old_s))
            return [c.value, old_c.value, old_s.value]

        found = b.loop(0, block.last, 1, [one, one, zero], turn)
        c, old_c, old_s = (Term(b, x) for x in found)
        h = d(block.last) * c
        self.set_d(block.row(block.last), h * old_c)
        self.set_e(block.link(b.sub(block.last, whole(1))), h * old_s)

    def _with_shift(self, block: Block, shift: Term) -> None:
        b, p = self.b, self.panel
        left, right = self._sides(block.turned)
        first = self.d(block.row(whole(0)))
        one = p.number(1.0)
        f = (abs(first) - shift) * (one.signed(first) + shift / first)
        g = self.e(block.link(whole(0)))
        end = b.sub(block.last, whole(1))

        def turn(j: Value, carried: list[Value]) -> list[Value]:
            f, g = (Term(b, x) for x in carried)
            following = b.add(j, whole(1))
            here, there, link = block.row(j), block.row(following), block.link(j)
            c, s, r = givens(f, g)
            b.when(
                b.icmp("sgt", j, whole(0)),
                lambda: self.set_e(block.link(b.sub(j, whole(1))), r),
            )
            d, e, after = self.d(here), self.e(link), self.d(there)
            f, e = c * d + s * e, c * e - s * d
            g, after = s * after, c * after
            self.rotate(right, here, there, (c, s))
            c, s, r = givens(f, g)
            self.set_d(here, r)
            f, after = c * e + s * after, c * after - s * e
            self.set_d(there, after)
            self.set_e(link, e)
            self.rotate(left, here, there, (c, s))

            def bulge() -> list[Value]:
                further = self.e(block.link(following))
                self.set_e(block.link(following), c * further)
                return [(s * further).value]

            (g_next,) = b.branch(b.icmp("slt", j, end), bulge, lambda: [p.number(0.0).value])
            return [f.value, g_next]

        f_last, _ = b.loop(0, block.last, 1, [f.value, g.value], turn)
        self.set_e(block.link(end), Term(b, f_last))

    # ---- order

    def _make_positive(self) -> None:
        b = self.b

        def one(i: Value, _: list[Value]) -> None:
            x = self.d(i)

            def flip() -> None:
                self.set_d(i, -x)
                if self.sides is not None:
                    # LAPACK turns the right vector, but that of a single row on the left.
                    side = self.sides[0 if self.size == 1 else 1]
                    self.panel.scale_row(side, i, [self.panel.number(-1.0).value])

            b.when((x < 0.0).value, flip)

        b.loop(0, self.size, 1, [], one)

    def _sort(self) -> None:
        """The smallest of those left goes last."""
        b, n = self.b, self.size

        def place(turn: Value, _: list[Value]) -> None:
            end = b.sub(whole(n - 1), turn)

            def compare(j: Value, carried: list[Value]) -> list[Value]:
                x = self.d(j).value
                less = b.fcmp("ole", x, carried[1])
                return [b.select(less, j, carried[0]), b.select(less, x, carried[1])]

            k, least = b.loop(1, b.add(end, whole(1)), 1, [whole(0), self.d(0).value], compare)

            def exchange() -> None:
                self.set_d(k, self.d(end))
                self.set_d(end, Term(b, least))
                for side in self.sides or ():
                    swap_rows(self.panel, side, end, k)

            b.when(b.icmp("ne", end, k), exchange)

        b.loop(0, n - 1, 1, [], place)


def _next(mu: Term, d: Term, e: Term) -> Term:
    """The bound of the smallest singular value with one more row; zero stays zero."""
    total = mu + abs(e)
    return abs(d) * (mu / where(total == 0.0, 1.0, total))

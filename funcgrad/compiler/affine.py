"""Positions as sums: constant + sum of coefficient * variable, over loops and computed integers.

What a kernel reads is described this way. Whether a position can be taken apart into the indices of
an array, and whether two values meet at the same element, is arithmetic on these sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Loop:
    """A counter from 0 to `extent` - 1. `group` and `place` say which loop of the kernel it is."""

    __slots__ = ("extent", "group", "place")

    def __init__(self, extent: int, group: Any, place: int) -> None:
        self.extent, self.group, self.place = extent, group, place

    def __repr__(self) -> str:
        return f"{self.group}{self.place}"


class NeedsSplit(Exception):
    """A position can be taken apart if this loop counts in two digits, the lower of `inner`."""

    def __init__(self, loop: Loop, inner: int) -> None:
        super().__init__(f"loop {loop} must be split by {inner}")
        self.loop, self.inner = loop, inner


class Misaligned(Exception):
    """A position that is no sum of loops; `value` is the one whose elements it names, if known."""

    value: Any = None


class Sum(NamedTuple):
    """constant + sum of coefficient * variable; variables have an `extent`, and count from 0."""

    constant: int = 0
    terms: tuple[tuple[Any, int], ...] = ()

    def __add__(self, other: Any) -> Sum:  # type: ignore[override]
        if isinstance(other, int):
            return Sum(self.constant + other, self.terms)
        return self.plus(other, 1)

    def plus(self, other: Sum, factor: int) -> Sum:
        """This sum and a multiple of another."""
        constant = self.constant + other.constant * factor
        if not other.terms:
            return Sum(constant, self.terms)
        merged = dict(self.terms)
        for variable, coefficient in other.terms:
            merged[variable] = merged.get(variable, 0) + coefficient * factor
        return Sum(constant, tuple([term for term in merged.items() if term[1]]))

    def __mul__(self, factor: Any) -> Sum:  # type: ignore[override]
        if factor == 1:
            return self
        if factor == 0:
            return ZERO
        return Sum(self.constant * factor, tuple([(v, c * factor) for v, c in self.terms]))

    def __sub__(self, other: Sum) -> Sum:
        return self.plus(other, -1)

    def span(self) -> tuple[int, int]:
        """The smallest and the largest value that the sum takes, bounds at least."""
        low = high = self.constant
        for variable, coefficient in self.terms:
            reach = coefficient * (variable.extent - 1)
            low, high = low + min(reach, 0), high + max(reach, 0)
        return low, high

    def coefficient(self, variable: Any) -> int:
        """How far one step of the variable moves the sum."""
        return next((c for v, c in self.terms if v is variable), 0)

    def divide(self, n: int) -> tuple[Sum, Sum]:
        """Quotient and remainder by n.

        Raises NeedsSplit if a loop is in the way that can be split, else Misaligned.
        """
        if n == 1:
            return self, ZERO
        multiples = tuple((v, c) for v, c in self.terms if c % n == 0)
        rest = Sum(self.constant, tuple((v, c) for v, c in self.terms if c % n))
        low, high = rest.span()
        whole = low // n
        if high < (whole + 1) * n:
            quotient = Sum(whole, tuple((v, c // n) for v, c in multiples))
            return quotient, rest + -whole * n
        for v, c in rest.terms:
            if isinstance(v, Loop) and n % abs(c) == 0 and v.extent > n // abs(c):
                inner = n // abs(c)
                if v.extent % inner == 0:
                    raise NeedsSplit(v, inner)
        raise Misaligned(f"{self} divided by {n}")

    def __str__(self) -> str:
        parts = [f"{c}*{v}" if c != 1 else f"{v}" for v, c in self.terms]
        return " + ".join([*parts, *([str(self.constant)] if self.constant or not parts else [])])


ZERO = Sum()


def counter(variable: Any) -> Sum:
    """The variable itself; a loop of one turn is 0."""
    return Sum(0, ((variable, 1),)) if variable.extent > 1 else ZERO


def strides_of(shape: Sequence[int]) -> list[int]:
    """How many elements one step along each dimension skips, in row-major order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return strides[::-1]


def flatten(indices: Iterable[Sum], shape: Sequence[int]) -> Sum:
    """The position in row-major order of an element by its indices."""
    constant = 0
    terms: dict[Any, int] = {}
    for index, stride in zip(indices, strides_of(shape)):
        constant += index.constant * stride
        for variable, coefficient in index.terms:
            terms[variable] = terms.get(variable, 0) + coefficient * stride
    return Sum(constant, tuple([term for term in terms.items() if term[1]]))


def unflatten(position: Sum, shape: Sequence[int]) -> tuple[Sum, ...]:
    """The indices of the element at a position; see `Sum.divide` for what it raises."""
    indices: list[Sum] = []
    for size in reversed(shape[1:]):
        position, index = position.divide(size) if size > 1 else (position, ZERO)
        indices.append(index)
    return (position, *reversed(indices)) if shape else ()


def counted(loops: Sequence[Loop]) -> Sum:
    """The number of turns of nested loops before this one."""
    return flatten(map(counter, loops), [loop.extent for loop in loops])


class At:
    """A position in an array: its indices, or where it stands in row-major order."""

    __slots__ = ("shape", "_indices", "_flat")

    def __init__(
        self,
        shape: Sequence[int],
        indices: Sequence[Sum] | None = None,
        flat: Sum | None = None,
    ) -> None:
        self.shape = tuple(shape)
        self._indices = None if indices is None else tuple(indices)
        self._flat = flat

    @property
    def indices(self) -> tuple[Sum, ...]:
        if self._indices is None:
            assert self._flat is not None
            self._indices = unflatten(self._flat, self.shape)
        return self._indices

    @property
    def flat(self) -> Sum:
        if self._flat is None:
            assert self._indices is not None
            self._flat = flatten(self._indices, self.shape)
        return self._flat

    def reshaped(self, shape: Sequence[int]) -> At:
        """The same element of the array in another shape."""
        if self._indices is not None:
            kept = merged(self._indices, self.shape, shape)
            if kept is not None:
                return At(shape, kept)
        return At(shape, flat=self.flat)


def merged(
    indices: Sequence[Sum], shape: Sequence[int], other: Sequence[int]
) -> tuple[Sum, ...] | None:
    """The indices in a shape that differs in dimensions of one element, or has some neighbours as
    one; None for other shapes. Unlike positions, they may reach beyond their dimension, where a
    guard holds.
    """
    found: list[Sum] = []
    rest = [(size, index) for size, index in zip(shape, indices) if size != 1]
    for size in other:
        taken, reach = [], 1
        while reach < size and rest:
            taken.append(rest.pop(0))
            reach *= taken[-1][0]
        if reach != size:
            return None
        found.append(flatten([index for _, index in taken], [n for n, _ in taken]))
    return tuple(found) if not rest else None

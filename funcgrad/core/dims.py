"""Symbolic sizes: a dimension whose value is not known while a program is traced.

A `Dim` is a polynomial with integer coefficients in named sizes (each at least 1), with floor
divisions as further names. Abstract rules compute with sizes by `+ - * //` and compare them, so a
program can be traced once for every length. What cannot be decided raises, instead of guessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

Monomial = tuple[Any, ...]


def symbol(name: str) -> Dim:
    """The size called `name`.

    >>> n = symbol("n")
    >>> (2 * n + 4) // 2 == n + 2
    True
    """
    return Dim({(name,): 1})


def _simplified(terms: Mapping[Monomial, int]) -> Any:
    """A polynomial without zero terms; an int if it is constant."""
    kept = {monomial: c for monomial, c in terms.items() if c}
    if set(kept) <= {()}:
        return kept.get((), 0)
    return Dim(kept)


def _terms(x: Any) -> dict[Monomial, int]:
    return x.terms if isinstance(x, Dim) else {(): x}


class Dim:
    """A size such as `n`, `2*n + 1` or `n // 2`. Immutable; equal polynomials are equal."""

    __slots__ = ("terms",)

    def __init__(self, terms: dict[Monomial, int]) -> None:
        self.terms = terms

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, (int, Dim)):
            return NotImplemented
        total = dict(self.terms)
        for monomial, c in _terms(other).items():
            total[monomial] = total.get(monomial, 0) + c
        return _simplified(total)

    __radd__ = __add__

    def __neg__(self) -> Any:
        return Dim({monomial: -c for monomial, c in self.terms.items()})

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, (int, Dim)):
            return NotImplemented
        product: dict[Monomial, int] = {}
        for a, c in self.terms.items():
            for b, d in _terms(other).items():
                monomial = tuple(sorted(a + b, key=str))
                product[monomial] = product.get(monomial, 0) + c * d
        return _simplified(product)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: Any) -> Any:
        """Exact where all coefficients are multiples; otherwise the whole multiples leave, and the
        rest becomes a size of its own.
        """
        if not isinstance(divisor, int):
            return _quotient(self, divisor)
        whole = {m: c // divisor for m, c in self.terms.items() if c % divisor == 0 or m == ()}
        rest = _simplified(
            {
                m: c % divisor if m == () else c
                for m, c in self.terms.items()
                if m not in whole or m == ()
            }
        )
        if not isinstance(rest, Dim):
            return _simplified(whole)
        return _simplified(whole) + Dim({(("//", rest, divisor),): 1})

    def __rfloordiv__(self, other: Any) -> Any:
        return _quotient(other, self)

    def __mod__(self, divisor: Any) -> Any:
        return self - (self // divisor) * divisor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __bool__(self) -> bool:
        return self != 0

    # Order: every symbol is at least 1, so a polynomial with coefficients of one sign has a bound.

    def __ge__(self, other: Any) -> bool:
        return _at_least_zero(self - other)

    def __le__(self, other: Any) -> bool:
        return _at_least_zero(other - self)

    def __gt__(self, other: Any) -> bool:
        return not _at_least_zero(other - self)

    def __lt__(self, other: Any) -> bool:
        return not _at_least_zero(self - other)

    def __index__(self) -> NoReturn:
        raise TypeError(f"the size {self} is symbolic: its value is not known while tracing.")

    __int__ = __index__

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The number that it stands for."""
        return sum(c * _monomial_value(m, values) for m, c in self.terms.items())

    def __repr__(self) -> str:
        highest_first = sorted(self.terms.items(), key=lambda term: (-len(term[0]), str(term)))
        parts = [_printed(m, c) for m, c in highest_first]
        return " + ".join(parts).replace("+ -", "- ")


def _printed(monomial: Monomial, coefficient: int) -> str:
    factors = [f"({f[1]})//{f[2]}" if isinstance(f, tuple) else f for f in monomial]
    if coefficient != 1 or not factors:
        factors.insert(0, str(coefficient))
    return "*".join(factors)


def _monomial_value(monomial: Monomial, values: Mapping[str, int]) -> int:
    product = 1
    for factor in monomial:
        if isinstance(factor, tuple):
            product *= _value(factor[1], values) // _value(factor[2], values)
        else:
            product *= values[factor]
    return product


def _value(x: Any, values: Mapping[str, int]) -> int:
    return x.evaluate(values) if isinstance(x, Dim) else x


def _quotient(a: Any, b: Any) -> Any:
    """a // b for a symbolic b: exact if b is one monomial that divides every term of a."""
    if isinstance(b, Dim) and len(b.terms) == 1:
        ((monomial, c),) = b.terms.items()
        divided = [_divided(m, d, monomial, c) for m, d in _terms(a).items()]
        if all(part is not None for part in divided):
            return _simplified(dict(divided))  # type: ignore[arg-type]
    return Dim({(("//", a, b),): 1})


def _divided(m: Monomial, d: int, by: Monomial, c: int) -> tuple[Monomial, int] | None:
    rest = list(m)
    for factor in by:
        if factor not in rest:
            return None
        rest.remove(factor)
    return (tuple(rest), d // c) if d % c == 0 else None


def _at_least_zero(x: Any) -> bool:
    """Is the polynomial at least 0 for all sizes? TypeError if that depends on them."""
    if not isinstance(x, Dim):
        return x >= 0
    constant = x.terms.get((), 0)
    others = [c for m, c in x.terms.items() if m != ()]
    if all(c > 0 for c in others) and constant + sum(others) >= 0:
        return True
    if all(c < 0 for c in others) and constant + sum(others) < 0:
        return False
    raise TypeError(
        f"whether {x} is at least 0 depends on symbolic sizes, so this cannot be decided while "
        "tracing."
    )

"""Rows for the primitive of `funcgrad.control` that is no construct: the one that names a value."""

from funcgrad.control.checkpoint import name_p
from tests.primitives.cases import Case, integers, normal

CASES = [
    Case(name_p, [normal(2, 3)], dict(name="hidden")),
    Case(name_p, [integers(0, 9, 4)], dict(name="count")),
]

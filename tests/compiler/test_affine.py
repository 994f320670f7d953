"""Positions in arrays of several shapes."""

from __future__ import annotations

import itertools

import pytest

from funcgrad.compiler.affine import At, Loop, Sum, merged

GROUPED = [  # a shape, another of the same elements, and whether its indices are at hand
    ((3, 4), (3, 4), True),
    ((3, 4), (3, 1, 4), True),
    ((3, 1, 4, 1), (1, 3, 4), True),
    ((3, 4, 5), (12, 5), True),
    ((3, 4, 5), (3, 20), True),
    ((2, 3, 1, 4), (6, 4, 1), True),
    ((2, 3), (6,), True),
    ((1, 1), (), True),
    ((), (1, 1), True),
    ((6,), (2, 3), False),
    ((4, 3), (3, 4), False),
    ((4, 6), (2, 12), False),
]


@pytest.mark.parametrize("shape, other, at_hand", GROUPED)
def test_indices_in_another_shape(shape, other, at_hand):
    for indices in itertools.product(*map(range, shape)):
        found = merged([Sum(i) for i in indices], shape, other)
        assert (found is not None) == at_hand
        if found is not None:
            assert found == At(other, flat=At(shape, [Sum(i) for i in indices]).flat).indices


def test_an_index_beyond_its_dimension_stays_apart():
    """As a position, row and column could not be told apart again."""
    row, column = Loop(3, "r", 0), Loop(5, "r", 1)  # one more than there are columns
    at = At((3, 4), [Sum(0, ((row, 1),)), Sum(0, ((column, 1),))])
    assert at.reshaped((3, 1, 4)).indices == (*at.indices[:1], Sum(), *at.indices[1:])

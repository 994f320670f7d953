"""The NumPy engine computes what the reference does, to the bit, and never touches what is not
its own.
"""

import numpy as np
from hypothesis import given, settings, strategies as st

import funcgrad as fg
from funcgrad.backends import blocked_source
from funcgrad.compiler import program
from funcgrad.config import config
from tests.compiler.programs import arrays, bits, programs


def results(engine, function, args, donate=()):
    with config.override(engine=engine):
        return fg.jit(function, donate_argnums=donate)(*args)


def check_equal(function, args):
    held = [np.array(a) for a in args]
    expected = results("reference", function, args)
    got = results("numpy", function, args)
    for a, b, aval in zip(got, expected, fg.eval_shape(function, *args), strict=True):
        assert (a.shape, a.dtype) == (aval.shape, aval.dtype)
        assert bits(a) == bits(b)
    for a, before in zip(args, held, strict=True):
        assert bits(a) == bits(before), "an argument was written to"
    return got


def check_separate(got, args):
    buffers = [x._buffer for x in got]
    arrays = [
        b
        for b in [*buffers, *(a for a in args if isinstance(a, np.ndarray))]
        if isinstance(b, np.ndarray)
    ]
    for i, a in enumerate(arrays):
        for b in arrays[i + 1 :]:
            assert not np.may_share_memory(a, b) or any(a is c for c in args), (
                "results share memory"
            )


@settings(max_examples=80)
@given(programs(), st.lists(arrays(), min_size=1, max_size=3))
def test_random_programs(function, args):
    check_separate(check_equal(function, args), args)


def test_random_programs_in_blocks(monkeypatch):
    """The same, with every chain in a loop over blocks of a few elements."""
    monkeypatch.setattr(program, "LARGE", 1)
    monkeypatch.setattr(blocked_source, "BLOCK", 64)

    @settings(max_examples=80)
    @given(programs(), st.lists(arrays(), min_size=1, max_size=3))
    def run(function, args):
        check_separate(check_equal(function, args), args)

    run()


@settings(max_examples=60)
@given(programs(), st.lists(arrays(), min_size=1, max_size=3), st.booleans())
def test_donation_changes_nothing(function, args, blocked):
    before = program.LARGE
    program.LARGE = 1 if blocked else before
    try:
        expected = results("reference", function, args)
        given_away = [fg.numpy.array(a) for a in args]
        got = results("numpy", function, given_away, donate=tuple(range(len(args))))
    finally:
        program.LARGE = before
    assert [bits(x) for x in got] == [bits(x) for x in expected]
    check_separate(got, [])

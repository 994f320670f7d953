"""The small tools: strictness at unequal lengths, inverses, messages, and weak memory."""

import gc

import pytest
from hypothesis import given, strategies as st

from funcgrad import util


def test_zip_and_map_refuse_unequal_lengths():
    assert util.safe_zip([1, 2], [3, 4]) == [(1, 3), (2, 4)]
    assert util.safe_map(lambda x, y: x + y, [1, 2], [3, 4]) == [4, 6]
    assert util.safe_map(abs, [-1]) == [1]
    for uneven in (util.safe_zip, lambda *lists: util.safe_map(max, *lists)):
        with pytest.raises(ValueError):
            uneven([1, 2], [1])


def test_unzip():
    assert util.unzip2([(1, "a"), (2, "b")]) == ([1, 2], ["a", "b"])
    assert util.unzip3([(1, "a", None)]) == ([1], ["a"], [None])
    assert util.unzip2([]) == ([], [])


@given(st.lists(st.tuples(st.booleans(), st.integers())))
def test_merge_undoes_partition(flagged):
    flags, values = util.unzip2(flagged)
    unset, chosen = util.partition(flags, values)
    assert len(chosen) == sum(flags)
    assert util.merge(flags, unset, chosen) == values


@pytest.mark.parametrize("unset, chosen", [([1], []), ([], [1, 2]), ([1, 2], [1]), ([1], [1, 2])])
def test_merge_refuses_a_wrong_number_of_values(unset, chosen):
    with pytest.raises(ValueError, match="merge"):
        util.merge([False, True], unset, chosen)


def test_split_list():
    assert util.split_list([1, 2, 3], [1, 0, 1]) == [[1], [], [2], [3]]
    with pytest.raises(ValueError, match="split_list"):
        util.split_list([1], [2])


def test_optional_says_which_extra_to_install():
    assert util.optional("json").dumps([1]) == "[1]"
    with pytest.raises(ImportError, match="pip install no_such_package"):
        util.optional("no_such_package.inner")
    assert util._advice("cupy") == 'pip install "funcgrad[cuda13]"'


class Subject:
    pass


def test_weak_memo_remembers_while_the_subject_lives():
    calls = []

    @util.weak_memo
    def f(subject, *rest):
        calls.append(rest)
        return len(calls)

    subject, other = Subject(), Subject()
    assert [f(subject), f(subject), f(subject, 1), f(subject, 1), f(other)] == [1, 1, 2, 2, 3]
    assert len(f.memory) == 2
    del subject
    gc.collect()
    assert len(f.memory) == 1

"""Trees: leaves, structures, paths and prefixes, on examples, by law, and as jax has them."""

import collections
import copy
import pickle
import time

import hypothesis.strategies as st
import numpy as np
import optree
import pytest
from hypothesis import given

from funcgrad import tree

Point = collections.namedtuple("Point", "x y")
OrderedDict, defaultdict, deque = (
    collections.OrderedDict,
    collections.defaultdict,
    collections.deque,
)
NOON = time.struct_time((2026, 1, 1, 12, 0, 0, 3, 1, 0))

TREES = {
    "leaf": 1,
    "array": np.arange(3),
    "none": None,
    "empty tuple": (),
    "empty dict": {},
    "flat tuple": (1, 2.0, True),
    "flat list": [1, 2],
    "flat dict": {"b": 1, "a": 2},
    "integer keys": {2: "two", 1: "one"},
    "tuple keys": {(1, "b"): 1, (0, "a"): 2},
    "nested": {"b": [1, (2, 3)], "a": {"z": 4, "y": None}},
    "namedtuple": Point(1, [2, Point(3, None)]),
    "ordered": OrderedDict([("b", 1), ("a", (2, 3))]),
    "default": defaultdict(list, {"b": 1, "a": [2]}),
    "deque": (deque([1, 2]), [deque()]),
    "structure of the system": [NOON, {"at": NOON}],
    "object": [object, "text", b"bytes", {1, 2}],
}
EACH = pytest.mark.parametrize("example", TREES.values(), ids=TREES.keys())


def random_trees():
    """Trees of every built-in node type."""
    keys = st.text("abcde", max_size=2)

    def nodes(children):
        return st.one_of(
            st.lists(children, max_size=3),
            st.lists(children, max_size=3).map(tuple),
            st.dictionaries(keys, children, max_size=3),
            st.dictionaries(keys, children, max_size=3).map(OrderedDict),
            st.dictionaries(keys, children, max_size=3).map(lambda d: defaultdict(int, d)),
            st.builds(Point, children, children),
            st.lists(children, max_size=2).map(deque),
        )

    return st.recursive(st.one_of(st.integers(-9, 9), st.none()), nodes, max_leaves=12)


# Flattening


@EACH
def test_flatten_then_unflatten_is_the_identity(example):
    leaves, treedef = tree.flatten(example)
    again = tree.unflatten(treedef, leaves)
    assert type(again) is type(example)
    assert treedef.num_leaves == len(leaves)
    assert again is example or again == example


@given(random_trees())
def test_flatten_then_unflatten_is_the_identity_on_random_trees(example):
    leaves, treedef = tree.flatten(example)
    assert tree.unflatten(treedef, leaves) == example
    assert tree.structure(tree.unflatten(treedef, range(len(leaves)))) == treedef


@pytest.mark.oracle
@EACH
def test_leaves_and_paths_are_those_of_jax(example):
    jax = pytest.importorskip("jax")
    ours, _ = tree.flatten_with_path(example)
    theirs, _ = jax.tree.flatten_with_path(example)
    assert [id(leaf) for _, leaf in ours] == [id(leaf) for _, leaf in theirs]
    assert [tree.keystr(p) for p, _ in ours] == [jax.tree_util.keystr(p) for p, _ in theirs]


@pytest.mark.oracle
@given(random_trees(), st.sampled_from([list, dict, tuple, Point, deque]))
def test_random_trees_flatten_as_in_jax(example, stop):
    jax = pytest.importorskip("jax")
    assert tree.leaves(example) == jax.tree.leaves(example)

    def is_leaf(x):
        return x is None or type(x) is stop

    assert tree.leaves(example, is_leaf) == jax.tree.leaves(example, is_leaf)
    ours = [(tree.keystr(p), x) for p, x in tree.leaves_with_path(example, is_leaf)]
    theirs = jax.tree.leaves_with_path(example, is_leaf)
    assert ours == [(jax.tree_util.keystr(p), x) for p, x in theirs]


@pytest.mark.parametrize("leaf", [1, 2.5, True, 3j, np.arange(2), np.float32(1), object()])
def test_short_ways_agree_with_optree(leaf):
    for example in (leaf, (leaf, leaf), [leaf], {"b": leaf, "a": leaf}, {}, [], ()):
        ours, theirs = tree.flatten(example), optree.tree_flatten(example)
        assert [id(x) for x in ours[0]] == [id(x) for x in theirs[0]]
        assert ours[1] == theirs[1]
        assert hash(ours[1]) == hash(theirs[1])


def test_subclasses_of_plain_leaves_are_leaves():
    class Celsius(float):
        pass

    assert tree.leaves((Celsius(1.0), 2.0)) == [1.0, 2.0]


def test_equal_keys_of_different_types_share_no_values():
    assert tree.leaves({1: "integer", 0: "zero"}) == ["zero", "integer"]
    assert tree.leaves({True: "true", False: "false"}) == ["false", "true"]
    assert tree.map(str.upper, {True: "a", 0: "b"}) == {True: "A", 0: "B"}


def test_dictionaries_keep_their_order_of_insertion():
    for values in ((1, 2), (np.zeros(1), [2])):
        example = dict(zip("ba", values, strict=True))
        assert list(tree.map(lambda x: x, example)) == ["b", "a"]
    assert tree.structure({"b": 1, "a": 2}) == tree.structure({"a": 1, "b": 2})


def test_structures_tell_apart_what_jax_tells_apart():
    examples = [
        (1, 2),
        [1, 2],
        {"a": 1, "b": 2},
        OrderedDict(a=1, b=2),
        OrderedDict(b=1, a=2),
        defaultdict(list, a=1, b=2),
        defaultdict(int, a=1, b=2),
        Point(1, 2),
        (1, (2,)),
        (1, 2, None),
    ]
    assert len({tree.structure(x) for x in examples}) == len(examples)


def test_structures_pickle_copy_and_print():
    treedef = tree.structure({"a": (1, None), "b": Point(1, [2])})
    assert pickle.loads(pickle.dumps(treedef)) == treedef
    assert copy.deepcopy(treedef) == treedef
    assert str(treedef) == "PyTreeSpec({'a': (*, None), 'b': Point(x=*, y=[*])})"


@pytest.mark.parametrize("is_leaf", [None, lambda x: False], ids=["plain", "is_leaf"])
@pytest.mark.parametrize(
    "example",
    [
        {1: 0, "a": 0},
        [{1: [0], "a": (0,)}],
        {None: 1, 2: 2},
        defaultdict(int, {1: 0, "a": 0}),
    ],
    ids=["flat", "nested", "None", "defaultdict"],
)
def test_keys_without_an_order_are_refused(example, is_leaf):
    for _ in range(2):  # nothing may be remembered from the first time
        with pytest.raises(ValueError, match="keys of a dictionary must have an order.*mixes"):
            tree.flatten(example, is_leaf)


def test_a_single_key_of_any_type_is_in_order():
    assert tree.leaves({None: 1}) == [1]


def test_unflatten_needs_the_right_number_of_leaves():
    treedef = tree.structure([1, 2])
    for leaves in ([1], [1, 2, 3]):
        with pytest.raises(ValueError, match="[Tt]oo (few|many) leaves"):
            tree.unflatten(treedef, leaves)


# Maps and folds


def test_map_takes_prefixes_as_they_are():
    assert tree.map(lambda a, b: (a, b), {"a": 1}, {"a": [2, 3]}) == {"a": (1, [2, 3])}
    assert tree.map(lambda a, b: b, [1, None], [deque([1]), None]) == [deque([1]), None]


DIFFERENT = [
    ([1, 2], [1, 2, 3], "at the top the first has a list of length 2 .* a list of length 3"),
    ({"a": {"x": 1}}, {"a": {"y": 1}}, r"at \['a'\] .* keys \['x'\] .* keys \['y'\]"),
    ({"a": {"x": 1}}, {"a": (3,)}, r"at \['a'\] .* a dict .* a tuple of length 1"),
    ([1, {"a": None}], [1, {"a": 1}], r"at \[1\]\['a'\] the first has None .* has a leaf"),
    (Point(1, (2, 3)), Point(1, 2), r"at \.y .* a tuple of length 2 .* a leaf"),
    (Point(1, 2), (1, 2), "a Point of length 2 .* a tuple of length 2"),
    ((1, [2]), (1, deque([2])), r"at \[1\] .* a list of length 1 .* a leaf"),
]


@pytest.mark.parametrize("first, other, message", DIFFERENT)
def test_map_says_where_trees_differ(first, other, message):
    with pytest.raises(ValueError, match="tree.map: the trees must have the same structure.*"):
        tree.map(max, first, other)
    with pytest.raises(ValueError, match=message):
        tree.map(max, first, other)


@pytest.mark.oracle
@pytest.mark.parametrize("first, other, _message", DIFFERENT)
def test_jax_refuses_the_same_trees(first, other, _message):
    jax = pytest.importorskip("jax")
    with pytest.raises(ValueError):
        jax.tree.map(max, first, other)


def test_reduce_and_all():
    example = {"b": [1, 2], "a": 3}
    assert tree.reduce(lambda x, y: x * 10 + y, example) == 312
    assert tree.reduce(lambda x, y: x * 10 + y, example, 9) == 9312
    assert tree.reduce(lambda x, y: x, (), "start") == "start"
    assert tree.all([1, (True, None)])
    assert not tree.all([1, (0, None)])
    assert tree.all({})
    with pytest.raises(TypeError):
        tree.reduce(max, ())


def test_reduce_associative_keeps_the_order():
    for n in range(1, 9):
        letters = list("abcdefgh"[:n])
        joined = tree.reduce_associative(lambda x, y: x + y, letters)
        assert joined == "".join(letters)
    assert tree.reduce_associative(max, [], identity=0) == 0
    with pytest.raises(TypeError, match="needs an identity"):
        tree.reduce_associative(max, [])


def test_transpose():
    rows = [{"a": 1, "b": (2,)}, {"a": 3, "b": (4,)}]
    turned = {"a": [1, 3], "b": ([2, 4],)}
    outer, inner = tree.structure([0, 0]), tree.structure(rows[0])
    assert tree.transpose(outer, inner, rows) == turned
    assert tree.transpose(outer, None, rows) == turned
    assert tree.transpose(inner, outer, turned) == rows
    with pytest.raises(ValueError, match="tree.transpose: .* length 3 .* length 2"):
        tree.transpose(outer, tree.structure((0, 0, 0)), [(1, 2), (3, 4)])


# Paths


def test_map_with_path():
    example = {"a": (1, Point(2, 3)), "b": None}
    named = tree.map_with_path(lambda path, x, y: (tree.keystr(path), x, y), example, example)
    assert named["a"] == (("['a'][0]", 1, 1), Point(("['a'][1].x", 2, 2), ("['a'][1].y", 3, 3)))
    with pytest.raises(ValueError, match="tree.map_with_path: .* keys"):
        tree.map_with_path(lambda *xs: xs, {"a": 1}, {"b": 1})


def test_keys_print_as_in_an_expression():
    path = (
        tree.DictKey("a"),
        tree.SequenceKey(1),
        tree.GetAttrKey("x"),
        tree.FlattenedIndexKey(3),
    )
    assert tree.keystr(path) == "['a'][1].x[<flat index 3>]"
    assert tree.keystr(path, simple=True, separator="/") == "a/1/x/3"


def test_is_leaf_may_look_at_the_path():
    example = {"a": 1, "b": {"c": (2, 3)}}
    found, treedef = tree.flatten_with_path(
        example, is_leaf=lambda path, _: len(path) == 2, is_leaf_takes_path=True
    )
    assert [(tree.keystr(p, simple=True, separator="."), x) for p, x in found] == [
        ("a", 1),
        ("b.c", (2, 3)),
    ]
    assert treedef == tree.structure({"a": 1, "b": {"c": 1}})


@given(random_trees())
def test_paths_belong_to_the_leaves_of_flatten(example):
    pairs, treedef = tree.flatten_with_path(example)
    assert ([x for _, x in pairs], treedef) == tree.flatten(example)
    assert len({tree.keystr(path) for path, _ in pairs}) == len(pairs)


# Prefixes


def test_broadcast():
    assert tree.broadcast(1, {"a": (0, 0), "b": None}) == {"a": (1, 1), "b": None}
    assert tree.broadcast({"a": 1, "b": 2}, {"a": [0], "b": ((), 3)}) == {"a": [1], "b": ((), 2)}
    with pytest.raises(ValueError, match="tree.broadcast: the prefix must be a tree prefix"):
        tree.broadcast([1, 2], [1])


PREFIXES = [
    (0, {"a": [1, 2], "b": (3,)}),
    (None, {"a": [1, 2], "b": None}),
    ({"a": 0, "b": None}, {"a": [1, 2], "b": (3,)}),
    ({"a": (0, None), "b": [1]}, {"a": ((1, 2), 3), "b": [4]}),
    ((0, {"w": None, "b": 1}), (5, {"w": [6, 7], "b": 8})),
    (Point(None, 1), Point((1, 2), 3)),
    ((0, None), (1, None)),
    ((), ()),
]


@pytest.mark.oracle
@pytest.mark.parametrize("prefix, full", PREFIXES)
def test_prefix_leaves_as_in_jax(prefix, full):
    api_util = pytest.importorskip("jax.api_util")
    jax = pytest.importorskip("jax")
    expected = api_util.flatten_axes("in_axes", jax.tree.structure(full), prefix)
    assert tree.prefix_leaves(prefix, full, "in_axes") == expected
    assert tree.prefix_leaves(prefix, tree.structure(full), "in_axes") == expected


@given(random_trees())
def test_a_tree_is_a_prefix_of_itself(example):
    assert tree.prefix_leaves(example, example, "x") == tree.leaves(example)
    assert tree.prefix_leaves(7, example, "x") == [7] * len(tree.leaves(example))


WRONG_PREFIXES = [
    ((0, 0), (1,), "vmap: in_axes .* at the top it has a tuple of length 2 .* of length 1"),
    ([0], (1,), "at the top it has a list of length 1 where the value has a tuple of length 1"),
    (({"a": 0, "c": 0},), ({"a": 1, "b": 1},), r"at \[0\] .*\['a', 'c'\].*\['a', 'b'\]"),
    (({"a": (0,)},), ({"a": 1},), r"at \[0\]\['a'\] it has a tuple of length 1 .* a leaf"),
    (((0,),), (None,), r"at \[0\] it has a tuple of length 1 where the value has None"),
]


@pytest.mark.parametrize("prefix, full, message", WRONG_PREFIXES)
def test_prefix_errors_name_argument_and_place(prefix, full, message):
    with pytest.raises(ValueError, match=message):
        tree.prefix_leaves(prefix, full, "vmap: in_axes")


def test_difference_is_none_for_prefixes():
    assert tree.difference(tree.structure({"a": 1}), {"a": [1, 2]}) is None


# What must not happen


def test_the_structure_caches_hold_no_static_data():
    """A cache of structures must not keep alive what registered nodes carry."""

    class Carrier:
        pass

    tree.register_node(Carrier, lambda c: ((1,), c.data), lambda data, _: Carrier())
    carrier = Carrier()
    carrier.data = "static data that only this test knows"
    before = len(tree._lawful)
    tree.flatten([carrier, (1, 2)])
    assert len(tree._lawful) == before


def test_caches_are_bounded():
    for n in range(tree._CACHE_LIMIT + 10):
        tree.flatten({f"unique {n}": 1})
    assert len(tree._flat_dicts) <= tree._CACHE_LIMIT
    assert len(tree._lawful) <= tree._CACHE_LIMIT


def test_registration_is_in_our_namespace_only():
    class Mine:
        pass

    mine = Mine()
    tree.register_node(Mine, lambda _: ((1, 2), None), lambda *_: mine)
    assert tree.leaves([mine]) == [1, 2]
    assert optree.tree_leaves([mine]) == [mine]
    assert tree.keystr(tree.leaves_with_path(mine)[1][0]) == "[<flat index 1>]"
    with pytest.raises(ValueError, match="Mine"):
        tree.register_node(Mine, lambda _: ((1, 2), None), lambda *_: mine)

"""Registration of node types, functions as trees, and trees as vectors."""

import collections
import dataclasses
import time

import numpy as np
import pytest

from funcgrad import tree, tree_util
from funcgrad.tree import GetAttrKey, keystr


@tree_util.register_pytree_with_keys_class
class Keyed:
    def __init__(self, *children):
        self.children = children

    def tree_flatten_with_keys(self):
        return [(GetAttrKey(f"c{i}"), c) for i, c in enumerate(self.children)], len(self.children)

    @classmethod
    def tree_unflatten(cls, count, children):
        children = tuple(children)
        assert len(children) == count
        return cls(*children)


@tree_util.register_pytree_node_class
class Plain:
    def __init__(self, child, name):
        self.child, self.name = child, name

    def tree_flatten(self):
        return (self.child,), self.name

    @classmethod
    def tree_unflatten(cls, name, children):
        return cls(*children, name)


@tree_util.register_dataclass
@dataclasses.dataclass
class Line:
    slope: object
    offset: object = 0.0
    name: str = tree.static(default="line")
    drawn: int = dataclasses.field(init=False, default=0)


def test_class_with_keys():
    pairs, treedef = tree.flatten_with_path(Keyed(1, [2, Keyed(3)]))
    assert [(keystr(p), x) for p, x in pairs] == [(".c0", 1), (".c1[0]", 2), (".c1[1].c0", 3)]
    assert tree.unflatten(treedef, "abc").children[1][1].children == ("c",)


def test_class_without_keys():
    doubled = tree.map(lambda x: 2 * x, Plain((1, 2), "n"))
    assert (doubled.child, doubled.name) == ((2, 4), "n")
    paths = [keystr(p) for p, _ in tree.leaves_with_path(Plain((1, 2), "n"))]
    assert paths == ["[<flat index 0>][0]", "[<flat index 0>][1]"]


def test_static_data_is_part_of_the_structure():
    assert tree.structure(Plain(1, "a")) == tree.structure(Plain(2, "a"))
    assert tree.structure(Plain(1, "a")) != tree.structure(Plain(1, "b"))
    with pytest.raises(ValueError, match="Plain"):
        tree.map(max, Plain(1, "a"), Plain(1, "b"))


def test_dataclass_with_inferred_fields():
    line = Line(1.0, [2.0], "steep")
    pairs, treedef = tree.flatten_with_path(line)
    assert [(keystr(p), x) for p, x in pairs] == [(".slope", 1.0), (".offset[0]", 2.0)]
    assert tree.unflatten(treedef, [3.0, 4.0]) == Line(3.0, [4.0], "steep")
    assert treedef != tree.structure(Line(1.0, [2.0], "flat"))


def fresh_dataclass():
    return dataclasses.make_dataclass("Fresh", ["x", "y"])


def test_dataclass_with_explicit_fields():
    Fresh = tree_util.register_dataclass(fresh_dataclass(), ["y"], ["x"])
    assert tree.leaves(Fresh(1, (2, 3))) == [2, 3]
    with pytest.raises(ValueError):
        tree_util.register_dataclass(Fresh, ["y"], ["x"])


def test_dataclass_with_dropped_fields():
    Fresh = dataclasses.make_dataclass("Fresh", ["x", ("y", int, 5)])
    tree_util.register_dataclass(Fresh, ["x"], [], drop_fields=["y"])
    assert tree.map(lambda x: -x, Fresh(1, 9)) == Fresh(-1, 5)


@pytest.mark.parametrize(
    "fields, error, message",
    [
        ((["x"], []), ValueError, "lack y of Fresh"),
        ((["x", "w"], ["y"]), ValueError, "name unknown w of Fresh"),
        ((["x"], None), TypeError, "give both"),
    ],
)
def test_dataclass_errors(fields, error, message):
    with pytest.raises(error, match=message):
        tree_util.register_dataclass(fresh_dataclass(), *fields)


def test_a_class_that_is_no_dataclass_needs_its_fields():
    class Bare:
        def __init__(self, x):
            self.x = x

    with pytest.raises(TypeError, match="no dataclass"):
        tree_util.register_dataclass(Bare)
    tree_util.register_dataclass(Bare, ["x"], [])
    assert tree.map(lambda x: x + 1, Bare(1)).x == 2


def test_register_static():
    @tree_util.register_static
    @dataclasses.dataclass(frozen=True)
    class Setting:
        name: str

    assert tree.leaves([Setting("a"), 1]) == [1]
    assert tree.structure(Setting("a")) == tree.structure(Setting("a"))
    assert tree.structure(Setting("a")) != tree.structure(Setting("b"))
    assert tree.unflatten(tree.structure(Setting("a")), []) == Setting("a")


def test_partial_is_a_tree_of_its_arguments():
    f = tree_util.Partial(pow, 2, mod=(5,))
    assert tree.leaves(f) == [2, 5]
    doubled = tree.map(lambda x: 2 * x, f)
    assert (doubled.args, doubled.keywords, doubled.func) == ((4,), {"mod": (10,)}, pow)
    assert tree.structure(f) == tree.structure(tree_util.Partial(pow, 3, mod=(7,)))
    assert tree.structure(f) != tree.structure(tree_util.Partial(max, 3, mod=(7,)))


def test_partial_of_partial_binds_only_the_new_arguments():
    inner = tree_util.Partial(pow, 2)
    outer = tree_util.Partial(inner, 5)
    assert outer() == 32
    assert tree.leaves(outer) == [5]
    assert tree.structure(outer) == tree.structure(tree_util.Partial(inner, 7))


def test_queries():
    Point = collections.namedtuple("Point", "x y")
    nodes = (dict, list, tuple, type(None), Point, collections.OrderedDict, Line, Keyed)
    leaves = (int, np.ndarray, collections.deque, time.struct_time, set)
    assert [tree_util.is_tree_node(t) for t in nodes] == [True] * len(nodes)
    assert [tree_util.is_tree_node(t) for t in leaves] == [False] * len(leaves)
    assert tree_util.all_leaves([1, "a", np.zeros(2)])
    assert not tree_util.all_leaves([1, None])
    assert not tree_util.all_leaves([1, (2,)])
    assert tree_util.all_leaves([1, (2,)], is_leaf=lambda x: isinstance(x, tuple))


def test_one_level():
    assert tree_util.flatten_one_level({"b": 1, "a": (2,)})[0] == [(2,), 1]
    assert tree_util.flatten_one_level(None)[0] == []
    pairs, _ = tree_util.flatten_one_level_with_keys(Line(1, 2))
    assert pairs == [(GetAttrKey("slope"), 1), (GetAttrKey("offset"), 2)]
    for leaf in (1, collections.deque([1])):
        with pytest.raises(ValueError, match="is a leaf"):
            tree_util.flatten_one_level(leaf)


def test_structures_in_parts():
    treedef = tree.structure({"a": (1, 2), "b": None})
    assert tree_util.treedef_children(treedef) == [tree.structure((1, 2)), tree.structure(None)]
    joined = tree_util.treedef_tuple([treedef, tree.structure(Line(1, 2))])
    assert joined == tree.structure(({"a": (1, 2), "b": None}, Line(1, 2)))
    assert tree_util.treedef_is_leaf(tree.structure(1))
    assert not tree_util.treedef_is_leaf(treedef)


@pytest.mark.oracle
def test_names_are_those_of_jax():
    tree_names = pytest.importorskip("jax.tree")
    util_names = pytest.importorskip("jax.tree_util")
    internal = {"KeyEntry", "default_registry"}  # a protocol for annotations, and a C++ object
    public = {n for n in dir(util_names) if not n.startswith("_")}
    assert public - internal <= set(tree_util.__all__)
    assert {n for n in dir(tree_names) if not n.startswith("_")} <= set(tree.__all__)

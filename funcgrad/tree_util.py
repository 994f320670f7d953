"""Pytrees under their long names, and registration of new node types.

`tree.py` has the functions; here are the names `tree_map`, `tree_flatten`, ... and what makes one's
own classes nodes.
"""

import dataclasses
import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import optree

from funcgrad.tree import (
    LEAF,
    NAMESPACE,
    DictKey,
    FlattenedIndexKey,
    GetAttrKey,
    KeyPath,
    PyTreeDef,
    SequenceKey,
    all as tree_all,
    broadcast as tree_broadcast,
    child_keys,
    flatten as tree_flatten,
    flatten_with_path as tree_flatten_with_path,
    is_registered,
    keystr,
    leaves as tree_leaves,
    leaves_with_path as tree_leaves_with_path,
    map as tree_map,
    map_with_path as tree_map_with_path,
    one_level,
    reduce as tree_reduce,
    reduce_associative as tree_reduce_associative,
    register_node,
    structure as tree_structure,
    transpose as tree_transpose,
    unflatten as tree_unflatten,
)

__all__ = [
    "DictKey",
    "FlattenedIndexKey",
    "GetAttrKey",
    "KeyPath",
    "Partial",
    "PyTreeDef",
    "SequenceKey",
    "all_leaves",
    "flatten_one_level",
    "flatten_one_level_with_keys",
    "is_tree_node",
    "keystr",
    "register_dataclass",
    "register_pytree_node",
    "register_pytree_node_class",
    "register_pytree_with_keys",
    "register_pytree_with_keys_class",
    "register_static",
    "tree_all",
    "tree_broadcast",
    "tree_flatten",
    "tree_flatten_with_path",
    "tree_leaves",
    "tree_leaves_with_path",
    "tree_map",
    "tree_map_with_path",
    "tree_reduce",
    "tree_reduce_associative",
    "tree_structure",
    "tree_transpose",
    "tree_unflatten",
    "treedef_children",
    "treedef_is_leaf",
    "treedef_tuple",
]

Class = TypeVar("Class", bound=type)


# Registration


def register_pytree_node(
    nodetype: type,
    flatten_func: Callable[[Any], tuple[Iterable[Any], Hashable]],
    unflatten_func: Callable[[Any, Any], Any],
    flatten_with_keys_func: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Hashable]]
    | None = None,
) -> None:
    """Make a type a node of trees.

    `flatten_func` takes an instance and returns (children, static data); `unflatten_func` takes
    (static data, children). `flatten_with_keys_func` returns ((key, child) pairs, static data), for
    paths. Static data must be hashable and comparable. Raises `ValueError` if the type is a node
    already.

    >>> class Pair:
    ...     def __init__(self, x, y):
    ...         self.x, self.y = x, y
    >>> register_pytree_node(Pair, lambda p: ((p.x, p.y), None), lambda _, xy: Pair(*xy))
    >>> tree_leaves(Pair(1, [2, 3]))
    [1, 2, 3]
    """
    keys = None if flatten_with_keys_func is None else _keys_of_pairs(flatten_with_keys_func)
    register_node(nodetype, flatten_func, unflatten_func, keys)


def _keys_of_pairs(flatten_with_keys: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda node: [key for key, _ in flatten_with_keys(node)[0]]


def register_pytree_with_keys(
    nodetype: type,
    flatten_with_keys: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Hashable]],
    unflatten_func: Callable[[Any, Any], Any],
    flatten_func: Callable[[Any], tuple[Iterable[Any], Hashable]] | None = None,
) -> None:
    """Make a type a node whose children have keys; `flatten_func`, if given, is the faster way
    without keys.
    """

    def without_keys(node: Any) -> tuple[list[Any], Hashable]:
        pairs, static = flatten_with_keys(node)
        return [child for _, child in pairs], static

    register_pytree_node(nodetype, flatten_func or without_keys, unflatten_func, flatten_with_keys)


def register_pytree_node_class(cls: Class) -> Class:
    """Class decorator: the class has `tree_flatten(self)` and a class method
    `tree_unflatten(static, children)`.
    """
    register_pytree_node(cls, cls.tree_flatten, cls.tree_unflatten)  # type: ignore[attr-defined]
    return cls


def register_pytree_with_keys_class(cls: Class) -> Class:
    """Class decorator: as `register_pytree_node_class`, with `tree_flatten_with_keys(self)` for
    paths.
    """
    flatten_func = getattr(cls, "tree_flatten", None)
    register_pytree_with_keys(
        cls,
        cls.tree_flatten_with_keys,  # type: ignore[attr-defined]
        cls.tree_unflatten,  # type: ignore[attr-defined]
        flatten_func,
    )
    return cls


def register_static(cls: Class) -> Class:
    """Class decorator: instances are nodes without leaves, part of the structure; they must be
    hashable.
    """
    register_pytree_node(cls, lambda value: ((), value), lambda value, _: value)
    return cls


def register_dataclass(
    nodetype: Class,
    data_fields: Sequence[str] | None = None,
    meta_fields: Sequence[str] | None = None,
    drop_fields: Sequence[str] = (),
) -> Class:
    """Make a dataclass a node: `data_fields` are its children, `meta_fields` static; returns the
    class.

    Without lists of fields, those declared with `field(metadata=dict(static=True))` are static, the
    others children. A class that is no dataclass needs both lists. `drop_fields` are left to their
    defaults. Raises `TypeError` for one list without the other, `ValueError` for fields forgotten
    or unknown.

    >>> @register_dataclass
    ... @dataclasses.dataclass
    ... class Line:
    ...     slope: float
    ...     name: str = dataclasses.field(default="", metadata=dict(static=True))
    >>> tree_map(lambda x: 2 * x, Line(1.5, "steep"))
    Line(slope=3.0, name='steep')
    """
    data, meta = _fields_of(nodetype, data_fields, meta_fields, drop_fields)

    def flatten_func(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(getattr(node, f) for f in data), tuple(getattr(node, f) for f in meta)

    def unflatten_func(static: tuple[Any, ...], children: Iterable[Any]) -> Any:
        named = dict(zip(data, children, strict=True)) | dict(zip(meta, static, strict=True))
        return nodetype(**named)

    register_node(nodetype, flatten_func, unflatten_func, lambda _: [GetAttrKey(f) for f in data])
    return nodetype


def _fields_of(
    nodetype: type,
    data_fields: Sequence[str] | None,
    meta_fields: Sequence[str] | None,
    drop_fields: Sequence[str],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if (data_fields is None) != (meta_fields is None):
        raise TypeError("register_dataclass: give both data_fields and meta_fields, or neither.")
    if not dataclasses.is_dataclass(nodetype):
        if data_fields is None or meta_fields is None:
            raise TypeError(
                f"register_dataclass: {nodetype.__name__} is no dataclass, so data_fields and "
                "meta_fields must be given."
            )
        return tuple(data_fields), tuple(meta_fields)
    fields = [f for f in dataclasses.fields(nodetype) if f.init and f.name not in drop_fields]
    if data_fields is None or meta_fields is None:
        static = {f.name for f in fields if f.metadata.get("static", False)}
        return (
            tuple(f.name for f in fields if f.name not in static),
            tuple(f.name for f in fields if f.name in static),
        )
    _require_all_fields(nodetype, {f.name for f in fields}, {*data_fields, *meta_fields})
    return tuple(data_fields), tuple(meta_fields)


def _require_all_fields(nodetype: type, expected: set[str], given: set[str]) -> None:
    for problem, names in (("lack", expected - given), ("name unknown", given - expected)):
        if names:
            raise ValueError(
                f"register_dataclass: data_fields and meta_fields {problem} "
                f"{', '.join(sorted(names))} of {nodetype.__name__}. They must cover the fields "
                "of its constructor, save drop_fields."
            )


# Nodes and structures


_BUILT_IN = (tuple, list, dict, OrderedDict, defaultdict, type(None))


def is_tree_node(typ: type) -> bool:
    """Is this type a node of trees (built in, registered, or a namedtuple)?"""
    return typ in _BUILT_IN or is_registered(typ) or optree.is_namedtuple_class(typ)


def flatten_one_level(tree: Any) -> tuple[list[Any], Any]:
    """The children of the topmost node and its static data.

    Raises `ValueError` for a leaf.
    """
    if one_level(tree)[1] == LEAF:
        raise ValueError(
            f"flatten_one_level: a {type(tree).__name__} is a leaf, it has no children."
        )
    children, static, *_ = optree.tree_flatten_one_level(tree, namespace=NAMESPACE)
    return list(children), static


def flatten_one_level_with_keys(tree: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """As `flatten_one_level`, each child with its key."""
    children, static = flatten_one_level(tree)
    keys = child_keys(tree, one_level(tree)[1])
    return list(zip(keys, children, strict=True)), static


def all_leaves(iterable: Iterable[Any], is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Is every element a leaf (and not a node, nor `None`)?"""
    return all(tree_structure(x, is_leaf) == LEAF for x in iterable)


def treedef_is_leaf(treedef: PyTreeDef) -> bool:
    """Is this the structure of a bare leaf, or of a tree of one node?"""
    return treedef.num_nodes == 1


def treedef_children(treedef: PyTreeDef) -> list[PyTreeDef]:
    """The structures of the children of the topmost node."""
    return treedef.children()


def treedef_tuple(treedefs: Iterable[PyTreeDef]) -> PyTreeDef:
    """The structure of a tuple of trees of these structures."""
    return optree.treespec_tuple(treedefs, namespace=NAMESPACE)


# Functions as trees


class _Opaque:
    """A callable whose bound arguments stay static; compared by what it wraps."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __hash__(self) -> int:
        return hash(self.function)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opaque) and self.function == other.function

    def __repr__(self) -> str:
        return repr(self.function)


class Partial(functools.partial):
    """A `functools.partial` that is a node: the bound arguments are its children, the function is
    static.

    So a function that carries arrays can be passed to a transformed function.

    >>> tree_leaves(Partial(max, 3, 4))
    [3, 4]
    """

    def __new__(cls, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Partial":
        # functools.partial would merge the arguments of an inner partial into ours, as children.
        if isinstance(function, functools.partial):
            function = _Opaque(function)
        return super().__new__(cls, function, *args, **kwargs)


register_pytree_with_keys(
    Partial,
    lambda p: (((GetAttrKey("args"), p.args), (GetAttrKey("keywords"), p.keywords)), p.func),
    lambda function, children: Partial(function, *children[0], **children[1]),
    lambda p: ((p.args, p.keywords), p.func),
)

"""Pytrees: nested containers of arrays, taken apart and put together.

optree does the work; node types are registered in a namespace of our own. Two things are restored
to what JAX users expect: `deque` and structures such as `time.struct_time` are leaves, and
dictionaries whose keys cannot be ordered are refused. `tree_util.py` has the longer names and
registration for dataclasses.
"""

import builtins
import collections
import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
import optree

__all__ = [
    "DictKey",
    "FlattenedIndexKey",
    "GetAttrKey",
    "PyTreeDef",
    "SequenceKey",
    "all",
    "broadcast",
    "flatten",
    "flatten_with_path",
    "keystr",
    "leaves",
    "leaves_with_path",
    "map",
    "map_with_path",
    "reduce",
    "reduce_associative",
    "static",
    "structure",
    "transpose",
    "unflatten",
]

NAMESPACE = "funcgrad"

PyTreeDef = optree.PyTreeSpec
LEAF: PyTreeDef = optree.treespec_leaf()

IsLeaf = Callable[[Any], bool] | None
KeyPath = tuple[Any, ...]
_MISSING: Any = object()


# Keys of paths


class _Key:
    """One step of a path. Keys are equal if they are of one kind and hold the same."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()

    def _value(self) -> Any:
        return getattr(self, self.__match_args__[0])

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value() == self._value()

    def __hash__(self) -> int:
        return hash((type(self), self._value()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__match_args__[0]}={self._value()!r})"


class DictKey(_Key):
    """The key of a dictionary entry, as it stands in a path."""

    __slots__ = __match_args__ = ("key",)

    def __init__(self, key: Hashable) -> None:
        self.key = key

    def __str__(self) -> str:
        return f"[{self.key!r}]"


class SequenceKey(_Key):
    """The position of an element of a list or tuple, as it stands in a path."""

    __slots__ = __match_args__ = ("idx",)

    def __init__(self, idx: int) -> None:
        self.idx = idx

    def __str__(self) -> str:
        return f"[{self.idx}]"


class GetAttrKey(_Key):
    """The name of an attribute (a field of a namedtuple or dataclass), as it stands in a path."""

    __slots__ = __match_args__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f".{self.name}"


class FlattenedIndexKey(_Key):
    """The position of a child of a node type that was registered without keys."""

    __slots__ = __match_args__ = ("key",)

    def __init__(self, key: int) -> None:
        self.key = key

    def __str__(self) -> str:
        return f"[<flat index {self.key}>]"


def keystr(keys: KeyPath, *, simple: bool = False, separator: str = "") -> str:
    """The printed form of a path; `simple` leaves out brackets and quotes.

    >>> keystr((DictKey("layers"), SequenceKey(0), GetAttrKey("weight")))
    "['layers'][0].weight"
    >>> keystr((DictKey("layers"), SequenceKey(0)), simple=True, separator="/")
    'layers/0'
    """
    return separator.join(_simple_key(k) if simple else str(k) for k in keys)


def _simple_key(key: Any) -> str:
    match key:
        case DictKey(name) | SequenceKey(name) | GetAttrKey(name) | FlattenedIndexKey(name):
            return str(name)
    return str(key)


# Flattening. Bare leaves, flat sequences and flat dictionaries of well-known leaf types are what
# nearly every call passes; they skip optree, which costs several times as much.


_plain_leaves: frozenset[type] = frozenset(
    {bool, int, float, complex, str, np.ndarray, np.bool_}
    | {np.dtype(code).type for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"]}
)
_flat_sequences: dict[tuple[type, int], PyTreeDef] = {}
_flat_dicts: dict[tuple[Any, ...], tuple[list[Any], PyTreeDef]] = {}
_lawful: set[PyTreeDef] = set()
_CACHE_LIMIT = 4096


def declare_leaf_types(*types: type) -> None:
    """Say that values of exactly these types are leaves, so that flattening takes the short way."""
    global _plain_leaves
    _plain_leaves |= frozenset(types)


def flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], PyTreeDef]:
    """The leaves of a tree from left to right, and its structure.

    Lists, tuples, namedtuples, dictionaries (in the order of their sorted keys) and registered
    types are nodes, `None` is a node without children, all else is a leaf. `is_leaf` makes further
    values leaves.

    >>> leaves, treedef = flatten({"b": 3, "a": (1, 2)})
    >>> leaves
    [1, 2, 3]
    >>> unflatten(treedef, [10, 20, 30])
    {'b': 30, 'a': (10, 20)}
    """
    if is_leaf is not None:
        found, treedef = optree.tree_flatten(
            tree, lambda x: is_leaf(x) or _is_refused_node(x), namespace=NAMESPACE
        )
        _refuse_unlawful(treedef)
        return found, treedef
    kind = type(tree)
    if kind in _plain_leaves:
        return [tree], LEAF
    if kind is tuple or kind is list:
        if _plain_leaves.issuperset(builtins.map(type, tree)):
            return list(tree), _flat_sequence(kind, len(tree))
    elif kind is dict and _plain_leaves.issuperset(builtins.map(type, tree.values())):
        keys = tuple(tree)
        order, treedef = _flat_dicts.get(keys) or _flat_dict(keys)
        # Keys that compare equal, such as 1 and True, share an entry; `order` still finds each
        # value.
        return [tree[k] for k in order], treedef
    return _flatten_by_optree(tree)


def _flatten_by_optree(tree: Any) -> tuple[list[Any], PyTreeDef]:
    found, treedef = optree.tree_flatten(tree, namespace=NAMESPACE)
    # A treedef with registered nodes holds their static data, which a cache must not keep alive.
    if treedef.namespace:
        lawful = _has_only_lawful_nodes(treedef)
    elif not (lawful := treedef in _lawful) and (lawful := _has_only_lawful_nodes(treedef)):
        _bounded(_lawful).add(treedef)
    if not lawful:
        return optree.tree_flatten(tree, _is_refused_node, namespace=NAMESPACE)
    return found, treedef


def _flat_sequence(kind: type, length: int) -> PyTreeDef:
    treedef = _flat_sequences.get((kind, length))
    if treedef is None:
        treedef = optree.tree_structure(kind([0] * length), namespace=NAMESPACE)
        _bounded(_flat_sequences)[kind, length] = treedef
    return treedef


def _flat_dict(keys: tuple[Any, ...]) -> tuple[list[Any], PyTreeDef]:
    treedef = _flatten_by_optree(dict.fromkeys(keys, 0))[1]
    entry = treedef.entries(), treedef
    _bounded(_flat_dicts)[keys] = entry
    return entry


def _bounded(cache: Any) -> Any:
    if len(cache) >= _CACHE_LIMIT:
        cache.clear()
    return cache


def _is_refused_node(x: Any) -> bool:
    """Is this a node for optree that JAX takes for a leaf?"""
    return type(x) is collections.deque or (isinstance(x, tuple) and optree.is_structseq(x))


def _has_only_lawful_nodes(treedef: PyTreeDef) -> bool:
    """Has the tree no node that must be a leaf? Raises for dictionary keys without an order."""
    lawful = True

    def visit(kind: type, data: Any, _children: tuple[Any, ...]) -> None:
        nonlocal lawful
        if kind is dict or kind is collections.defaultdict:
            _require_ordered(data if kind is dict else data[1])
        elif kind is collections.deque or (
            issubclass(kind, tuple) and optree.is_structseq_class(kind)
        ):
            lawful = False

    treedef.walk([0] * treedef.num_leaves, visit)
    return lawful


def _refuse_unlawful(treedef: PyTreeDef) -> None:
    if treedef.namespace or treedef not in _lawful:
        _has_only_lawful_nodes(treedef)


def _require_ordered(keys: list[Any]) -> None:
    try:
        sorted(keys)
    except TypeError:
        kinds = ", ".join(sorted({type(k).__name__ for k in keys}))
        raise ValueError(
            f"tree: the keys of a dictionary must have an order, but {keys!r} mixes {kinds}. "
            "Use keys of one type."
        ) from None


def unflatten(treedef: PyTreeDef, leaves: Iterable[Any]) -> Any:
    """The tree of this structure with these leaves; the inverse of `flatten`."""
    return treedef.unflatten(leaves)


def leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves of a tree from left to right.

    >>> leaves({"b": 3, "a": [1, None, 2]})
    [1, 2, 3]
    """
    return flatten(tree, is_leaf)[0]


def structure(tree: Any, is_leaf: IsLeaf = None) -> PyTreeDef:
    """The structure of a tree: hashable, comparable, and able to rebuild the tree from leaves."""
    return flatten(tree, is_leaf)[1]


def map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """Apply `f` to each leaf of `tree`, together with what stands at that place in each tree of
    `rest`.

    Raises `ValueError` if a tree of `rest` does not have `tree`'s structure as a prefix.

    >>> map(lambda p, g: p - 0.5 * g, {"w": 1.0, "b": 2.0}, {"w": 2.0, "b": 4.0})
    {'w': 0.0, 'b': 0.0}
    """
    found, treedef = flatten(tree, is_leaf)
    others = [_flatten_up_to("tree.map", treedef, other) for other in rest]
    return treedef.unflatten(builtins.map(f, found, *others))


def _flatten_up_to(what: str, treedef: PyTreeDef, other: Any) -> list[Any]:
    try:
        return treedef.flatten_up_to(other)
    except ValueError as error:
        where = difference(treedef, other) or str(error)
        raise ValueError(f"{what}: the trees must have the same structure, but {where}") from None


def reduce(
    function: Callable[[Any, Any], Any],
    tree: Any,
    initializer: Any = _MISSING,
    is_leaf: IsLeaf = None,
) -> Any:
    """Combine the leaves from left to right with a function of two arguments.

    >>> reduce(lambda total, x: total + x, {"a": 1, "b": (2, 3)}, 0)
    6
    """
    start = () if initializer is _MISSING else (initializer,)
    return functools.reduce(function, leaves(tree, is_leaf), *start)


def reduce_associative(
    operation: Callable[[Any, Any], Any],
    tree: Any,
    *,
    identity: Any = _MISSING,
    is_leaf: IsLeaf = None,
) -> Any:
    """As `reduce`, for an associative operation: pairs are combined in a balanced tree.

    Raises `TypeError` for a tree without leaves if there is no `identity`.
    """
    found = leaves(tree, is_leaf)
    if not found:
        if identity is _MISSING:
            raise TypeError("tree.reduce_associative: a tree without leaves needs an identity.")
        return identity
    while len(found) > 1:
        odd = found[len(found) & ~1 :]
        found = [operation(x, y) for x, y in zip(found[::2], found[1::2], strict=False)] + odd
    return found[0]


def all(tree: Any, *, is_leaf: IsLeaf = None) -> bool:
    """Are all leaves true?"""
    return builtins.all(leaves(tree, is_leaf))


def transpose(outer: PyTreeDef, inner: PyTreeDef | None, tree: Any) -> Any:
    """Turn a tree of structure `outer` whose leaves are trees of structure `inner` inside out.

    `inner=None` takes the structure of the first of those trees.

    >>> transpose(structure([0, 0]), None, [{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    {'a': [1, 3], 'b': [2, 4]}
    """
    subtrees = _flatten_up_to("tree.transpose", outer, tree)
    if inner is None:
        inner = structure(subtrees[0]) if subtrees else LEAF
    rows = [_flatten_up_to("tree.transpose", inner, subtree) for subtree in subtrees]
    return inner.unflatten(outer.unflatten(column) for column in zip(*rows, strict=True))


def static(**kwargs: Any) -> Any:
    """A dataclass field that is static; takes the arguments of `dataclasses.field`."""
    metadata = {**(kwargs.pop("metadata", None) or {}), "static": True}
    return dataclasses.field(metadata=metadata, **kwargs)


# Paths


_key_functions: dict[type, Callable[[Any], Iterable[Any]]] = {}


def register_node(
    kind: type,
    flatten_func: Callable[[Any], tuple[Iterable[Any], Hashable]],
    unflatten_func: Callable[[Any, Any], Any],
    keys: Callable[[Any], Iterable[Any]] | None = None,
) -> None:
    """Make a type a node: `flatten_func` gives (children, static data), `keys` one key per child.

    Raises `ValueError` for a type that is a node already.
    """
    optree.register_pytree_node(kind, flatten_func, unflatten_func, namespace=NAMESPACE)
    _key_functions[kind] = keys or _flat_index_keys


def is_registered(kind: type) -> bool:
    """Was this type made a node?"""
    return kind in _key_functions


def _flat_index_keys(node: Any) -> list[FlattenedIndexKey]:
    return [FlattenedIndexKey(i) for i in range(len(one_level(node)[0]))]


def one_level(tree: Any) -> tuple[list[Any], PyTreeDef]:
    """The children of the topmost node, and the structure of that node alone; of a leaf, itself."""
    return flatten(tree, is_leaf=lambda x: x is not tree)


def child_keys(tree: Any, node: PyTreeDef) -> list[Any]:
    """The keys of the children of a node, in order."""
    kind = node.type
    if kind is None:
        return []
    if is_registered(kind):
        return list(_key_functions[kind](tree))
    if kind in (dict, collections.defaultdict, collections.OrderedDict):
        return [DictKey(k) for k in node.entries()]
    if optree.is_namedtuple_class(kind):
        return [GetAttrKey(name) for name in optree.namedtuple_fields(kind)]
    return [SequenceKey(i) for i in range(node.num_children)]


def flatten_with_path(
    tree: Any, is_leaf: Callable[..., bool] | None = None, is_leaf_takes_path: bool = False
) -> tuple[list[tuple[KeyPath, Any]], PyTreeDef]:
    """As `flatten`, with each leaf as a pair of its path and itself.

    With `is_leaf_takes_path`, `is_leaf` is called with the path and the value.

    >>> for path, leaf in flatten_with_path({"a": (1, 2)})[0]:
    ...     print(keystr(path), leaf)
    ['a'][0] 1
    ['a'][1] 2
    """
    found: list[tuple[KeyPath, Any]] = []
    decisions: list[bool] = []
    stops: Callable[..., bool] | None = is_leaf
    if is_leaf is not None and not is_leaf_takes_path:
        stops = lambda path, subtree: is_leaf(subtree)
    _visit((), tree, stops, found, decisions)
    replay = iter(decisions)  # optree asks in the same order
    return found, flatten(tree, lambda _: next(replay))[1]


def _visit(
    path: KeyPath,
    subtree: Any,
    stops: Callable[..., bool] | None,
    found: list[tuple[KeyPath, Any]],
    decisions: list[bool],
) -> None:
    """Adds the leaves below `path` to `found`. Not nested, for a function that calls itself by a
    closure is a reference cycle, and would keep the leaves alive.
    """
    decisions.append(stops is not None and bool(stops(path, subtree)))
    children, node = ([], LEAF) if decisions[-1] else one_level(subtree)
    if node == LEAF:
        found.append((path, subtree))
    for key, child in zip(child_keys(subtree, node), children, strict=False):
        _visit((*path, key), child, stops, found, decisions)


def leaves_with_path(
    tree: Any, is_leaf: Callable[..., bool] | None = None, is_leaf_takes_path: bool = False
) -> list[tuple[KeyPath, Any]]:
    """The leaves of a tree, each as a pair of its path and itself."""
    return flatten_with_path(tree, is_leaf, is_leaf_takes_path)[0]


def map_with_path(
    f: Callable[..., Any],
    tree: Any,
    *rest: Any,
    is_leaf: Callable[..., bool] | None = None,
    is_leaf_takes_path: bool = False,
) -> Any:
    """As `map`, with the path of the leaf as the first argument of `f`.

    >>> map_with_path(lambda path, x: f"{keystr(path)}={x}", {"a": [1]})
    {'a': ["['a'][0]=1"]}
    """
    pairs, treedef = flatten_with_path(tree, is_leaf, is_leaf_takes_path)
    others = [_flatten_up_to("tree.map_with_path", treedef, other) for other in rest]
    return treedef.unflatten(f(*pair, *more) for pair, *more in zip(pairs, *others, strict=True))


# Prefixes, and where two trees differ


def broadcast(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf = None) -> Any:
    """A tree of `full_tree`'s structure: each leaf of `prefix_tree` repeated over the subtree it
    covers.

    >>> broadcast({"a": 0, "b": 1}, {"a": (7, 8), "b": 9})
    {'a': (0, 0), 'b': 1}
    """
    treedef = structure(full_tree, is_leaf)
    return treedef.unflatten(
        _prefix_leaves(prefix_tree, treedef, "tree.broadcast: the prefix", is_leaf)
    )


def prefix_leaves(prefix: Any, tree: Any, what: str) -> list[Any]:
    """One entry of `prefix` for each leaf of `tree` (a tree, or its structure); `None` in it is an
    entry too.

    Raises `ValueError`, naming the argument `what`, where `prefix` is not a prefix of the tree.

    >>> prefix_leaves((0, {"w": None, "b": 1}), (5, {"w": [6, 7], "b": 8}), "vmap: in_axes")
    [0, 1, None, None]
    """
    treedef = tree if isinstance(tree, PyTreeDef) else structure(tree)
    return _prefix_leaves(prefix, treedef, what, lambda x: x is None)


def _prefix_leaves(prefix: Any, treedef: PyTreeDef, what: str, is_leaf: IsLeaf) -> list[Any]:
    try:
        return _spread(prefix, treedef, is_leaf)
    except _PrefixMismatch as mismatch:
        raise ValueError(
            f"{what} must be a tree prefix of the value it belongs to, but {mismatch}."
        ) from None


def _spread(prefix: Any, treedef: PyTreeDef, is_leaf: IsLeaf) -> list[Any]:
    if type(prefix) in _plain_leaves or (is_leaf is not None and is_leaf(prefix)):
        return [prefix] * treedef.num_leaves
    children, node = one_level(prefix)
    if node == LEAF:
        return [prefix] * treedef.num_leaves
    if treedef == LEAF or node != treedef.one_level():
        raise _PrefixMismatch((), node, treedef)
    entries: list[Any] = []
    for i, (child, subtree) in enumerate(zip(children, treedef.children(), strict=True)):
        try:
            entries += _spread(child, subtree, is_leaf)
        except _PrefixMismatch as mismatch:
            raise mismatch.below(child_keys(prefix, node)[i]) from None
    return entries


class _PrefixMismatch(Exception):
    """Where a prefix and a tree differ; each caller on the way up adds its key to the path."""

    def __init__(self, path: KeyPath, node: PyTreeDef, treedef: PyTreeDef):
        super().__init__(path, node, treedef)
        self.path, self.node, self.treedef = path, node, treedef

    def below(self, key: Any) -> "_PrefixMismatch":
        return _PrefixMismatch((key, *self.path), self.node, self.treedef)

    def __str__(self) -> str:
        prefix, full = _describe(self.node), _describe(self.treedef)
        return f"at {_place(self.path)} it has {prefix} where the value has {full}"


def difference(treedef: PyTreeDef, other: Any) -> str | None:
    """Where a tree departs from a structure that should be its prefix; `None` if nowhere."""
    return _difference((), treedef, other)


def _difference(path: KeyPath, treedef: PyTreeDef, other: Any) -> str | None:
    if treedef == LEAF:
        return None
    children, node = one_level(other)
    expected = treedef.one_level()
    if node != expected:
        sides = f"{_describe(expected)} where the other has {_describe(node)}"
        return f"at {_place(path)} the first has {sides}."
    keys = child_keys(other, node)
    parts = zip(keys, treedef.children(), children, strict=True)
    return next(filter(None, (_difference((*path, k), t, c) for k, t, c in parts)), None)


def _place(path: KeyPath) -> str:
    return keystr(path) or "the top"


def _describe(node: PyTreeDef | None) -> str:
    if node is None or node.type is None:
        return "a leaf"
    kind = node.type
    if kind is type(None):
        return "None"
    if kind in (dict, collections.OrderedDict, collections.defaultdict):
        return f"a {kind.__name__} with keys {_shortened(list(node.entries()))}"
    if is_registered(kind):
        return f"the node {_shortened(node.one_level())}"
    return f"a {kind.__name__} of length {node.num_children}"


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."

"""Between users' functions of trees and the transformations' functions of flat lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.core.array import Array, ConcreteArray, KeyArray
from funcgrad.core.avals import described, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.source import source_of
from funcgrad.core.stage import StagingTracer
from funcgrad.transforms.autodiff import AutodiffTracer
from funcgrad.transforms.batching import BatchTracer
from funcgrad.transforms.partial import LinearTracer

tree.declare_leaf_types(
    ConcreteArray, KeyArray, StagingTracer, AutodiffTracer, BatchTracer, LinearTracer, np.ndarray
)


def name_of(fun: Callable[..., Any]) -> str:
    """How messages call the user's function."""
    return getattr(fun, "__name__", None) or type(fun).__name__


def check_callable(fun: Any, transform: str) -> None:
    """TypeError unless `fun` can be called."""
    if not callable(fun):
        raise TypeError(
            f"{transform}: needs a function, but got {fun!r:.60} of type {type(fun).__name__}."
        )


class Flat:
    """The user's function on and to flat lists. Remembers the structure of what it returned last.

    With `has_aux` the function returns a pair; arrays in the second part follow the first part's
    leaves, anything else there is passed by unchanged.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        in_tree: tree.PyTreeDef,
        transform: str,
        has_aux: bool = False,
    ) -> None:
        self.fun, self.in_tree, self.transform, self.has_aux = fun, in_tree, transform, has_aux
        self.out_tree: Any = None
        self.out_count = 0
        self.aux_tree: Any = None
        self.aux_leaves: list[Any] = []

    @property
    def source(self) -> Any:
        """Where the user's function begins, for messages about values that escape from it."""
        return source_of(self.fun)

    def _called(self, leaves: Sequence[Any]) -> Any:
        args, kwargs = tree.unflatten(self.in_tree, leaves)
        return self.fun(*args, **kwargs)

    def __call__(self, *leaves: Any) -> list[Any]:
        out = self._called(leaves)
        aux: list[Any] = []
        if self.has_aux:
            out, aux = self._without_aux(out)
        found, self.out_tree = tree.flatten(out)
        self.out_count = len(found)
        return [self._output(o) for o in found] + aux

    def _output(self, leaf: Any) -> Any:
        try:
            return as_input(self.transform, leaf)
        except TypeError:
            raise TypeError(
                f"{self.transform}: {name_of(self.fun)} must return arrays or numbers, "
                f"but returned {leaf!r:.60} of type {type(leaf).__name__}."
            ) from None

    def _without_aux(self, out: Any) -> tuple[Any, list[Any]]:
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise TypeError(
                f"{self.transform}: with has_aux=True, {name_of(self.fun)} must return a pair "
                "(output, aux), "
                f"but it returned {described(out)}."
            )
        self.aux_leaves, self.aux_tree = tree.flatten(out[1])
        return out[0], [leaf for leaf in self.aux_leaves if isinstance(leaf, Array)]

    def output(self, leaves: Sequence[Any]) -> Any:
        """The function's result from its leaves."""
        return tree.unflatten(self.out_tree, leaves[: self.out_count])

    def aux(self, leaves: Sequence[Any]) -> Any:
        """The auxiliary result; `leaves` are all that the flat function returned, transformed."""
        arrays = iter(leaves[self.out_count :])
        filled = [next(arrays) if isinstance(leaf, Array) else leaf for leaf in self.aux_leaves]
        return tree.unflatten(self.aux_tree, filled)


class FlatOfSome(Flat):
    """The function of some of its arguments, the others fixed: `in_tree` is the list of the chosen
    ones, in the order of their `positions`.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        in_tree: tree.PyTreeDef,
        transform: str,
        has_aux: bool,
        positions: Sequence[int],
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> None:
        super().__init__(fun, in_tree, transform, has_aux)
        self.positions, self.args, self.kwargs = positions, args, kwargs

    def _called(self, leaves: Sequence[Any]) -> Any:
        full = list(self.args)
        for i, value in zip(self.positions, tree.unflatten(self.in_tree, leaves)):
            full[i] = value
        return self.fun(*full, **self.kwargs)


def argument_leaves(
    transform: str, args: Any, copy: bool = True, named: Callable[[Any], str] | None = None
) -> tuple[list[Any], Any]:
    """Leaves of the arguments as arrays, and their structure; TypeError names the leaf that is
    none, by its path.
    """
    leaves, treedef = tree.flatten(args)
    try:
        return [
            x if type(x) is ConcreteArray else as_input(transform, x, copy=copy) for x in leaves
        ], treedef
    except TypeError:
        for path, leaf in tree.leaves_with_path(args):
            try:
                as_input(transform, leaf)
            except TypeError as error:
                where = (named or positional_name)(path)
                text = str(error).removeprefix(f"{transform}: ")
                raise TypeError(f"{transform}: {where}: {text}{_repair(transform, leaf)}") from None
        raise


def _repair(transform: str, leaf: Any) -> str:
    """Settings are what `jit` is most often given in place of arrays."""
    if transform != "jit" or isinstance(leaf, (np.ndarray, np.generic)):
        return ""
    return " Mark it static, with static_argnums or static_argnames."


def positional_name(path: Any) -> str:
    """How messages call a leaf of a tuple of arguments: `argument 0['w']`."""
    return f"argument {path[0].idx}{tree.keystr(path[1:])}" if path else "the argument"


def call_leaves(transform: str, args: Any, kwargs: Any) -> tuple[list[Any], Any]:
    """`argument_leaves` of positional and keyword arguments, not copied."""
    return argument_leaves(transform, (args, kwargs), copy=False, named=call_name)


def call_name(path: Any) -> str:
    """How messages call a leaf of `(args, kwargs)`."""
    if path[0].idx == 0:
        return positional_name(path[1:])
    return f"argument {path[1].key!r}{tree.keystr(path[2:])}"


def describe_types(leaves: Sequence[Any]) -> str:
    """`f32[3], i32[]`"""
    return ", ".join(str(typeof(x).strong()) for x in leaves)

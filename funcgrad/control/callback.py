"""Calls of Python from inside programs: `pure_callback`, `io_callback`, `debug_callback`.

A callback is given Arrays of its own and runs outside of all traces, at the moment its equation
runs. Effects say what the passes may do: `pure_callback` has none; the others are neither dropped
nor repeated, and keep the order of the program. An exception ends the program and surfaces at the
call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad import tree
from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray, KeyArray, to_host
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.primitive import Construct
from funcgrad.core.trace import EVAL, Axis, running
from funcgrad.errors import MissingRuleError, user_facing
from funcgrad.primitives.basis import batched, broadcast_in_dim, moveaxis
from funcgrad.primitives.bits import random_unwrap_p


class Effect(NamedTuple):
    """What an equation does besides computing. Ordered effects are barriers to one another."""

    name: str
    ordered: bool


def effects_of(name: str) -> Callable[[dict[str, Any]], frozenset[Effect]]:
    """The effects rule of a callback with the parameter `ordered`."""
    ordered, unordered = frozenset({Effect(name, True)}), frozenset({Effect(name, False)})
    return lambda params: ordered if params["ordered"] else unordered


# ---- the user's function on flat lists ----------------------------------------------------------


class FlatCallback:
    """The user's function from Arrays to NumPy arrays, both in flat lists, its results checked."""

    def __init__(
        self,
        name: str,
        fun: Callable[..., Any],
        rebuild: Callable[[Sequence[Any]], tuple[Any, Any]],
        out_tree: Any,
        out_avals: Sequence[ShapedArray],
    ) -> None:
        self.name, self.fun, self.rebuild = name, fun, rebuild
        self.out_tree, self.out_avals = out_tree, tuple(out_avals)

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        args, kwargs = self.rebuild(leaves)
        out = self.fun(*args, **kwargs)
        if self.out_tree is None:
            return []
        found, structure = tree.flatten(out)
        if structure != self.out_tree:
            raise TypeError(
                f"{self.name}: {self} must return the structure of result_shape_dtypes, "
                f"{self.out_tree}, but returned {structure}."
            )
        return [self._checked(leaf, aval) for leaf, aval in zip(found, self.out_avals)]

    def _checked(self, leaf: Any, aval: ShapedArray) -> np.ndarray:
        """A copy of one result in the declared type; 64 bits are narrowed as input is."""
        result = np.array(leaf)
        if result.shape != aval.shape:
            raise ValueError(
                f"{self.name}: {self} must return {aval.strong()} as result_shape_dtypes says, "
                f"but returned an array of shape {result.shape}."
            )
        python = isinstance(leaf, (bool, int, float, complex))
        fits = np.can_cast(result.dtype, aval.dtype, "same_kind") if python else False
        if result.dtype != aval.dtype and not fits and dtypes.narrowed(result.dtype) != aval.dtype:
            raise TypeError(
                f"{self.name}: {self} must return {aval.strong()} as result_shape_dtypes says, "
                f"but returned {result.dtype}. Convert with astype."
            )
        return result.astype(aval.dtype, copy=False)

    def __repr__(self) -> str:
        return str(getattr(self.fun, "__name__", type(self.fun).__name__))


class PerLane:
    """A callback called once for each lane of a mapped axis, its results stacked."""

    def __init__(self, callback: Any, mapped: Sequence[bool], size: int) -> None:
        self.callback, self.mapped, self.size = callback, tuple(mapped), size
        self.out_avals = tuple(a.update(shape=(size, *a.shape)) for a in callback.out_avals)

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        rows = [
            self.callback([x[i] if m else x for x, m in zip(leaves, self.mapped)])
            for i in range(self.size)
        ]
        if not rows:
            return [np.zeros(a.shape, a.dtype) for a in self.out_avals]
        return [np.stack(column) for column in zip(*rows)]

    def __repr__(self) -> str:
        return f"{self.callback} per lane"


def _own(x: Any) -> ConcreteArray:
    """An operand as an Array that no later step of the program overwrites, not weak."""
    array = x if isinstance(x, ConcreteArray) else as_input("callback", x)
    assert isinstance(array, ConcreteArray), "constructs refuse tracers"
    return ConcreteArray(np.array(to_host(array._buffer)))


def run_callback(args: Sequence[Any], *, callback: Any, **params: Any) -> list[Any]:
    """Calls the function on arrays of its own, outside of all traces."""
    with running(EVAL):
        return [ConcreteArray(o) for o in callback([_own(a) for a in args])]


# ---- rules --------------------------------------------------------------------------------------


def _abstract(*avals: ShapedArray, callback: Any, **params: Any) -> list[ShapedArray]:
    return list(callback.out_avals)


def _batch_per_lane(primitive: Construct, axis: Axis, args: Any, dims: Any, params: Any) -> Any:
    """One equation that calls the function lane by lane, in order."""
    lanes = PerLane(params["callback"], [d is not None for d in dims], axis.size)
    rows = [a if d is None else moveaxis(a, d, 0) for a, d in zip(args, dims)]
    outs = primitive.bind(*rows, **{**params, "callback": lanes})
    return outs, [0] * len(outs)


class _Batched:
    """A callback that takes all lanes in one call, along leading dimensions."""

    def __init__(self, callback: Any, size: int) -> None:
        self.callback = callback
        self.out_avals = tuple(a.update(shape=(size, *a.shape)) for a in callback.out_avals)

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        inner = self.callback
        while not isinstance(inner, FlatCallback):
            inner = inner.callback
        whole = FlatCallback(inner.name, inner.fun, inner.rebuild, inner.out_tree, self.out_avals)
        return whole(leaves)

    def __repr__(self) -> str:
        return f"{self.callback} on lanes"


VMAP_METHODS = (
    "sequential", "sequential_unrolled", "expand_dims", "broadcast_all", "legacy_vectorized",
)  # fmt: skip


def _pure_batch(axis: Axis, args: Any, dims: Any, *, callback: Any, vmap_method: Any) -> Any:
    params = {"callback": callback, "vmap_method": vmap_method}
    if vmap_method is None:
        raise MissingRuleError(
            f"pure_callback: vmap of {callback} needs to know how to call it; give vmap_method="
            f"one of {', '.join(VMAP_METHODS)}."
        )
    if vmap_method.startswith("sequential"):
        return _batch_per_lane(pure_callback_p, axis, args, dims, params)
    rows = [_leading(axis, a, d, vmap_method) for a, d in zip(args, dims)]
    lanes = _Batched(callback, axis.size)
    outs = pure_callback_p.bind(*rows, callback=lanes, vmap_method=vmap_method)
    return outs, [0] * len(outs)


def _leading(axis: Axis, x: Any, dim: int | None, method: str) -> Any:
    """An operand as the callback is given it: a shared one keeps its shape, gets a leading
    dimension of extent 1, or is repeated.
    """
    if dim is not None or method == "broadcast_all":
        return batched(axis, x, dim)
    if method == "legacy_vectorized":
        return x
    shape = typeof(x).shape
    return broadcast_in_dim(x, (1, *shape), range(1, len(shape) + 1))


def _io_batch(axis: Axis, args: Any, dims: Any, **params: Any) -> Any:
    refuse_order("io_callback", params)
    return _batch_per_lane(io_callback_p, axis, args, dims, params)


def _debug_batch(axis: Axis, args: Any, dims: Any, **params: Any) -> Any:
    refuse_order("debug.callback or debug.print", params)
    return _batch_per_lane(debug_callback_p, axis, args, dims, params)


def refuse_order(name: str, params: dict[str, Any]) -> None:
    """ValueError if the callback is ordered: it is being mapped."""
    if params["ordered"]:
        raise ValueError(
            f"vmap: {name} of {params['callback']} is ordered, and lanes have no order. "
            "Use ordered=False, or lax.map instead of vmap."
        )


def no_jvp(name: str) -> Callable[..., Any]:
    """The derivative rule of what has none: it says what to do instead."""

    def rule(primals: Any, tangents: Any, *, callback: Any, **params: Any) -> Any:
        raise ValueError(
            f"{name}: {callback} is Python and cannot be differentiated. Wrap the call in "
            "custom_jvp or custom_vjp with a derivative of your own, or put stop_gradient around "
            "its arguments."
        )

    return rule


def _debug_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    """Called with the primals; tangents are not its concern."""
    return debug_callback_p.bind(*primals, **params), []


pure_callback_p = Construct(
    "pure_callback",
    run=run_callback,
    abstract=_abstract,
    jvp=no_jvp("pure_callback"),
    batch=_pure_batch,
)

io_callback_p = Construct(
    "io_callback",
    run=run_callback,
    abstract=_abstract,
    jvp=no_jvp("io_callback"),
    batch=_io_batch,
    effects=effects_of("io"),
)

debug_callback_p = Construct(
    "debug_callback",
    run=run_callback,
    abstract=_abstract,
    jvp=_debug_jvp,
    batch=_debug_batch,
    effects=effects_of("debug"),
)


# ---- the public functions -----------------------------------------------------------------------


def _result_types(name: str, result_shape_dtypes: Any) -> tuple[list[ShapedArray], Any]:
    leaves, treedef = tree.flatten(result_shape_dtypes)
    avals = []
    for leaf in leaves:
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise TypeError(
                f"{name}: result_shape_dtypes needs arrays or ShapeDtypeStructs, but got "
                f"{leaf!r:.60}."
            )
        avals.append(ShapedArray(tuple(leaf.shape), dtypes.as_dtype(leaf.dtype)))
    return avals, treedef


class _Operands:
    """Arguments taken apart: arrays become operands, what is no array is kept for the call. Keys
    travel as their words.
    """

    def __init__(self, name: str, arguments: Any, static: bool) -> None:
        leaves, self.treedef = tree.flatten(arguments)
        self.fixed: dict[int, Any] = {}
        self.keys: dict[int, Any] = {}
        self.operands: list[Any] = []
        for i, leaf in enumerate(leaves):
            if static and not isinstance(
                leaf, (Array, np.ndarray, np.generic, int, float, complex)
            ):
                self.fixed[i] = leaf
            else:
                self.operands.append(self._operand(i, as_input(name, leaf)))
        self.count = len(leaves)

    def _operand(self, position: int, x: Any) -> Any:
        dtype = typeof(x).dtype
        if not dtypes.is_key(dtype):
            return x
        self.keys[position] = dtype
        return random_unwrap_p.bind(x)

    def rebuild(self, values: Sequence[Any]) -> Any:
        """The arguments with these values as their arrays."""
        given = iter(values)
        leaves = [self.fixed[i] if i in self.fixed else next(given) for i in range(self.count)]
        for i, dtype in self.keys.items():
            leaves[i] = KeyArray(leaves[i]._buffer, dtype)
        return tree.unflatten(self.treedef, leaves)


@user_facing
def pure_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    sharding: Any = None,
    vmap_method: str | None = None,
    **kwargs: Any,
) -> Any:
    """The result of a Python function without side effects, called when the program runs.

    It may be called any number of times, or not at all where its result is not needed.

    Args:
        callback: takes Arrays, returns NumPy or other arrays of exactly the types declared.
        result_shape_dtypes: a tree of arrays or `ShapeDtypeStruct`s: what it returns.
        args, kwargs: trees of arrays, given to `callback`.
        sharding: accepted for compatibility; there is one device per program.
        vmap_method: under `vmap`, "sequential" (or "sequential_unrolled") calls once per lane;
            "expand_dims" and "broadcast_all" call once, with a leading dimension on every argument,
            of extent 1 on shared ones or repeated; "legacy_vectorized" leaves shared ones alone.

    Raises:
        ValueError: the function is differentiated (use custom_jvp), or returns another shape.
        TypeError: it returns another structure or dtype. NotImplementedError: `vmap` without
        `vmap_method`.

    Example:
        >>> import numpy, funcgrad as fg
        >>> from funcgrad.control.callback import pure_callback
        >>> f = fg.jit(lambda x: 2 * pure_callback(numpy.floor, x, x))
        >>> f(fg.numpy.array([1.5, 2.5]))
        Array([2., 4.], dtype=float32)
    """
    if vmap_method is not None and vmap_method not in VMAP_METHODS:
        raise ValueError(
            f"pure_callback: vmap_method is one of {', '.join(VMAP_METHODS)}, or None, but got "
            f"{vmap_method!r}."
        )
    avals, out_tree = _result_types("pure_callback", result_shape_dtypes)
    given = _Operands("pure_callback", (args, kwargs), False)
    flat = FlatCallback("pure_callback", callback, given.rebuild, out_tree, avals)
    outs = pure_callback_p.bind(*given.operands, callback=flat, vmap_method=vmap_method)
    return tree.unflatten(out_tree, outs)


@user_facing
def io_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    sharding: Any = None,
    ordered: bool = False,
    **kwargs: Any,
) -> Any:
    """The result of a Python function with side effects, called exactly once where it stands.

    Calls keep the order of the program, also under differentiation, whose loops keep the results
    for the backward pass. `ordered=True` says that this order matters; then `vmap`,
    whose lanes have none, raises. Otherwise lanes are called one by one.

    Raises:
        ValueError: the function is differentiated, or an ordered one is mapped. TypeError,
        ValueError: it returns something else than `result_shape_dtypes` (see `pure_callback`).

    Example:
        >>> import numpy, funcgrad as fg
        >>> from funcgrad.experimental import io_callback
        >>> lines = iter([3.0, 4.0])
        >>> read = lambda: io_callback(lambda: next(lines), fg.ShapeDtypeStruct((), "float32"))
        >>> fg.jit(lambda: 10 * read() + read())()
        Array(34., dtype=float32)
    """
    avals, out_tree = _result_types("io_callback", result_shape_dtypes)
    given = _Operands("io_callback", (args, kwargs), False)
    flat = FlatCallback("io_callback", callback, given.rebuild, out_tree, avals)
    outs = io_callback_p.bind(*given.operands, callback=flat, ordered=bool(ordered))
    return tree.unflatten(out_tree, outs)


def debug_callback(callback: Callable[..., Any], arguments: tuple[Any, Any], ordered: bool) -> None:
    """Calls a function for its side effect. `arguments` are (args, kwargs); what is no array in
    them is passed on as it is.
    """
    given = _Operands("debug.callback", arguments, True)
    flat = FlatCallback("debug.callback", callback, given.rebuild, None, ())
    debug_callback_p.bind(*given.operands, callback=flat, ordered=bool(ordered))


def effects_barrier() -> None:
    """Returns when all effects of earlier calls have happened: at once, since callbacks run while
    their program does.
    """

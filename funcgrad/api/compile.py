"""`jit`: signature of the arguments -> cached program."""

from __future__ import annotations

import functools
import threading
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.api.entry import MISS, NOTHING, Entry
from funcgrad.api.explain import Explanation, Signature, explain, refusal
from funcgrad.api.flat import Flat, call_leaves, check_callable, name_of
from funcgrad.api.shapes import abstract_leaf
from funcgrad.api.signature import Statics, fix_static, kind_of
from funcgrad.api.stages import Lowered, Traced
from funcgrad.config import config
from funcgrad.control.call import jit_p
from funcgrad.control.checkify import checked_function, stopping
from funcgrad.control.checks import CATEGORIES
from funcgrad.core import backend
from funcgrad.core.array import DeviceArray
from funcgrad.core.avals import typeof
from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr
from funcgrad.core.stage import stage
from funcgrad.core.trace import EVAL, current_trace, named_axes
from funcgrad.errors import trimmed, user_facing
from funcgrad.util import log

# All that `config.current()` does.
_overrides, _process = config._local.get, config._process

RECENT = 4  # entries that are tried before the arguments are flattened

# Programs belong to the user's function, so that `jit(f)` written twice compiles once.
_caches: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()
_functions: weakref.WeakSet[JitFunction] = weakref.WeakSet()


def _cache_of(fun: Callable[..., Any], options: Any) -> dict[Any, Any]:
    try:
        return _caches.setdefault(fun, {}).setdefault(options, {})
    except TypeError:  # not hashable, or no weak references to it
        return {}


class JitFunction:
    """A function compiled on first use for each signature of its arguments."""

    __slots__ = (
        "_fun", "_statics", "_donations", "_inline", "_max_compiles", "_cache", "_last", "_recent",
        "_lock", "__dict__", "__weakref__",
    )  # fmt: skip

    def __init__(
        self,
        fun: Callable[..., Any],
        statics: Statics,
        donations: Statics,
        inline: bool,
        max_compiles: int | None = None,
    ) -> None:
        functools.update_wrapper(self, fun)
        self._fun, self._statics, self._donations, self._inline = fun, statics, donations, inline
        named = (statics.argnums, statics.argnames, donations.argnums, donations.argnames)
        options = tuple(frozenset[Any](which) for which in named)
        self._max_compiles = max_compiles
        self._cache = _cache_of(fun, (*options, max_compiles))
        self._last = NOTHING
        self._recent: list[Entry] = []  # entries that have been the last one, the latest first
        self._lock = threading.RLock()
        _functions.add(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            entry = self._last
            if current_trace() is EVAL and (_overrides() or _process.state) is entry.state:
                direct, fast = entry.direct, entry.fast
                if direct is None:
                    if (found := fast(args, kwargs)) is not MISS:
                        return found
                elif not kwargs and (found := direct(*args)) is not None:
                    return found
            return self._call(args, kwargs)
        except Exception as error:
            __tracebackhide__ = True
            raise trimmed(error)

    def _call(self, args: Any, kwargs: Any) -> Any:
        state = config.current()
        if state.disable_jit:
            return self._fun(*args, **kwargs)
        if current_trace() is EVAL:
            for recent in self._recent:
                if recent is self._last or recent.state is not state:
                    continue
                if (found := recent.fast(args, kwargs)) is not MISS:
                    self._last = recent
                    return found
        fixed, dynamic, named = (
            self._statics.split(args, kwargs) if self._statics else ((), args, kwargs)
        )
        leaves, in_tree = call_leaves("jit", dynamic, named)
        if current_trace() is not EVAL or self._inline:
            return self._bind(fixed, leaves, in_tree)
        devices = tuple([x.device for x in leaves if type(x) is DeviceArray])
        types = tuple([typeof(x) for x in leaves])
        key = (in_tree, fixed, kind_of(fixed), types, state.trace_key, devices)
        entry = self._cache.get(key)
        if entry is None:
            with self._lock:
                entry = self._cache.get(key) or self._compile(
                    key, fixed, leaves, in_tree, args, kwargs
                )
        entry.state = state
        self._remember(entry)
        return entry.call(leaves)

    def _remember(self, entry: Entry) -> None:
        """The next call tries this entry first, and some others before it looks for one."""
        self._last = entry
        if entry not in self._recent:
            self._recent = [entry, *self._recent[: RECENT - 1]]

    def _compile(
        self, key: Any, fixed: Any, leaves: Any, in_tree: Any, args: Any, kwargs: Any
    ) -> Entry:
        self._check_limit(fixed, leaves, in_tree)
        if config.current().log_compiles:
            log().warning(
                "Compiling %s for %s", name_of(self._fun), ", ".join(str(typeof(x)) for x in leaves)
            )
        jaxpr, captured, flat = self._stage(fixed, [typeof(x) for x in leaves], in_tree)
        assert not captured, "evaluation has no tracers to capture"
        donated = self._donated(args, kwargs, len(leaves))
        entry = Entry(jaxpr, in_tree, flat.out_tree, fixed, donated, config.current())
        self._cache[key] = entry
        return entry

    def _check_limit(self, fixed: Any, leaves: Sequence[Any], in_tree: Any) -> None:
        """RuntimeError with the reasons of all compilations if this one is too many."""
        limit = self._max_compiles
        if limit is not None and self._cache_size() >= limit:
            types = [typeof(x) for x in leaves]
            wanted = Signature(self._fun, in_tree, fixed, types, config.current())
            raise RuntimeError(refusal(name_of(self._fun), self._fun, self._entries(), wanted))

    def _stage(
        self, fixed: Any, avals: Sequence[Any], in_tree: Any
    ) -> tuple[Jaxpr, list[Any], Flat]:
        flat = Flat(fix_static(self._fun, fixed), in_tree, "jit")
        jaxpr, captured = stage(flat, avals)
        return jaxpr, captured, flat

    def _donated(self, args: Any, kwargs: Any, count: int) -> tuple[bool, ...]:
        if not self._donations:
            return (False,) * count
        marks: list[bool] = []
        for i, a in enumerate(args):
            if i not in self._statics.argnums:
                marks += [i in self._donations.argnums] * tree.structure(a).num_leaves
        named = {n: v for n, v in kwargs.items() if n not in self._statics.argnames}
        for n in sorted(named):
            marks += [n in self._donations.argnames] * tree.structure(named[n]).num_leaves
        return tuple(marks)

    def _bind(self, fixed: Any, leaves: Sequence[Any], in_tree: Any) -> Any:
        """One call equation in the enclosing trace; a program that closed over tracers is not
        kept.
        """
        key = (
            in_tree,
            fixed,
            kind_of(fixed),
            tuple([typeof(x) for x in leaves]),
            config.current().trace_key,
            named_axes(),
            "bind",
        )
        found = self._cache.get(key)
        if found is None:
            jaxpr, captured, flat = self._stage(fixed, [typeof(x) for x in leaves], in_tree)
            found = (jaxpr, captured, flat.out_tree)
            if not captured:
                self._cache[key] = found
        jaxpr, captured, out_tree = found
        if self._inline:
            return tree.unflatten(
                out_tree, eval_jaxpr(jaxpr, [*captured, *leaves], current_trace())
            )
        outs = jit_p.bind(*captured, *leaves, jaxpr=jaxpr, name=name_of(self._fun))
        return tree.unflatten(out_tree, outs)

    @user_facing
    def trace(self, *args: Any, **kwargs: Any) -> Traced:
        """The program for these arguments (arrays, or `ShapeDtypeStruct`s), not compiled."""
        fixed, dynamic, named = self._statics.split(args, kwargs)
        leaves, in_tree = tree.flatten((dynamic, named))
        avals = [abstract_leaf(x, "jit") for x in leaves]
        jaxpr, captured, flat = self._stage(fixed, avals, in_tree)
        donated = self._donated(args, kwargs, len(leaves))
        return Traced(name_of(self._fun), jaxpr, captured, in_tree, flat.out_tree, donated)

    @user_facing
    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """The program for these arguments, ready to be compiled."""
        return self.trace(*args, **kwargs).lower()

    @user_facing
    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Shapes and dtypes of the result."""
        return self.trace(*args, **kwargs).out_info

    def clear_cache(self) -> None:
        """Forgets all compiled programs."""
        self._cache.clear()
        self._last, self._recent = NOTHING, []

    def explain(self) -> Explanation:
        """Why the function was compiled, each time, and what came of it.

        Returns an object whose `compilations` hold the reasons (which leaf of which argument, which
        static value or setting changed), the programs, the effect of each pass, what was fused,
        copies, donated arguments, and estimates of work and memory; printed, it is a report.

        Example:
            >>> import funcgrad as fg
            >>> import funcgrad.numpy as jnp
            >>> double = fg.jit(lambda x: 2 * x)
            >>> _ = double(jnp.ones(3)), double(jnp.ones(4))
            >>> double.explain().compilations[1].reasons
            ('x: shape (3,) -> (4,)',)
        """
        return explain(name_of(self._fun), self._fun, self._entries())

    def _entries(self) -> list[Entry]:
        return [entry for entry in self._cache.values() if isinstance(entry, Entry)]

    def _cache_size(self) -> int:
        return len(self._entries())

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<jit of {name_of(self._fun)}>"


@user_facing
def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Sequence[str] | None = None,
    keep_unused: bool = False,
    inline: bool = False,
    device: Any = None,
    backend: str | None = None,
    in_shardings: Any = None,
    out_shardings: Any = None,
    max_compiles: int | None = None,
    checks: str | Sequence[str] = (),
) -> Any:
    """Compiles `fun`: it is traced once per signature (structure, shapes, dtypes, static values)
    and then runs fast.

    Can be used as a decorator, with or without arguments.

    Args:
        fun: a pure function of trees of arrays.
        static_argnums, static_argnames: arguments that are hashable settings; each value gets a
        program of its own. donate_argnums, donate_argnames: arguments whose memory the results may
        take. They cannot be used afterwards. inline: inside another traced function, write the
        equations out instead of a call. keep_unused, device, backend, in_shardings, out_shardings:
        accepted for compatibility; without effect. max_compiles: so many programs and no more; the
        message of the error says what led to each of them (see `explain`).
        checks: any of "index", "nan" and "div": the first operation with an index out of bounds, a
        NaN in its result, or a zero divisor raises CheckError, naming itself, its operands and the
        user's line, also inside loops. `checkify.check`s of the user's are on in any case.

    Raises:
        TypeError: an argument or a result is no array. ValueError: a static argument cannot be
        hashed. RuntimeError: more than `max_compiles` programs would be needed.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> @fg.jit
        ... def normalize(x):
        ...     return (x - x.mean()) / x.std()
        >>> normalize(jnp.array([1.0, 2.0, 3.0]))
        Array([-1.224..., 0. , 1.224...], dtype=float32)
    """
    options: dict[str, Any] = dict(
        checks=checks,
        static_argnums=static_argnums,
        static_argnames=static_argnames,
        donate_argnums=donate_argnums,
        donate_argnames=donate_argnames,
        inline=inline,
        max_compiles=max_compiles,
    )
    if fun is None:
        return functools.partial(jit, **options)
    check_callable(fun, "jit")
    if checks:
        return _checked_jit(fun, checks, options)
    statics = Statics(fun, "static", static_argnums, static_argnames)
    donations = Statics(fun, "donate", donate_argnums, donate_argnames)
    if statics.argnums & donations.argnums:
        raise ValueError("jit: an argument cannot be both static and donated.")
    return JitFunction(fun, statics, donations, inline, max_compiles)


def _checked_jit(fun: Callable[..., Any], checks: Any, options: dict[str, Any]) -> Any:
    """A compiled function that raises CheckError where one of the checks fails, or the user's."""
    wanted = {checks} if isinstance(checks, str) else set(checks)
    if not wanted <= CATEGORIES:
        raise ValueError(
            f"jit: checks are {', '.join(sorted(CATEGORIES))}, but got "
            f"{', '.join(sorted(map(str, wanted - CATEGORIES)))}."
        )
    checked = checked_function(fun, frozenset(wanted | {"user"}), static=True)
    run = jit(checked, **{**options, "checks": ()})
    call = stopping(run)
    for name in ("trace", "lower", "eval_shape", "clear_cache", "explain"):
        setattr(call, name, getattr(run, name))
    return call


def closed_over_static(fun: Callable[..., Any], static_argnums: Any, args: Any) -> tuple[Any, Any]:
    """The function with its static arguments fixed, and the others."""
    fixed, dynamic, _ = Statics(fun, "static", static_argnums, None).split(args, {})
    return fix_static(fun, fixed), dynamic


def clear_caches() -> None:
    """Forgets the compiled programs of all functions."""
    for options in list(_caches.values()):
        for cache in options.values():
            cache.clear()
    for function in list(_functions):
        function.clear_cache()


def clear_cache() -> None:
    """Removes what earlier processes and this one have compiled from the disk.

    `config.cache_dir` says where it lies, `config.enable_compilation_cache` whether anything is
    kept there at all. What this process has compiled goes on working; see `clear_caches`.

    Example:
        >>> import funcgrad as fg
        >>> fg.clear_cache()
    """
    backend.load("cache").clear()

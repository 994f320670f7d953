"""One call of `apply`: views of modules, and what they read, draw and leave behind.

A view is an object of its module's class whose submodules are views too. Its record says which
module it shows, at which path, in which run; it is of use only while that run lasts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import funcgrad as fg
from funcgrad_nn.description import Described, FrozenDict
from funcgrad_nn.layout import Path, key_at, layout_of, parameters_at, updated

NOTE = "while running module "
# Classes of concrete arrays and keys; traced ones are of other classes.
_CONCRETE = (type(fg.numpy.zeros(())), type(fg.random.key(0)))


class Bound:
    """The record of a view: which module it shows, where, and in which run."""

    __slots__ = ("module", "run", "path")
    sealed = True

    def __init__(self, module: Described, run: Run, path: Path):
        self.module, self.run, self.path = module, run, path

    def place(self) -> str:
        """This module for error messages: its class and path."""
        where = f" at '{'/'.join(self.path)}'" if self.path else ""
        return f"{type(self.module).__name__}{where}"


class Names:
    """Read-only access to a dictionary's entries as attributes, with errors that name the path."""

    __slots__ = ("_entries", "_bound", "_what")

    def __init__(self, entries: Mapping, bound: Bound, what: str):
        self._entries, self._bound, self._what = entries, bound, what

    def __getattr__(self, name: str):
        try:
            return self._entries[name]
        except KeyError:
            raise ValueError(
                f"{self._bound.place()} needs the {self._what} {name!r}, but the dictionary given "
                f"to apply has there only {sorted(self._entries) or 'nothing'}. Use the params and "
                "state of the same model's init."
            ) from None

    __getitem__ = __getattr__

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self):
        return iter(self._entries)


class Run:
    """One call of `apply`: the trees it reads, the state it collects, the keys it draws."""

    def __init__(self, module: Described, params, state, train: bool, key):
        for what, tree in (("params", params), ("state", state)):
            if not isinstance(tree, Mapping):
                raise TypeError(
                    f"{type(module).__name__}.apply: {what} must be a dictionary, but got "
                    f"{type(tree).__name__}. Call model.apply(params, state, x) with the results "
                    "of params, state = model.init(key)."
                )
        self.trees = {"params": params, "state": state}
        self.train, self.key = train, key
        self.module = module
        self.paths = {id(part): path for path, part in layout_of(module)}
        self.updates: dict[Path, dict] = {}
        self.draws: dict[Path, int] = {}
        self.drawn: list[tuple[Path, Any]] = []  # those that are traced
        self.views: dict[int, Described] = {}
        self.compute_dtype: Any = None
        self.active = True

    def view(self, module: Described) -> Described:
        """The view of `module` in this run; one per module, so that sharing stays sharing."""
        if id(module) not in self.views:
            self.views[id(module)] = _new_view(module, self, self.paths[id(module)])
        return self.views[id(module)]

    def bind(self, value):
        """An attribute's value with each module in it replaced by its view."""
        if isinstance(value, Described):
            return self.view(value)
        if isinstance(value, tuple):
            parts = map(self.bind, value)
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if isinstance(value, FrozenDict):
            return {name: self.bind(part) for name, part in value.items()}
        return value

    def entries(self, tree: str, path: Path) -> Mapping:
        """The dictionary at `path` of params or state; empty if there is none."""
        found = self.trees[tree]
        for name in path:
            found = found.get(name, {})
            if not isinstance(found, Mapping):
                raise ValueError(
                    f"apply: {tree} should hold a dictionary at '{'/'.join(path)}', "
                    f"but has {type(found).__name__}."
                )
        return found

    def parameters(self, bound: Bound) -> Mapping:
        """A module's own parameters, in the narrow dtype while a `MixedPrecision` asks for one."""
        own = self.entries("params", bound.path)
        if self.compute_dtype is None or bound.module.full_precision:
            return own
        return {name: cast_floating(value, self.compute_dtype) for name, value in own.items()}

    @contextlib.contextmanager
    def computing_in(self, dtype) -> Iterator[None]:
        """Within it, modules see their floating parameters in `dtype`."""
        before, self.compute_dtype = self.compute_dtype, dtype
        try:
            yield
        finally:
            self.compute_dtype = before

    def draw(self, bound: Bound):
        """The next random key of one module."""
        if self.key is None:
            raise ValueError(
                f"{bound.place()} needs randomness, but apply got no key. Call "
                "model.apply(params, state, x, train=True, key=key) with key = random.key(0)."
            )
        count = self.draws[bound.path] = self.draws.get(bound.path, -1) + 1
        key = fg.random.fold_in(key_at(self.key, bound.path), count)
        if type(key) not in _CONCRETE:
            self.drawn.append((bound.path, key))
        return key

    def called(self, bound: Bound, inputs: tuple) -> None:
        """Told before each module runs; `init` listens here."""

    def returned(self, bound: Bound, inputs: tuple, named: dict, output) -> None:
        """Told after each module has run; `summary` listens here."""

    def new_state(self):
        """The state given to `apply` with this run's updates; the same object if there are none."""
        state = self.trees["state"]
        self._require_alive()
        for path, entries in self.updates.items():
            state = updated(state, path, entries)
        return state

    def _require_alive(self) -> None:
        """Raise if modules did what is lost, or happens once only, in a function traced by itself:
        what they made there is of no use any more.
        """
        for path, entries in self.updates.items():
            if not _alive(entries):
                raise _misplaced(path, "state", "was set", "its value is lost")
        if self.drawn and not _alive([key for _, key in self.drawn]):
            path = next(path for path, key in self.drawn if not _alive(key))
            raise _misplaced(path, "a random key", "was drawn", "a loop would repeat it")

    @contextlib.contextmanager
    def looking_at(self, state, key, draws: Mapping[Path, int]) -> Iterator[None]:
        """Within it, modules read this state, draw from this key, and their updates stay inside."""
        before = self.trees, self.key, self.updates, self.drawn
        self.trees, self.key = {**self.trees, "state": state}, key
        self.updates, self.drawn, self.draws = {}, [], dict(draws)
        try:
            yield
        finally:
            self.trees, self.key, self.updates, self.drawn = before


class Sizing(Run):
    """The run of `init`: parameters appear when a module is called, with sizes from its inputs."""

    def __init__(self, module: Described, key):
        super().__init__(module, {}, {}, train=False, key=key)
        self.sized: dict[Path, Any] = {}
        self.made: dict[str, dict[Path, Mapping]] = {"params": {}, "state": {}}

    def called(self, bound: Bound, inputs: tuple) -> None:
        if bound.module.open and bound.path not in self.sized:
            self.sized[bound.path] = bound.module.infer(*inputs)

    def entries(self, tree: str, path: Path) -> Mapping:
        made = self.made[tree]
        if path not in made:
            module = self.sized.get(path) or self.at(path)
            if tree == "params":
                made[path] = parameters_at(module, self.key, path, True)
            else:
                made[path] = module.initial_state()
        return made[path]

    def at(self, path: Path) -> Described:
        return next(part for place, part in layout_of(self.module) if place == path)


def _alive(values) -> bool:
    """Whether traced values can still be used: tried in a program that is thrown away."""
    traced = [leaf for leaf in fg.tree.leaves(values) if type(leaf) not in _CONCRETE]
    try:
        if traced:
            fg.eval_shape(lambda: traced)
    except fg.errors.UnexpectedTracerError:
        return False
    return True


def _misplaced(path: Path, what: str, done: str, why: str) -> RuntimeError:
    return RuntimeError(
        f"apply: {what} (of {'/'.join(path) or 'the model itself'}) {done} inside scan, cond, "
        f"checkpoint or another function that is traced by itself, so that {why}. Use nn.scan, "
        "nn.cond or nn.remat there, which carry state and keys."
    )


def cast_floating(value, dtype):
    """A floating array in another dtype; anything else as it is."""
    if not hasattr(value, "dtype") or not fg.numpy.issubdtype(value.dtype, fg.numpy.floating):
        return value
    return value if value.dtype == dtype else fg.numpy.asarray(value).astype(dtype)


def _new_view(module: Described, run: Run, path: Path) -> Described:
    view = object.__new__(type(module))
    object.__setattr__(view, "_record", Bound(module, run, path))
    view.__dict__.update(_plain_attributes(module))
    return view


def _plain_attributes(module: Described) -> dict:
    """Attributes without modules in them, computed once; the others are bound on demand."""
    cache = module._record.cache
    if "plain" not in cache:
        nested = {name for name, value in module.__dict__.items() if _holds_module(value)}
        cache["plain"] = {n: v for n, v in module.__dict__.items() if n not in nested}
    return cache["plain"]


def _holds_module(value) -> bool:
    if isinstance(value, FrozenDict):
        value = tuple(value.values())
    return isinstance(value, Described) or (
        isinstance(value, tuple) and any(map(_holds_module, value))
    )


def run_method(view: Described, method: str, inputs: tuple, named: dict):
    """Run one method of a view; an exception from it is told which module it passed through."""
    bound = bound_record(view, method)
    bound.run.called(bound, inputs)
    try:
        output = getattr(view, method)(*inputs, **named)
    except Exception as error:
        if not any(note.startswith(NOTE) for note in getattr(error, "__notes__", ())):
            error.add_note(f"{NOTE}{bound.place()} on inputs {_shapes(inputs)}")
        raise
    bound.run.returned(bound, inputs, named, output)
    return output


def _shapes(inputs: tuple) -> str:
    leaves = fg.tree.leaves(inputs)
    shown = [
        f"{np.dtype(x.dtype).name}{list(x.shape)}"
        if hasattr(x, "shape") and hasattr(x, "dtype")
        else type(x).__name__
        for x in leaves
    ]
    return ", ".join(shown) or "none"


def bound_record(module: Described, asked: str) -> Bound:
    record = module._record
    if not isinstance(record, Bound):
        raise RuntimeError(
            f"{type(module).__name__}.{asked} exists only inside forward, while apply runs. "
            + how_to_call()
        )
    if not record.run.active:
        raise RuntimeError(
            f"{record.place()}: this view was used after its apply had ended. Do "
            "not keep a module seen inside forward."
        )
    return record


def how_to_call() -> str:
    return (
        "Call it as\n    params, state = model.init(key)\n"
        "    output, state = model.apply(params, state, x)"
    )

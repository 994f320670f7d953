"""Every setting in one table, with its environment variable.

A setting has a process-wide value (`config.update`) and overrides that hold inside a `with` block
of one context (thread or task). The values in force form one immutable `State`; everything that a
traced program depends on is summed up in `state.trace_key`, which therefore belongs to the key of
every cache of programs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import Any


def setting(default: Any, doc: str, *, traced: bool = False, choices: tuple[str, ...] = ()) -> Any:
    """A field of `State`: its default, what it does, and whether traced programs depend on it."""
    return field(default=default, metadata={"doc": doc, "traced": traced, "choices": choices})


class TraceKey:
    """Stands for one choice of all settings that traced programs depend on; compared and hashed
    by identity.
    """

    __slots__ = ("values",)

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values


_trace_keys: dict[tuple[Any, ...], TraceKey] = {}


GUARDS = ("allow", "log", "disallow", "log_explicit", "disallow_explicit")


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The values in force. Variables are named FUNCGRAD_<NAME>."""

    enable_x64: bool = setting(False, "defaults are 64 bits wide instead of 32", traced=True)
    disable_jit: bool = setting(False, "jit runs Python, operation by operation", traced=True)
    numpy_dtype_promotion: str = setting(
        "standard", "strict: mixing dtypes is an error", traced=True, choices=("standard", "strict")
    )
    numpy_rank_promotion: str = setting(
        "allow",
        "what broadcasting over ranks does",
        traced=True,
        choices=("allow", "warn", "raise"),
    )
    default_matmul_precision: str | None = setting(None, "recorded in dot_general", traced=True)
    default_device: Any = setting(None, "where new arrays live; None is the CPU", traced=True)
    eager_bounds_check: bool = setting(True, "eager reads out of bounds raise", traced=True)
    debug_nans: bool = setting(False, "stop at the first NaN", traced=True)
    debug_infs: bool = setting(False, "stop at the first infinity", traced=True)
    default_prng_impl: str = setting("threefry2x32", "the key type of random.key", traced=True)
    engine: str = setting(
        "auto",
        "what runs compiled programs",
        traced=True,
        choices=("auto", "llvm", "numpy", "reference", "profile"),
    )
    disabled_passes: str = setting(
        "", "names of compiler passes to skip, comma-separated", traced=True
    )
    num_threads: int = setting(0, "threads for large kernels of the whole process; 0: all cores")
    check_jaxprs: bool = setting(False, "check every program after it is built")
    enable_compilation_cache: bool = setting(True, "native code is kept on disk")
    cache_dir: str = setting("", "where native code is kept; empty is the user's cache folder")
    cache_size: int = setting(1 << 29, "bytes of native code that are kept on disk")
    show: str = setting("", "names of compiler passes to print, comma-separated, or all")
    traceback: str = setting("short", "full shows our own frames", choices=("short", "full"))
    log_compiles: bool = setting(False, "log every compilation")
    check_tracer_leaks: bool = setting(False, "stop if a traced value outlives its function")
    transfer_guard: str = setting(
        "allow", "what copies between the CPU and devices do", choices=GUARDS
    )
    transfer_guard_host_to_device: str = setting(
        "", "as transfer_guard, to a device; empty: as that says", choices=("", *GUARDS)
    )
    transfer_guard_device_to_device: str = setting(
        "", "as transfer_guard, between devices; empty: as that says", choices=("", *GUARDS)
    )
    transfer_guard_device_to_host: str = setting(
        "", "as transfer_guard, from a device; empty: as that says", choices=("", *GUARDS)
    )
    trace_key: TraceKey = field(default=None, init=False, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        values = tuple(getattr(self, f.name) for f in fields(self) if f.metadata.get("traced"))
        object.__setattr__(self, "trace_key", _trace_keys.setdefault(values, TraceKey(values)))


_FIELDS = {f.name: f for f in fields(State) if f.metadata}
_OTHER_NAMES = {"compilation_cache_dir": "cache_dir", "compilation_cache_max_size": "cache_size"}


def _parse(name: str, value: Any) -> Any:
    """The value of setting `name`, from Python or from text; ValueError says what is allowed."""
    choices, default = _FIELDS[name].metadata["choices"], _FIELDS[name].default
    if isinstance(default, bool):
        words = {
            "1": True,
            "true": True,
            "on": True,
            "0": False,
            "false": False,
            "off": False,
            "": False,
        }
        parsed = words.get(str(value).lower())
        if parsed is None:
            raise ValueError(f"config: {name} is True or False, but got {value!r}.")
        return parsed
    if isinstance(default, int):
        return _natural(name, value)
    if choices and value not in choices:
        raise ValueError(f"config: {name} is one of {', '.join(choices)}, but got {value!r}.")
    return value


def _natural(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise ValueError(f"config: {name} is a number of at least 0, but got {value!r}.")
    return number


def _from_environment() -> State:
    variables = {name: os.environ.get(f"FUNCGRAD_{name.upper()}") for name in _FIELDS}
    return State(
        **{name: _parse(name, text) for name, text in variables.items() if text is not None}
    )


def _field_name(name: str) -> str:
    """Accepts JAX's spelling too: `jax_enable_x64` is `enable_x64`."""
    short = name.removeprefix("jax_").removeprefix("funcgrad_")
    short = _OTHER_NAMES.get(short, short)
    if short not in _FIELDS:
        raise AttributeError(
            f"config: there is no setting {name!r}. There are: {', '.join(_FIELDS)}."
        )
    return short


class _Process:
    """Holds the values in force where nothing is overridden. Hot paths read them here: attributes
    of an object with `__getattr__` cost Python several times as much.
    """

    __slots__ = ("state",)

    def __init__(self, state: State) -> None:
        self.state = state


class Config:
    """`config.enable_x64` reads a setting, `config.update(name, value)` sets it for the whole
    process.
    """

    __slots__ = ("_process", "_local", "_observers")

    def __init__(self, state: State) -> None:
        self._process = _Process(state)
        self._observers: list[Callable[[State], None]] = []
        self._local: ContextVar[State | None] = ContextVar("funcgrad_config", default=None)

    def current(self) -> State:
        """The values in force here."""
        return self._local.get() or self._process.state

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.current(), _field_name(name))

    def update(self, name: str, value: Any) -> None:
        """Sets a setting for the whole process; raises AttributeError or ValueError, naming what
        there is.
        """
        change = {_field_name(name): _parse(_field_name(name), value)}
        self._process.state = replace(self._process.state, **change)
        if (local := self._local.get()) is not None:
            self._local.set(replace(local, **change))
        self._tell(self.current())

    @contextlib.contextmanager
    def override(self, **changes: Any) -> Iterator[None]:
        """The settings given hold inside the `with` block, in this thread or task only."""
        parsed = {
            _field_name(name): _parse(_field_name(name), value) for name, value in changes.items()
        }
        before = self._process.state
        state = replace(self.current(), **parsed)
        self._tell(state)
        token = self._local.set(state)
        try:
            yield
        finally:
            self._local.reset(token)
            if self._process.state is not before:
                self._update_outer(before)
            self._tell(self.current())

    def _update_outer(self, before: State) -> None:
        """An update inside an override holds in the enclosing overrides too."""
        if (outer := self._local.get()) is not None:
            now = self._process.state
            changed = {f: getattr(now, f) for f in _FIELDS if getattr(now, f) != getattr(before, f)}
            self._local.set(replace(outer, **changed))

    def observe(self, observer: Callable[[State], None]) -> None:
        """Calls the function with the values in force, now and whenever they change."""
        self._observers.append(observer)
        observer(self.current())

    def _tell(self, state: State) -> None:
        for observer in self._observers:
            observer(state)

    def table(self) -> str:
        """Every setting, its value, its variable, and what it does."""
        rows = [
            f"{name:26} {getattr(self.current(), name)!r:12} FUNCGRAD_{name.upper():26} "
            f"{f.metadata['doc']}"
            for name, f in _FIELDS.items()
        ]
        return "\n".join(rows)


config = Config(_from_environment())

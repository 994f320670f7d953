"""The native engine: a program as compiled kernels, with library calls between them.

What kernels can compute becomes native code; equations that are not for kernels run on NumPy
arrays, as in the NumPy engine, and cut the program into segments. What plans and writes code is
loaded when a program is met that is not known from disk.
"""

from __future__ import annotations

import ctypes
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.backends import reference
from funcgrad.backends.llvm import threads
from funcgrad.backends.llvm.engine import assembly
from funcgrad.backends.llvm.recipe import known
from funcgrad.backends.llvm.target import host
from funcgrad.compiler.pipeline import prepared
from funcgrad.core import backend
from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal, Var, constants, is_settled
from funcgrad.core.stage import collector_paused
from funcgrad.errors import MissingRuleError

Run = Callable[[Sequence[Any]], list[Any]]

OFTEN = 3  # calls
LONG = 1000  # turns of a loop that is compiled by itself


def compile(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Run:
    """The program as a function of buffers; `donated` marks those that it may overwrite."""
    by_equation = reference.compile(jaxpr, donated)
    namespace_of, numpy = backend.namespace_of, backend.NUMPY
    if namespace_of([c._buffer for c in constants(jaxpr)]) is not numpy:
        return by_equation
    if not is_settled(jaxpr):
        return backend.load("numpy").compile(jaxpr, donated)
    try:
        with collector_paused():
            program = NativeProgram(prepared(jaxpr), donated)
    except MissingRuleError:
        raise
    except Exception as error:
        _warn(error)
        return backend.load("numpy").compile(jaxpr, donated)

    return NativeRun(program, by_equation, jaxpr)


class NativeRun:
    """A program as a function of buffers; on a device its equations run one by one."""

    def __init__(self, program: NativeProgram, by_equation: Run, jaxpr: Jaxpr) -> None:
        self.program, self.by_equation, self.jaxpr = program, by_equation, jaxpr

    def __call__(self, buffers: Sequence[Any]) -> list[Any]:
        on_cpu = backend.namespace_of(buffers) is backend.NUMPY
        return self.program(buffers) if on_cpu else self.by_equation(buffers)

    @property
    def history(self) -> str:
        """How the code came about."""
        compiled = "from disk" if self.program.code.from_disk else "compiled for this machine"
        return f"{compiled}, {1000 * self.program.seconds:.1f} ms"

    def direct(self) -> Callable[..., Any] | None:
        """The program as a function that Python calls with Arrays, one for each argument: it
        returns the only result, or a tuple, or None where an argument does not fit. None if the
        program cannot be called so.
        """
        if backend.namespace_of(()) is not backend.NUMPY:
            return None
        direct_call = backend.load("direct").direct_call
        return direct_call(self.program, self.jaxpr.in_avals, self.jaxpr.out_avals)


def _warn(error: Exception) -> None:
    """A program that cannot be compiled runs all the same, and somebody should hear of it."""
    warnings.warn(
        f"jit: native compilation failed, so NumPy runs this program: {type(error).__name__}: "
        f"{str(error)[:300]}. Please report it.",
        RuntimeWarning,
        stacklevel=2,
    )


def compile_loop(primitive: Any, avals: Sequence[Any], params: dict[str, Any]) -> Run | None:
    """One loop as a function of buffers, outside of any program. Short ones are not worth native
    code.
    """
    if (params.get("length") or 0) < LONG:
        return backend.load("numpy").compile_loop(primitive, avals, params)
    inputs = [Var(a) for a in avals]
    abstract = primitive.rule("abstract", "compilation")
    outs = [Var(a) for a in abstract(*avals, **params)]
    return compile(Jaxpr(inputs, [Eqn(primitive, inputs, params, outs)], outs))


class NativeProgram:
    """Segments of native code and steps outside, over one table of addresses.

    The table holds the arena, then what has an entry of its own, then constants of inner programs.
    """

    def __init__(self, jaxpr: Jaxpr, donated: Sequence[bool]) -> None:
        self.jaxpr, self.donated, self.given = jaxpr, donated, set(jaxpr.inputs)
        start = time.perf_counter()
        self.recipe, self.code = known(jaxpr, donated, host())
        self.seconds = time.perf_counter() - start
        self.layout, self.is_long = self.recipe, self.recipe.is_long
        self.allocated, self.shared = self.recipe.allocated, self.recipe.shared
        if self.is_long:
            threads.ready()
        self.functions = [self.code.addresses[name] for name in self.recipe.names]
        self.actions = [self._action(part) for part in self.recipe.parts]
        self._new: Callable[[], list[Any]] | None = None  # makes the arena, and results
        self._calls = 0
        self.held = [np.ascontiguousarray(c._buffer) for c in jaxpr.consts]
        self.constants = [np.ascontiguousarray(c) for c in self.recipe.constants]
        self.shapes = {v: (v.aval.shape, v.aval.dtype) for v in self.recipe.slots}

    def _action(self, part: str | Eqn) -> Any:
        """What runs a part: a function of native code, or a step outside."""
        if isinstance(part, str):
            return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.code.addresses[part])
        return backend.load("outside").outside(part)

    # ---- running

    def __call__(self, buffers: Sequence[Any]) -> list[Any]:
        layout = self.layout
        arrays: list[Any] = [None] * layout.entries
        constants = self.constants
        words = (ctypes.c_void_p * (1 + layout.entries + len(constants)))(threads.ADDRESS)
        table = (ctypes.c_void_p * (len(words) - 1)).from_buffer(words, 8)
        arrays[0], *results = self._memory()
        for v, x in zip(self.jaxpr.inputs, (*self.held, *map(plain, buffers))):
            arrays[layout.slots[v].entry] = x
        for v, x in zip(self.allocated, results):
            arrays[layout.slots[v].entry] = x
        for out, given in self.shared.items():
            x = arrays[layout.slots[given].entry]
            if x.shape != out.aval.shape:
                x = x.reshape(out.aval.shape)
            arrays[layout.slots[out].entry] = x
        for entry, x in enumerate((*arrays, *constants)):
            if x is not None:
                table[entry] = x.ctypes.data
        address = ctypes.addressof(table)
        for part, action in zip(self.recipe.parts, self.actions):
            if isinstance(part, str):
                action(address)
            else:
                action(self, arrays, table)
        return self._results(arrays)

    def _memory(self) -> list[Any]:
        """An arena for this call alone, and arrays for its results. A program that runs but once
        is not worth code that makes them.
        """
        types = [self.shapes[v] for v in self.allocated]
        self._calls += 1
        if self._calls == OFTEN:
            self._new = backend.load("direct").allocator(
                [((self.layout.bytes,), np.dtype(np.uint8)), *types]
            )
        if self._new is not None:
            return self._new()
        return [aligned(self.layout.bytes), *(np.empty(*t) for t in types)]

    def array(self, v: Any, arrays: Sequence[Any]) -> Any:
        """A value as an array, for steps outside."""
        if type(v) is Literal:
            return np.asarray(getattr(v.value, "_buffer", v.value), v.aval.dtype)
        if 0 in v.aval.shape and v not in self.layout.slots:
            return np.empty(v.aval.shape, v.aval.dtype)
        entry, offset = self.layout.slots[v]
        if entry:
            return arrays[entry]
        shape, dtype = self.shapes[v]
        return np.ndarray(shape, dtype, arrays[0].data, offset)

    def _results(self, arrays: Sequence[Any]) -> list[Any]:
        """The results, each in memory of its own."""
        found: list[Any] = []
        seen: set[int] = set()
        for o in self.jaxpr.outputs:
            x = self.array(o, arrays)
            if type(o) is Literal or o in self.given or id(x) in seen:
                x = x.copy()
            seen.add(id(x))
            found.append(x)
        return found


def aligned(size: int) -> np.ndarray:
    """Bytes that begin at a multiple of 64."""
    found = np.empty(size + 64, np.uint8)
    return found[-found.ctypes.data % 64 :]


def plain(x: Any) -> Any:
    """An array that native code can read: in row-major order, aligned, in the machine's byte
    order.
    """
    x = np.asarray(x)
    flags = x.flags
    return x if flags.c_contiguous and flags.aligned else np.require(x, requirements=["C", "A"])


def as_text(jaxpr: Jaxpr, dialect: str) -> str:
    """The program after the passes ("optimized"), as kernels ("kernels"), or as generated code
    ("llvm", "asm").
    """
    if dialect not in ("kernels", "llvm", "asm"):
        return backend.load("numpy").as_text(jaxpr, dialect)
    made = backend.load("assembly").Assembly(prepared(jaxpr), (False,) * len(jaxpr.args), host())
    if dialect == "kernels":
        return "\n".join(map(str, made.shop.kernels))
    return made.text if dialect == "llvm" else assembly(made.text, host(), made.is_thorough)

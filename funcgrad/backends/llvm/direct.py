"""Compiled programs as functions that Python calls: their records for the dispatcher."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgrad.backends.llvm import call_records, dispatch, objects, threads
from funcgrad.backends.llvm.builder import PTR, Module
from funcgrad.backends.llvm.call_records import RECORD, SPEC
from funcgrad.backends.llvm.engine import compiled, linker
from funcgrad.backends.llvm.pool import NAME, Pool
from funcgrad.backends.llvm.target import host
from funcgrad.core import dtypes
from funcgrad.core.array import DELETED, ConcreteArray, KeyArray
from funcgrad.core.avals import ShapedArray
from funcgrad.core.backend import physical_dtype, physical_shape
from funcgrad.core.jaxpr import Literal, Var

FASTCALL = 0x80  # METH_FASTCALL
ALIGNMENT = 64


class _Method(ctypes.Structure):
    """Python's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p), ("call", ctypes.c_void_p), ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]  # fmt: skip


class Record(np.ndarray):
    """The words of a program; as the function's `self` it keeps alive what they point to."""

    kept: list[Any]

    @classmethod
    def of(cls, words: Sequence[int], kept: Sequence[Any]) -> Record:
        """A record with its words."""
        found = np.array(words, np.int64).view(cls)
        found.kept = list(kept)
        return found


class Dispatcher:
    """The code that all programs share, with its pool and table of Python's functions."""

    def __init__(self, at: objects.Offsets) -> None:
        target = host()
        module = Module(target)
        names = (*dispatch.emit_dispatcher(module, at), "nothing")
        module.function("nothing", [PTR], None, lambda b, table: None)
        text = exported(module.text().replace(" noalias", ""), names)
        self.code = compiled(text, names, target)
        self.pool = Pool(self.code.addresses)
        self.python = np.array(self._words(), np.int64)
        self.method = _Method(b"program", self.code.addresses["dispatch"], FASTCALL, None)
        self.nothing = self.code.addresses["nothing"]
        objects.keep_forever(self, self.code, self.pool, self.pool.capsule, linker(target))

    def _words(self) -> list[int]:
        words = [0] * call_records.PYTHON_WORDS
        functions = {
            call_records.INCREF: "Py_IncRef",
            call_records.DECREF: "Py_DecRef",
            call_records.ALLOCATE: "PyType_GenericAlloc",
            call_records.NEW_TUPLE: "PyTuple_New",
            call_records.SET_ITEM: "PyTuple_SetItem",
            call_records.SAVE_THREAD: "PyEval_SaveThread",
            call_records.RESTORE_THREAD: "PyEval_RestoreThread",
            call_records.NO_MEMORY: "PyErr_NoMemory",
            call_records.AS_INTEGER: "PyLong_AsLongLongAndOverflow",
        }
        for n, name in functions.items():
            words[n] = objects.function(name)
        words[call_records.NEW_ARRAY] = objects.new_from_descr()
        words[call_records.CREW] = threads.ADDRESS
        held = (np.ndarray, None, DELETED, self.pool.capsule, float, int)
        words[call_records.NDARRAY : call_records.INTEGER + 1] = map(id, held)
        return words

    def function(self, record: Record) -> Callable[..., Any]:
        """What Python calls."""
        new = ctypes.pythonapi.PyCFunction_NewEx
        new.restype = ctypes.py_object
        new.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
        return new(ctypes.addressof(self.method), record, None)


def exported(text: str, names: Sequence[str]) -> str:
    """The module's text with functions of these names to be seen from outside."""
    for name in names:
        for result in ("void", "ptr"):
            text = text.replace(f"internal {result} @{name}(", f"{result} @{name}(")
    return text


@functools.lru_cache(maxsize=1)
def dispatcher() -> Dispatcher | None:
    """The dispatcher of this process; None where objects are not laid out as it needs."""
    at = objects.offsets()
    if at is None:
        return None
    made = Dispatcher(at)
    return made if _works(made) else None


def _works(made: Dispatcher) -> bool:
    """Does a copy come out right, in memory that NumPy knows to be ours?"""
    aval = ShapedArray((2, 3), np.dtype(np.float32))
    x = ConcreteArray(np.arange(6, dtype=np.float32).reshape(2, 3), False)
    program = Program([Argument(aval, 1)], [Result(aval, 2, source=1)], made.nothing, 3)
    call = made.function(record(made, program))
    lent = made.pool.lent
    found = call(x)
    good = type(found) is ConcreteArray and found._weak is False and call(1.0) is None
    good = good and np.array_equal(found._buffer, x._buffer) and found._buffer.flags.owndata
    good = good and _handler_name(found._buffer) == NAME.decode() and made.pool.lent == lent + 1
    del found
    return good and made.pool.lent == lent


def _handler_name(array: np.ndarray) -> str:
    core = getattr(np, "_core", None) or np.core
    return core.multiarray.get_handler_name(array)


# ---- programs


@dataclass(frozen=True)
class Argument:
    """A leaf of the arguments: its type, its entry in the table, and whether it is given away:
    `taken` if a result takes its memory.
    """

    aval: Any
    entry: int
    donated: bool = False
    taken: bool = False


@dataclass(frozen=True)
class Result:
    """A result: its type and entry, and where it comes from: the program itself writes it, or it is
    a copy of the entry `source`, or it takes the memory of argument number `takes`.
    """

    aval: Any
    entry: int
    source: int = -1
    takes: int = -1


@dataclass
class Program:
    """What the dispatcher has to know of a program. `held` are arrays in entries of the table."""

    arguments: Sequence[Argument]
    results: Sequence[Result]
    kernel: int
    entries: int
    held: dict[int, np.ndarray] = field(default_factory=dict)
    arena: int = 0
    releases: bool = False
    kept: Sequence[Any] = ()


def record(made: Dispatcher, program: Program) -> Record:
    """The words of a program, and everything that they point to."""
    count = len(program.arguments)
    order = sorted(range(count), key=lambda n: not program.arguments[n].donated)
    kept: list[Any] = [program]
    inputs = _listed([_input_spec(n, program.arguments[n], kept) for n in order], kept)
    places = {n: i for i, n in enumerate(order)}
    outputs = _listed([_output_spec(r, program, places, kept) for r in program.results], kept)
    template = np.zeros(program.entries, np.int64)
    for entry, array in program.held.items():
        template[entry] = array.ctypes.data
    kept.append(template)
    pinned = template.nbytes
    arena = -(-(pinned + 16 * count) // ALIGNMENT) * ALIGNMENT
    words = [0] * RECORD
    words[call_records.KERNEL], words[call_records.RELEASES] = program.kernel, int(program.releases)
    words[call_records.INPUTS], words[call_records.INPUT_SPECS] = count, inputs
    words[call_records.OUTPUTS], words[call_records.OUTPUT_SPECS] = len(program.results), outputs
    words[call_records.TEMPLATE] = template.ctypes.data
    words[call_records.TEMPLATE_BYTES] = words[call_records.PINNED] = pinned
    words[call_records.ARENA], words[call_records.BLOCK_BYTES] = arena, arena + program.arena
    words[call_records.SINGLE] = int(len(program.results) == 1)
    words[call_records.POOL], words[call_records.PYTHON] = (
        made.pool.address,
        made.python.ctypes.data,
    )
    return Record.of(words, kept)


def _listed(specs: Sequence[Sequence[int]], kept: list[Any]) -> int:
    """The address of specifications one after the other."""
    words = np.array([*specs, [0] * SPEC], np.int64)
    kept.append(words)
    return words.ctypes.data


def _spec(aval: Any, entry: int, kept: list[Any]) -> list[int]:
    """What arguments and results have in common."""
    is_key = dtypes.is_key(aval.dtype)
    shape = np.array([*physical_shape(aval), 0], np.int64)
    dtype = np.dtype(physical_dtype(aval).type)  # the one object that arrays have, too
    kept += [shape, dtype, aval]
    spec = [0] * SPEC
    spec[call_records.CLASS] = id(KeyArray if is_key else ConcreteArray)
    spec[call_records.WEAK], spec[call_records.KEY] = (
        id(bool(aval.weak_type)),
        id(aval.dtype) if is_key else 0,
    )
    spec[call_records.DTYPE], spec[call_records.ENTRY] = id(dtype), entry
    spec[call_records.RANK], spec[call_records.SHAPE] = len(shape) - 1, shape.ctypes.data
    return spec


def _input_spec(n: int, argument: Argument, kept: list[Any]) -> list[int]:
    aval = argument.aval
    spec = _spec(aval, argument.entry, kept)
    spec[call_records.ARGUMENT] = n
    spec[call_records.DONATED] = argument.donated + argument.taken
    spec[call_records.PLAIN] = int(not aval.weak_type and not dtypes.is_key(aval.dtype))
    if not aval.shape and not argument.donated and not dtypes.is_key(aval.dtype):
        kind = objects.scalar_type(aval.dtype)
        kept.append(kind)
        spec[call_records.SCALAR] = id(kind)
        if aval.weak_type:
            name = f"{aval.dtype.kind}{8 * aval.dtype.itemsize}"
            spec[call_records.NUMBER] = call_records.KINDS.get(name, 0)
    return spec


def _output_spec(
    result: Result, program: Program, places: dict[int, int], kept: list[Any]
) -> list[int]:
    spec = _spec(result.aval, result.entry, kept)
    dtype = physical_dtype(result.aval)
    spec[call_records.BYTES] = math.prod(physical_shape(result.aval)) * dtype.itemsize
    spec[call_records.SOURCE], spec[call_records.TAKES] = result.source, -1
    if result.takes >= 0:
        spec[call_records.SOURCE] = program.arguments[result.takes].entry
        spec[call_records.TAKES] = places[result.takes]
    return spec


def direct_call(native: Any, in_avals: Sequence[Any], out_avals: Sequence[Any]) -> Any:
    """The function that takes a native program's arguments as they come and returns its only
    result or a tuple, or None if arguments do not fit. None if the program needs Python.
    """
    made = dispatcher()
    whole = len(native.actions) == len(native.functions) <= 1
    alike = all(o.aval.shape == v.aval.shape for o, v in native.shared.items())
    if made is None or not whole or not alike:
        return None
    kernel = native.functions[0] if native.functions else made.nothing
    return made.function(record(made, _program(native, kernel, in_avals, out_avals)))


def _program(
    native: Any, kernel: int, in_avals: Sequence[Any], out_avals: Sequence[Any]
) -> Program:
    jaxpr, slots = native.jaxpr, native.layout.slots
    first = native.layout.entries
    held = dict(enumerate(native.constants, first))
    held |= {slots[v].entry: c for v, c in zip(jaxpr.constvars, native.held)}
    taken, places = set(native.shared.values()), {v: n for n, v in enumerate(jaxpr.args)}
    arguments = [
        Argument(a, slots[v].entry, given, v in taken)
        for v, a, given in zip(jaxpr.args, in_avals, native.donated)
    ]
    allocated = set(native.allocated)
    entries, seen, results = first + len(native.constants), set[Any](), []
    for o, aval in zip(jaxpr.outputs, out_avals):
        if o in native.shared and o not in seen:
            results.append(Result(aval, slots[o].entry, takes=places[native.shared[o]]))
        elif type(o) is Var and o in allocated and o not in seen:
            results.append(Result(aval, slots[o].entry))
        else:
            source = slots[o].entry if type(o) is Var else entries + 1
            if type(o) is Literal:
                held[source] = native.array(o, ())
            results.append(Result(aval, entries, source))
            entries += 2
        seen.add(o)
    return Program(
        arguments, results, kernel, entries, held, native.layout.bytes, native.is_long, [native]
    )


def allocator(
    types: Sequence[tuple[tuple[int, ...], np.dtype]],
) -> Callable[[], list[np.ndarray]] | None:
    """A function that makes new arrays of these shapes and dtypes in the pool; None without a
    dispatcher.
    """
    made = dispatcher()
    if made is None:
        return None
    results = [Result(ShapedArray(shape, dtype), n) for n, (shape, dtype) in enumerate(types, 1)]
    make = made.function(record(made, Program([], results, made.nothing, len(types) + 1)))
    if len(types) == 1:
        return lambda: [make()._buffer]
    return lambda: [x._buffer for x in make()]

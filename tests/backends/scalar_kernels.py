"""Scalar operations compiled into loops over arrays: what the tests of vector math call."""

import ctypes
import re

import numpy as np

from funcgrad.backends.llvm import engine
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Type, Value
from funcgrad.backends.llvm.scalar import (
    NARROW,
    from_memory,
    memory_kind,
    render,
    round_narrow,
    to_memory,
)
from funcgrad.core import dtypes

KEPT = []  # code lives as long as its owner


def entry_text(module, name):
    """The module with one function visible outside."""
    return module.text().replace(f"internal void @{name}(", f"void @{name}(")


def parts_of(dtype):
    """The real numbers that one number consists of."""
    return [dtypes.real_part(dtype)] * 2 if dtypes.is_complex(dtype) else [dtype]


def read(b, pointer, i, dtype, lanes):
    """Lanes from an array; complex numbers are interleaved."""
    parts = parts_of(dtype)
    if len(parts) == 1:
        return _read_part(b, pointer, i, dtype, lanes)
    return tuple(
        _gathered(b, pointer, b.add(b.shl(i, 1), b.like(k, i)), p, lanes)
        for k, p in enumerate(parts)
    )


def _read_part(b, pointer, i, dtype, lanes):
    kind = memory_kind(dtype)
    return from_memory(b, b.load(b.element(pointer, i, kind), Type(kind, lanes)), dtype)


def _spread(b, first, lanes):
    index = b.splat(first, lanes)
    return b.add(index, b.shl(b.iota(index.type), 1))


def _gathered(b, pointer, first, dtype, lanes):
    kind = memory_kind(dtype)
    return b.gather(b.element(pointer, _spread(b, first, lanes), kind), kind)


def write(b, x, pointer, i, dtype, lanes):
    """Lanes into an array."""
    if not dtypes.is_complex(dtype):
        x = round_narrow(b, x, dtype) if dtype in NARROW else x
        b.store(to_memory(b, x, dtype), b.element(pointer, i, memory_kind(dtype)))
        return
    for k, part in enumerate(x):
        at = _spread(b, b.add(b.shl(i, 1), b.like(k, i)), lanes)
        b.scatter(part, b.element(pointer, at, part.type.kind))


def map_text(operation, operand_dtypes, dtype, lanes, target):
    """The code of a loop that applies `operation(builder, *numbers)`."""
    module = Module(target)

    def body(b: Builder, out: Value, count: Value, *pointers: Value) -> None:
        def step(i, carried):
            numbers = [read(b, p, i, t, lanes) for p, t in zip(pointers, operand_dtypes)]
            write(b, operation(b, *numbers), out, i, dtype, lanes)

        b.loop(0, count, lanes, [], step)

    module.function("kernel", [PTR, I64, *[PTR] * len(operand_dtypes)], None, body)
    return entry_text(module, "kernel")


def compiled_map(operation, operand_dtypes, dtype, lanes, target):
    """That loop as a function of arrays of one size."""
    text = map_text(operation, operand_dtypes, dtype, lanes, target)
    code = engine.compiled(text, ("kernel",), target)
    KEPT.append(code)
    types = [ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * len(operand_dtypes)]
    kernel = ctypes.CFUNCTYPE(None, *types)(code.addresses["kernel"])

    def call(*arrays):
        size = arrays[0].size
        padded = [np.resize(a, size + -size % lanes).astype(a.dtype) for a in arrays]
        out = np.empty(padded[0].size, dtype)
        kernel(out.ctypes.data, out.size, *(a.ctypes.data for a in padded))
        return out[:size]

    return call


def compiled_operation(name, operand_dtypes, dtype, lanes, target):
    """One scalar operation, by name."""

    def operation(b, *numbers):
        return render(b, name, numbers, operand_dtypes, dtype, lanes)

    return compiled_map(operation, operand_dtypes, dtype, lanes, target)


def external_calls(text, target):
    """Names that the compiled code refers to and does not define."""
    assembly = engine.assembly(text, target)
    called = re.findall(r"^\s+(?:callq?|jmpq?|bl?)[ \t]+([A-Za-z_]\w*)", assembly, re.MULTILINE)
    loaded = re.findall(r"\s(?:\$|:got:)([A-Za-z_]\w*)(?:@GOT\w*)?,", assembly)
    defined = re.findall(r"^([A-Za-z_][\w.$]*):", assembly, re.MULTILINE)
    return {*called, *loaded} - {*defined}

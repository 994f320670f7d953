"""`scan`, `while`, `cond` and calls as native code.

A body over few numbers runs in registers, its carries too. Any other body is a block of kernels;
its carries alternate between two buffers, whose addresses are what the loop carries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from funcgrad.backends.llvm import memory, registers
from funcgrad.backends.llvm.arena import ALIGNMENT, SLACK
from funcgrad.backends.llvm.block import Frame, InnerBlock, Workshop, copy
from funcgrad.backends.llvm.builder import I64, Builder, Type, Value
from funcgrad.backends.llvm.registers import Numbers, Registers
from funcgrad.compiler.graph import bytes_of, size_of
from funcgrad.compiler.pipeline import optimise
from funcgrad.compiler.views import form_of
from funcgrad.core.jaxpr import Eqn, Jaxpr, is_static
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Primitive


def native_loop(e: Eqn, shop: Workshop) -> Any:
    """The native form of an equation that holds programs; None if it has none."""
    if e.effects or type(e.primitive).evaluate is Primitive.evaluate:
        return None
    form = form_of(e)
    plain = all(_is_plain(v.aval) for v in (*e.args, *e.outs))
    if not plain or not isinstance(form, Call):
        return None
    if not all(map(is_static, programs(e, form))):
        return None
    if _in_registers(e, form):
        return RegisterLoop(e, form)
    made = BLOCKS[form.kind](e, form, shop) if form.kind in BLOCKS else None
    return made if made is not None and made.is_native else None


def _is_plain(aval: Any) -> bool:
    return all(isinstance(n, int) for n in aval.shape) and aval.dtype.kind not in "KO"


# ---- in registers
# --------------------------------------------------------------------------------


def programs(e: Eqn, form: Call) -> list[Jaxpr]:
    """The inner programs, optimised."""
    found: list[Jaxpr] = []
    for name in form.jaxprs:
        value = e.params[name]
        found += value if isinstance(value, tuple) else [value]
    return [optimise(j) for j in found]


def _in_registers(e: Eqn, form: Call) -> bool:
    if form.kind == "scan" and e.params["length"] is None:
        return False
    return form.kind in IN_REGISTERS and all(
        registers.fits(j, _in_registers)
        and not any(c._buffer.size > registers.LARGEST for c in j.consts)
        for j in programs(e, form)
    )


class RegisterLoop:
    """A loop whose body runs in registers, on operands in memory."""

    scratch = 0
    is_native = True

    def __init__(self, e: Eqn, form: Call) -> None:
        self.e, self.form = e, form

    def emit(
        self, frame: Frame, operands: Sequence[Value], results: Sequence[Value], scratch: Value
    ) -> None:
        """The code, from addresses to addresses."""
        b = frame.b
        if self.form.kind == "scan":
            _scan_memory(b, self.e, operands, results)
            return
        given = [load_all(b, x, a) for x, a in zip(operands, self.e.args)]
        outs = run_inner(Registers(b, _call(b)), self.e, self.form, given)
        for numbers, v, place in zip(outs, self.e.outs, results):
            store_all(b, numbers, place, v)


def _call(b: Builder) -> Any:
    def call(e: Eqn, form: Any, operands: list[Numbers]) -> list[Numbers]:
        return run_inner(Registers(b, _call(b)), e, form, operands)

    return call


def run_inner(r: Registers, e: Eqn, form: Call, operands: list[Numbers]) -> list[Numbers]:
    """A loop on numbers in registers."""
    return IN_REGISTERS[form.kind](r, e, form, operands)


def load_all(b: Builder, address: Value, v: Any, first: Value | None = None) -> Numbers:
    """The elements of a small array, from element `first` on."""
    kind, width = memory.element(v.aval.dtype)
    if first is not None:
        address = b.element(address, first, kind)
    size = size_of(v) if first is None else _row_size(v)
    return [
        memory.load(b, b.element(address, i * width, kind), v.aval.dtype, 1, 1, None)
        for i in range(size)
    ]


def store_all(
    b: Builder, numbers: Numbers, address: Value, v: Any, first: Value | None = None
) -> None:
    """Writes the elements of a small array, from element `first` on."""
    kind, width = memory.element(v.aval.dtype)
    if first is not None:
        address = b.element(address, first, kind)
    for i, x in enumerate(numbers):
        memory.store(b, x, b.element(address, i * width, kind), v.aval.dtype, 1, 1, None)


def body_inputs(jaxpr: Jaxpr, given: Sequence[Numbers]) -> list[Numbers]:
    """The constants of a program, and what it is called with."""
    held = [
        registers.constants(c._buffer, v.aval.dtype) for v, c in zip(jaxpr.constvars, jaxpr.consts)
    ]
    return [*held, *given]


def _flat(groups: Sequence[Numbers]) -> list[Value]:
    return [x for group in groups for x in group]  # type: ignore[misc]


def _like(values: Sequence[Value], groups: Sequence[Numbers]) -> list[Numbers]:
    rest = iter(values)
    return [[next(rest) for _ in group] for group in groups]


def _scan_memory(b: Builder, e: Eqn, operands: Sequence[Value], results: Sequence[Value]) -> None:
    """A scan: rows of the inputs are loaded, rows of the outputs stored, carries stay in
    registers.
    """
    p = e.params
    (jaxpr,) = programs(e, form_of(e))  # type: ignore[arg-type]
    consts, ncarry = p["num_consts"], p["num_carry"]
    start = consts + ncarry
    held = [load_all(b, x, a) for x, a in zip(operands[:consts], e.args)]
    carry = [load_all(b, x, a) for x, a in zip(operands[consts:start], e.args[consts:])]
    r = Registers(b, _call(b))

    def turn(i: Value, carried: list[Value]) -> list[Value]:
        at = b.sub(Value(str(p["length"] - 1), I64), i) if p["reverse"] else i
        rows = [_row(b, x, a, at) for x, a in zip(operands[start:], e.args[start:])]
        outs = r.run(jaxpr, body_inputs(jaxpr, [*held, *_like(carried, carry), *rows]))
        for numbers, v, place in zip(outs[ncarry:], e.outs[ncarry:], results[ncarry:]):
            size = _row_size(v)
            store_all(b, numbers, place, v, b.mul(at, Value(str(size), I64)))
        return _flat(outs[:ncarry])

    last = b.loop(0, p["length"], 1, _flat(carry), turn)
    for numbers, v, place in zip(_like(last, carry), e.outs, results):
        store_all(b, numbers, place, v)


def _row_size(v: Any) -> int:
    return math.prod(v.aval.shape[1:])


def _row(b: Builder, address: Value, v: Any, at: Value) -> Numbers:
    size = _row_size(v)
    return load_all(b, address, v, b.mul(at, Value(str(size), I64)))


def _scan_numbers(r: Registers, e: Eqn, form: Call, operands: list[Numbers]) -> list[Numbers]:
    """A scan over few rows inside other code in registers: written out."""
    p = e.params
    (jaxpr,) = programs(e, form)
    consts, ncarry, length = p["num_consts"], p["num_carry"], p["length"]
    held, carry = operands[:consts], operands[consts : consts + ncarry]
    xs = operands[consts + ncarry :]
    if not xs and len(e.outs) == ncarry:
        return _repeated(r, jaxpr, held, carry, length)
    stacks: list[list[Numbers]] = [[[] for _ in range(length)] for _ in e.outs[ncarry:]]
    for i in reversed(range(length)) if p["reverse"] else range(length):
        rows = [x[i * len(x) // length : (i + 1) * len(x) // length] for x in xs]
        outs = r.run(jaxpr, body_inputs(jaxpr, [*held, *carry, *rows]))
        carry = outs[:ncarry]
        for stack, row in zip(stacks, outs[ncarry:]):
            stack[i] = row
    return [*carry, *([x for row in stack for x in row] for stack in stacks)]


def _repeated(
    r: Registers, jaxpr: Jaxpr, held: list[Numbers], carry: list[Numbers], length: int
) -> list[Numbers]:
    def turn(i: Value, carried: list[Value]) -> list[Value]:
        del i
        return _flat(r.run(jaxpr, body_inputs(jaxpr, [*held, *_like(carried, carry)])))

    return _like(r.b.loop(0, length, 1, _flat(carry), turn), carry)


def _while_numbers(r: Registers, e: Eqn, form: Call, operands: list[Numbers]) -> list[Numbers]:
    test, step = programs(e, form)
    ncond, nbody = e.params["cond_nconsts"], e.params["body_nconsts"]
    asked, held = operands[:ncond], operands[ncond : ncond + nbody]
    carry = operands[ncond + nbody :]

    def going(carried: list[Value]) -> Value:
        ((holds,),) = r.run(test, body_inputs(test, [*asked, *_like(carried, carry)]))
        return holds  # type: ignore[return-value]

    def body(carried: list[Value]) -> list[Value]:
        return _flat(r.run(step, body_inputs(step, [*held, *_like(carried, carry)])))

    return _like(r.b.while_(_flat(carry), going, body), carry)


def _cond_numbers(r: Registers, e: Eqn, form: Call, operands: list[Numbers]) -> list[Numbers]:
    branches = programs(e, form)
    ((index,), *given) = operands
    sizes: list[Numbers] = [[None] * size_of(v) for v in e.outs]  # type: ignore[list-item]

    def choose(n: int) -> list[Value]:
        if n == len(branches) - 1:
            return _flat(r.run(branches[n], body_inputs(branches[n], given)))
        assert isinstance(index, Value)
        chosen = r.b.icmp("eq", index, r.b.like(n, index))

        def yes() -> list[Value]:
            return _flat(r.run(branches[n], body_inputs(branches[n], given)))

        return r.b.branch(chosen, yes, lambda: choose(n + 1))

    return _like(choose(0), sizes)


def _call_numbers(r: Registers, e: Eqn, form: Call, operands: list[Numbers]) -> list[Numbers]:
    (jaxpr,) = programs(e, form)
    return r.run(jaxpr, body_inputs(jaxpr, operands))


IN_REGISTERS = {
    "scan": _scan_numbers,
    "while": _while_numbers,
    "cond": _cond_numbers,
    "call": _call_numbers,
    "checkpoint": _call_numbers,
}


# ---- as blocks
# -----------------------------------------------------------------------------------


def _padded(count: int) -> int:
    return -(-(count + SLACK) // ALIGNMENT) * ALIGNMENT


class BlockLoop:
    """A construct whose programs are blocks. Scratch memory: carries, then the blocks' own."""

    def __init__(self, e: Eqn, form: Call, shop: Workshop) -> None:
        self.e, self.form, self.shop = e, form, shop
        self.blocks = [InnerBlock(j, shop) for j in programs(e, form)]
        self.inner = max((block.scratch for block in self.blocks), default=0)
        self.carried = self.carries()
        self.scratch = self.inner + 2 * sum(_padded(bytes_of(v)) for v in self.carried)

    @property
    def is_native(self) -> bool:
        return all(block.block.is_native for block in self.blocks)

    def carries(self) -> Sequence[Any]:
        return []

    def places(self, b: Builder, scratch: Value) -> list[tuple[Value, Value]]:
        """Two buffers for each carry."""
        offset, found = self.inner, []
        for v in self.carried:
            size = _padded(bytes_of(v))
            pair = [b.element(scratch, Value(str(offset + k * size), I64), "i8") for k in (0, 1)]
            found.append((pair[0], pair[1]))
            offset += 2 * size
        return found


class Carries:
    """Where the carries of a loop over blocks lie.

    One that is updated in place is copied once and stays where it is. The others alternate: the
    loop carries where each is read, where it is written, and where it will be written next.
    """

    def __init__(
        self, b: Builder, initial: Sequence[Value], places: Sequence[tuple[Value, Value]],
        kept: Sequence[bool], variables: Sequence[Any],
    ) -> None:  # fmt: skip
        self.kept, self.places = kept, places
        self.first: list[Value] = []
        for a, (one, two), stays, v in zip(initial, places, kept, variables):
            if stays:
                copy(b, one, a, bytes_of(v))
            else:
                self.first += [a, one, two]

    def read(self, carried: Sequence[Value]) -> list[Value]:
        """The addresses of the carries as they are."""
        return self._every(carried, 0)

    def written(self, carried: Sequence[Value]) -> list[Value]:
        """The addresses of the next carries."""
        return self._every(carried, 1)

    def _every(self, carried: Sequence[Value], which: int) -> list[Value]:
        moving = iter(carried[which::3])
        return [one if stays else next(moving) for stays, (one, _) in zip(self.kept, self.places)]

    def advanced(self, carried: Sequence[Value]) -> list[Value]:
        """What is carried to the next turn."""
        triples = zip(carried[1::3], carried[2::3])
        return [x for written, spare in triples for x in (written, spare, written)]


class ScanBlock(BlockLoop):
    """A scan over a block."""

    def carries(self) -> Sequence[Any]:
        p = self.e.params
        return self.e.args[p["num_consts"] :][: p["num_carry"]]

    @property
    def is_native(self) -> bool:
        return self.e.params["length"] is not None and super().is_native

    def emit(
        self, frame: Frame, operands: Sequence[Value], results: Sequence[Value], scratch: Value
    ) -> None:
        """The loop; the last carries are copied to where they are wanted."""
        b, p, e = frame.b, self.e.params, self.e
        consts, ncarry = p["num_consts"], p["num_carry"]
        start = consts + ncarry
        (block,) = self.blocks

        def turn(i: Value, carried: list[Value]) -> list[Value]:
            at = b.sub(Value(str(p["length"] - 1), I64), i) if p["reverse"] else i
            rows = [row_address(b, x, a, at) for x, a in zip(operands[start:], e.args[start:])]
            outs = [row_address(b, x, v, at) for x, v in zip(results[ncarry:], e.outs[ncarry:])]
            inputs = [*operands[:consts], *carries.read(carried), *rows]
            block.emit(frame, inputs, [*carries.written(carried), *outs], scratch)
            return carries.advanced(carried)

        kept = block.in_place([(consts + n, n) for n in range(ncarry)])
        places = self.places(b, scratch)
        carries = Carries(b, operands[consts:start], places, kept, self.carried)
        last = b.loop(0, p["length"], 1, carries.first, turn)
        for place, v, found in zip(results, e.outs, carries.read(last)):
            copy(b, place, found, bytes_of(v))


def row_address(b: Builder, address: Value, v: Any, at: Value) -> Value:
    """Where row `at` of an array lies."""
    size = _row_size(v) * v.aval.dtype.itemsize
    return b.element(address, b.mul(at, Value(str(size), I64)), "i8")


class WhileBlock(BlockLoop):
    """A while loop over blocks."""

    def __init__(self, e: Eqn, form: Call, shop: Workshop) -> None:
        super().__init__(e, form, shop)
        self.flag = self.scratch
        self.scratch += ALIGNMENT

    def carries(self) -> Sequence[Any]:
        return self.e.args[self.e.params["cond_nconsts"] + self.e.params["body_nconsts"] :]

    def emit(
        self, frame: Frame, operands: Sequence[Value], results: Sequence[Value], scratch: Value
    ) -> None:
        """The loop; the last carries are copied to where they are wanted."""
        b = frame.b
        test, step = self.blocks
        ncond, nbody = self.e.params["cond_nconsts"], self.e.params["body_nconsts"]
        flag = b.element(scratch, Value(str(self.flag), I64), "i8")

        def going(carried: list[Value]) -> Value:
            test.emit(frame, [*operands[:ncond], *carries.read(carried)], [flag], scratch)
            holds = b.load(flag, Type("i8"))
            return b.icmp("ne", holds, b.like(0, holds))

        def body(carried: list[Value]) -> list[Value]:
            inputs = [*operands[ncond : ncond + nbody], *carries.read(carried)]
            step.emit(frame, inputs, carries.written(carried), scratch)
            return carries.advanced(carried)

        kept = step.in_place([(nbody + n, n) for n in range(len(self.carried))])
        places = self.places(b, scratch)
        carries = Carries(b, operands[ncond + nbody :], places, kept, self.carried)
        last = b.while_(carries.first, going, body)
        for place, v, found in zip(results, self.e.outs, carries.read(last)):
            copy(b, place, found, bytes_of(v))


class CondBlock(BlockLoop):
    """One of several blocks."""

    def emit(
        self, frame: Frame, operands: Sequence[Value], results: Sequence[Value], scratch: Value
    ) -> None:
        """The branches, one after the other."""
        b = frame.b
        kind, _ = memory.element(self.e.args[0].aval.dtype)
        index = b.load(operands[0], Type(kind))

        def choose(n: int) -> list[Value]:
            if n == len(self.blocks) - 1:
                self.blocks[n].emit(frame, operands[1:], results, scratch)
                return []

            def yes() -> list[Value]:
                self.blocks[n].emit(frame, operands[1:], results, scratch)
                return []

            return b.branch(b.icmp("eq", index, b.like(n, index)), yes, lambda: choose(n + 1))

        choose(0)


class CallBlock(BlockLoop):
    """A program where it stands."""

    def emit(
        self, frame: Frame, operands: Sequence[Value], results: Sequence[Value], scratch: Value
    ) -> None:
        """The block."""
        self.blocks[0].emit(frame, operands, results, scratch)


BLOCKS: dict[str, type[Any]] = {
    "scan": ScanBlock,
    "while": WhileBlock,
    "cond": CondBlock,
    "call": CallBlock,
    "checkpoint": CallBlock,
}

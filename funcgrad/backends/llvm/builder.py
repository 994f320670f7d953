"""LLVM's language as text: a builder whose methods are instructions on typed values.

A value is a name or a constant together with its type: a scalar or a vector of `lanes` scalars.
The same calls build scalar code and vectors of any width; nothing here knows a machine. Only a
small part of the language is used, so that the code generator sees what it is tested with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.backends.llvm.target import Target
from funcgrad.backends.llvm.values import (
    BITS,
    FLOAT_OF,
    FLOATS,
    I1,
    I64,
    PTR,
    Type,
    Value,
    constant,
    literal,
    only_lane,
)

ADDRESSED = ("0", "1", "2", "4", "8")  # multiples that addresses have anyway


class Module:
    """Functions, and what they call. `function` adds one; equal names are added once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.declarations: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        self.globals: dict[str, str] = {}

    def declare(self, name: str, result: str, args: str) -> None:
        """A function of LLVM's, or one that is linked in."""
        self.declarations.setdefault(name, f"declare {result} @{name}({args})")

    def function(
        self, name: str, args: Sequence[Type], result: Type | None, write: Callable[..., Any],
        attributes: str = "",
    ) -> str:  # fmt: skip
        """Adds a function whose body `write(builder, *args)` builds, and returns its name.

        What `write` returns is the result.
        """
        if name not in self.functions:
            self.functions[name] = ""  # known while it is written, for functions that call it
            b = Builder(self)
            params = [Value(f"%a{i}", t) for i, t in enumerate(args)]
            out = write(b, *params)
            end = "ret void" if result is None else f"ret {out}"
            head = f"define internal {'void' if result is None else result.text} @{name}"
            listed = ", ".join(
                f"{t.text}{' noalias' if t == PTR else ''} %a{i}" for i, t in enumerate(args)
            )
            body = "\n".join([*b.entry, *b.lines, f"  {end}"])
            self.functions[name] = f"{head}({listed}) #0 {attributes}{{\nentry:\n{body}\n}}"
        return name

    def constant_data(self, values: Sequence[Any], kind: str) -> Value:
        """A table of numbers in read-only memory; its address."""
        scalar = FLOATS.get(kind, kind)
        listed = ", ".join(f"{scalar} {literal(v, kind)}" for v in values)
        text = f"private unnamed_addr constant [{len(values)} x {scalar}] [{listed}], align 64"
        name = self.globals.setdefault(text, f"@table{len(self.globals)}")
        return Value(name, PTR)

    def text(self) -> str:
        """The module."""
        parts = [f"{name} = {text}" for text, name in self.globals.items()]
        parts += [t for n, t in self.declarations.items() if n not in self.functions]
        parts += self.functions.values()
        return "\n".join([*parts, f"attributes #0 = {{ {self.target.attributes} }}", ""])


class Builder:
    """Writes the body of one function, instruction by instruction."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.multiples: dict[str, dict[int, Value]] = {}  # that open loops carry, by counter
        self.entry: list[str] = []  # allocations, which belong into the first block
        self.lines: list[str] = []
        self.block = "%entry"
        self._names = 0

    # ---- writing

    def emit(self, text: str, type: Type) -> Value:
        """One instruction with a result."""
        self._names += 1
        name = f"%v{self._names}"
        self.lines.append(f"  {name} = {text}")
        return Value(name, type)

    def do(self, text: str) -> None:
        """One instruction without a result."""
        self.lines.append(f"  {text}")

    def label(self, hint: str) -> str:
        """A new name for a block."""
        self._names += 1
        return f"{hint}{self._names}"

    def start(self, label: str) -> None:
        """Begins a block."""
        self.lines.append(f"{label}:")
        self.block = f"%{label}"

    def call(self, name: str, result: Type | None, args: Sequence[Value], flags: str = "") -> Value:
        """A call of a function of this module, or of one that is declared here as it is called."""
        if name not in self.module.functions:
            types = ", ".join(a.type.text for a in args)
            self.module.declare(name, result.text if result else "void", types)
        listed = ", ".join(map(str, args))
        text = f"call {flags}{result.text if result else 'void'} @{name}({listed})"
        if result is None:
            self.do(text)
            return Value("void", I64)
        return self.emit(text, result)

    def intrinsic(self, name: str, *args: Value, result: Type | None = None) -> Value:
        """A call of `llvm.<name>` overloaded on the type of its first operand."""
        return self.call(f"llvm.{name}.{args[0].type.suffix}", result or args[0].type, args)

    # ---- numbers

    def const(self, value: Any, type: Type) -> Value:
        """A number, in every lane."""
        return constant(value, type)

    def like(self, value: Any, x: Value) -> Value:
        """A number of the type of `x`."""
        return constant(value, x.type)

    def iota(self, type: Type) -> Value:
        """0, 1, 2, ... over the lanes of an integer type."""
        if type.lanes == 1:
            return constant(0, type)
        return Value(f"<{', '.join(f'{type.kind} {i}' for i in range(type.lanes))}>", type)

    def splat(self, x: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        if lanes == 1 or x.type.lanes == lanes:
            return x
        type = Type(x.type.kind, lanes)
        if not x.text.startswith(("%", "@")):
            return Value(f"splat ({x.type.text} {x.text})", type)
        first = self.emit(f"insertelement {type.text} poison, {x}, i64 0", type)
        return self.shuffle(first, first, [0] * lanes)

    def shuffle(self, x: Value, y: Value, order: Sequence[int]) -> Value:
        """Lanes of two vectors in any order; those of `y` follow those of `x`."""
        listed = ", ".join(f"i32 {i}" if i >= 0 else "i32 poison" for i in order)
        return self.emit(
            f"shufflevector {x}, {y}, <{len(order)} x i32> <{listed}>",
            Type(x.type.kind, len(order)),
        )

    def widened(self, x: Value, lanes: int) -> Value:
        """More lanes, the first ones as they are."""
        if x.type.lanes == 1:
            return self.splat(x, lanes)
        return self.shuffle(x, x, [i % x.type.lanes for i in range(lanes)])

    def narrowed(self, x: Value, lanes: int) -> Value:
        """The first lanes."""
        return self.extract(x, 0) if lanes == 1 else self.shuffle(x, x, range(lanes))

    def extract(self, x: Value, lane: int) -> Value:
        """One lane as a scalar."""
        if x.type.lanes == 1:
            return x
        return self.emit(f"extractelement {x}, i64 {lane}", Type(x.type.kind))

    def insert(self, x: Value, scalar: Value, lane: int) -> Value:
        """The vector with one lane replaced."""
        if x.type.lanes == 1:
            return scalar
        return self.emit(f"insertelement {x}, {scalar}, i64 {lane}", x.type)

    def binary(self, operation: str, x: Value, y: Value) -> Value:
        """An instruction of two operands of one type: `fadd`, `udiv`, `xor`, ..."""
        return self.emit(f"{operation} {x}, {y.text}", x.type)

    def fadd(self, x: Value, y: Value) -> Value:
        return self.binary("fadd", x, y)

    def fsub(self, x: Value, y: Value) -> Value:
        return self.binary("fsub", x, y)

    def fmul(self, x: Value, y: Value) -> Value:
        return self.binary("fmul", x, y)

    def fdiv(self, x: Value, y: Value) -> Value:
        return self.binary("fdiv", x, y)

    def fneg(self, x: Value) -> Value:
        return self.emit(f"fneg {x}", x.type)

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x * y + z, rounded once where the machine can."""
        if not self.module.target.fma:
            return self.fadd(self.fmul(x, y), z)
        return self.intrinsic("fma", x, y, z)

    def fabs(self, x: Value) -> Value:
        return self.intrinsic("fabs", x)

    def sqrt(self, x: Value) -> Value:
        return self.intrinsic("sqrt", x)

    def floor(self, x: Value) -> Value:
        return self.intrinsic("floor", x)

    def ceil(self, x: Value) -> Value:
        return self.intrinsic("ceil", x)

    def truncate(self, x: Value) -> Value:
        """Rounded towards zero, still a float."""
        return self.intrinsic("trunc", x)

    def roundeven(self, x: Value) -> Value:
        """Rounded to the nearest integer, ties to even, still a float."""
        return self.intrinsic("roundeven", x)

    def copysign(self, x: Value, sign: Value) -> Value:
        return self.intrinsic("copysign", x, sign)

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Horner's scheme; the coefficient of the highest power comes first."""
        result = self.like(coefficients[0], x)
        for c in coefficients[1:]:
            result = self.fma(result, x, self.like(c, x))
        return result

    def add(self, x: Value, y: Value) -> Value:
        return self.binary("add", x, y)

    def sub(self, x: Value, y: Value) -> Value:
        return self.binary("sub", x, y)

    def mul(self, x: Value, y: Value) -> Value:
        """x * y. A loop from a fixed start carries multiples of its counter along: they cost an
        addition a turn.
        """
        carried = self.multiples.get(x.text)
        if carried is None or not y.text.isdigit() or y.text in ADDRESSED:
            return self.binary("mul", x, y)
        return carried.setdefault(int(y.text), Value(f"{x.text}x{y.text}", x.type))

    def and_(self, x: Value, y: Value) -> Value:
        return self.binary("and", x, y)

    def or_(self, x: Value, y: Value) -> Value:
        return self.binary("or", x, y)

    def xor(self, x: Value, y: Value) -> Value:
        return self.binary("xor", x, y)

    def shl(self, x: Value, amount: int | Value) -> Value:
        return self.binary("shl", x, self._amount(x, amount))

    def lshr(self, x: Value, amount: int | Value) -> Value:
        return self.binary("lshr", x, self._amount(x, amount))

    def ashr(self, x: Value, amount: int | Value) -> Value:
        return self.binary("ashr", x, self._amount(x, amount))

    def _amount(self, x: Value, amount: int | Value) -> Value:
        return self.like(amount, x) if isinstance(amount, int) else amount

    # ---- comparisons and choices

    def fcmp(self, predicate: str, x: Value, y: Value) -> Value:
        """`oeq une olt ole ogt oge uno ord ...`: o is false for NaN, u is true."""
        return self.emit(f"fcmp {predicate} {x}, {y.text}", x.type.of("i1"))

    def icmp(self, predicate: str, x: Value, y: Value) -> Value:
        """`eq ne slt sle sgt sge ult ule ugt uge`."""
        return self.emit(f"icmp {predicate} {x}, {y.text}", x.type.of("i1"))

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        return self.emit(f"select {condition}, {yes}, {no}", yes.type)

    def fmin(self, x: Value, y: Value) -> Value:
        """The smaller one; `y` if either is NaN."""
        return self.select(self.fcmp("olt", x, y), x, y)

    def fmax(self, x: Value, y: Value) -> Value:
        """The larger one; `y` if either is NaN."""
        return self.select(self.fcmp("ogt", x, y), x, y)

    # ---- conversions

    def cast(self, operation: str, x: Value, kind: str) -> Value:
        """`fptosi sitofp zext trunc fpext ...` to another kind of scalar in each lane."""
        if x.type.kind == kind:
            return x
        return self.emit(f"{operation} {x} to {x.type.of(kind).text}", x.type.of(kind))

    def bitcast(self, x: Value, kind: str) -> Value:
        """The same bits as another kind of the same width."""
        return self.cast("bitcast", x, kind)

    def bits(self, x: Value) -> Value:
        """The bits of floats as integers."""
        return self.bitcast(x, BITS[x.type.kind])

    def from_bits(self, x: Value) -> Value:
        """Floats by their bits."""
        return self.bitcast(x, FLOAT_OF[x.type.bits])

    # ---- memory

    def alloca(self, kind: str, count: int, align: int = 64) -> Value:
        """Memory on the stack, for the time of the call."""
        self._names += 1
        name = f"%s{self._names}"
        scalar = FLOATS.get(kind, kind)
        self.entry.append(f"  {name} = alloca [{count} x {scalar}], align {align}")
        return Value(name, PTR)

    def element(self, pointer: Value, index: int | Value, kind: str) -> Value:
        """The address of element `index` of an array of `kind`."""
        if isinstance(index, int):
            if index == 0:
                return pointer
            index = constant(index, I64)
        scalar = FLOATS.get(kind, kind)
        type = Type("ptr", index.type.lanes)
        return self.emit(f"getelementptr {scalar}, {pointer}, {index}", type)

    def load(
        self, pointer: Value, type: Type, mask: Value | None = None, align: int | None = None
    ) -> Value:
        """Scalars or vectors from memory; lanes that the mask leaves out are zero and not read."""
        align = align or max(type.bits // 8, 1)
        if mask is None:
            return self.emit(f"load {type.text}, {pointer}, align {align}", type)
        if type.lanes == 1:
            return self.guarded_load(pointer, type, mask)
        name = f"llvm.masked.load.{type.suffix}.p0"
        self.module.declare(name, type.text, f"ptr, i32, {type.of('i1').text}, {type.text}")
        operands = f"{pointer}, i32 {align}, {mask}, {type.text} zeroinitializer"
        return self.emit(f"call {type.text} @{name}({operands})", type)

    def guarded_load(self, pointer: Value, type: Type, mask: Value) -> Value:
        """A scalar from memory if `mask` holds, else zero, and nothing is read."""
        zero = constant(0, type)
        (found,) = self.branch(mask, lambda: [self.load(pointer, type)], lambda: [zero])
        return found

    def store(
        self, x: Value, pointer: Value, mask: Value | None = None, align: int | None = None
    ) -> None:
        """Scalars or vectors into memory; lanes that the mask leaves out are not written."""
        align = align or max(x.type.bits // 8, 1)
        if mask is None:
            self.do(f"store {x}, {pointer}, align {align}")
        elif x.type.lanes == 1:
            self.when(mask, lambda: self.store(x, pointer))
        elif (lane := only_lane(mask)) is not None:
            self.store(self.extract(x, lane), self.element(pointer, lane, x.type.kind))
        else:
            name = f"llvm.masked.store.{x.type.suffix}.p0"
            self.module.declare(name, "void", f"{x.type.text}, ptr, i32, {x.type.of('i1').text}")
            self.do(f"call void @{name}({x}, {pointer}, i32 {align}, {mask})")

    def gather(self, pointers: Value, kind: str, mask: Value | None = None) -> Value:
        """One scalar from each address."""
        type = pointers.type.of(kind)
        if type.lanes == 1:
            return self.load(pointers, type, mask)
        mask = mask or constant(1, type.of("i1"))
        name = f"llvm.masked.gather.{type.suffix}.v{type.lanes}p0"
        self.module.declare(
            name, type.text, f"{pointers.type.text}, i32, {mask.type.text}, {type.text}"
        )
        align = max(type.bits // 8, 1)
        return self.emit(
            f"call {type.text} @{name}({pointers}, i32 {align}, {mask}, "
            f"{type.text} zeroinitializer)",
            type,
        )

    def scatter(self, x: Value, pointers: Value, mask: Value | None = None) -> None:
        """One scalar to each address, in the order of the lanes."""
        if x.type.lanes == 1:
            self.store(x, pointers, mask)
            return
        mask = mask or constant(1, x.type.of("i1"))
        name = f"llvm.masked.scatter.{x.type.suffix}.v{x.type.lanes}p0"
        self.module.declare(
            name, "void", f"{x.type.text}, {pointers.type.text}, i32, {mask.type.text}"
        )
        align = max(x.type.bits // 8, 1)
        self.do(f"call void @{name}({x}, {pointers}, i32 {align}, {mask})")

    # ---- control flow

    def loop(
        self, start: int | Value, stop: int | Value, step: int, carries: Sequence[Value],
        body: Callable[[Value, list[Value]], Sequence[Value] | None],
    ) -> list[Value]:  # fmt: skip
        """`for i in range(start, stop, step)` with carried values: `body(i, carried)` returns the
        next ones. Returns the last ones, which are the first ones if nothing was run.
        """
        first, last = _index(start), _index(stop)
        head, inside, done = self.label("head"), self.label("loop"), self.label("done")
        before = self.block
        self.do(f"br label %{head}")
        self.start(head)
        at = len(self.lines)
        i = Value(f"%i_{head}", I64)
        multiples: dict[int, Value] = {}
        if not first.text.startswith("%"):
            self.multiples[i.text] = multiples
        held = [Value(f"%c{n}_{head}", c.type) for n, c in enumerate(carries)]
        going = self.icmp("slt", i, last)
        self.do(f"br {going}, label %{inside}, label %{done}")
        self.start(inside)
        next_values = list(body(i, held) or [])
        following = self.emit(f"add nsw i64 {i.text}, {step}", I64)
        phis = [(i, first, following), *zip(held, carries, next_values)]
        for factor, v in multiples.items():
            begin = constant(int(first.text) * factor, I64)
            phis.append((v, begin, self.binary("add", v, constant(step * factor, I64))))
        self.multiples.pop(i.text, None)
        self.do(f"br label %{head}")
        self.lines[at:at] = [
            f"  {v.text} = phi {v.type.text} [ {a.text}, {before} ], [ {n.text}, {self.block} ]"
            for v, a, n in phis
        ]
        self.start(done)
        return held

    def while_(
        self,
        carries: Sequence[Value],
        going: Callable[[list[Value]], Value],
        body: Callable[[list[Value]], Sequence[Value]],
    ) -> list[Value]:
        """Repeats `body` while `going` holds of the carried values."""
        head, inside, done = self.label("head"), self.label("loop"), self.label("done")
        before = self.block
        self.do(f"br label %{head}")
        self.start(head)
        at = len(self.lines)
        held = [Value(f"%c{n}_{head}", c.type) for n, c in enumerate(carries)]
        self.do(f"br {going(held)}, label %{inside}, label %{done}")
        self.start(inside)
        next_values = body(held)
        self.do(f"br label %{head}")
        self.lines[at:at] = [
            f"  {v.text} = phi {v.type.text} [ {a.text}, {before} ], [ {n.text}, {self.block} ]"
            for v, a, n in zip(held, carries, next_values)
        ]
        self.start(done)
        return held

    def branch(
        self,
        condition: Value,
        yes: Callable[[], Sequence[Value]],
        no: Callable[[], Sequence[Value]],
    ) -> list[Value]:
        """One of two pieces of code, and its results."""
        labels = [self.label(hint) for hint in ("then", "else", "join")]
        self.do(f"br {condition}, label %{labels[0]}, label %{labels[1]}")
        ends, found = [], []
        for label, side in zip(labels, (yes, no)):
            self.start(label)
            found.append(side())
            ends.append(self.block)
            self.do(f"br label %{labels[2]}")
        self.start(labels[2])
        return [
            self.emit(f"phi {a.type.text} [ {a.text}, {ends[0]} ], [ {b.text}, {ends[1]} ]", a.type)
            for a, b in zip(*found)
        ]

    def when(self, condition: Value, yes: Callable[[], Any]) -> None:
        """Code that runs only if the condition holds."""

        def nothing() -> list[Value]:
            return []

        def effects() -> list[Value]:
            yes()
            return []

        self.branch(condition, effects, nothing)

    # ---- over lanes

    def any(self, mask: Value) -> Value:
        """Is a lane true?"""
        if mask.type.lanes == 1:
            return mask
        return self.intrinsic("vector.reduce.or", mask, result=I1)

    def reduce(self, operation: Callable[[Value, Value], Value], x: Value) -> Value:
        """All lanes combined, by halves: the same order on every machine."""
        while x.type.lanes > 1:
            half = x.type.lanes // 2
            low = self.shuffle(x, x, range(half)) if half > 1 else self.extract(x, 0)
            high = self.shuffle(x, x, range(half, 2 * half)) if half > 1 else self.extract(x, 1)
            x = operation(low, high)
        return x


def _index(i: int | Value) -> Value:
    return constant(i, I64) if isinstance(i, int) else i

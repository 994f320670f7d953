"""How a program is compiled: blocks of kernels, their places in memory, and the code of segments.

Equations that have no native form cut the program into segments; each segment is a function of one
table of addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.backends.llvm import convolution_plan
from funcgrad.backends.llvm.block import Block, Frame, Workshop
from funcgrad.backends.llvm.builder import PTR, Builder, Module, Value
from funcgrad.backends.llvm.engine import Compiled, compiled
from funcgrad.backends.llvm.loops import native_loop
from funcgrad.backends.llvm.recipe import Recipe
from funcgrad.backends.llvm.target import Target
from funcgrad.compiler import scattering
from funcgrad.compiler.donation import shared_memory
from funcgrad.compiler.effort import duration
from funcgrad.compiler.fusion import Unit
from funcgrad.compiler.graph import size_of, variables
from funcgrad.compiler.products import Convolution, is_plain
from funcgrad.core import backend, loops
from funcgrad.core.jaxpr import Eqn, Jaxpr
from funcgrad.core.primitive import Primitive

LONG_CALL = 1e-5  # seconds
THOROUGH = 1.4e-6  # seconds of running for a line of code; passes then pay within 100 calls
FEW = 4  # kernels, whose calls are worth registers
AS_IT_STANDS = "optnone noinline "  # quickly translated: for long code that runs once a call
PIECE = 32  # units of a function
SMALL_PRODUCT = 1 << 14  # multiplications; larger products are not made by plain loops
REDUCTIONS = frozenset(("add", "mul", "max", "min", "and", "or", "xor"))


def assembled(jaxpr: Jaxpr, donated: Sequence[bool], target: Target) -> tuple[Recipe, Compiled]:
    """The program planned, written and compiled."""
    made = Assembly(jaxpr, donated, target)
    return made.recipe, compiled(made.text, made.recipe.names, target, made.is_thorough)


class Assembly:
    """The plan of a program, `recipe`, and its code, `text`."""

    def __init__(self, jaxpr: Jaxpr, donated: Sequence[bool], target: Target) -> None:
        self.jaxpr = jaxpr
        self.shop = Workshop(Module(target), is_native, native_unit)
        self.block = Block(jaxpr, self.shop)
        outside_units = [u for u in self.block.units if self._is_outside(u)]
        made_outside = [o for u in outside_units for o in u.results()]
        outputs = [v for v in variables(jaxpr.outputs) if v not in jaxpr.inputs]
        allocated = [v for v in outputs if v not in made_outside]
        self.layout = self.block.layout([*jaxpr.inputs, *outputs, *made_outside])
        given = [v for v, d in zip(jaxpr.args, donated) if d and v not in jaxpr.outputs]
        units, kernels = self.block.units, self.block.kernels
        self.shared = shared_memory(units, kernels, given, allocated)
        parts = self._parts()
        self.recipe = Recipe(
            slots=self.layout.slots,
            entries=self.layout.entries,
            bytes=self.layout.bytes,
            allocated=[v for v in allocated if v not in self.shared],
            shared=self.shared,
            parts=parts,
            constants=self.shop.originals,
            is_long=self._is_long(),
        )
        self.text = self._text(self.recipe.names)
        self.is_thorough = self._seconds() > THOROUGH * self.text.count("\n")

    def _is_outside(self, unit: Unit) -> bool:
        return unit.eqn is not None and self.block.loops[unit] is None

    def _seconds(self) -> float:
        """How long the kernels run, roughly."""
        return sum(map(duration, self.block.kernels.values()))

    def _is_long(self) -> bool:
        has_loops = any(u.eqn is not None for u in self.block.units)
        return has_loops or self._seconds() > LONG_CALL

    def _parts(self) -> list[str | Eqn]:
        """Functions of native code, and equations for others, in order."""
        parts: list[str | Eqn] = []
        pending: list[Unit] = []
        for unit in [*self.block.units, None]:
            if unit is not None and not self._is_outside(unit):
                pending.append(unit)
                continue
            if pending:
                parts.append(self._segment(f"segment{len(parts)}", pending))
                pending = []
            if unit is not None:
                assert unit.eqn is not None
                parts.append(unit.eqn)
        return parts

    def _text(self, exported: Sequence[str]) -> str:
        text = self.shop.module.text()
        for name in exported:
            text = text.replace(f"internal void @{name}(", f"void @{name}(")
        return text

    def _segment(self, name: str, units: Sequence[Unit]) -> str:
        """A function of the table that runs units one after the other; many of them in pieces,
        since the time that LLVM takes grows faster than its functions.
        """
        if len(units) <= PIECE:
            return self._piece(name, units)
        pieces = [
            self._piece(f"{name}_from{n}", units[n : n + PIECE])
            for n in range(0, len(units), PIECE)
        ]

        def write(b: Builder, table: Value) -> None:
            for piece in pieces:
                b.call(piece, None, [table])

        return self.shop.module.function(name, [PTR], None, write)

    def _piece(self, name: str, units: Sequence[Unit]) -> str:
        layout = self.layout

        def write(b: Builder, table: Value) -> None:
            def entry(n: int) -> Value:
                return b.load(b.element(table, n, "ptr"), PTR)

            def constant(array: Any) -> Value:
                return entry(layout.entries + self.shop.constant(array))

            threads = b.load(b.element(table, -1, "ptr"), PTR)
            frame = Frame(b, constant, threads)
            used = [v for v in self._used(units) if v in layout.slots]
            bases = {
                n: entry(n) for n in dict.fromkeys([0, *(layout.slots[v].entry for v in used)])
            }
            addresses = {}
            for v in used:
                n, offset = layout.slots[v]
                addresses[v] = b.element(bases[n], offset, "i8")
            for unit in units:
                own = b.element(bases[0], layout.scratch[unit], "i8")
                self.block.emit_unit(frame, unit, addresses, own, self.shared)

        runs_once = all(unit.eqn is None for unit in units)
        attributes = AS_IT_STANDS if runs_once and len(units) > FEW else ""
        return self.shop.module.function(name, [PTR], None, write, attributes)

    def _used(self, units: Sequence[Unit]) -> list[Any]:
        """Variables that these units read or write."""
        found: dict[Any, None] = {}
        for unit in units:
            if unit.eqn is None:
                keys = [b.key for b in self.block.kernels[unit].buffers if not b.local]
            else:
                keys = variables((*unit.eqn.args, *unit.eqn.outs))
            found.update(dict.fromkeys(self.shared.get(v, v) for v in keys))
            found.update(dict.fromkeys(keys))
        return list(found)


# ---- what is native
# --------------------------------------------------------------------------------


def native_unit(e: Eqn, shop: Workshop) -> Any:
    """The native form of an equation that is no part of a kernel; None if it has none. Routines are
    many, and few programs need one.
    """
    if type(e.primitive).evaluate is Primitive.evaluate:
        return backend.load("routines").routine(e)
    return native_loop(e, shop)


def is_native(e: Eqn, form: Any) -> bool:
    """Can a kernel have this equation inside?"""
    if isinstance(form, (loops.Reduce, loops.ArgReduce)):
        return 0 not in e.args[0].aval.shape and form.op in REDUCTIONS
    if isinstance(form, loops.Scatter):
        filled = all(0 not in a.aval.shape for a in e.args)
        return filled and scattering.is_native(form, e.outs[0].aval.dtype)
    if isinstance(form, Convolution):
        return convolution_plan.plan(dict(form.parameters), *form.shapes[:2]) is not None
    if isinstance(form, loops.Contract):
        summed = size_of(e.outs[0]) == 1 or _is_small(e, form)
        return 0 not in e.args[0].aval.shape and (summed or is_plain(e))
    if isinstance(form, loops.Window):
        return form.op in REDUCTIONS and 0 not in e.args[0].aval.shape and 0 not in form.dimensions
    return True


def _is_small(e: Eqn, form: loops.Contract) -> bool:
    summed = np.prod([e.args[0].aval.shape[d] for d in form.lhs_contract], dtype=np.int64)
    return size_of(e.outs[0]) * int(summed) <= SMALL_PRODUCT

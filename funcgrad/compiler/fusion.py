"""Which values become one kernel.

Values that lie in memory, and reductions, are roots; everything between them is computed where it
is read. Each root starts as a unit of its own; units are merged where one reads the other or both
read the same, as long as their rows fit together (see `build`) and no third unit stands between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from funcgrad.compiler import build as building
from funcgrad.compiler.affine import Misaligned
from funcgrad.compiler.build import Root
from funcgrad.compiler.graph import Graph, bytes_of, size_of, variables
from funcgrad.compiler.products import TILED
from funcgrad.core import loops
from funcgrad.core.jaxpr import Eqn, Var

LARGEST = 400  # equations in one kernel, so that compilation stays linear
DEEPEST = 40  # equations in a row that are computed where they are read
DEAR = 40  # a value that costs more, and has several readers, is computed once
REPEATED = 2  # and so is one that costs more and is read anew for each of many rows
ACROSS = 3  # what reading a vector costs whose elements do not lie one after the other
ROW = 1 << 18  # bytes that one row may touch, so that its stages find it in cache
SMALL = 1 << 16  # bytes; kernels that touch no more are merged whatever their rows
SHORTEST = 64  # elements of a row whose sum is worth adding to a total at once
SUMS = 1 << 15  # bytes of a sum over rows, which stays in cache


class Unit:
    """What runs as one: a kernel of roots cut into rows, or a single equation for others."""

    __slots__ = ("roots", "rows", "eqn", "position", "sources", "weight")

    def __init__(self, roots: list[Root], rows: int, eqn: Eqn | None) -> None:
        self.roots, self.rows, self.eqn = roots, rows, eqn
        self.position = 0
        self.sources: set[Var] = set()
        self.weight = 0

    def results(self) -> list[Var]:
        """What it makes."""
        return [r.var for r in self.roots] if self.eqn is None else list(self.eqn.outs)

    def __repr__(self) -> str:
        return f"Unit({self.roots or self.eqn}, {self.rows})"


class Fusion:
    """The program's units, in an order in which they can run, and what lies in memory."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.jaxpr = graph.jaxpr
        self.needed = _needed(graph)
        self.reduced = {v for v in graph.definitions if graph.is_reduced(v) and size_of(v) > 0}
        self._order = {v: n for n, v in enumerate(graph.definitions)}
        self._options: dict[Any, list[Root]] = {}
        self._row_counts: dict[Any, set[int]] = {}
        self._bytes: dict[Var, int] = {}
        self.refused: dict[tuple[Var, Var], str] = {}  # why a root is not made with its reader
        self.stored = self._stored()
        self._sources: dict[Var, frozenset[Var]] = {}
        self._footprints: dict[Any, Any] = {}
        self.units = self._single_units()
        while self._keep_misaligned():
            self._sources.clear()
            self._footprints.clear()
            self.units = self._single_units()
        self.maker = {v: u for u in self.units for v in u.results()}

    def run(self) -> list[Unit]:
        """All merges."""
        self._number(self.units, 0)
        for a, b in self._edges():
            self.refused[a, b] = self._try(self._current(a), self._current(b))
        for a, b in self._siblings():
            self._try(self._current(a), self._current(b))
        self.units = [unit for unit in self.units if unit is not None]
        self._mark_read_outside()
        return self.units

    # ---- what lies in memory

    def _stored(self) -> set[Var]:
        graph = self.graph
        stored = set(self.jaxpr.inputs) | set(variables(self.jaxpr.outputs))
        for e in self.jaxpr.eqns:
            if e not in self.needed:
                continue
            if graph.forms[e] is None:
                stored.update(e.outs)
                stored.update(variables(e.args))
            elif isinstance(graph.forms[e], loops.Gather):
                stored.update(variables(e.args[:1]))
            elif isinstance(graph.forms[e], TILED):
                stored.update(graph.forms[e].operands)
        self._keep_deep_and_dear(stored)
        return stored

    def _keep_deep_and_dear(self, stored: set[Var]) -> None:
        """Long chains are cut, and what is dear and has several readers is kept."""
        depth: dict[Var, int] = {}
        cost: dict[Var, int] = {}
        for e in self.jaxpr.eqns:
            if e not in self.needed or self.graph.forms[e] is None:
                continue
            for a in variables(e.args):
                if a in depth and cost[a] > REPEATED and self._repeats(e, a):
                    stored.add(a)
                    del depth[a]
            for out in e.outs:
                if out in stored or self.graph.is_reduced(out):
                    continue
                size = size_of(out)
                args = [a for a in variables(e.args) if a in depth]
                far = 1 + max((depth[a] for a in args), default=0)
                # What has far fewer elements is computed far less often.
                dear = self.graph.cost(e) + sum(cost[a] for a in args if 8 * size_of(a) > size)
                dear += ACROSS if _varies_last(self.graph.forms[e], out, slice(-1)) else 0
                shared = len(self.graph.readers.get(out, ())) > 1
                if far >= DEEPEST or (shared and dear >= DEAR):
                    stored.add(out)
                else:
                    depth[out], cost[out] = far, dear

    def _repeats(self, e: Eqn, a: Var) -> bool:
        """Does a view hold many copies of an operand, and vectors along it?"""
        form, out = self.graph.forms[e], e.outs[0]
        return 8 * size_of(a) <= size_of(out) and _varies_last(form, out, slice(None))

    def _keep_misaligned(self) -> bool:
        """Values that some kernel could read only from memory are kept; were there any?"""
        found = False
        for unit in self.units:
            for root in unit.roots:
                error = self._reads(root, unit.rows)
                if isinstance(error, Misaligned) and error.value is not root.var:
                    self.stored.add(error.value)
                    found = True
        return found

    def is_root(self, v: Var) -> bool:
        """Does a kernel make this value for others?"""
        if v in self.reduced:
            return True
        return v in self.stored and self.graph.is_pulled(v) and size_of(v) > 0

    def sources(self, v: Var) -> frozenset[Var]:
        """The roots and leaves that computing a value reads."""
        found = self._sources.get(v)
        if found is None:
            e, _, form = self.graph.definitions[v]
            if isinstance(form, TILED):
                return frozenset(form.operands)
            parts = [
                {a} if a in self.stored or self.is_root(a) else self.sources(a)
                for a in variables(e.args)
            ]
            found = self._sources[v] = frozenset().union(*parts)
        return found

    # ---- units

    def _single_units(self) -> list[Unit]:
        units = []
        for e in self.jaxpr.eqns:
            if e not in self.needed:
                continue
            if self.graph.forms[e] is None:
                unit = Unit([], 1, e)
                unit.sources = set(variables(e.args))
                units.append(unit)
                continue
            for out in e.outs:
                if self.is_root(out):
                    units.append(self._kernel_unit(out))
                else:
                    self.sources(out)  # in program order, so that no recursion is deep
        return units

    def _kernel_unit(self, out: Var) -> Unit:
        root = Root(out, self.graph.definitions[out])
        unit = _unit_of(root)
        unit.sources = set(self.sources(out))
        unit.weight = 1 + len(unit.sources)
        return unit

    def _current(self, v: Any) -> Unit:
        return self.maker[v]

    def _edges(self) -> list[tuple[Var, Var]]:
        """Pairs of a root and one that reads it, the largest first."""
        found = [
            (v, root.var)
            for unit in self.units
            for root in unit.roots
            for v in unit.sources
            if v in self.maker and self.maker[v].roots
        ]
        order = {v: n for n, v in enumerate(self.maker)}
        return sorted(found, key=lambda p: (-bytes_of(p[0]), order[p[0]], order[p[1]]))

    def _siblings(self) -> list[tuple[Var, Var]]:
        """Pairs of roots that read the same value."""
        readers: dict[Var, list[Unit]] = {}
        for unit in self.units:
            if unit is not None and unit.roots:
                for v in unit.sources:
                    readers.setdefault(v, []).append(unit)
        order = {v: n for n, v in enumerate([*self.jaxpr.inputs, *self.maker])}
        shared = [v for v, units in readers.items() if len(units) > 1 and size_of(v) > 1]
        shared.sort(key=lambda v: (-bytes_of(v), order.get(v, 0)))
        found = []
        for v in shared:
            units = sorted(dict.fromkeys(readers[v]), key=lambda u: u.position)
            found += [(x.roots[0].var, y.roots[0].var) for x, y in zip(units, units[1:])]
        return found

    # ---- merging

    def _try(self, a: Unit, b: Unit) -> str:
        """Merges two units if they fit; else says why not."""
        if a is b or not (a.roots and b.roots):
            return ""
        if a.position > b.position:
            a, b = b, a
        if a.weight + b.weight > LARGEST:
            return f"together they have more than {LARGEST} equations"
        candidates = self._common_rows(a, b)
        if not candidates:
            return _difference(a, b)
        moved = self._moved(a, b)
        paying = [rows for rows in candidates if _pays(a, b, moved, rows)]
        for rows in paying:
            chosen = self._fit(a.roots, b.roots, rows)
            if chosen is not None:
                return self._merge_at(a, b, chosen, rows)
        if not paying:
            return f"of {moved} bytes, a row would not stay in cache"
        return "one reads across the rows of the other"

    def _merge_at(self, a: Unit, b: Unit, roots: list[Root], rows: int) -> str:
        between = self._between(a, b)
        if between is None:
            return "what stands between them needs one and makes the other"
        self._merge(a, b, between, roots, rows)
        return ""

    def _between(self, a: Unit, b: Unit) -> list[Unit] | None:
        """The units that must run before b and stand after a; None if one of them needs a."""
        found: dict[Unit, None] = {}
        pending = [b]
        while pending:
            unit = pending.pop()
            for v in unit.sources:
                maker = self.maker.get(v)
                if maker is None or maker is unit or maker in found:
                    continue
                if maker is a:
                    if unit is not b:
                        return None
                elif maker.position > a.position:
                    found[maker] = None
                    pending.append(maker)
        return sorted(found, key=lambda u: u.position)

    def _common_rows(self, a: Unit, b: Unit) -> list[int]:
        """Numbers of rows to try, the largest first."""
        roots = (*a.roots, *b.roots)
        if any(r.scatters for r in roots):
            return []
        tiled = [r for r in roots if r.is_tiled]
        if len(tiled) > 1:
            return []
        if tiled:
            ends = not any(r.reduces for r in roots)
            return [tiled[0].size] if ends and all(r.size == tiled[0].size for r in roots) else []
        candidates = [self._cuts(root) for root in (*a.roots[:8], *b.roots[:8])]
        return sorted(set.intersection(*candidates), reverse=True)[:4]

    def _cuts(self, root: Root) -> set[int]:
        key = (root.var, root.accumulates)
        if key not in self._row_counts:
            self._row_counts[key] = set(_cuts(root))
        return self._row_counts[key]

    def _forms(self, root: Root) -> list[Root]:
        key = (root.var, root.accumulates)
        if key not in self._options:
            self._options[key] = _forms(root)
        return self._options[key]

    def _fit(self, first: list[Root], second: list[Root], rows: int) -> list[Root] | None:
        """The roots as they can be cut into rows together; None if they cannot."""
        chosen: list[Root] = []
        made = {r.var for r in (*first, *second)}
        sums: set[Var] = set()
        for root in (*first, *second):
            fitting = self._fitted(root, rows, made, sums)
            if fitting is None:
                return None
            if fitting.accumulates:
                sums.add(root.var)
            chosen.append(fitting)
        return chosen

    def _fitted(self, root: Root, rows: int, made: set[Var], sums: set[Var]) -> Root | None:
        for option in self._forms(root):
            if option.accumulates and option.size == 1 and option.total < SHORTEST * rows:
                continue
            found = self.footprint(option, rows)
            if found is None:
                continue
            if any(v in sums or not aligned for v, aligned in found.items() if v in made):
                continue
            return option
        return None

    def footprint(self, root: Root, rows: int) -> dict[Var, bool] | None:
        """What computing a root reads, and whether each row reads its own part only; None if the
        root has no such rows.
        """
        found = self._reads(root, rows)
        return found if isinstance(found, dict) else None

    def _reads(self, root: Root, rows: int) -> dict[Var, bool] | Misaligned | None:
        key = (root.var, root.accumulates, rows)
        if key not in self._footprints:
            self._footprints[key] = building.footprint(
                self.graph, rows, root, lambda v: v in self.stored or v in self.reduced
            )
        return self._footprints[key]

    def _moved(self, a: Unit, b: Unit) -> int:
        """Bytes that two units read and write."""
        touched = [*(a.sources | b.sources), *(r.var for r in (*a.roots, *b.roots))]
        for v in touched:
            if v not in self._bytes:
                self._bytes[v] = bytes_of(v)
        return sum(map(self._bytes.__getitem__, touched))

    def _merge(self, a: Unit, b: Unit, between: list[Unit], roots: list[Root], rows: int) -> None:
        """One unit in the place of two: after what b needs, before what needs a."""
        merged = Unit(self._in_order(roots), rows, None)
        merged.sources = a.sources | b.sources
        merged.weight = a.weight + b.weight
        first, last = a.position, b.position
        span = self.units[first : last + 1]
        ahead = set(between)
        rest = [u for u in span if u not in ahead and u is not a and u is not b]
        span = [*between, merged, *rest]
        self.units[first : last + 1] = [*span, None]  # type: ignore[list-item]  # others stay
        self._number(span, first)
        for root in roots:
            self.maker[root.var] = merged

    def _in_order(self, roots: list[Root]) -> list[Root]:
        """Roots before those that read them."""
        return sorted(roots, key=lambda r: self._order[r.var])

    def _number(self, units: Sequence[Unit], start: int) -> None:
        for n, unit in enumerate(units):
            if unit is not None:
                unit.position = start + n

    def divided(self, unit: Unit) -> list[Unit]:
        """A unit as one for each of its roots, all of which lie in memory then."""
        parts = [self._kernel_unit(root.var) for root in unit.roots]
        self.stored |= {root.var for root in unit.roots}
        return parts

    def _mark_read_outside(self) -> None:
        """Roots that only their own kernel reads need no memory of their own."""
        kept = set(variables(self.jaxpr.outputs)) | set(self.jaxpr.inputs)
        for unit in self.units:
            own = {r.var for r in unit.roots}
            kept |= unit.sources - own
            kept |= {r.var for r in unit.roots if r.accumulates}
            if unit.eqn is not None:
                kept.update(unit.eqn.outs)
        self.stored = kept


def _varies_last(form: Any, out: Var, which: slice) -> bool:
    """Do these of the operand's dimensions vary along the last one of a view?"""
    if not isinstance(form, loops.View):
        return False
    return any(d == out.aval.ndim - 1 for dim in form.dims[which] for d, _ in dim.terms)


def _pays(a: Unit, b: Unit, moved: int, rows: int) -> bool:
    """Does merging keep rows in cache?"""
    if moved <= SMALL or (rows > 1 and not any(r.reduces for r in (*a.roots, *b.roots))):
        return True
    return rows > 1 and moved / rows <= ROW


def _difference(a: Unit, b: Unit) -> str:
    """Why two units have no rows in common."""
    roots = (*a.roots, *b.roots)
    if any(r.scatters for r in roots):
        return "updates of an array are a kernel of their own"
    tiled = sum(r.is_tiled for r in roots)
    if tiled > 1:
        return "each is a product or convolution"
    if tiled and any(r.reduces for r in roots):
        return "a product has no whole rows to reduce"
    if tiled:
        return "the product has another number of results"
    return "they have no number of rows in common"


def _unit_of(root: Root) -> Unit:
    """The unit of one root: rows of one element, but sums over leading dimensions go row by row,
    as memory lies.
    """
    if root.scatters:
        return Unit([root], 1, None)
    form = root.definition.form
    summed = _forms(root)[0]
    axes = getattr(form, "axes", ())
    if summed.accumulates and tuple(axes) == tuple(range(len(axes))) and root.size > 1:
        shape = root.definition.eqn.args[0].aval.shape
        return Unit([summed], math.prod(shape[: len(axes)]), None)
    return Unit([root], root.size, None)


def _needed(graph: Graph) -> set[Eqn]:
    """Equations whose results reach an output or have effects."""
    needed: set[Eqn] = set()
    wanted = set(variables(graph.jaxpr.outputs))
    for e in reversed(graph.jaxpr.eqns):
        if e.effects or any(o in wanted for o in e.outs):
            needed.add(e)
            form = graph.forms[e]
            wanted.update(form.operands if isinstance(form, TILED) else variables(e.args))
    return needed


def _prefixes(shape: Sequence[int]) -> list[int]:
    found, product = [1], 1
    for n in shape:
        product *= n
        found.append(product)
    return found


def _cuts(root: Root) -> list[int]:
    """Numbers of rows that a root can be cut into."""
    shape = root.var.aval.shape
    found = _prefixes(shape)
    if _accumulating(root) or root.accumulates:
        found = found + _prefixes(root.definition.eqn.args[0].aval.shape)
    return found


def _forms(root: Root) -> list[Root]:
    """The ways to make a root. Sums over leading dimensions, which lie far apart, are best taken
    row by row.
    """
    plain = Root(root.var, root.definition) if root.accumulates else root
    summed = [root] if root.accumulates else _accumulating(root)
    if not summed:
        return [plain]
    axes = root.definition.form.axes
    rank = root.definition.eqn.args[0].aval.ndim
    trailing = set(axes) == set(range(rank - len(axes), rank))
    return [plain, *summed] if trailing else summed


def _accumulating(root: Root) -> list[Root]:
    """The root as a sum over rows, if it is one."""
    form = root.definition.form
    if not isinstance(form, loops.Reduce) or math.prod(root.var.aval.shape) * 8 > SUMS:
        return []
    if not form.axes or root.var.aval.dtype.itemsize < 4 or root.accumulates:
        return []
    return [Root(root.var, root.definition, accumulates=True)]

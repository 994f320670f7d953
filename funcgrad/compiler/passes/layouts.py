"""Images with channels first, as PyTorch's, are computed with channels last, as kernels want them.

Convolutions name the dimensions of their operands, so they take any order; what lies between them
(maps, windows, reductions, padding, joins) is rewritten for the order its operands have. Only where
a program begins and ends, and at equations that need an order of their own, images are transposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.compiler.passes.dead import drop_dead
from funcgrad.compiler.passes.fold import fold_constants
from funcgrad.compiler.passes.simplify import simplify
from funcgrad.compiler.rewrite import Rewriter
from funcgrad.compiler.views import form_of
from funcgrad.core import loops
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Var, is_static, memoised
from funcgrad.core.primitive import Primitive
from funcgrad.primitives.basis import broadcast_in_dim_p, reshape_p, transpose_p
from funcgrad.primitives.contract import dot_general_p
from funcgrad.primitives.convolution import ConvDimensionNumbers, conv_general_dilated_p
from funcgrad.primitives.shape import concatenate_p, pad_p, rev_p, slice_p, split_p
from funcgrad.primitives.window import (
    reduce_window_max_p,
    reduce_window_min_p,
    reduce_window_sum_p,
    select_and_gather_add_p,
    select_and_scatter_add_p,
)

ATTEMPTS = 3  # to find orders of carries that a body returns as it takes them
Order = tuple[int, ...]  # dimension k of what is kept is dimension order[k] of what it stands for


@memoised
def channels_last(jaxpr: Jaxpr) -> Jaxpr:
    """conv NCHW; add; max over windows; conv NCHW -> transpose, conv NHWC; ...; transpose"""
    if not any(map(_has_channels_first, jaxpr.eqns)) or not is_static(jaxpr):
        return jaxpr
    layouts = _Layouts(jaxpr, [_same(v.aval.ndim) for v in jaxpr.args])
    return layouts.closed([layouts.plain(o) for o in jaxpr.outputs])


def _has_channels_first(e: Eqn) -> bool:
    if e.primitive.name == "scan":
        return any(map(_has_channels_first, e.params["jaxpr"].eqns))
    if e.primitive is not conv_general_dilated_p:
        return False
    numbers = e.params["dimension_numbers"]
    if _sums_over_images(e):
        channels = ((e.args[0], numbers.lhs_spec[0]), (e.args[1], numbers.rhs_spec[0]))
    else:
        channels = ((e.args[0], numbers.lhs_spec[1]), (e.outs[0], numbers.out_spec[1]))
    return any(d != v.aval.ndim - 1 and v.aval.shape[d] != 1 for v, d in channels)


def _sums_over_images(e: Eqn) -> bool:
    """Is it the gradient of weights? Images, which lie one behind the other, are its features."""
    return e.params["dimension_numbers"].lhs_spec[1] == 0


def _last(channels: int, rank: int) -> Order:
    """The order with one dimension behind the others."""
    return (*(d for d in range(rank) if d != channels), channels)


def _same(rank: int) -> Order:
    return tuple(range(rank))


def _ordered(values: Sequence[Any], order: Order) -> tuple[Any, ...]:
    return tuple(values[d] for d in order)


class _Layouts:
    """The program while it is rewritten, and what stands for images in another order."""

    def __init__(self, jaxpr: Jaxpr, orders: Sequence[Order]) -> None:
        self.program = Rewriter(jaxpr)
        self.moved: dict[Atom, tuple[Var, Order]] = {}  # by variables of the old program
        self.copies: dict[tuple[Atom, Order], Atom] = {}
        self.args = list(jaxpr.args)
        for n, (v, order) in enumerate(zip(jaxpr.args, orders, strict=True)):
            if order != _same(len(order)):
                self.args[n] = Var(v.aval.update(shape=_ordered(v.aval.shape, order)))
                self.moved[v] = self.args[n], order
        for e in jaxpr.eqns:
            self.add(e)

    def closed(self, outputs: Sequence[Atom]) -> Jaxpr:
        """The new program."""
        held = self.program.constants
        inputs = [*held, *self.args]
        found = Jaxpr(inputs, self.program.eqns, outputs, list(held.values()))
        return drop_dead(fold_constants(simplify(found)))

    def add(self, e: Eqn) -> None:
        """An equation of the old program, on operands in the order they have if it can be."""
        program = self.program
        program.source = e.source
        if e.primitive is conv_general_dilated_p:
            self._convolve(e)
            return
        if e.primitive.name == "scan" and _has_channels_first(e) and not e.effects:
            self._scan(e)
            return
        moved = next((a for a in e.args if a in self.moved), None)
        found = self._moved_equation(e, moved) if moved is not None and not e.effects else None
        if found is not None:
            for out, (x, order) in zip(e.outs, found, strict=True):
                self._stands(out, x, order)
            return
        for a in e.args:
            self.plain(a)
        program.keep(program.current(e))

    def _stands(self, out: Var, found: Atom, order: Order) -> None:
        if order == _same(len(order)):
            self.program.replaced[out] = found
        else:
            self.moved[out] = found, order  # type: ignore[assignment]

    def plain(self, v: Atom) -> Atom:
        """A value in the order that the old program has it in."""
        if v in self.moved and v not in self.program.replaced:
            x, order = self.moved[v]
            self.program.replaced[v] = self._transposed(x, _inverse(order))  # type: ignore[index]
        return self.program.atom(v)

    def ordered(self, v: Atom, order: Order) -> Atom:
        """A value in this order; made once."""
        if not v.aval.shape or order == _same(len(order)):
            return self.plain(v)
        x, own = self.moved.get(v, (self.program.atom(v), _same(len(order))))
        if own == order:
            return x
        if (v, order) not in self.copies:
            filled = self.program.definition(x, broadcast_in_dim_p)
            relative = tuple(own.index(d) for d in order)
            self.copies[v, order] = (
                self._transposed(x, relative) if filled is None else self._filled(filled, relative)
            )
        return self.copies[v, order]

    def _transposed(self, x: Atom, order: Order) -> Atom:
        if order == _same(len(order)):
            return x
        return self.program.emit(transpose_p, x, permutation=order)

    def _filled(self, e: Eqn, order: Order) -> Atom:
        """A broadcast whose result has another order."""
        places = [order.index(d) for d in e.params["broadcast_dimensions"]]
        rising = tuple(sorted(range(len(places)), key=places.__getitem__))
        return self.program.emit(
            broadcast_in_dim_p, self._transposed(e.args[0], rising),
            shape=_ordered(e.params["shape"], order),
            broadcast_dimensions=_ordered(places, rising),
        )  # fmt: skip

    # ---- equations

    def _convolve(self, e: Eqn) -> None:
        """Images with channels last, or as they lie already; weights and their gradients as they
        are.
        """
        lhs, rhs = e.args
        numbers = e.params["dimension_numbers"]
        rank = lhs.aval.ndim
        orders = [_last(numbers.lhs_spec[1], rank), self.order(rhs)]
        out = _last(numbers.out_spec[1], rank)
        if _sums_over_images(e):
            orders = [_last(numbers.lhs_spec[0], rank), _last(numbers.rhs_spec[0], rank)]
            out = _same(rank)
        specs = zip((numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec), (*orders, out))
        moved = ConvDimensionNumbers(*(tuple(map(order.index, spec)) for spec, order in specs))
        operands = [self.ordered(a, order) for a, order in zip(e.args, orders)]
        found = self.program.emit(
            conv_general_dilated_p, *operands, **{**e.params, "dimension_numbers": moved}
        )
        self._stands(e.outs[0], found, out)

    def _scan(self, e: Eqn) -> None:
        """A loop whose carries are held as its body wants them; so are its stacks, if their rows
        come in another order.
        """
        p = e.params
        start, end = p["num_consts"], p["num_consts"] + p["num_carry"]
        orders = [self.order(a) for a in e.args]
        orders[end:] = [o if o[0] == 0 else _same(len(o)) for o in orders[end:]]
        rows = [tuple(d - 1 for d in o[1:]) for o in orders[end:]]
        for _ in range(ATTEMPTS):
            body = _Layouts(p["jaxpr"], [*orders[:end], *rows])
            held = [body.order(o) for o in p["jaxpr"].outputs]
            if held[: p["num_carry"]] == orders[start:end]:
                break
            orders[start:end] = held[: p["num_carry"]]
        else:
            body = _Layouts(p["jaxpr"], [*orders[:end], *rows])
        held = [*orders[start:end], *(body.order(o) for o in p["jaxpr"].outputs[p["num_carry"] :])]
        inner = body.closed([body.ordered(o, k) for o, k in zip(p["jaxpr"].outputs, held)])
        operands = [self.ordered(a, order) for a, order in zip(e.args, orders)]
        found = self.program.emit_all(e.primitive, operands, {**p, "jaxpr": inner})
        for n, (out, x) in enumerate(zip(e.outs, found)):
            order = held[n] if n < p["num_carry"] else (0, *(d + 1 for d in held[n]))
            self._stands(out, x, order)

    def order(self, v: Atom) -> Order:
        return self.moved[v][1] if v in self.moved else _same(v.aval.ndim)

    def _contract(self, e: Eqn) -> tuple[Atom, Order]:
        """A product of operands as they lie."""
        contracted, batch = e.params["dimension_numbers"]
        orders = [self.order(a) for a in e.args]
        numbers = tuple(
            tuple(tuple(map(order.index, dims)) for order, dims in zip(orders, pair))
            for pair in (contracted, batch)
        )
        operands = [self.ordered(a, order) for a, order in zip(e.args, orders)]
        found = self.program.emit(
            dot_general_p, *operands, **{**e.params, "dimension_numbers": numbers}
        )
        order = list(range(len(batch[0])))
        for n, held in enumerate(orders):
            free = [d for d in held if d not in (*contracted[n], *batch[n])]
            order += [len(order) + sorted(free).index(d) for d in free]
        return found, tuple(order)

    def _moved_equation(self, e: Eqn, moved: Atom) -> list[tuple[Atom, Order]] | None:
        """The results of an equation, one of whose operands has been moved, and their orders."""
        x, order = self.moved[moved]
        if e.primitive is dot_general_p:
            return [self._contract(e)]
        form = form_of(e)
        rule = _reduced if isinstance(form, loops.Reduce) else CHANGING_ORDER.get(e.primitive)
        if rule is not None:
            found = rule(self.program, e, x, order)
            return None if found is None else [found]
        change = PARAMETERS.get(e.primitive)
        if change is None and not isinstance(form, loops.Map):
            return None
        params = e.params if change is None else change(e.params, order)
        if params is None or any(a.aval.ndim not in (0, len(order)) for a in e.args):
            return None
        operands = [self.ordered(a, order) for a in e.args]
        return [(out, order) for out in self.program.emit_all(e.primitive, operands, params)]


def _inverse(order: Order) -> Order:
    return tuple(map(order.index, range(len(order))))


# ---- equations whose result has as many dimensions, in the same order


def _permuting(*names: str) -> Callable[[dict[str, Any], Order], dict[str, Any]]:
    """Parameters with an entry for each dimension."""

    def change(params: dict[str, Any], order: Order) -> dict[str, Any]:
        found = {n: _ordered(params[n], order) for n in names if params[n] is not None}
        return {**params, **found}

    return change


def _windows(params: dict[str, Any], order: Order) -> dict[str, Any] | None:
    """The first of equal elements of a window is chosen, so windows keep their order."""
    wide = [d for d in order if params["window_dimensions"][d] > 1]
    return OF_WINDOWS(params, order) if wide == sorted(wide) else None


OF_WINDOWS = _permuting(
    "window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation"
)
PARAMETERS: dict[Primitive, Callable[[dict[str, Any], Order], dict[str, Any] | None]] = {
    pad_p: _permuting("padding_config"),
    slice_p: _permuting("start_indices", "limit_indices", "strides"),
    rev_p: lambda params, order: {"dimensions": tuple(map(order.index, params["dimensions"]))},
    concatenate_p: lambda params, order: {"dimension": order.index(params["dimension"])},
    split_p: lambda params, order: {**params, "axis": order.index(params["axis"])},
    reduce_window_sum_p: _windows,
    reduce_window_max_p: _windows,
    reduce_window_min_p: _windows,
    select_and_scatter_add_p: _windows,
    select_and_gather_add_p: _windows,
}


# ---- equations that change the order


def _reduced(program: Rewriter, e: Eqn, x: Atom, order: Order) -> tuple[Atom, Order]:
    axes = e.params["axes"]
    kept = [d for d in order if d not in axes]
    moved = tuple(sorted(map(order.index, axes)))
    found = program.emit(e.primitive, x, **{**e.params, "axes": moved})
    return found, tuple(map(sorted(kept).index, kept))


def _transpose(program: Rewriter, e: Eqn, x: Atom, order: Order) -> tuple[Atom, Order]:
    """A transpose says what the order means, and moves nothing."""
    return x, tuple(map(e.params["permutation"].index, order))


def _broadcast(program: Rewriter, e: Eqn, x: Atom, order: Order) -> tuple[Atom, Order]:
    dims, shape = e.params["broadcast_dimensions"], e.params["shape"]
    found = _inserted([dims[d] for d in order], len(shape))
    filled = program.emit(
        broadcast_in_dim_p, x, shape=_ordered(shape, found),
        broadcast_dimensions=tuple(found.index(dims[d]) for d in order),
    )  # fmt: skip
    return filled, found


def _inserted(order: Sequence[int], rank: int) -> Order:
    """An order of some dimensions with all others, each behind the one before it."""
    found = list(order)
    for d in range(rank):
        if d not in order:
            found.insert(found.index(d - 1) + 1 if d else 0, d)
    return tuple(found)


def _reshape(program: Rewriter, e: Eqn, x: Atom, order: Order) -> tuple[Atom, Order] | None:
    """A reshape whose groups of dimensions stay together."""
    (before,), shape = [a.aval.shape for a in e.args], e.outs[0].aval.shape
    if 0 in shape:
        return None
    groups = _groups(before, shape)
    place = {d: g for g, (dims, _) in enumerate(groups) for d in dims}
    found: list[int] = []
    rest = [d for d in order if d in place]
    while rest:
        dims, after = groups[place[rest[0]]]
        if rest[: len(dims)] != dims:
            return None
        rest = rest[len(dims) :]
        found += after
    full = _inserted(found, len(shape))
    return program.emit(reshape_p, x, new_sizes=_ordered(shape, full)), full


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Neighbouring dimensions of two shapes that hold the same elements, those of extent 1 left
    out.
    """
    first = [d for d, n in enumerate(before) if n != 1]
    second = [d for d, n in enumerate(after) if n != 1]
    found: list[tuple[list[int], list[int]]] = []
    while first:
        left, right = [first.pop(0)], [second.pop(0)]
        one, other = before[left[0]], after[right[0]]
        while one != other:
            if one < other:
                left.append(first.pop(0))
                one *= before[left[-1]]
            else:
                right.append(second.pop(0))
                other *= after[right[-1]]
        found.append((left, right))
    return found


CHANGING_ORDER: dict[Primitive, Callable[..., tuple[Atom, Order] | None]] = {
    transpose_p: _transpose,
    broadcast_in_dim_p: _broadcast,
    reshape_p: _reshape,
}

"""Scatters as kernels: the operand is copied, then updates are combined in, one after the other."""

from __future__ import annotations

from typing import Any, NamedTuple

from funcgrad.compiler.affine import ZERO, At, Sum
from funcgrad.compiler.forms import updates_operand
from funcgrad.compiler.graph import Definition
from funcgrad.compiler.kernel import Operand, Ref
from funcgrad.compiler.reader import Reader, Windows, clamped
from funcgrad.core.backend import NARROW

# What each kind of scatter combines with; a difference is a sum of what is negated before.
COMBINATIONS = {
    "set": "set", "add": "add", "subtract": "add", "mul": "mul", "max": "max", "min": "min",
}  # fmt: skip


class Update(NamedTuple):
    """One element of the updates: where it goes, and whether it does."""

    place: Sum
    value: Operand
    guard: Ref | None
    dropped: bool = False


def is_native(form: Any, dtype: Any) -> bool:
    """Can kernels make this scatter? 16-bit sums are rounded once at the end, which takes more."""
    moves = form.op in ("set", "max", "min")
    return form.op in COMBINATIONS and (moves or dtype not in NARROW)


def updates_of(definition: Definition) -> Any:
    """The operand that holds the updates."""
    return definition.eqn.args[updates_operand(definition.form)]


def update(reader: Reader, definition: Definition, turn: Sum) -> Update:
    """Element `turn` of the updates."""
    updates = updates_of(definition)
    at = At(updates.aval.shape, flat=turn)
    if "dimension_numbers" not in definition.form.params:
        return _dynamic(reader, definition, at)
    operand, indices, _ = definition.eqn.args
    p = definition.form.params
    numbers = p["dimension_numbers"]
    dropped = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    sizes = iter([updates.aval.shape[d] for d in numbers.update_window_dims])
    shape = operand.aval.shape
    extent = [1 if d in dropped else next(sizes) for d in range(len(shape))]
    windows = Windows(
        shape, extent, p["mode"], numbers.scatter_dims_to_operand_dims,
        numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, False,
    )  # fmt: skip
    batch = [i for d, i in enumerate(at.indices) if d not in numbers.update_window_dims]
    place, tests = windows.start(reader, indices, batch, None)
    inside = iter([at.indices[d] for d in numbers.update_window_dims])
    full = [s if d in dropped else s + next(inside) for d, s in enumerate(place)]
    guard = reader.all(tests)
    if guard is False:
        return Update(ZERO, reader.read(updates, at), None, dropped=True)
    held = guard if isinstance(guard, Ref) else None
    value = reader.read(updates, at, held)
    if definition.form.op == "subtract":
        value = reader.compute("neg", [value], value.dtype)
    return Update(At(shape, full).flat, value, held)


def _dynamic(reader: Reader, definition: Definition, at: At) -> Update:
    operand, updates, *starts = definition.eqn.args
    indices = []
    for i, start, size, window in zip(at.indices, starts, operand.aval.shape, updates.aval.shape):
        first = clamped(reader, reader.read(start, At((), ())), size - window)
        indices.append(i + first)
    return Update(At(operand.aval.shape, indices).flat, reader.read(updates, at), None)

"""Statements for views, library calls and inner programs; and what leaves the function as its
results.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from funcgrad.backends.blocked_source import Blocked
from funcgrad.backends.kernel_source import SMALL, Registers
from funcgrad.backends.ufuncs import WIDE_FLOATS
from funcgrad.compiler.program import Step
from funcgrad.core import loops
from funcgrad.core.jaxpr import Eqn, Literal, Var

if TYPE_CHECKING:
    from funcgrad.backends.python_source import Writer

# Elements; up to here a repeated array is written out: NumPy's views of that kind are slow to make.
FILLED = 1 << 16

REDUCTIONS = {
    "add": "add.reduce",
    "mul": "multiply.reduce",
    "max": "maximum.reduce",
    "min": "minimum.reduce",
}


def write_steps(writer: Writer, calls: Callable[[Step], Any]) -> bool:
    """Statements of all steps. True if some of them run programs or callbacks, outside of the
    quiet state.
    """
    inner = {id(s): calls(s) for s in writer.program.steps if s.kind in ("call", "host")}
    outside = {key for key, called in inner.items() if not called.leaf}
    quiet = False
    for step in writer.program.steps:
        if outside and quiet == (id(step) in outside):
            quiet = not quiet
            writer.indent = "        " if quiet else "    "
            if quiet:
                writer.lines.append(f'    with {writer.numpy("errstate")}(all="ignore"):')
        if step.kind in ("call", "host"):
            write_call(writer, step.eqn, inner[id(step)].function)
        else:
            WRITE[step.kind](writer, step)
        write_frees(writer, step)
    writer.indent = "    "
    return bool(outside)


def write_kernel(writer: Writer, step: Step) -> None:
    """The statements of one kernel."""
    (Blocked if len(step.eqns) > 1 else Registers)(writer, step).write()


def write_frees(writer: Writer, step: Step) -> None:
    """Forgets large arrays that nobody needs any more."""
    large = [v for v in step.frees if _is_large(v) and v in writer.names]
    # A view of a constant has the constant's name, which is a global.
    names = dict.fromkeys(name for v in large if (name := writer.name(v)) not in writer.globals)
    if names:
        writer.line(f"del {', '.join(names)}")


def _is_large(v: Var) -> bool:
    """Is the memory worth giving back early? A size known only at run time may be large."""
    shape = v.aval.shape
    known = all(isinstance(n, int) for n in shape)
    return not known or math.prod(shape) * v.aval.dtype.itemsize >= SMALL


def results(writer: Writer, e: Eqn) -> str:
    """The left side of an assignment to all results."""
    return ", ".join(map(writer.name, e.outs)) + ("," if e.primitive.multiple_results else "")


# ---- views
# -----------------------------------------------------------------------------------------------


def write_view(writer: Writer, step: Step) -> None:
    """Results of a view: other strides over the operand."""
    e, forms = step.eqn, step.forms[0]
    for out, form in zip(e.outs, forms if isinstance(forms, (list, tuple)) else [forms]):
        source = writer.atom(e.args[0])
        if out in writer.program.expanded:
            shape = writer.program.expanded[out]
            trailing = shape[len(shape) - e.args[0].aval.ndim :] == e.args[0].aval.shape
            writer.names[out] = source if trailing else writer.fresh()
            if not trailing:
                writer.line(f"{writer.names[out]} = {source}.reshape({shape})")
        elif isinstance(form, loops.Reshape):
            writer.line(f"{writer.name(out)} = {source}.reshape({out.aval.shape})")
        else:
            write_strided(writer, source, e.args[0].aval.shape, out, form)


def write_strided(
    writer: Writer, source: str, shape: tuple[int, ...], out: Var, form: loops.View
) -> None:
    """An index, a transpose and a broadcast, as far as they are needed."""
    new = out.aval.shape
    index = [_index(affine, size, new) for affine, size in zip(form.dims, shape)]
    order = [affine.terms[0][0] for affine in form.dims if affine.terms]
    if any(i != slice(None) for i in index):
        source = f"{source}[{writer.bind('i', tuple(index))}]"
    if order != sorted(order):
        source = f"{source}.transpose({tuple(np.argsort(order).tolist())})"
    if len(order) < len(new):
        middle = tuple(size if d in order else 1 for d, size in enumerate(new))
        source = f"{source}.reshape({middle})" if order or middle == new else source
        if middle != new:
            write_repeated(writer, source, out)
            return
    writer.line(f"{writer.name(out)} = {source}")


def _index(affine: loops.Affine, size: int, new: tuple[int, ...]) -> Any:
    if not affine.terms:
        return affine.offset
    ((d, step),) = affine.terms
    if new[d] == 0:
        return slice(0, 0)
    stop = affine.offset + step * (new[d] - 1) + (1 if step > 0 else -1)
    found = slice(affine.offset, stop if stop >= 0 else None, step if step != 1 else None)
    return slice(None) if found == slice(0, size, None) else found


def write_repeated(writer: Writer, source: str, out: Var) -> None:
    """An array along new dimensions."""
    shape = out.aval.shape
    if math.prod(shape) > FILLED:
        writer.line(f"{writer.name(out)} = {writer.numpy('broadcast_to')}({source}, {shape})")
        return
    writer.line(f"{writer.name(out)} = {writer.empty(shape, out.aval.dtype)}")
    writer.line(f"{writer.name(out)}[...] = {source}")


# ---- calls
# -----------------------------------------------------------------------------------------------


def write_library(writer: Writer, step: Step) -> None:
    """One call of the primitive's `value`; plain reductions and products call NumPy directly."""
    e, form = step.eqn, step.forms[0]
    if isinstance(form, loops.Contract) and _is_plain_product(e, form):
        lhs, rhs = map(writer.atom, e.args)
        lhs = f"{lhs}.T" if form.lhs_contract == (0,) else lhs
        rhs = f"{rhs}.T" if form.rhs_contract == (1,) else rhs
        writer.line(f"{writer.name(e.outs[0])} = {writer.numpy('dot')}({lhs}, {rhs})")
        return
    if (
        isinstance(form, loops.Reduce)
        and form.op in REDUCTIONS
        and e.args[0].aval.dtype in WIDE_FLOATS
    ):
        function = writer.numpy(REDUCTIONS[form.op])
        axes = form.axes[0] if len(form.axes) == 1 else form.axes
        writer.line(f"{writer.name(e.outs[0])} = {function}({writer.atom(e.args[0])}, {axes})")
        return
    value = writer.bind(f"{e.primitive.name}_", e.primitive.rule("value", "evaluation"))
    params = [f"{k}={_plain(writer, v)}" for k, v in e.params.items()]
    args = ["xp", *map(writer.atom, e.args), *params]
    writer.line(f"{results(writer, e)} = {value}({', '.join(args)})")


def _is_plain_product(e: Eqn, form: loops.Contract) -> bool:
    """Is it the product of two matrices, in the type of its operands?"""
    dtype = e.outs[0].aval.dtype
    matrices = all(a.aval.ndim == 2 and a.aval.dtype == dtype for a in e.args)
    return matrices and dtype in WIDE_FLOATS and len(form.lhs_contract) == 1 and not form.lhs_batch


def _plain(writer: Writer, param: Any) -> str:
    """A parameter as text if that says it all, else a global."""
    simple = param is None or type(param) in (int, bool, str)
    nested = type(param) is tuple and all(type(p) is int for p in param)
    return repr(param) if simple or nested else writer.bind("p", param)


WRITE = {"kernel": write_kernel, "view": write_view, "library": write_library}


def write_call(writer: Writer, e: Eqn, function: Callable[..., Any]) -> None:
    """An inner program, or an operation evaluated on arrays."""
    name = writer.bind(f"{e.primitive.name}_", function)
    args = "".join(f"{writer.atom(a)}, " for a in e.args)
    writer.line(f"{', '.join(map(writer.name, e.outs))}{',' if e.outs else '_'} = {name}(({args}))")


# ---- results
# ---------------------------------------------------------------------------------------------


def outputs(writer: Writer) -> Iterator[str]:
    """Expressions for the results, which belong to the caller: they share memory with nothing."""
    before: dict[Var, list[Var]] = {}
    found = writer.program.jaxpr.outputs
    roots = [None if type(o) is Literal else writer.plan.aliases.find(o) for o in found]  # type: ignore[arg-type]
    count = Counter(roots)
    for o, root in zip(found, roots):
        if root is None:
            yield f"{writer.atom(o)}[()]"
            continue
        earlier = before.setdefault(root, [])
        others = [*writer.plan.held(root), *earlier]
        yield _own(writer, o, others, count[root] > 1)  # type: ignore[arg-type]
        earlier.append(o)  # type: ignore[arg-type]


def _own(writer: Writer, o: Var, others: list[Var], shared: bool) -> str:
    """The result itself if its memory is its alone; a copy if it certainly is not; else that is
    seen at run time.
    """
    if not others and not shared and o in writer.plan.compact:
        return writer.name(o)
    if o in others:
        return f"{writer.name(o)}.copy()"
    names = dict.fromkeys(map(writer.name, others))
    return f"own({', '.join([writer.name(o), *names])})"

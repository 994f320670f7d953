"""What loops and branches share: staging bodies of trees, checking their types, reordering their
operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.core import backend, dtypes
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.jaxpr import Jaxpr, Var, memoised
from funcgrad.core.primitive import Construct, buffer_of
from funcgrad.core.stage import stage
from funcgrad.primitives.basis import convert_element_type


class Body:
    """A user's function of trees, staged. `captured` are tracers it closed over: the program's
    first arguments.
    """

    def __init__(
        self, name: str, fun: Callable[..., Any], in_tree: Any, avals: Sequence[ShapedArray]
    ) -> None:
        self.name = name
        self.out_tree: Any = None

        def flat(*leaves: Any) -> list[Any]:
            out = fun(*tree.unflatten(in_tree, leaves))
            found, self.out_tree = tree.flatten(out)
            return [as_input(name, leaf) for leaf in found]

        self.jaxpr, self.captured = stage(flat, avals)

    @property
    def out_avals(self) -> list[ShapedArray]:
        """Abstract values of the results."""
        return self.jaxpr.out_avals


def enter_leaves(name: str, value: Any) -> tuple[list[Any], Any]:
    """Leaves of a tree as arrays, and its structure."""
    leaves, treedef = tree.flatten(value)
    return [as_input(name, leaf) for leaf in leaves], treedef


def settle_carry(leaves: Sequence[Any], out_avals: Sequence[ShapedArray]) -> list[Any]:
    """Initial carries whose type is weak, brought to the dtype that the body returns for them,
    where that is what they promote to. A carry that only becomes strong is left alone: tracing the
    body again would take a time exponential in the depth of nested loops.
    """
    settled = []
    for leaf, out in zip(leaves, out_avals):
        own = typeof(leaf)
        if own.weak_type and own.shape == out.shape and own.dtype != out.dtype:
            common, _ = dtypes.promote(((own.dtype, True), (out.dtype, out.weak_type)))
            if common == out.dtype:
                leaf = convert_element_type(leaf, out.dtype)
        settled.append(leaf)
    return settled


def check_carry(
    name: str, init: Any, leaves: Sequence[Any], out_tree: Any, out_avals: Sequence[ShapedArray]
) -> None:
    """TypeError, naming the leaf and both types, where the body returns another carry than it
    was given.
    """
    treedef = tree.structure(init)
    if treedef != out_tree:
        raise TypeError(
            f"{name}: the body must return a carry of the initial one's structure, {treedef}, but "
            f"returned {out_tree}."
        )
    paths = [path for path, _ in tree.leaves_with_path(init)]
    wrong = [
        f"  carry{tree.keystr(path)}: {typeof(leaf).strong()} given, {out.strong()} returned"
        for path, leaf, out in zip(paths, leaves, out_avals)
        if typeof(leaf).strong() != out.strong()
    ]
    if wrong:
        raise TypeError(
            f"{name}: the carry must keep its types, but the body changes them:\n"
            + "\n".join(wrong)
            + "\nConvert with astype, or start from values of the returned type."
        )


@memoised
def reordered(jaxpr: Jaxpr, ins: tuple[int, ...], outs: tuple[int, ...]) -> Jaxpr:
    """The program with its arguments and outputs in another order."""
    inputs = [*jaxpr.constvars, *(jaxpr.args[i] for i in ins)]
    return jaxpr.replace(inputs=inputs, outputs=[jaxpr.outputs[i] for i in outs])


@memoised
def with_unused(jaxpr: Jaxpr, position: int, avals: tuple[ShapedArray, ...]) -> Jaxpr:
    """The program with arguments inserted that it does not read."""
    args = list(jaxpr.args)
    args[position:position] = [Var(a) for a in avals]
    return jaxpr.replace(inputs=[*jaxpr.constvars, *args])


def run_compiled(
    primitive: Construct, jaxpr: Jaxpr, args: Sequence[Any], params: dict[str, Any]
) -> list[Any] | None:
    """Result buffers of a loop over `jaxpr` as compiled code; None where there is none, as for
    arrays of a device.
    """
    buffers = [buffer_of(a, primitive) for a in args]
    if backend.namespace_of(buffers) is not backend.NUMPY:
        return None
    run = backend.compiled_loop(primitive, jaxpr, [typeof(a) for a in args], params)
    return None if run is None else run(buffers)


def cut(items: Sequence[Any], *sizes: int) -> list[list[Any]]:
    """Consecutive pieces of the given sizes, and the rest."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(list(items[start : start + size]))
        start += size
    return [*pieces, list(items[start:])]


def grouped_order(*groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """One order from groups of positions, flattened."""
    return tuple(i for group in groups for part in group for i in part)

"""Which equations move nothing: their result is other strides over an operand's memory. And who
shares memory then.
"""

from __future__ import annotations

from funcgrad.core import loops
from funcgrad.core.jaxpr import Eqn, Literal, Var

VIEWS = (loops.View, loops.Reshape)
# Forms whose results are written to memory of their own.
FRESH = (loops.Reduce, loops.ArgReduce, loops.Contract, loops.Convolve, loops.Window)


def form_of(e: Eqn) -> loops.Form | list[loops.Form] | None:
    """The loop form of an equation; a list where each result has its own; None if the primitive
    states none.
    """
    rule = e.primitive.loops
    return None if rule is None else rule(*[a.aval for a in e.args], **e.params)


def is_view(form: object) -> bool:
    """Does the equation (each of its results) read an operand in another order, and compute
    nothing?
    """
    forms = form if isinstance(form, (list, tuple)) else [form]
    return all(isinstance(f, VIEWS) for f in forms)


class Aliases:
    """Which variables may share memory, as sets that only grow."""

    def __init__(self) -> None:
        self._parent: dict[Var, Var] = {}

    def find(self, var: Var) -> Var:
        """The variable that stands for all those that may share memory with `var`."""
        parent = self._parent
        root = var
        while (above := parent.get(root)) is not None:
            root = above
        while var is not root:  # later look-ups take one step
            parent[var], var = root, parent[var]
        return root

    def join(self, var: Var, other: Var) -> None:
        """From now on the two may share memory."""
        a, b = self.find(var), self.find(other)
        if a is not b:
            self._parent[a] = b

    def add(self, e: Eqn, form: object, fresh: bool) -> None:
        """Takes an equation in: its results share memory with its operands, unless they are
        `fresh`.
        """
        if fresh or isinstance(form, FRESH):
            return
        for out in e.outs:
            for a in e.args:
                if type(a) is not Literal:
                    self.join(out, a)

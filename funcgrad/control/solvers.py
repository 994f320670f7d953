"""`custom_linear_solve` and `custom_root`: solutions differentiated as what they solve says, not
through the steps of the solver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.control.bodies import enter_leaves
from funcgrad.control.call import nonzero, with_zeros
from funcgrad.control.custom import custom_jvp
from funcgrad.control.custom_rules import unified
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr, program_effects, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct
from funcgrad.core.stage import stage
from funcgrad.core.tangent import is_linear, is_zero
from funcgrad.core.trace import EVAL, Axis, current_trace
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import add, batched, instantiate, neg, sub
from funcgrad.transforms.autodiff import jvp_flat, jvp_jaxpr, nonzero_mask
from funcgrad.transforms.batching import batch_jaxpr
from funcgrad.transforms.transpose import transpose_jaxpr

Function = Callable[..., Any]
Programs = dict[str, Any]

# ---- linear systems -----------------------------------------------------------------------------
# All programs take the same arguments: `consts` constants, then a vector. `jaxpr` solves A x = b,
# `transposed` A^T x = b; `matvec` is A v, `vecmat` A^T v. Outputs are x, then auxiliary values.


def _solve_run(args: Sequence[Any], *, jaxpr: Jaxpr, **params: Any) -> list[Any]:
    return eval_jaxpr(jaxpr, args, EVAL)


def _solve_jvp(primals: Any, tangents: Any, *, consts: int, **programs: Any) -> Any:
    """A dx = db - dA x."""
    outs = custom_linear_solve_p.bind(*primals, consts=consts, **programs)
    count = len(primals) - consts
    fixed, rhs = primals[:consts], list(tangents[consts:])
    mask = nonzero_mask(tangents[:consts])
    if any(mask):
        matvec, changed = jvp_jaxpr(programs["matvec"], mask + (False,) * count)
        found = eval_jaxpr(matvec, [*primals[:consts], *outs[:count], *nonzero(tangents[:consts])],
                           current_trace())[count:]  # fmt: skip
        moved = iter(found)
        for i, is_changed in enumerate(changed):
            if is_changed:
                term = next(moved)
                rhs[i] = neg(term) if is_zero(rhs[i]) else sub(rhs[i], term)
    if all(map(is_zero, rhs)):
        return outs, with_zeros((False,) * len(outs), [], [typeof(o) for o in outs])
    solved = custom_linear_solve_p.bind(*fixed, *map(instantiate, rhs), consts=consts, **programs)
    marks = (True,) * count + (False,) * (len(outs) - count)
    return outs, with_zeros(marks, solved[:count], [typeof(o) for o in outs])


def _solve_transpose(
    cts: Any, *args: Any, consts: int, jaxpr: Jaxpr, transposed: Jaxpr | None, matvec: Jaxpr,
    vecmat: Jaxpr | None,
) -> list[Any]:  # fmt: skip
    if transposed is None:
        raise TypeError(
            "custom_linear_solve: reverse mode needs transpose_solve, or symmetric=True."
        )
    if any(map(is_linear, args[:consts])):
        raise TypeError("custom_linear_solve: the solution is not linear in what matvec holds.")
    found = custom_linear_solve_p.bind(
        *args[:consts], *map(instantiate, cts[: len(args) - consts]), consts=consts,
        jaxpr=transposed, transposed=jaxpr, matvec=vecmat, vecmat=matvec,
    )  # fmt: skip
    return [None] * consts + found[: len(args) - consts]


def _solve_batch(axis: Axis, args: Any, dims: Any, *, consts: int, **programs: Any) -> Any:
    """Every solution is mapped: each lane has a system of its own."""
    count = len(args) - consts
    mapped = tuple(d is not None for d in dims[:consts]) + (True,) * count
    rows = [batched(axis, a, d) if m else a for a, d, m in zip(args, dims, mapped)]
    own = {
        name: None if p is None else batch_jaxpr(p, axis, mapped, (True,) * len(p.outputs))[0]
        for name, p in programs.items()
    }
    outs = custom_linear_solve_p.bind(*rows, consts=consts, **own)
    return outs, [0] * len(outs)


custom_linear_solve_p = Construct(
    "custom_linear_solve",
    run=_solve_run,
    abstract=lambda *avals, jaxpr, **params: jaxpr.out_avals,
    jvp=_solve_jvp,
    transpose=_solve_transpose,
    batch=_solve_batch,
    loops=lambda *avals, **params: Call("call", ("jaxpr",)),
    effects=program_effects,
    names=program_names,
)


@user_facing
def custom_linear_solve(
    matvec: Function,
    b: Any,
    solve: Function,
    transpose_solve: Function | None = None,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """`x = solve(matvec, b)` with `matvec(x) = b`, differentiated as the solution of that system.

    Args:
        matvec: a linear function from trees like `b` to such trees. b: the right side.
        solve: `solve(matvec, b) -> x`; with `has_aux`, `(x, aux)`.
        transpose_solve: `transpose_solve(vecmat, b)` for the transposed system, which reverse mode
        needs; not needed if `symmetric`.

    Raises:
        TypeError: `matvec` or `solve` return other types than those of `b`; reverse mode without
        `transpose_solve`.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> halve = lambda matvec, b: b / 2.0
        >>> fg.grad(lambda b: custom_linear_solve(lambda x: 2.0 * x, b, halve, halve))(3.0)
        Array(0.5, dtype=float32, weak_type=True)
    """
    leaves, treedef = enter_leaves("custom_linear_solve", b)
    avals = [typeof(x).strong() for x in leaves]
    product = _Staged("matvec", matvec, treedef, avals)
    product.check(avals, treedef)
    vecmat, fixed = product.jaxpr, len(product.captured)
    if not symmetric:
        mask = (False,) * fixed + (True,) * len(leaves)
        vecmat, _ = transpose_jaxpr(product.jaxpr, mask, (True,) * len(leaves), True)

    def rows(v: Any) -> Any:
        operands = [*product.captured, *enter_leaves("vecmat", v)[0]]
        return tree.unflatten(treedef, eval_jaxpr(vecmat, operands, current_trace()))

    first = _Staged("solve", lambda x: solve(matvec, x), treedef, avals, has_aux)
    first.check(avals, treedef)
    parts = [(first.jaxpr, first.captured), (product.jaxpr, product.captured)]
    parts.append((vecmat, product.captured))
    if symmetric:
        transpose_solve = lambda _, x: solve(matvec, x)
    if transpose_solve is not None:
        back = _Staged("transpose_solve", lambda x: transpose_solve(rows, x), treedef, avals,
                       has_aux)  # fmt: skip
        back.check(avals, treedef)
        parts.append((back.jaxpr, back.captured))
    programs, captured = unified(parts)
    outs = custom_linear_solve_p.bind(
        *captured, *leaves, consts=len(captured), jaxpr=programs[0], matvec=programs[1],
        vecmat=programs[2], transposed=programs[3] if len(programs) > 3 else None,
    )  # fmt: skip
    x = tree.unflatten(treedef, outs[: len(leaves)])
    return (x, tree.unflatten(first.aux_tree, outs[len(leaves) :])) if has_aux else x


class _Staged:
    """A user's function of one tree, staged; with `has_aux` it returns a pair."""

    def __init__(
        self, name: str, fun: Function, treedef: Any, avals: Sequence[ShapedArray],
        has_aux: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.aux_tree: Any = None
        self.out_tree: Any = None

        def flat(*leaves: Any) -> list[Any]:
            out, aux = fun(tree.unflatten(treedef, leaves)), ()
            if has_aux:
                out, aux = out
            found, self.out_tree = enter_leaves(name, out)
            extra, self.aux_tree = enter_leaves(name, aux)
            return found + extra

        self.jaxpr, self.captured = stage(flat, avals)

    def check(self, avals: Sequence[ShapedArray], treedef: Any) -> None:
        """TypeError unless the results are like the right side."""
        found = [a.strong() for a in self.jaxpr.out_avals[: len(avals)]]
        if self.out_tree != treedef or found != list(avals):
            raise TypeError(
                f"custom_linear_solve: {self.name} must return {treedef} of "
                f"{', '.join(map(str, avals))} as b, but returned {self.out_tree} of "
                f"{', '.join(map(str, found))}."
            )


# ---- roots --------------------------------------------------------------------------------------


@user_facing
def custom_root(
    f: Function, initial_guess: Any, solve: Function, tangent_solve: Function, has_aux: bool = False
) -> Any:
    """`x = solve(f, initial_guess)` with `f(x) = 0`, differentiated by the implicit function
    theorem with respect to what `f` closes over.

    Args:
        f: a function from trees like `initial_guess` to such trees. initial_guess: where to start;
        the derivative with respect to it is zero. solve: `solve(f, guess) -> x`; with `has_aux`,
        `(x, aux)`. tangent_solve: `tangent_solve(g, y)` solves `g(x) = y` for a linear `g`; for
        scalars `y / g(1.0)` will do.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> def square_root(a):
        ...     newton = lambda f, x: fg.lax.fori_loop(0, 9, lambda i, x: x - f(x) / (2 * x), x)
        ...     return custom_root(lambda x: x**2 - a, a, newton, lambda g, y: y / g(1.0))
        >>> fg.grad(square_root)(4.0)
        Array(0.25, dtype=float32, weak_type=True)
    """
    guess, treedef = enter_leaves("custom_root", initial_guess)
    residual = _Staged("f", f, treedef, [typeof(x) for x in guess])
    if residual.out_tree != treedef:
        raise TypeError(
            f"custom_root: f must return a tree of the guess's structure, {treedef}, but returned "
            f"{residual.out_tree}."
        )

    def function(captured: Sequence[Any]) -> Function:
        def at(x: Any) -> Any:
            operands = [*captured, *enter_leaves("custom_root", x)[0]]
            return tree.unflatten(treedef, eval_jaxpr(residual.jaxpr, operands, current_trace()))

        return at

    @custom_jvp
    def root(captured: Any, start: Any) -> Any:
        out = solve(function(captured), tree.unflatten(treedef, start))
        return out if has_aux else (out, ())

    @root.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (captured, start), (changes, _) = primals, tangents
        x, aux = root(captured, start)
        point = tree.leaves(x)
        _, change = jvp_flat(lambda *c: tree.leaves(function(c)(x)), list(captured), list(changes))
        slope = lambda v: tree.unflatten(
            treedef,
            [instantiate(t) for t in jvp_flat(
                lambda *p: tree.leaves(function(captured)(tree.unflatten(treedef, p))),
                point, enter_leaves("custom_root", v)[0])[1]],
        )  # fmt: skip
        solved = tangent_solve(slope, tree.unflatten(treedef, [instantiate(t) for t in change]))
        return (x, aux), (tree.map(neg, solved), tree.map(_no_change, aux))

    x, aux = root(list(residual.captured), guess)
    return (x, aux) if has_aux else x


def _no_change(x: Any) -> Any:
    return instantiate(add(x, neg(x))) if typeof(x).has_tangent else x

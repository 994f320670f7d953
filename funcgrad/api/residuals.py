"""What a derivative keeps between its forward and its backward pass: `print_saved_residuals`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.api.flat import Flat, call_leaves
from funcgrad.control.checkpoint import name_p
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.jaxpr import Eqn, Jaxpr, Var
from funcgrad.core.stage import stage
from funcgrad.errors import user_facing
from funcgrad.transforms.autodiff import linearize_jaxpr

CALLS = ("jit", "checkpoint")  # whose results are told by what makes them inside


@user_facing
def saved_residuals(
    f: Callable[..., Any], *args: Any, **kwargs: Any
) -> list[tuple[ShapedArray, str]]:
    """The arrays that reverse mode keeps of `f` at these arguments: the type of each, and where it
    comes from: an argument, a constant, a value with a name, or an operation at a line.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> kept = saved_residuals(fg.checkpoint(lambda x: jnp.sin(jnp.exp(x))), 1.0)
        >>> [f"{aval.strong()} {origin}" for aval, origin in kept]
        ['f32[] from the argument x']
    """
    leaves, in_tree = call_leaves("saved_residuals", args, kwargs)
    jaxpr, captured = stage(Flat(f, in_tree, "saved_residuals"), [typeof(x) for x in leaves])
    mask = tuple(a.has_tangent for a in jaxpr.in_avals)
    split = linearize_jaxpr(jaxpr, mask)
    names = ["a value closed over"] * len(captured)
    names += [f"the argument {name}" for name in _leaf_names(f, args, kwargs)]
    origins: dict[Var, str] = dict.fromkeys(split.constants, "from a constant")
    origins.update((v, f"from {name}") for v, name in zip(jaxpr.args, names))
    producers = {v: e for e in split.known_eqns for v in e.outs}
    kept = [v for v in split.constants if v in _read_by(split.unknown_eqns)]
    kept += split.residuals
    return [(v.aval, origins.get(v) or _made_by(v, producers)) for v in dict.fromkeys(kept)]


def _read_by(eqns: Sequence[Eqn]) -> set[Any]:
    return {a for e in eqns for a in e.args if type(a) is Var}


def _made_by(v: Var, producers: dict[Var, Eqn]) -> str:
    """Which operation a value is the result of; of a call, which operation inside."""
    e = producers[v]
    inner = e.params.get("jaxpr")
    if isinstance(inner, Jaxpr) and len(inner.outputs) == len(e.outs) and e.primitive.name in CALLS:
        out = inner.outputs[list(e.outs).index(v)]
        inside = {w: own for own in inner.eqns for w in own.outs}
        if type(out) is Var and out in inside:
            return _made_by(out, inside)
    at = f" from {e.source}" if e.source is not None else ""
    if e.primitive is name_p:
        return f"named {e.params['name']!r}{at}"
    return f"output of {e.primitive.name}{at}"


def _leaf_names(f: Callable[..., Any], args: Any, kwargs: Any) -> list[str]:
    """What a user calls each leaf of the arguments: `params['w']`."""
    try:
        parameters = list(inspect.signature(f).parameters)
    except (TypeError, ValueError):  # some builtins have none
        parameters = []
    named = {i: name for i, name in enumerate(parameters) if i < len(args)}
    found = []
    for path, _ in tree.leaves_with_path((args, kwargs)):
        positional = path[0].idx == 0
        key = path[1].idx if positional else path[1].key
        found.append(f"{named.get(key, key) if positional else key}{tree.keystr(path[2:])}")
    return found


def print_saved_residuals(f: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Prints `saved_residuals`, one array a line.

    Example:
        >>> import funcgrad.numpy as jnp
        >>> print_saved_residuals(lambda x, y: x * y, jnp.ones(3), jnp.ones(3))
        f32[3] from the argument y
        f32[3] from the argument x
    """
    for aval, origin in saved_residuals(f, *args, **kwargs):
        print(f"{aval.strong()} {origin}")

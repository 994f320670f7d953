"""`checkpoint_p`: a call whose derivative recomputes the program instead of keeping its
intermediate values. With it what tells it what to keep: policies, names of values, and barriers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from funcgrad import tree
from funcgrad.control.bodies import enter_leaves
from funcgrad.control.call import (
    call_batch,
    call_jvp,
    call_split,
    call_transpose,
    nonzero,
    with_zeros,
)
from funcgrad.core.avals import typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.jaxpr import Eqn, Jaxpr, eval_jaxpr, program_effects, program_names
from funcgrad.core.loops import Call, Opaque, Reshape
from funcgrad.core.primitive import Construct, Primitive
from funcgrad.core.tangent import is_linear
from funcgrad.core.trace import EVAL
from funcgrad.errors import user_facing
from funcgrad.transforms.autodiff import nonzero_mask
from funcgrad.transforms.partial import Policy

# ---- policies -----------------------------------------------------------------------------------


def nothing_saveable(eqn: Eqn) -> bool:
    """Keep only the arguments; compute everything else again."""
    return False


def everything_saveable(eqn: Eqn) -> bool:
    """Keep everything, as without checkpoint."""
    return True


def dots_saveable(eqn: Eqn) -> bool:
    """Keep the results of products; compute the rest again."""
    return eqn.primitive.name == "dot_general"


def dots_with_no_batch_dims_saveable(eqn: Eqn) -> bool:
    """Keep the results of products without batch dimensions: those of weights with activations."""
    return dots_saveable(eqn) and not any(eqn.params["dimension_numbers"][1])


def _name_in(eqn: Eqn, names: tuple[str, ...]) -> bool:
    return eqn.primitive is name_p and eqn.params["name"] in names


@dataclass(frozen=True)
class _OnlyNamed:
    names: tuple[str, ...]

    def __call__(self, eqn: Eqn) -> bool:
        return _name_in(eqn, self.names)


@dataclass(frozen=True)
class _AllButNamed:
    names: tuple[str, ...]

    def __call__(self, eqn: Eqn) -> bool:
        return not _name_in(eqn, self.names)


@dataclass(frozen=True)
class _NamedButThese:
    names: tuple[str, ...]

    def __call__(self, eqn: Eqn) -> bool:
        return eqn.primitive is name_p and eqn.params["name"] not in self.names


@dataclass(frozen=True)
class _Either:
    policies: tuple[Policy, ...]

    def __call__(self, eqn: Eqn) -> bool:
        return any(policy(eqn) for policy in self.policies)


def save_only_these_names(*names: str) -> Policy:
    """Keep values given one of these names by `checkpoint_name`; compute everything else again."""
    return _OnlyNamed(names)


def save_anything_except_these_names(*names: str) -> Policy:
    """Keep everything but values with these names."""
    return _AllButNamed(names)


def save_any_names_but_these(*names: str) -> Policy:
    """Keep values that have a name, except these."""
    return _NamedButThese(names)


def save_from_both_policies(first: Policy, second: Policy) -> Policy:
    """Keep what either policy keeps."""
    return _Either((first, second))


# ---- names and barriers -------------------------------------------------------------------------


name_p: Primitive = Primitive(
    "name",
    value=lambda xp, x, *, name: x,
    abstract=lambda x, *, name: x,
    jvp=lambda primals, tangents, *, name: (name_p.bind(*primals, name=name), tangents[0]),
    batch=lambda axis, args, dims, *, name: (name_p.bind(*args, name=name), dims[0]),
    loops=lambda x, *, name: Reshape(),
)


@user_facing
def checkpoint_name(x: Any, name: str) -> Any:
    """`x` itself, with a name for each of its leaves that policies of `checkpoint` go by.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> policy = save_only_these_names("hidden")
        >>> f = lambda x: jnp.sin(checkpoint_name(jnp.exp(x), "hidden"))
        >>> fg.grad(fg.checkpoint(f, policy=policy))(0.0)
        Array(0.5403..., dtype=float32, weak_type=True)
    """
    if not isinstance(name, str):
        raise TypeError(f"checkpoint_name: the name must be a string, but got {name!r:.40}.")
    return tree.map(lambda leaf: name_p.bind(as_input("checkpoint_name", leaf), name=name), x)


def _barrier_jvp(primals: Any, tangents: Any) -> Any:
    mask = nonzero_mask(tangents)
    rows = nonzero(tangents)
    outs = barrier_p.bind(*rows) if rows else []
    return barrier_p.bind(*primals), with_zeros(mask, outs, [typeof(p) for p in primals])


def _barrier_transpose(cts: Any, *args: Any) -> list[Any]:
    found = iter(barrier_p.bind(*nonzero(cts)))
    moved = [next(found) if z else ct for z, ct in zip(nonzero_mask(cts), cts)]
    return [ct if is_linear(a) else None for ct, a in zip(moved, args)]


# A construct, because passes neither share nor fold those.
barrier_p: Construct = Construct(
    "optimization_barrier",
    run=lambda args: list(args),
    abstract=lambda *avals: list(avals),
    jvp=_barrier_jvp,
    transpose=_barrier_transpose,
    batch=lambda axis, args, dims: (barrier_p.bind(*args), dims),
    loops=lambda *avals: Opaque("barrier"),
)


@user_facing
def optimization_barrier(operand: Any) -> Any:
    """`operand`, a tree of arrays, through which the compiler does not look: what is computed
    before and after is neither merged nor moved across.
    """
    leaves, treedef = enter_leaves("optimization_barrier", operand)
    return tree.unflatten(treedef, barrier_p.bind(*leaves))


# ---- the call -----------------------------------------------------------------------------------


def _run(args: Sequence[Any], *, jaxpr: Jaxpr, policy: Any, prevent_cse: bool) -> list[Any]:
    return eval_jaxpr(jaxpr, args, EVAL)


checkpoint_p = Construct(
    "checkpoint",
    run=_run,
    abstract=lambda *avals, jaxpr, policy, prevent_cse: jaxpr.out_avals,
    loops=lambda *avals, jaxpr, policy, prevent_cse: Call("checkpoint", ("jaxpr",)),
    effects=program_effects,
    names=program_names,
)
checkpoint_p.jvp = call_jvp(checkpoint_p)
# Both halves stay checkpoints: or the outer gradient of a gradient would keep everything.
checkpoint_p.split = call_split(checkpoint_p, lambda policy, **params: policy or nothing_saveable)
checkpoint_p.transpose = call_transpose(checkpoint_p, separate=True)
checkpoint_p.batch = call_batch(checkpoint_p)

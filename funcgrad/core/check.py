"""The specification of programs: `check_jaxpr` raises JaxprTypeError where one is broken."""

from __future__ import annotations

from typing import NoReturn

from funcgrad.core.avals import ShapedArray
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Literal, Var, subjaxprs
from funcgrad.errors import JaxprTypeError


def check_jaxpr(jaxpr: Jaxpr) -> Jaxpr:
    """Returns the program if it is well formed: variables bound once and before use, types as
    the primitives say.
    """
    bound: set[Var] = set()
    for var in jaxpr.inputs:
        _bind(var, bound, "an input")
    if len(jaxpr.consts) > len(jaxpr.inputs):
        _broken("there are more constants than inputs")
    for eqn in jaxpr.eqns:
        _check_eqn(eqn, bound)
    for atom in jaxpr.outputs:
        _check_use(atom, bound, "an output")
    return jaxpr


def _check_eqn(eqn: Eqn, bound: set[Var]) -> None:
    for atom in eqn.args:
        _check_use(atom, bound, eqn.primitive.name)
    for inner in subjaxprs(eqn.params):
        check_jaxpr(inner)
    hash(tuple(eqn.params.items()))  # parameters are part of cache keys
    expected = eqn.primitive.results(eqn.args, eqn.params)
    if len(expected) != len(eqn.outs):
        _broken(f"{eqn.primitive}: {len(expected)} results, {len(eqn.outs)} variables")
    for var, aval in zip(eqn.outs, expected):
        if not _agree(var.aval, aval):
            _broken(f"{eqn.primitive}: the variable has type {var.aval}, the result {aval}")
        _bind(var, bound, eqn.primitive.name)


def _agree(declared: ShapedArray, inferred: ShapedArray) -> bool:
    return declared.shape == inferred.shape and declared.dtype == inferred.dtype


def _bind(var: Var, bound: set[Var], what: str) -> None:
    if not isinstance(var, Var):
        _broken(f"{what} is {var!r}, not a variable")
    if var in bound:
        _broken(f"{what} is bound twice")
    bound.add(var)


def _check_use(atom: Atom, bound: set[Var], where: str) -> None:
    if isinstance(atom, Literal):
        if atom.aval.shape != ():
            _broken(f"{where} uses a literal of shape {atom.aval.shape}")
    elif atom not in bound:
        _broken(f"{where} uses a variable that is not bound before it")


def _broken(why: str) -> NoReturn:
    raise JaxprTypeError(f"malformed program: {why}.")

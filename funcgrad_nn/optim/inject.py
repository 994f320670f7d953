"""Hyperparameters in the state: read there, changed between steps, or driven by schedules."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import check
from funcgrad_nn.optim.moments import next_count, no_steps
from funcgrad_nn.optim.transform import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    cast_like,
    updater,
)

NO_NUMBERS = ("mask", "dtype", "labels")  # arguments whose functions are no schedules


class InjectHyperparamsState(NamedTuple):
    """Number of updates, the hyperparameters of the last one by name, the inner state."""

    count: Any
    hyperparams: dict[str, Any]
    inner_state: Any


class _Arguments(NamedTuple):
    """The arguments of a recipe by what becomes of them."""

    numbers: dict[str, Any]
    schedules: dict[str, Callable]
    fixed: dict[str, Any]


def inject_hyperparams(
    inner_factory: Callable[..., GradientTransformation],
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: Any = None,
) -> Callable[..., GradientTransformationExtraArgs]:
    """A recipe like `inner_factory` whose numbers stand in `state.hyperparams`.

    Numbers may be replaced there between steps, without compiling again; functions of the step are
    evaluated at every step. Fixed are bools, None, what counts something (arguments with an integer
    as default), options left at their default of 0, and what `static_args` names. Hyperparameters
    are rank-0 arrays of `hyperparam_dtype`, float32 if not given. Raises `ValueError` for an
    unknown static argument.

    >>> import funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> optimizer = optim.inject_hyperparams(optim.sgd)(learning_rate=0.5)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> state.hyperparams["learning_rate"] = jnp.array(2.0)
    >>> float(optimizer.update(jnp.array(1.0), state)[0])
    -2.0
    """
    signature = inspect.signature(inner_factory)
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    if not static <= set(signature.parameters):
        raise ValueError(
            f"inject_hyperparams: static_args {sorted(static - set(signature.parameters))} are no "
            f"arguments of {inner_factory.__name__}."
        )
    static |= {name for name, p in signature.parameters.items() if type(p.default) is int}
    options_off = {name for name, p in signature.parameters.items() if p.default == 0}
    dtype = jnp.float32 if hyperparam_dtype is None else hyperparam_dtype

    @functools.wraps(inner_factory)
    def recipe(*args, **kwargs) -> GradientTransformationExtraArgs:
        bound = signature.bind(*args, **kwargs)
        left_off = options_off - set(bound.arguments)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            check(inner_factory.__name__, name, value)
        return _injected(inner_factory, _sorted(bound.arguments, static | left_off), dtype)

    return recipe


def _sorted(arguments, static: set[str]) -> _Arguments:
    kinds = _Arguments({}, {}, {})
    for name, value in arguments.items():
        if name in static or isinstance(value, bool) or name.endswith(NO_NUMBERS):
            kinds.fixed[name] = value
        elif callable(value):
            kinds.schedules[name] = value
        elif isinstance(value, int | float | np.generic | np.ndarray | fg.Array):
            kinds.numbers[name] = value
        else:
            kinds.fixed[name] = value
    return kinds


def _injected(factory, arguments: _Arguments, dtype) -> GradientTransformationExtraArgs:
    def scheduled(count) -> dict[str, Any]:
        return {n: jnp.asarray(f(count), dtype) for n, f in arguments.schedules.items()}

    def built(hyperparams):
        return factory(**arguments.fixed, **hyperparams)

    def init(params):
        count = no_steps()
        numbers = {n: jnp.asarray(value, dtype) for n, value in arguments.numbers.items()}
        hyperparams = numbers | scheduled(count)
        return InjectHyperparamsState(count, hyperparams, built(hyperparams).init(params))

    def update(updates, state, params=None, **extra):
        hyperparams = state.hyperparams | scheduled(state.count)
        run = updater("inject_hyperparams", built(hyperparams))
        new, inner = run(updates, state.inner_state, params, **extra)
        # float32 hyperparameters must not widen what is bfloat16
        new, inner = cast_like(new, updates), cast_like(inner, state.inner_state)
        return new, InjectHyperparamsState(next_count(state.count), hyperparams, inner)

    return GradientTransformationExtraArgs(init, update)

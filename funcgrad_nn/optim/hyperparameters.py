"""What each hyperparameter may be, checked by name where an optimizer is built.

Python numbers are checked; arrays pass, because under `inject_hyperparams` they are traced.
"""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

Factory = TypeVar("Factory", bound=Callable[..., Any])


class Domain(NamedTuple):
    """A set of numbers: how it is written, and whether a value lies in it."""

    words: str
    holds: Callable[[Any], bool]


NON_NEGATIVE = Domain("a finite number >= 0", lambda v: 0 <= v < float("inf"))
POSITIVE = Domain("a finite number > 0", lambda v: 0 < v < float("inf"))
BELOW_ONE = Domain("in [0, 1)", lambda v: 0 <= v < 1)
SHARE = Domain("in [0, 1]", lambda v: 0 <= v <= 1)
INSIDE = Domain("strictly between 0 and 1", lambda v: 0 < v < 1)
COUNT = Domain("an integer >= 0", lambda v: v >= 0 and v == int(v))
POSITIVE_COUNT = Domain("an integer >= 1", lambda v: v >= 1 and v == int(v))

DOMAINS = {
    **dict.fromkeys(("learning_rate", "adam_learning_rate", "weight_decay"), NON_NEGATIVE),
    **dict.fromkeys(("weight_decay_rate", "adam_weight_decay", "l1", "l2"), NON_NEGATIVE),
    **dict.fromkeys(
        ("eps", "epsilon", "eps_root", "adam_eps_root", "min_norm", "min_scale"), NON_NEGATIVE
    ),
    **dict.fromkeys(("initial_scale", "initial_accumulator_value", "threshold"), NON_NEGATIVE),
    **dict.fromkeys(("trust_coefficient", "momentum_decay", "rtol", "atol"), NON_NEGATIVE),
    **dict.fromkeys(("b1", "b2", "adam_b1", "adam_b2", "beta", "rho"), BELOW_ONE),
    **dict.fromkeys(("decay", "momentum", "dampening", "slow_step_size"), SHARE),
    **dict.fromkeys(("max_delta", "max_norm", "clipping_threshold", "decay_rate"), POSITIVE),
    **dict.fromkeys(("consistent_rms", "tolerance"), POSITIVE),
    "factor": INSIDE,
    **dict.fromkeys(("ns_steps", "patience", "cooldown", "max_consecutive_errors"), COUNT),
    **dict.fromkeys(("k", "every_k", "sync_period", "accumulation_size"), POSITIVE_COUNT),
    **dict.fromkeys(("history", "max_iterations", "min_dim_size_to_factor"), POSITIVE_COUNT),
}


def check(function: str, name: str, value: Any) -> None:
    """Raise `ValueError` if a number lies outside the domain of its name."""
    domain = DOMAINS.get(name)
    if domain is None or not isinstance(value, numbers.Real):
        return
    if not _holds(domain, value):
        raise ValueError(f"{function}: {name} must be {domain.words}, but got {value!r}.")


def _holds(domain: Domain, value: Any) -> bool:
    try:
        return bool(domain.holds(value))
    except (ValueError, OverflowError):  # int() of NaN or infinity
        return False


def validated(factory: Factory) -> Factory:
    """Decorator: the arguments of a call are checked by their names before anything is built."""
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def checked(*args, **kwargs):
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if isinstance(value, str) and name in DOMAINS:
                raise TypeError(f"{factory.__name__}: {name} must be a number, but got {value!r}.")
            check(factory.__name__, name, value)
        return factory(*args, **kwargs)

    return checked  # type: ignore[return-value]

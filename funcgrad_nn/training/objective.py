"""What a batch means to a model: how inputs are passed, and how outputs meet losses and metrics.

Models with several inputs or outputs are trained by the same step as others: inputs may be a tuple
or a dictionary, and so may outputs, targets, losses and metrics.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from funcgrad_nn.module import Module
from funcgrad_nn.precision import MixedPrecision

Loss = Callable[[Any, Any], Any] | Mapping[str, Callable[[Any, Any], Any]]
Metrics = Mapping[str, Any]


# -- batches ---------------------------------------------------------------------------------------


def pair_of(batch) -> tuple[Any, Any]:
    """Inputs and targets of a batch. An array of two rows is no pair: it would unpack silently."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    what = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
    raise ValueError(
        f"a batch must be a pair (inputs, targets), but got {what}. Several inputs or targets are "
        "a tuple or a dictionary; a model without targets gets (inputs, inputs)."
    )


# -- inputs ----------------------------------------------------------------------------------------


def positional(model: Module, inputs) -> tuple:
    """The inputs of a batch as `forward` takes them, one after the other.

    A tuple is several inputs. A dictionary goes by name to the parameters of `forward`, unless
    `forward` has a single parameter of another name: then it is that one input. Raises
    `ValueError` that lists the names if some are missing or unknown.
    """
    if isinstance(inputs, tuple):
        return inputs
    if not isinstance(inputs, Mapping):
        return (inputs,)
    parameters = _parameters(model)
    if parameters is None or (len(parameters) == 1 and not set(inputs) <= set(parameters)):
        return (inputs,)
    required = [name for name, p in parameters.items() if p.default is inspect.Parameter.empty]
    missing = [name for name in required if name not in inputs]
    unknown = [name for name in inputs if name not in parameters]
    if missing or unknown:
        raise ValueError(
            f"{type(model).__name__}: its inputs are {list(parameters)}, but the batch has "
            f"{list(inputs)}" + (f"; {missing} are missing." if missing else ".")
        )
    return tuple(inputs.get(name, p.default) for name, p in parameters.items())


def _parameters(model: Module) -> dict[str, inspect.Parameter] | None:
    """The named parameters of `forward`, or None if it takes any number."""
    while isinstance(model, MixedPrecision):
        model = model.inner
    parameters = list(inspect.signature(type(model).forward).parameters.values())[1:]
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return None
    return {p.name: p for p in parameters}


# -- losses ----------------------------------------------------------------------------------------


def losses_of(loss: Loss, outputs, targets) -> dict[str, Any]:
    """ "loss", and "<output>_loss" for each output if there are several; "loss" is their sum."""
    if not isinstance(loss, Mapping):
        return {"loss": loss(outputs, targets)}
    for what, values in (("outputs", outputs), ("targets", targets)):
        _require_names(what, values, loss)
    each = {f"{name}_loss": one(outputs[name], targets[name]) for name, one in loss.items()}
    return {"loss": sum(each.values()), **each}


def _require_names(what: str, values, loss: Mapping) -> None:
    if not isinstance(values, Mapping):
        raise ValueError(
            f"loss: one loss an output, for {list(loss)}, needs {what} as a dictionary, but got "
            f"{'one array' if hasattr(values, 'shape') else type(values).__name__}."
        )
    wrong = set(loss) ^ set(values) if what == "outputs" else set(loss) - set(values)
    if wrong:
        raise ValueError(
            f"loss: there are losses for {sorted(loss)}, but {what} {sorted(values)}. Every output "
            "needs its loss, and every loss its output and its target."
        )


# -- metrics ---------------------------------------------------------------------------------------


class Measures(NamedTuple):
    """Metrics by name: functions of a batch, and those with `init`, `update` and `compute`.

    The first are averaged over rows; the second accumulate over batches by themselves. Hashable.
    """

    functions: tuple[tuple[str, Callable[[Any, Any], Any]], ...]
    accumulating: tuple[tuple[str, Any], ...]

    def values(self, outputs, targets) -> dict[str, Any]:
        """What the functions say of one batch."""
        return {name: function(outputs, targets) for name, function in self.functions}

    def init(self) -> dict[str, Any]:
        """States before the first batch."""
        return {name: metric.init() for name, metric in self.accumulating}

    def update(self, states: Mapping[str, Any], outputs, targets) -> dict[str, Any]:
        """States with one more batch."""
        return {
            name: metric.update(states[name], outputs, targets)
            for name, metric in self.accumulating
        }

    def compute(self, states: Mapping[str, Any]) -> dict[str, Any]:
        """Values over all batches so far: floats, or NumPy arrays where there are several."""
        return {name: _value(m.compute(states[name])) for name, m in self.accumulating}


def _value(value) -> float | np.ndarray:
    array = np.asarray(value)
    return float(array) if array.ndim == 0 else array


def measures_of(metrics: Metrics | None) -> Measures:
    """Metrics as given by a user; those of one output, {"left": {"mae": f}}, become "left_mae"."""
    if not isinstance(metrics, Mapping | None):
        raise TypeError(
            f"metrics: must be a dictionary, name to metric, such as "
            f'{{"accuracy": nn.accuracy}}, but got {type(metrics).__name__}.'
        )
    flat: dict[str, Any] = {}
    for name, metric in (metrics or {}).items():
        if isinstance(metric, Mapping):
            flat |= {f"{name}_{own}": OfOutput(name, part) for own, part in metric.items()}
        else:
            flat[name] = metric
    if "loss" in flat:
        raise ValueError('metrics: "loss" is the name of the loss; choose another.')
    accumulating = tuple((n, m) for n, m in flat.items() if hasattr(m, "update"))
    functions = tuple((n, m) for n, m in flat.items() if not hasattr(m, "update"))
    return Measures(functions, accumulating)


@dataclass(frozen=True)
class OfOutput:
    """A metric of one output of several; it has `update` if that metric has it."""

    output: str
    metric: Any

    def __call__(self, outputs, targets):
        return self.metric(outputs[self.output], targets[self.output])

    def __getattr__(self, name: str):
        inner = getattr(object.__getattribute__(self, "metric"), name)
        if name != "update":
            return inner
        return lambda state, outputs, targets: inner(
            state, outputs[self.output], targets[self.output]
        )

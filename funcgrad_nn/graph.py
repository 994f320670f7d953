"""Graph: modules joined by name, for models with several inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from funcgrad_nn.module import Module


class Graph(Module):
    """Named inputs, named nodes, named outputs: a dictionary of arrays to a dictionary of arrays.

    `nodes` is a dictionary from a node's name to (module, source, ...), where a source is an input
    or an earlier node; the module is called with them in that order. `outputs` are names of nodes
    or inputs. A module used in two nodes shares its parameters, which lie under `nodes/<name>`.
    Raises `ValueError` for names that are unknown, doubled, or used before they are made.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> model = nn.Graph(
    ...     inputs=["image", "text"],
    ...     nodes={
    ...         "seen": (nn.Linear(4, 8), "image"),
    ...         "read": (nn.Linear(2, 8), "text"),
    ...         "both": (nn.Lambda(fg.numpy.add), "seen", "read"),
    ...         "label": (nn.Linear(8, 3), "both"),
    ...         "score": (nn.Linear(8, 1), "both"),
    ...     },
    ...     outputs=["label", "score"],
    ... )
    >>> params, state = model.init(fg.random.key(0))
    >>> batch = {"image": fg.numpy.ones((5, 4)), "text": fg.numpy.ones((5, 2))}
    >>> outputs, state = model.apply(params, state, batch)
    >>> {name: output.shape for name, output in outputs.items()}
    {'label': (5, 3), 'score': (5, 1)}
    """

    def __init__(
        self,
        inputs: Sequence[str],
        nodes: Mapping[str, Sequence[Any]],
        outputs: Sequence[str],
    ):
        _require_texts("inputs", inputs)
        _require_texts("outputs", outputs)
        if not isinstance(nodes, Mapping):
            raise TypeError(f"Graph: nodes must be a dictionary, but got {type(nodes).__name__}.")
        known = set(inputs)
        if len(known) != len(inputs):
            raise ValueError(f"Graph: inputs {list(inputs)} are not distinct.")
        for name, node in nodes.items():
            _require_node(name, node, known)
            known.add(name)
        _require_known("Graph: the outputs", outputs, known)
        self.inputs, self.outputs = inputs, outputs
        self.nodes = {name: node[0] for name, node in nodes.items()}
        self.sources = {name: tuple(node[1:]) for name, node in nodes.items()}

    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        values = self._given(inputs)
        for name, module in self.nodes.items():
            values[name] = module(*(values[source] for source in self.sources[name]))
        return {name: values[name] for name in self.outputs}

    def _given(self, inputs) -> dict[str, Any]:
        if not isinstance(inputs, Mapping):
            raise TypeError(
                f"Graph: needs a dictionary with the inputs {list(self.inputs)}, but got "
                f"{type(inputs).__name__}."
            )
        if set(inputs) != set(self.inputs):
            missing = [name for name in self.inputs if name not in inputs]
            unknown = [name for name in inputs if name not in self.inputs]
            raise ValueError(
                f"Graph: its inputs are {list(self.inputs)}; missing are {missing}, and unknown "
                f"are {unknown}."
            )
        return dict(inputs)


def _require_texts(what: str, names) -> None:
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"Graph: {what} must be a list of names, but got {names!r}.")


def _require_node(name: str, node, known: set[str]) -> None:
    if name in known:
        raise ValueError(f"Graph: the name {name!r} is taken; choose another for this node.")
    module, *sources = node if isinstance(node, (list, tuple)) and node else (node,)
    if not isinstance(module, Module):
        raise TypeError(
            f"Graph: node {name!r} needs (module, source, ...), but its module is a "
            f"{type(module).__name__}. Wrap a function as nn.Lambda(function)."
        )
    if not sources:
        raise ValueError(f"Graph: node {name!r} has no source: (module, source, ...).")
    _require_texts(f"the sources of {name!r}", sources)
    _require_known(f"Graph: node {name!r}", sources, known)


def _require_known(who: str, names: Sequence[str], known: set[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"{who} speaks of {unknown}, which is no input and no earlier node; there are "
            f"{sorted(known)}."
        )

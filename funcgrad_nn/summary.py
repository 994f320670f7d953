"""`summary`: what a model consists of, as a table."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import funcgrad as fg
from funcgrad_nn.layout import Path, layout_of, place
from funcgrad_nn.module import Module, example_input
from funcgrad_nn.run import Bound, Run, run_method

TREES = ("params", "state")


@dataclass(frozen=True)
class Row:
    """One call of a module: where it is, what it returns, what it has and does."""

    path: Path
    depth: int  # the number of calls around this one
    label: str  # the path from the module around this one
    layer: str
    output: str
    parameters: int
    state: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """The rows of a model's table and their totals; printed as text.

    A module that is called twice has two rows, its parameters count in the first. `flops` are
    estimated arithmetic operations (a multiplication and an addition are two) of one call of
    `apply` on the inputs given, as each module's own part; `total_flops` is that of the whole.
    """

    rows: tuple[Row, ...]
    total_parameters: int
    total_state: int
    total_flops: int

    def __str__(self) -> str:
        head = ("layer", "output", "parameters", "flops")
        lines = [
            (
                "  " * row.depth + (f"{row.label}: " if row.label else "") + row.layer,
                row.output,
                f"{row.parameters:,}" if row.parameters else "",
                f"{row.flops:,}" if row.flops else "",
            )
            for row in self.rows
        ]
        total = ("total", "", f"{self.total_parameters:,}", f"{self.total_flops:,}")
        return _table(head, lines, total)

    __repr__ = __str__


def summary(model: Module, *inputs, train: bool = False) -> Summary:
    """A table of the model's layers: output shapes, parameters, operations.

    `inputs`: arrays, `ShapeDtypeStruct`s, or shapes, which mean float32. Nothing is computed.

    >>> import funcgrad_nn as nn
    >>> print(summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LazyLinear(2)), (5, 4)))
    layer            output         parameters  flops
    -------------------------------------------------
    Sequential       float32[5, 2]
      0: Linear      float32[5, 8]          40    360
      1: ReLU        float32[5, 8]                 40
      2: LazyLinear  float32[5, 2]          18    170
    -------------------------------------------------
    total                                   58    570
    """
    if not inputs and inspect.signature(model.forward).parameters:
        raise TypeError(
            "summary: needs an example input or its shape: summary(model, (1, 3, 32, 32))."
        )
    shapes = tuple(map(example_input, inputs))
    params, state = fg.eval_shape(lambda key: model.init(key, *shapes), _key_shape())
    run = Listening(model.itself(), params, state, train)
    fg.eval_shape(run.forward, params, state, _key_shape(), *shapes)
    return Summary(tuple(run.rows()), _count(params), _count(state), run.flops(run.calls[0]))


@dataclass
class Call:
    """One call of a module, as the run saw it; shapes stand for arrays."""

    bound: Bound
    around: Call | None
    inner: list[Call] = field(default_factory=list)
    inputs: tuple = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    output: Any = None
    flops: int | None = None


class Listening(Run):
    """A run that notes each call of a module, outermost first."""

    def __init__(self, module: Module, params, state, train: bool):
        super().__init__(module, params, state, train, None)
        self.shapes = dict(self.trees)
        self.calls: list[Call] = []
        self.open: list[Call] = []

    def forward(self, params, state, key, *inputs):
        """The model on these inputs, while this run listens."""
        self.trees, self.key = {"params": params, "state": state}, key
        try:
            output = run_method(self.view(self.module), "forward", inputs, {})
        finally:
            self.active = False
        return [leaf for leaf in fg.tree.leaves(output) if hasattr(leaf, "dtype")]

    def called(self, bound: Bound, inputs: tuple) -> None:
        call = Call(bound, self.open[-1] if self.open else None)
        if call.around:
            call.around.inner.append(call)
        self.open.append(call)
        self.calls.append(call)

    def returned(self, bound: Bound, inputs: tuple, named: dict, output) -> None:
        call = self.open.pop()
        call.inputs, call.named, call.output = map(_shapes, (inputs, named, output))

    def rows(self) -> Iterator[Row]:
        """A row for each call; the work of the calls inside it is theirs, not counted again."""
        seen: set[Path] = set()
        for call in self.calls:
            path, module = call.bound.path, call.bound.module
            own = {} if path in seen else {tree: self._own(tree, path) for tree in TREES}
            seen.add(path)
            parameters, state = (_count(own.get(tree, {})) for tree in TREES)
            flops = self.flops(call) - sum(map(self.flops, call.inner))
            name, output = type(module).__name__, _described(call.output)
            depth, label = _place(call)
            yield Row(path, depth, label, name, output, parameters, state, max(flops, 0))

    def flops(self, call: Call) -> int:
        """Estimated operations of one call, those inside it included."""
        if call.flops is None:
            module: Any = call.bound.module
            arguments = (call.inputs, call.named, *self._trees_of(module))
            arrays, rebuild = _split(arguments)

            def forward(key, *arrays):
                inputs, named, params, state = rebuild(arrays)
                options = dict(train=self.train, key=key)
                return _arrays(module.apply(params, state, *inputs, **options, **named))

            lowered = fg.jit(forward).lower(_key_shape(), *arrays)
            call.flops = int(lowered.cost_analysis()["flops"])
        return call.flops

    def _own(self, tree: str, path: Path) -> dict:
        found: Any = self.shapes[tree]
        for name in path:
            found = found.get(name, {})
        return {name: leaf for name, leaf in found.items() if hasattr(leaf, "shape")}

    def _trees_of(self, module) -> Iterator[dict]:
        """Parameters and state for a module by itself, wherever the model keeps them."""
        for name in TREES:
            tree: dict = {}
            for path, part in layout_of(module):
                place(tree, path, self._own(name, self.paths[id(part)]))
            yield tree


def _place(call: Call) -> tuple[int, str]:
    """How many calls are around this one, and the path from the nearest."""
    depth, around = 0, call.around
    while around:
        depth, around = depth + 1, around.around
    outer = call.around.bound.path if call.around else ()
    path = call.bound.path
    return depth, "/".join(path[len(outer) :] if path[: len(outer)] == outer else path)


def _key_shape():
    return fg.eval_shape(lambda: fg.random.key(0))


def _split(tree):
    """The arrays of a tree, and a function that puts others in their places."""
    leaves, structure = fg.tree.flatten(tree)
    places = [i for i, leaf in enumerate(leaves) if hasattr(leaf, "dtype")]

    def rebuild(arrays):
        given = dict(zip(places, arrays, strict=True))
        return fg.tree.unflatten(structure, [given.get(i, x) for i, x in enumerate(leaves)])

    return [leaves[i] for i in places], rebuild


def _arrays(tree) -> list:
    return [leaf for leaf in fg.tree.leaves(tree) if hasattr(leaf, "dtype")]


def _shapes(tree):
    def shape(leaf):
        is_array = hasattr(leaf, "shape") and hasattr(leaf, "dtype")
        return fg.ShapeDtypeStruct(tuple(leaf.shape), leaf.dtype) if is_array else leaf

    return fg.tree.map(shape, tree)


def _described(output) -> str:
    return ", ".join(f"{leaf.dtype.name}{list(leaf.shape)}" for leaf in _arrays(output))


def _count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in _arrays(tree))


def _table(head: tuple, lines: list[tuple], total: tuple) -> str:
    """Columns as wide as they need; text to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in (head, *lines, total)) for i in range(len(head))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))

    def shown(line: tuple) -> str:
        cells = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([shown(head), rule, *map(shown, lines), rule, shown(total)])

"""Module: how a description makes parameters (`init`) and computes with them (`apply`).

`apply` runs `forward` on a view of the module, which knows its part of the parameters; the module
itself never changes. `description.py` holds what a module is without parameters, `run.py` what
happens during one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import funcgrad as fg
from funcgrad_nn import json_form, state_dict
from funcgrad_nn.description import Described
from funcgrad_nn.layout import Path, layout_of, parameters_at, place
from funcgrad_nn.run import Bound, Names, Run, Sizing, bound_record, how_to_call, run_method


class Module(Described):
    """A static description of a computation with parameters; it holds no arrays.

    Subclass it, assign submodules and options in `__init__`, and write `forward(self, x)`. A layer
    with parameters of its own also writes `parameters(self, key)`; one with running values writes
    `initial_state(self)`. In `forward`, `self.p` and `self.state` hold them, `self.train` says
    whether this is training, `self.key()` draws a random key and `self.set_state(...)` keeps values
    for the next call.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> class Scaled(nn.Module):
    ...     def __init__(self, features):
    ...         self.linear = nn.Linear(features, features)
    ...     def parameters(self, key):
    ...         return {"scale": fg.numpy.ones(())}
    ...     def forward(self, x):
    ...         return self.p.scale * self.linear(x)
    >>> model = Scaled(3)
    >>> params, state = model.init(fg.random.key(0))
    >>> sorted(params)
    ['linear', 'scale']
    >>> output, state = model.apply(params, state, fg.numpy.ones((2, 3)))
    >>> output.shape
    (2, 3)
    """

    reserved = Described.reserved | {
        "p",
        "state",
        "train",
        "key",
        "set_state",
        "init",
        "apply",
        "forward",
        "modules",
        "to_json",
        "from_json",
        "torch_layout",
        "to_torch",
        "from_torch",
    }

    def __init__(self):
        pass

    # -- what a subclass writes

    def forward(self, *inputs, **named):
        """The computation; runs inside `apply`, where submodules can be called."""
        raise TypeError(f"{type(self).__name__} has no forward(self, x): write one.")

    # -- what users call

    def modules(self) -> dict[str, Module]:
        """Every module in this one by its path ("" is this one); a shared one has its first."""
        return {"/".join(path): module for path, module in layout_of(self.itself())}

    def init(self, key, *inputs) -> tuple[dict, dict]:
        """Parameters and state for this description, as nested dictionaries.

        `key`: a random key. Each module draws from its own, derived from its path, so that adding a
        layer does not change the others. `inputs` (arrays, `ShapeDtypeStruct`s, or shapes meaning
        float32) are needed only where a layer infers sizes; if given, `forward` is also checked
        on them, without computing anything. Raises `ValueError` for sizes that stay unknown.
        """
        module = self.itself()
        _require_key("init", module, key)
        sized = _sizes_from(module, key, inputs) if inputs else {}
        params: dict = {}
        state: dict = {}
        for path, part in layout_of(module):
            place(params, path, parameters_at(sized.get(path, part), key, path, bool(inputs)))
            place(state, path, sized.get(path, part).initial_state())
        return params, state

    def apply(
        self,
        params: Mapping,
        state: Mapping,
        *inputs,
        train: bool = False,
        key=None,
        method: str = "forward",
        **named,
    ) -> tuple[Any, dict]:
        """The output for `inputs`, and the state for the next call.

        `train=True` makes dropout and its like active; they draw from `key`. `method` runs another
        method than `forward`. Nothing is changed in place: the same arguments give the same result,
        under `jit`, `grad` and `vmap` too.
        """
        module = self.itself()
        if not isinstance(train, (bool, np.bool_)):
            raise TypeError(
                f"{type(module).__name__}.apply: train must be True or False, but got "
                f"{type(train).__name__}; under jit, make it static."
            )
        run = Run(module, params, state, bool(train), key)
        try:
            output = run_method(run.view(module), method, inputs, named)
        finally:
            run.active = False
        return output, run.new_state()

    def __call__(self, *inputs, **named):
        """Inside another module's `forward`: run this one with its part of the parameters."""
        if not isinstance(self._record, Bound):
            raise RuntimeError(_unbound_message(self))
        return run_method(self, "forward", inputs, named)

    def to_json(self, indent: int | None = 2) -> str:
        """This description as JSON text, from which `from_json` rebuilds it.

        A module that occurs twice is written once and referred to afterwards, so that sharing
        survives. Raises `TypeError` for what has no name to be written by, such as a lambda.
        """
        return json_form.write(self.itself(), indent)

    @classmethod
    def from_json(cls, text: str, functions: Mapping[str, Any] | None = None):
        """Rebuild a description from `to_json`'s text.

        Only classes of modules that are already defined, and functions of funcgrad's public
        namespaces or of `functions` (name to function), are accepted; nothing is imported.
        Raises `ValueError`, naming the place in the text, for anything else.

        >>> text = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).to_json()
        >>> nn.from_json(text) == nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        True
        """
        model = json_form.read(text, functions)
        if not isinstance(model, cls):
            raise ValueError(
                f"from_json: the text describes a {type(model).__name__}, not a {cls.__name__}."
            )
        return model

    # -- how PyTorch holds the same weights

    def torch_layout(self) -> dict[str, state_dict.TorchEntry]:
        """PyTorch's name and order of axes for the entries that it names or orders differently."""
        return {}

    def to_torch(self, entries: Mapping) -> dict[str, np.ndarray]:
        """This module's own parameters and state by PyTorch's names, in PyTorch's layout.

        A layer whose entries PyTorch joins or splits overrides this and `from_torch`.
        """
        return state_dict.to_torch(self.torch_layout(), entries)

    def from_torch(self, like: Mapping, tensors: Mapping) -> dict[str, np.ndarray]:
        """The inverse of `to_torch`: the entries that `like` has (only names and shapes count)."""
        return state_dict.from_torch(self.torch_layout(), like, tensors)

    # -- what `forward` uses

    @property
    def p(self) -> Names:
        """This module's own parameters by attribute: `self.p.weight`."""
        bound = bound_record(self, "p")
        return Names(bound.run.parameters(bound), bound, "parameter")

    @property
    def state(self) -> Names:
        """This module's own state by attribute: `self.state.mean`."""
        bound = bound_record(self, "state")
        entries = bound.run.entries("state", bound.path)
        return Names({**entries, **bound.run.updates.get(bound.path, {})}, bound, "state entry")

    @property
    def train(self) -> bool:
        """Whether `apply` was called with `train=True`."""
        return bound_record(self, "train").run.train

    def key(self):
        """A new random key: another one at each call, in each module; the same in the same run."""
        bound = bound_record(self, "key()")
        return bound.run.draw(bound)

    def set_state(self, **entries) -> None:
        """Keep values for the next call; `apply` returns them in its state."""
        bound = bound_record(self, "set_state")
        known = bound.run.entries("state", bound.path)
        for name in entries:
            if name not in known:
                raise ValueError(
                    f"{bound.place()}: set_state({name}=...) has no entry in "
                    f"initial_state; it has {sorted(known) or 'none'}."
                )
        bound.run.updates.setdefault(bound.path, {}).update(entries)

    def itself(self) -> Any:
        """The description that this is, or that this view shows."""
        record = self._record
        return record.module if isinstance(record, Bound) else self

    def __getattr__(self, name: str):
        """A submodule of a view is bound when it is first asked for."""
        record = object.__getattribute__(self, "_record")
        if isinstance(record, Bound) and name in record.module.__dict__:
            value = record.run.bind(record.module.__dict__[name])
            self.__dict__[name] = value
            return value
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")


def _unbound_message(module: Module) -> str:
    return (
        f"{type(module).__name__}: a module holds no parameters, so it cannot be called "
        f"directly. {how_to_call()}\n"
        "Inside another module's forward, assign it in __init__ (self.name = ...) and call "
        "self.name(x)."
    )


def _require_key(what: str, module: Module, key) -> None:
    if not hasattr(key, "dtype"):
        raise TypeError(
            f"{type(module).__name__}.{what}: needs a random key first, such as "
            f"random.key(0), but got {type(key).__name__}."
        )


def _sizes_from(module: Module, key, inputs: tuple) -> dict[Path, Any]:
    """Open layers, closed: `forward` is run on shapes alone, and each sees its input's shape."""
    run = Sizing(module, key)

    def forward(*inputs):
        output = run_method(run.view(module), "forward", inputs, {})
        return [leaf for leaf in fg.tree.leaves(output) if hasattr(leaf, "dtype")]

    try:
        fg.eval_shape(forward, *map(example_input, inputs))
    finally:
        run.active = False
    return run.sized


def example_input(value):
    """An example input as eval_shape takes it: a tuple of sizes stands for a float32 array."""
    if isinstance(value, Mapping):
        return {name: example_input(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)) and all(isinstance(n, (int, np.integer)) for n in value):
        return fg.ShapeDtypeStruct(tuple(map(int, value)), fg.numpy.float32)
    return value

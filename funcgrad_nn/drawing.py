"""`draw`: the operations of a traced function as a graph, in Graphviz's language."""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import funcgrad as fg
from funcgrad.util import optional
from funcgrad_nn.module import Module, example_input

TEXT_ENDINGS = (".dot", ".gv", ".txt")


def draw(
    function: Callable | Module,
    *arguments,
    unused: bool = False,
    path: str | os.PathLike | None = None,
) -> str:
    """The operations of a function of arrays as DOT text: a box an array, an ellipse an operation.

    `arguments` are arrays, or shapes that mean float32; only shapes and dtypes count. A module is
    drawn in evaluation mode, with its parameters as inputs. Arrays are named a, b, ... in order of
    appearance; what nobody needs is left out unless `unused`. `path` ending in .dot, .gv or .txt
    gets the text, any other the picture, such as PNG; only that needs Graphviz and its Python
    package.

    >>> import funcgrad.numpy as jnp, funcgrad_nn as nn
    >>> print(nn.draw(lambda x, y: x * y, (3,), (3,)))
    digraph {
      a [shape=box, label="a float32[3]"];
      b [shape=box, label="b float32[3]"];
      c [shape=box, label="c float32[3]"];
      op0 [label="mul"];
      a -> op0;
      b -> op0;
      op0 -> c;
    }
    """
    shapes = tuple(map(example_input, arguments))
    if isinstance(function, Module):
        function, shapes = _of_module(function, shapes)
    elif not callable(function):
        raise TypeError(f"draw: needs a function or a module, but got {type(function).__name__}.")
    text = "\n".join(["digraph {", *_lines(fg.make_jaxpr(function)(*shapes), unused), "}"])
    if path is not None:
        _write(text, Path(path))
    return text


def _of_module(model: Module, shapes: tuple) -> tuple[Callable, tuple]:
    """A function of the parameters and the inputs, and shapes for both."""
    key = fg.eval_shape(lambda: fg.random.key(0))
    params, state = fg.eval_shape(lambda key: model.init(key, *shapes), key)
    return lambda *given: model.apply(*given)[0], (params, state, *shapes)


def _lines(program: Any, unused: bool) -> Iterable[str]:
    values = [*program.inputs, *(out for eqn in program.eqns for out in eqn.outs)]
    names = {value: _name(number) for number, value in enumerate(values)}
    needed = set(values) if unused else {out for out in program.outputs if out in names}
    operations: list[list[str]] = []
    for number, eqn in reversed(list(enumerate(program.eqns))):
        if needed.isdisjoint(eqn.outs):
            continue
        operands = [atom for atom in eqn.args if atom in names]
        needed.update(operands)
        lines = [f'  op{number} [label="{eqn.primitive.name}"];']
        lines += [f"  {names[atom]} -> op{number};" for atom in operands]
        operations.append(lines + [f"  op{number} -> {names[out]};" for out in eqn.outs])
    boxes = (
        f'  {names[value]} [shape=box, label="{names[value]} {_type(value.aval)}"];'
        for value in values
        if value in needed
    )
    return [*boxes, *(line for lines in reversed(operations) for line in lines)]


def _type(aval: Any) -> str:
    return f"{aval.dtype}{list(aval.shape)}"


def _name(number: int) -> str:
    """a, b, ..., z, a1, b1, ..."""
    lap, letter = divmod(number, len(string.ascii_lowercase))
    return string.ascii_lowercase[letter] + (str(lap) if lap else "")


def _write(text: str, path: Path) -> None:
    if path.suffix in TEXT_ENDINGS:
        path.write_text(text + "\n", encoding="utf-8")
    else:
        optional("graphviz").Source(text).render(outfile=path)

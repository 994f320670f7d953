"""A function's program as JSON text, and a function from that text.

Each operation is its primitive's name, its operands and its parameters; arrays that the function
holds are written with it. The text is the same in every process, so it can be compared and kept.
"""

import json
import subprocess
import sys

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.compiler.passes.inline import inline_calls
from funcgrad.core.primitive import registry

SCALARS = (bool, int, float, str, type(None))
TABLE = np.array([[0.5, -1.0, 2.0], [1.5, 0.0, -0.5]], np.float32)


def to_json(function, *arguments):
    """The program that `function` is for arguments of these shapes and dtypes."""
    program = inline_calls(fg.make_jaxpr(function)(*arguments))
    numbers = {value: n for n, value in enumerate(program.inputs)}

    def atom(x):
        literal = lambda: {"value": x.value.tolist(), "dtype": str(x.aval.dtype)}
        return numbers[x] if x in numbers else literal()

    equations = []
    for eqn in program.eqns:
        operands = [atom(x) for x in eqn.args]
        numbers.update({out: len(numbers) + n for n, out in enumerate(eqn.outs)})
        params = {name: written_param(value) for name, value in eqn.params.items()}
        equations.append([eqn.primitive.name, operands, params])
    found = {
        "inputs": [[str(v.aval.dtype), list(v.aval.shape)] for v in program.inputs],
        "constants": [np.asarray(constant).tolist() for constant in program.consts],
        "equations": equations,
        "outputs": [atom(x) for x in program.outputs],
    }
    return json.dumps(found, indent=1)


def written_param(value):
    """Numbers and text as they are; tuples and dtypes marked as what they are."""
    if isinstance(value, SCALARS):
        return value
    if type(value) is tuple:
        return {"tuple": [written_param(part) for part in value]}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    raise TypeError(f"to_json: a parameter of type {type(value).__name__} has no form in JSON.")


def from_json(text):
    """A function of arrays that computes what the text says; it can be transformed like any."""
    program = json.loads(text)
    primitives = {primitive.name: primitive for primitive in registry}
    return lambda *arguments: run(program, primitives, arguments)


def run(program, primitives, arguments):
    inputs = [*program["constants"], *arguments]
    values = [jnp.asarray(x, d) for x, (d, _) in zip(inputs, program["inputs"], strict=True)]
    read = lambda x: jnp.asarray(x["value"], x["dtype"]) if isinstance(x, dict) else values[x]
    for name, operands, params in program["equations"]:
        params = {key: read_param(value, primitives) for key, value in params.items()}
        result = primitives[name].bind(*map(read, operands), **params)
        values += result if isinstance(result, (list, tuple)) else [result]
    results = [read(x) for x in program["outputs"]]
    return results[0] if len(results) == 1 else results


def read_param(value, primitives):
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(read_param(part, primitives) for part in content)
    return np.dtype(content)


def model(x):
    """A constant array, broadcasting, a contraction, a reduction with an axis, a comparison."""
    hidden = jnp.tanh(x @ TABLE + 1.0)
    return jnp.where(hidden > 0, hidden, 0.1 * hidden).max(axis=1)


def main():
    x = jnp.arange(8.0).reshape(4, 2) / 4
    text = to_json(model, x)
    if "--print" in sys.argv:
        print(text)
        return
    again = from_json(text)
    print(text[:160].replace("\n", " "), "...")
    print("values   ", np.asarray(again(x)))
    np.testing.assert_array_equal(again(x), model(x))
    total = lambda f: fg.jit(fg.grad(lambda x: f(x).sum()))(x)
    np.testing.assert_allclose(total(again), total(model), rtol=1e-6)
    print("gradients equal, too; constants:", json.loads(text)["constants"])

    other = subprocess.run([sys.executable, __file__, "--print"], capture_output=True, text=True)
    assert other.stdout.strip() == text, other.stderr
    print("the same text in a second process:", len(text), "characters")


if __name__ == "__main__":
    main()

"""Errors of arrays and array functions: mutation, wrong kinds, shapes that do not fit, deleted
buffers; and what a script prints.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from tests.errors.raising import refused, shows_only_the_user

ROOT = Path(__file__).resolve().parents[2]
X = jnp.arange(3.0)


def put(x, value):
    x[0] = value


def reshape_in_place(x):
    x.shape = (3, 1)


def retype_in_place(x):
    x.dtype = np.float64


MUTATION = {
    "item": (lambda: put(X, 1.0), TypeError, ["arrays are immutable", "x.at[i].set(v)"]),
    "item of a tracer": (lambda: fg.jit(put)(X, 1.0), TypeError, ["x.at[i].set(v)"]),
    "shape": (lambda: reshape_in_place(X), AttributeError, ["arrays are immutable", "x.reshape("]),
    "dtype": (lambda: retype_in_place(X), AttributeError, ["arrays are immutable", "x.astype("]),
    "NumPy's view": (lambda: put(np.asarray(X), 1.0), ValueError, ["read-only"]),
    "hash": (lambda: hash(X), TypeError, ["unhashable"]),
}


@pytest.mark.parametrize("name", MUTATION)
def test_arrays_are_immutable(name):
    call, kind, parts = MUTATION[name]
    before = np.array(X)
    refused(call, kind, *parts)
    np.testing.assert_array_equal(X, before)


OBJECTS = np.array([None], dtype=object)
TEXT = np.array(["a"])
DATES = np.array(["2020-01-01"], "datetime64[D]")
KINDS = {
    "objects": (lambda: jnp.sin(OBJECTS), ["sin: needs arrays of numbers", "object", "position 0"]),
    "text": (lambda: jnp.sin(TEXT), ["sin: needs arrays of numbers", "<U1", "astype"]),
    "dates": (lambda: jnp.sum(DATES), ["sum: needs arrays of numbers", "datetime64"]),
    "objects in jit": (lambda: fg.jit(jnp.sin)(OBJECTS), ["jit: argument 0: needs arrays of"]),
    "text in grad": (lambda: fg.grad(jnp.sin)(TEXT), ["grad: argument 0: needs arrays of"]),
    "text in vmap": (lambda: fg.vmap(jnp.sin)(TEXT), ["vmap: argument 0: needs arrays of"]),
    "objects in lax": (lambda: lax.sin(OBJECTS), ["sin: needs arrays of numbers"]),
    "array of text": (lambda: jnp.array(["a"]), ["array: needs numbers", "'a'"]),
    "array of nothing": (lambda: jnp.array([None]), ["array: needs numbers", "None"]),
    "list": (lambda: jnp.sin([1.0]), ["sin: needs arrays or numbers, but got list", "numpy.array"]),
    "text beside an array": (lambda: X + "a", ["add: needs arrays or numbers, but got str 'a'"]),
    "None beside an array": (lambda: X + None, ["add: needs arrays or numbers", "NoneType"]),
    "list beside an array": (lambda: X * [1, 2, 3], ["multiply: needs arrays", "numpy.array"]),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_array_of_numbers_is_refused(name):
    call, parts = KINDS[name]
    refused(call, TypeError, *parts)


A, B = jnp.ones((2, 3)), jnp.ones((2, 4))
SHAPES = {
    "add": (lambda: A + B, ["add: shapes (2,3) and (2,4) do not broadcast", "reshape"]),
    "where": (lambda: jnp.where(A > 0, B, 0), ["where: shapes (2,3), (2,4) and ()"]),
    "matmul": (lambda: A @ A, ["matmul: ", "(2, 3)"]),
    "dot": (lambda: jnp.dot(A, B), ["dot: ", "(2, 3)", "(2, 4)"]),
    "concatenate": (lambda: jnp.concatenate([A, B]), ["concatenate: ", "(2, 3)", "(2, 4)"]),
    "stack": (lambda: jnp.stack([A, B]), ["stack: ", "(2, 3)", "(2, 4)"]),
    "reshape": (lambda: A.reshape(4, 2), ["reshape: ", "(2, 3)", "(4, 2)"]),
    "lax.add": (lambda: lax.add(A, B), ["add: operands must have equal shapes", "f32[2,4]"]),
    "lax.mul by rows": (
        lambda: lax.mul(jnp.ones((3, 1)), jnp.ones((1, 3))),
        ["mul: operands must have equal shapes", "f32[3,1]", "f32[1,3]", "broadcasts"],
    ),
    "lax.dot_general": (
        lambda: lax.dot_general(A, A, (((1,), (0,)), ((), ()))),
        ["dot_general: contracted dimensions must have equal sizes", "f32[2,3]"],
    ),
    "lax.concatenate": (lambda: lax.concatenate([A, B], 0), ["concatenate: ", "(2, 3)", "(2, 4)"]),
    "lax.transpose": (lambda: lax.transpose(A, (0, 0)), ["transpose: ", "(0, 0)"]),
    "sum": (lambda: jnp.sum(A, axis=2), ["sum: axis 2 is out of bounds for an array of rank 2"]),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "jit"])
def test_shapes_that_do_not_fit_name_the_function_and_both_shapes(name, traced):
    call, parts = SHAPES[name]
    run = (lambda: fg.jit(lambda: call())()) if traced else call
    with pytest.raises((ValueError, TypeError)) as caught:
        run()
    for part in parts:
        assert part in str(caught.value)
    if traced:
        shows_only_the_user(caught.value)


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "jit"])
def test_dtypes_that_do_not_fit_name_the_function_and_both_dtypes(traced):
    run = fg.jit if traced else lambda f: f
    for name in ("add", "mul", "max", "atan2", "lt"):
        error = refused(
            lambda name=name: run(getattr(lax, name))(X, jnp.arange(3)), TypeError, f"{name}: "
        )
        assert "f32" in str(error) and "i32" in str(error)
    refused(lambda: run(jnp.bitwise_and)(X, X), TypeError, "f32[3]", "integers or bools")
    refused(lambda: run(lax.sin)(jnp.arange(3)), TypeError, "sin: ", "i32[3]")


def test_positions_out_of_bounds_are_refused():
    refused(lambda: X[5], IndexError, "index: position 5 is out of bounds", "size 3", "mode=")
    refused(lambda: X[1.0], TypeError, "index: an index must be of integer or bool type", "float")


# ---- donated arrays

DELETED = {
    "operation": lambda x: x + 1,
    "jit": fg.jit(lambda x: x),
    "grad": lambda x: fg.grad(lambda y: (y * y).sum())(x),
    "NumPy": np.asarray,
    "shape": lambda x: x.shape,
    "float": lambda x: float(x[0]),
    "len": len,
    "donated again": fg.jit(lambda x: x + 1, donate_argnums=0),
}


@pytest.mark.parametrize("use", DELETED)
def test_a_donated_array_cannot_be_used(use):
    x = jnp.arange(4.0)
    fg.jit(lambda y: y + 1, donate_argnums=0)(x)
    assert x.is_deleted() and "deleted" in repr(x)
    refused(
        lambda: DELETED[use](x), RuntimeError, "deleted", "donated", "Use the function's result"
    )


# ---- what a script shows

SCRIPT = """
import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax

def loss(x):
    y = 2.0 * x
    return jnp.sum(y + jnp.ones(4))  # does not fit

def branch(x):
    return x if x > 0 else -x  # a condition

def run(name):
    x = jnp.ones(3)
    if name == "eager":
        loss(x)  # eagerly
    if name == "grad":
        fg.jit(fg.grad(loss))(x)
    if name == "vmap":
        fg.vmap(branch)(x)
    if name == "scan":
        lax.scan(lambda c, v: (branch(c), v), 0.0, x)

import sys
run(sys.argv[1])
"""


def printed(tmp_path, name, **environment):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FUNCGRAD_")}
    done = subprocess.run(
        [sys.executable, str(script), name],
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize(
    "name, line, message",
    [
        ("eager", "# does not fit", "ValueError: add: shapes (3,) and (4,) do not broadcast"),
        ("grad", "# does not fit", "ValueError: add: shapes (3,) and (4,) do not broadcast"),
        ("vmap", "# a condition", "TracerBoolConversionError: a condition needs"),
        ("scan", "# a condition", "TracerBoolConversionError: a condition needs"),
    ],
)
def test_a_script_ends_at_the_users_line(tmp_path, name, line, message):
    text = printed(tmp_path, name)
    package = str(ROOT / "funcgrad") + os.sep
    assert package not in text and "During handling" not in text
    lines = text.splitlines()
    (place,) = [i for i, printed_line in enumerate(lines) if message in printed_line]
    above = [text for text in lines[:place] if set(text.strip()) - set("~^")]
    assert line in above[-1]


def test_the_whole_traceback_can_be_asked_for(tmp_path):
    assert str(ROOT / "funcgrad") + os.sep in printed(tmp_path, "grad", FUNCGRAD_TRACEBACK="full")

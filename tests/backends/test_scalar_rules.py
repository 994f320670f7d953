"""The scalar rule of every elementwise primitive, compiled, against the primitive's `value`: all
dtypes that it accepts, on random numbers and special ones.
"""

import importlib
import pkgutil

import numpy as np
import pytest

import funcgrad.primitives
from benchmarks.accuracy import LEVELS
from funcgrad.backends.llvm.scalar import constant_of, render
from funcgrad.backends.llvm.target import host
from funcgrad.compiler.scalar import record
from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray
from funcgrad.core.backend import NUMPY
from funcgrad.core.primitive import Primitive
from tests.backends.scalar_kernels import compiled_map

COUNT = 96
# Relative to the result or to 1, by the dtype: one rounding for 16 bits, 8 units or so for floats;
# complex powers lose several times the size of their logarithm, here as in NumPy
TOLERANCE = {
    dtypes.bfloat16: 2**-7, dtypes.float16: 2**-10, dtypes.float32: 1e-6, dtypes.complex64: 4e-6,
    dtypes.float64: 2e-15, dtypes.complex128: 2e-14,
}  # fmt: skip
PARAMETERS = {
    "round": [{"rounding_method": k} for k in (0, 1)],
    "integer_pow": [{"y": k} for k in (0, 1, 2, 3, 7)],
    "convert_element_type": [{"new_dtype": t, "weak_type": False} for t in dtypes.ALL],
    "bitcast_convert_type": [{"new_dtype": t} for t in (*dtypes.SIGNED, *dtypes.FLOATS)],
}


def elementwise_primitives():
    """Primitives with the loop form `Map`, by name, with the number of operands."""
    found = {}
    for info in pkgutil.walk_packages(funcgrad.primitives.__path__, "funcgrad.primitives."):
        members = vars(importlib.import_module(info.name)).values()
        found |= {p.name: p for p in members if isinstance(p, Primitive)}
    return {name: p for name, p in sorted(found.items()) if cases(p)}


def parameters(primitive, dtype):
    if primitive.name == "conj":
        return [{"input_dtype": dtype}]
    return PARAMETERS.get(primitive.name, [{}])


def cases(primitive):
    """Operand dtypes and parameters that the primitive accepts, with its recorded scalar rule."""
    found = []
    for dtype in dtypes.ALL:
        for count in (1, 2, 3, 4):
            operands = [dtype] * count
            if primitive.name == "select_n":
                operands[0] = dtypes.bool_
            for params in parameters(primitive, dtype):
                rule = accepted(primitive, operands, params)
                if rule is not None:
                    found.append((operands, params, rule))
    return found


def accepted(primitive, operands, params):
    """The recorded rule, or None if these operands are refused or there is none."""
    avals = [ShapedArray((COUNT,), dtype) for dtype in operands]
    try:
        primitive.abstract(*avals, **params)
        form = primitive.loops(*avals, **params)
        return record(form.scalar, operands) if isinstance(form, loops.Map) else None
    except (TypeError, ValueError, IndexError):
        return None


def numbers(dtype, rng):
    if dtype == dtypes.bool_:
        return rng.integers(0, 2, COUNT).astype(bool)
    if dtypes.is_integer(dtype):
        info = np.iinfo(dtype)
        small = rng.integers(0, 20, COUNT).astype(dtype)
        full = rng.integers(info.min, info.max, COUNT, dtype=dtype, endpoint=True)
        return np.where(rng.random(COUNT) < 0.5, full, small)
    if dtypes.is_complex(dtype):
        z = np.empty(COUNT, dtype)
        z.real, z.imag = (2 * rng.standard_normal(COUNT) for _ in "ri")
        return z
    special = [0.0, -0.0, 1, -1, 0.5, 2.5, -2.5, np.inf, -np.inf, np.nan]
    x = 3 * rng.standard_normal(COUNT)
    return np.where(rng.random(COUNT) < 0.25, rng.choice(special, COUNT), x).astype(dtype)


def rendered(body, result, operands, lanes):
    """The operations of a recorded rule, and one of its results."""

    def operation(b, *given):
        known, types = [*given], [*operands]

        def number(a):
            return known[a] if isinstance(a, int) else constant_of(a.value, a.dtype, lanes)

        for op in body:
            of = [types[a] if isinstance(a, int) else a.dtype for a in op.args]
            known.append(render(b, op.name, [number(a) for a in op.args], of, op.dtype, lanes))
            types.append(op.dtype)
        return number(result)

    return operation


def assert_near(got, expected):
    tolerance = TOLERANCE.get(got.dtype)
    if tolerance is None:
        assert (got == expected).all()
        return
    wide = np.complex128 if dtypes.is_complex(got.dtype) else np.float64
    got, expected = got.astype(wide), expected.astype(wide)
    same = (got == expected) | ((got != got) & (expected != expected))
    with np.errstate(invalid="ignore"):
        near = np.abs(got - expected) <= tolerance * np.maximum(np.abs(expected), 1)
    assert (same | near).all(), (got[~(same | near)], expected[~(same | near)])


PRIMITIVES = elementwise_primitives()


@pytest.mark.parametrize("level", [LEVELS[0], LEVELS[-1]])
@pytest.mark.parametrize("name", PRIMITIVES)
def test_scalar_rules(name, level):
    primitive, target = PRIMITIVES[name], host(level)
    rng = np.random.default_rng(0)
    for operands, params, (body, results) in cases(primitive):
        lanes = target.lanes(max(operands[-1].itemsize, 4))
        buffers = [numbers(dtype, rng) for dtype in operands]
        with np.errstate(all="ignore"):
            expected = primitive.value(NUMPY, *buffers, **params)
        expected = expected if isinstance(expected, list | tuple) else [expected]
        for result, value in zip(results, expected, strict=True):
            kernel = compiled_map(
                rendered(body, result, operands, lanes), operands, value.dtype, lanes, target
            )
            assert_near(kernel(*buffers), np.broadcast_to(value, (COUNT,)))


def test_most_primitives_are_found():
    assert len(PRIMITIVES) >= 70

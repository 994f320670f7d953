"""Products and convolutions of types that tiles are not made for, as products of types that they
are: 16-bit floats in float32, narrow integers and bools in 32 bits, complex numbers by parts. Other
sums of 16-bit floats that kernels would round too often are taken in float32 too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.products import MADE_IN_TILES
from funcgrad.compiler.rewrite import Rewriter, rewrite
from funcgrad.core import dtypes
from funcgrad.core.backend import NARROW
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr
from funcgrad.primitives.basis import add_p, convert_element_type_p, sub_p
from funcgrad.primitives.contract import dot_general_p
from funcgrad.primitives.convolution import conv_general_dilated_p
from funcgrad.primitives.elementwise import complex_p, imag_p, real_p
from funcgrad.primitives.gather import scatter_add_p, scatter_sub_p
from funcgrad.primitives.scatter import scatter_mul_p
from funcgrad.primitives.window import select_and_gather_add_p, select_and_scatter_add_p

SMALL = 1 << 14  # multiplications; smaller products are made by plain loops, in any type


# Sums at computed places; and choices by windows, whose routines know wide floats alone.
SUMS_OF_NARROW = (
    scatter_add_p, scatter_sub_p, scatter_mul_p, select_and_gather_add_p, select_and_scatter_add_p,
)  # fmt: skip


def widen_products(jaxpr: Jaxpr) -> Jaxpr:
    """Products of types that tiles are made for, and conversions."""
    return rewrite(jaxpr, _visit)


def _visit(program: Rewriter, e: Eqn) -> Sequence[Atom] | None:
    if e.primitive in SUMS_OF_NARROW and e.outs[0].aval.dtype in NARROW:
        return [_in_float32(program, e)]
    if e.primitive is not conv_general_dilated_p and not _is_large_product(e):
        return None
    given, out = e.args[0].aval.dtype, e.outs[0].aval
    if given == out.dtype and given in MADE_IN_TILES and e.args[1].aval.dtype == given:
        return None
    if dtypes.is_complex(out.dtype):
        return [_by_parts(program, e)]
    wide = _wide(out.dtype)
    operands = [_converted(program, a, wide) for a in e.args]
    return [_converted(program, _product(program, e, *operands), out.dtype, out.weak_type)]


def _in_float32(program: Rewriter, e: Eqn) -> Atom:
    """Sums of 16-bit floats are rounded once, at the end."""
    out = e.outs[0].aval
    wide = [_converted(program, a, dtypes.float32) if a.aval.dtype in NARROW else a for a in e.args]
    return _converted(
        program, program.emit(e.primitive, *wide, **e.params), out.dtype, out.weak_type
    )


def _is_large_product(e: Eqn) -> bool:
    if e.primitive is not dot_general_p or not all(
        isinstance(n, int) for v in (*e.args, *e.outs) for n in v.aval.shape
    ):
        return False
    (contracted, _), _ = e.params["dimension_numbers"]
    summed = math.prod(e.args[0].aval.shape[d] for d in contracted)
    return math.prod(e.outs[0].aval.shape) * summed > SMALL


def _wide(dtype: np.dtype) -> np.dtype:
    """The type that results of this one are computed in."""
    if dtype in MADE_IN_TILES:
        return dtype
    if dtypes.is_float(dtype):
        return dtypes.float32
    return dtypes.uint32 if dtype.kind == "u" else dtypes.int32


def _product(program: Rewriter, e: Eqn, x: Atom, y: Atom) -> Atom:
    return program.emit(e.primitive, x, y, **{**e.params, "preferred_element_type": None})


def _converted(program: Rewriter, x: Atom, dtype: np.dtype, weak: bool = False) -> Atom:
    if x.aval.dtype == dtype and x.aval.weak_type == weak:
        return x
    return program.emit(convert_element_type_p, x, new_dtype=dtype, weak_type=weak)


def _by_parts(program: Rewriter, e: Eqn) -> Atom:
    """(a + bi)(c + di) = ac - bd + (ad + bc)i"""
    dtype: Any = e.outs[0].aval.dtype
    x, y = (_converted(program, v, dtype) for v in e.args)
    (a, b), (c, d) = ((program.emit(real_p, v), program.emit(imag_p, v)) for v in (x, y))
    real = program.emit(sub_p, _product(program, e, a, c), _product(program, e, b, d))
    imaginary = program.emit(add_p, _product(program, e, a, d), _product(program, e, b, c))
    return program.emit(complex_p, real, imaginary)

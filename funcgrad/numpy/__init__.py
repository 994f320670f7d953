"""NumPy's names on arrays that can be traced: `import funcgrad.numpy as jnp`.

Functions take and return Arrays; types follow JAX's rules. Nothing but names stands here.
"""

import numpy as _np

from funcgrad.core.array import Array as ndarray
from funcgrad.numpy import linalg
from funcgrad.numpy.arrays import (
    array, array_repr, array_str, asarray, astype, copy, from_dlpack, frombuffer, fromfunction,
    fromiter, fromstring, load, save, savez,
)  # fmt: skip
from funcgrad.numpy.averages import (
    average, mean, std, var,
)  # fmt: skip
from funcgrad.numpy.calculus import (
    diff, ediff1d, gradient, interp, trapezoid,
)  # fmt: skip
from funcgrad.numpy.contractions import (
    convolve, correlate, cross, dot, einsum, einsum_path, inner, kron, matmul, matvec, outer,
    tensordot, vdot, vecdot, vecmat,
)  # fmt: skip
from funcgrad.numpy.creation import (
    arange, empty, empty_like, eye, full, full_like, geomspace, identity, indices, linspace,
    logspace, meshgrid, mgrid, ogrid, ones, ones_like, tri, vander, zeros, zeros_like,
)  # fmt: skip
from funcgrad.numpy.diagonals import (
    diag, diagflat, diagonal, trace, tril, trim_zeros, triu,
)  # fmt: skip
from funcgrad.numpy.functional import (
    vectorize,
)  # fmt: skip
from funcgrad.numpy.histograms import (
    bincount, histogram, histogram2d, histogram_bin_edges, histogramdd,
)  # fmt: skip
from funcgrad.numpy.index_grids import (
    argwhere, diag_indices, diag_indices_from, flatnonzero, ix_, mask_indices, nonzero,
    ravel_multi_index, tril_indices, tril_indices_from, triu_indices, triu_indices_from,
    unravel_index,
)  # fmt: skip
from funcgrad.numpy.joining import (
    append, array_split, block, column_stack, concat, concatenate, delete, dsplit, dstack, hsplit,
    hstack, insert, repeat, resize, split, stack, tile, unstack, vsplit, vstack,
)  # fmt: skip
from funcgrad.numpy.methods import install as _install
from funcgrad.numpy.nanreductions import (
    nanargmax, nanargmin, nancumprod, nancumsum, nanmax, nanmean, nanmin, nanprod, nanstd, nansum,
    nanvar,
)  # fmt: skip
from funcgrad.numpy.padding import (
    pad,
)  # fmt: skip
from funcgrad.numpy.quantiles import (
    median, nanmedian, nanpercentile, nanquantile, percentile, quantile,
)  # fmt: skip
from funcgrad.numpy.reductions import (
    all, amax, amin, any, argmax, argmin, count_nonzero, max, min, prod, ptp, sum,
)  # fmt: skip
from funcgrad.numpy.running import (
    cumprod, cumsum, cumulative_prod, cumulative_sum,
)  # fmt: skip
from funcgrad.numpy.selection import (
    apply_along_axis, choose, compress, extract, fill_diagonal, piecewise, place, put,
    put_along_axis, select, take, take_along_axis, where,
)  # fmt: skip
from funcgrad.numpy.sets import (
    intersect1d, isin, setdiff1d, setxor1d, union1d, unique, unique_all, unique_counts,
    unique_inverse, unique_values,
)  # fmt: skip
from funcgrad.numpy.shaping import (
    atleast_1d, atleast_2d, atleast_3d, broadcast_arrays, broadcast_shapes, broadcast_to,
    expand_dims, flip, fliplr, flipud, matrix_transpose,
    moveaxis, permute_dims, ravel, reshape, roll, rollaxis,
    rot90, squeeze, swapaxes, transpose,
)  # fmt: skip
from funcgrad.numpy.sorting import (
    argpartition, argsort, digitize, lexsort, partition, searchsorted, sort, sort_complex,
)  # fmt: skip
from funcgrad.numpy.types import (
    bfloat16, bool_, can_cast, cdouble, character, complex64, complex128, complex_, complexfloating,
    csingle, double, dtype, finfo, flexible, float16, float32, float64, float_, floating, generic,
    iinfo, inexact, int8, int16, int32, int64, int_, integer, isdtype, isscalar, issubdtype,
    iterable, ndim, number, object_, promote_types, result_type, shape, signedinteger, single, size,
    uint, uint8, uint16, uint32, uint64, unsignedinteger,
)  # fmt: skip
from funcgrad.numpy.ufuncs import (
    abs, absolute, acos, acosh, add, allclose, angle, arccos, arccosh, arcsin, arcsinh, arctan,
    arctan2, arctanh, around, array_equal, array_equiv, asin, asinh, atan, atan2, atanh,
    bitwise_and, bitwise_count, bitwise_invert, bitwise_left_shift, bitwise_not, bitwise_or,
    bitwise_right_shift, bitwise_xor, cbrt, ceil, clip, conj, conjugate, copysign, cos, cosh,
    deg2rad, degrees, divide, divmod, equal, exp, exp2, expm1, fabs, fix, float_power, floor,
    floor_divide, fmax, fmin, fmod, frexp, gcd, greater, greater_equal, heaviside, hypot, i0, imag,
    invert, isclose, iscomplex, iscomplexobj, isfinite, isinf, isnan, isneginf, isposinf, isreal,
    isrealobj, lcm, ldexp, left_shift, less, less_equal, log, log1p, log2, log10, logaddexp,
    logaddexp2, logical_and, logical_not, logical_or, logical_xor, maximum, minimum, mod, modf,
    multiply, nan_to_num, negative, nextafter, not_equal, polyval, positive, pow, power, rad2deg,
    radians, real, reciprocal, remainder, right_shift, rint, round, sign, signbit, sin, sinc, sinh,
    spacing, sqrt, square, subtract, tan, tanh, true_divide, trunc,
)  # fmt: skip

# builders of indices, and how arrays are printed: NumPy's own
s_, index_exp = _np.s_, _np.index_exp
printoptions, get_printoptions = _np.printoptions, _np.get_printoptions
set_printoptions = _np.set_printoptions
pi, e, inf, nan, euler_gamma, newaxis = _np.pi, _np.e, _np.inf, _np.nan, _np.euler_gamma, None
bool = bool_

_install()

__all__ = [
    "abs", "absolute", "acos", "acosh", "add", "all", "allclose", "amax", "amin", "angle", "any",
    "append", "apply_along_axis", "arange", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctan2", "arctanh", "argmax", "argmin", "argpartition", "argsort", "argwhere", "around",
    "array", "array_equal", "array_equiv", "array_repr", "array_split", "array_str", "asarray",
    "asin", "asinh", "astype", "atan", "atan2", "atanh", "atleast_1d", "atleast_2d", "atleast_3d",
    "average", "bfloat16", "bincount", "bitwise_and", "bitwise_count", "bitwise_invert",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "block", "bool", "bool_", "broadcast_arrays", "broadcast_shapes", "broadcast_to", "can_cast",
    "cbrt", "cdouble", "ceil", "character", "choose", "clip", "column_stack", "complex128",
    "complex64", "complex_", "complexfloating", "compress", "concat", "concatenate", "conj",
    "conjugate", "convolve", "copy", "copysign", "correlate", "cos", "cosh", "count_nonzero",
    "cross", "csingle", "cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "deg2rad",
    "degrees", "delete", "diag", "diag_indices", "diag_indices_from", "diagflat", "diagonal",
    "diff", "digitize", "divide", "divmod", "dot", "double", "dsplit", "dstack", "dtype", "e",
    "ediff1d", "einsum", "einsum_path", "empty", "empty_like", "equal", "euler_gamma", "exp",
    "exp2", "expand_dims", "expm1", "extract", "eye", "fabs", "fill_diagonal", "finfo", "fix",
    "flatnonzero", "flexible", "flip", "fliplr", "flipud", "float16", "float32", "float64",
    "float_", "float_power", "floating", "floor", "floor_divide", "fmax", "fmin", "fmod", "frexp",
    "from_dlpack", "frombuffer", "fromfunction", "fromiter", "fromstring", "full", "full_like",
    "gcd", "generic", "geomspace", "get_printoptions", "gradient", "greater", "greater_equal",
    "heaviside", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd", "hsplit",
    "hstack", "hypot", "i0", "identity", "iinfo", "imag", "index_exp", "indices", "inexact",
    "inf", "inner", "insert", "int16", "int32", "int64", "int8", "int_", "integer", "interp",
    "intersect1d", "invert", "isclose", "iscomplex", "iscomplexobj", "isdtype", "isfinite",
    "isin", "isinf", "isnan", "isneginf", "isposinf", "isreal", "isrealobj", "isscalar",
    "issubdtype", "iterable", "ix_", "kron", "lcm", "ldexp", "left_shift", "less", "less_equal",
    "lexsort", "linalg", "linspace", "load", "log", "log10", "log1p", "log2", "logaddexp",
    "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor", "logspace",
    "mask_indices", "matmul", "matrix_transpose", "matvec", "max", "maximum", "mean", "median",
    "meshgrid", "mgrid", "min", "minimum", "mod", "modf", "moveaxis", "multiply", "nan",
    "nan_to_num", "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean",
    "nanmedian", "nanmin", "nanpercentile", "nanprod", "nanquantile", "nanstd", "nansum",
    "nanvar", "ndarray", "ndim", "negative", "newaxis", "nextafter", "nonzero", "not_equal",
    "number", "object_", "ogrid", "ones", "ones_like", "outer", "pad", "partition", "percentile",
    "permute_dims", "pi", "piecewise", "place", "polyval", "positive", "pow", "power",
    "printoptions", "prod", "promote_types", "ptp", "put", "put_along_axis", "quantile",
    "rad2deg", "radians", "ravel", "ravel_multi_index", "real", "reciprocal", "remainder",
    "repeat", "reshape", "resize", "result_type", "right_shift", "rint", "roll", "rollaxis",
    "rot90", "round", "s_", "save", "savez", "searchsorted", "select", "set_printoptions",
    "setdiff1d", "setxor1d", "shape", "sign", "signbit", "signedinteger", "sin", "sinc", "single",
    "sinh", "size", "sort", "sort_complex", "spacing", "split", "sqrt", "square", "squeeze",
    "stack", "std", "subtract", "sum", "swapaxes", "take", "take_along_axis", "tan", "tanh",
    "tensordot", "tile", "trace", "transpose", "trapezoid", "tri", "tril", "tril_indices",
    "tril_indices_from", "trim_zeros", "triu", "triu_indices", "triu_indices_from", "true_divide",
    "trunc", "uint", "uint16", "uint32", "uint64", "uint8", "union1d", "unique", "unique_all",
    "unique_counts", "unique_inverse", "unique_values", "unravel_index", "unsignedinteger",
    "unstack", "vander", "var", "vdot", "vecdot", "vecmat", "vectorize", "vsplit", "vstack",
    "where", "zeros", "zeros_like",
]  # fmt: skip

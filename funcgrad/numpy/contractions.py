"""Products of arrays that sum: dot, matmul, tensordot and relatives, kron, cross and convolution.

All lower to dot_general, except where nothing is summed. `einsum` has a file of its own.
"""

from operator import index
from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy.axes import axis_index
from funcgrad.numpy.creation import zeros_like
from funcgrad.numpy.einsum import contract_pair, einsum, einsum_path, transposed
from funcgrad.numpy.joining import stack
from funcgrad.numpy.promote import promote_dtypes, promote_dtypes_inexact
from funcgrad.numpy.shaping import expand_dims, moveaxis, ravel
from funcgrad.numpy.ufuncs import conjugate, multiply, subtract
from funcgrad.numpy.ufuncs.shortcut import composite
from funcgrad.primitives.basis import convert_element_type, reshape
from funcgrad.primitives.contract import canonical_result_type, contract
from funcgrad.primitives.convolution import conv_general_dilated
from funcgrad.primitives.shape import rev
from funcgrad.primitives.slicing import slice_in_dim

__all__ = [
    "convolve", "correlate", "cross", "dot", "einsum", "einsum_path", "inner", "kron", "matmul",
    "matvec", "outer", "tensordot", "vdot", "vecdot", "vecmat",
]  # fmt: skip

_VECTORS = (((0,), (0,)), ((), ()))
_MATRICES = (((1,), (0,)), ((), ()))


@composite
def dot(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Array:
    """The sum over the last dimension of `a` and the last but one (or only one) of `b`.

    The result has the other dimensions of `a`, then those of `b`; with an operand of rank 0 it is
    their elementwise product. Types as in `matmul`.
    """
    a, b = promote_dtypes("dot", a, b)
    if a.ndim == 0 or b.ndim == 0:
        return _product(a, b, preferred_element_type)
    summed = max(b.ndim - 2, 0)
    _check_summed("dot", a, b, a.ndim - 1, summed)
    numbers = (((a.ndim - 1,), (summed,)), ((), ()))
    return contract(a, b, numbers, precision, preferred_element_type)


def _product(a, b, preferred_element_type):
    if preferred_element_type is not None:
        dtype = canonical_result_type(preferred_element_type)
        a, b = convert_element_type(a, dtype), convert_element_type(b, dtype)
    return multiply(a, b)


def _check_summed(name, a, b, a_axis, b_axis):
    if a.shape[a_axis] != b.shape[b_axis]:
        raise TypeError(
            f"{name}: the summed dimensions must have equal sizes, but dimension {a_axis} of shape "
            f"{a.shape} and dimension {b_axis} of shape {b.shape} differ. Transpose an operand."
        )


@composite
def matmul(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Array:
    """The matrix product over the last two dimensions; leading ones broadcast, as in `a @ b`.

    A vector on the left counts as a row, on the right as a column, and its dimension vanishes.
    Operands are promoted to a common type; products are accumulated in and have the type
    `preferred_element_type`, else that type (bfloat16 and float16 accumulate in float32 and round
    once). `precision` as in `lax.dot_general`.

    Raises `ValueError` for operands of rank 0, `TypeError` for sizes that do not fit.

    >>> import numpy as np
    >>> matmul(np.ones((5, 2, 3), np.float32), np.ones((3, 4), np.float32)).shape
    (5, 2, 4)
    """
    a, b = promote_dtypes("matmul", a, b)
    a_rank, b_rank = a.ndim, b.ndim
    if a_rank == 0 or b_rank == 0:
        raise ValueError(
            f"matmul: operands must have rank 1 or more, but have shapes {a.shape} and {b.shape}. "
            "Use multiply, or *."
        )
    _check_summed("matmul", a, b, a_rank - 1, max(b_rank - 2, 0))
    if b_rank <= 2:
        numbers = _MATRICES if a_rank == 2 else (((a_rank - 1,), (0,)), ((), ()))
        return contract(a, b, numbers, precision, preferred_element_type)
    a_batch, b_batch = _batch_labels(a_rank - 2), _batch_labels(b_rank - 2)
    a_labels = (*a_batch, "row", "sum") if a_rank > 1 else ("sum",)
    b_labels = (*b_batch, "sum", "column")
    output = (*max(a_batch, b_batch, key=len), *(label for label in a_labels if label == "row"))
    output = (*output, "column")
    return _contracted(
        "matmul", a, b, a_labels, b_labels, output, precision, preferred_element_type
    )


def _batch_labels(count):
    """Labels of leading dimensions, the same for those that are as far from the end."""
    return tuple(range(count, 0, -1))


def _contracted(name, a, b, a_labels, b_labels, output, precision, preferred_element_type):
    """The labelled product, in which dimensions of size 1 broadcast against larger ones."""
    sizes = dict(zip(b_labels, b.shape, strict=True))
    for label, size in zip(a_labels, a.shape, strict=True):
        if sizes.setdefault(label, size) == 1:
            sizes[label] = size
        elif size not in (1, sizes[label]):
            raise ValueError(
                f"{name}: leading dimensions must be equal or 1 to broadcast, but the shapes are "
                f"{a.shape} and {b.shape}."
            )
    a, a_labels = _unstretched(a, a_labels, sizes)
    b, b_labels = _unstretched(b, b_labels, sizes)
    product, labels = contract_pair(
        a, b, a_labels, b_labels, output, precision, preferred_element_type
    )
    return transposed(product, labels, output)


def _unstretched(x, labels, sizes):
    kept = [i for i, label in enumerate(labels) if x.shape[i] == sizes[label]]
    return reshape(x, tuple(x.shape[i] for i in kept)), tuple(labels[i] for i in kept)


def vdot(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Array:
    """The inner product of all elements of two arrays, those of `a` conjugated."""
    a, b = promote_dtypes("vdot", a, b)
    a = conjugate(a) if dtypes.is_complex(a.dtype) else a
    a, b = ravel(a), ravel(b)
    _check_summed("vdot", a, b, 0, 0)
    return contract(a, b, _VECTORS, precision, preferred_element_type)


def inner(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Array:
    """The sum over the last dimensions of both operands; their product if one has rank 0."""
    a, b = promote_dtypes("inner", a, b)
    if a.ndim == 0 or b.ndim == 0:
        return _product(a, b, preferred_element_type)
    _check_summed("inner", a, b, a.ndim - 1, b.ndim - 1)
    numbers = (((a.ndim - 1,), (b.ndim - 1,)), ((), ()))
    return contract(a, b, numbers, precision, preferred_element_type)


def outer(a: Any, b: Any, out: None = None) -> Array:
    """All products of an element of `a` and one of `b`: a matrix, both operands flattened."""
    if out is not None:
        raise ValueError("outer: out is not supported, since arrays are immutable.")
    a, b = promote_dtypes("outer", a, b)
    return multiply(expand_dims(ravel(a), 1), expand_dims(ravel(b), 0))


def tensordot(
    a: Any, b: Any, axes: Any = 2, *, precision: Any = None, preferred_element_type: Any = None
) -> Array:
    """The sum over pairs of dimensions of `a` and `b`.

    `axes` is how many of the last of `a` meet the first of `b`, or a pair: dimensions of `a` and
    those of `b` that they meet. The result has the other dimensions of `a`, then those of `b`.
    """
    a, b = promote_dtypes("tensordot", a, b)
    a_axes, b_axes = _tensordot_axes(axes, a.ndim, b.ndim)
    if len(a_axes) != len(b_axes):
        raise ValueError(f"tensordot: axes must pair dimensions of a and b, but got {axes}.")
    for pair in zip(a_axes, b_axes, strict=True):
        _check_summed("tensordot", a, b, *pair)
    return contract(a, b, ((a_axes, b_axes), ((), ())), precision, preferred_element_type)


def _tensordot_axes(axes, a_rank, b_rank):
    if not isinstance(axes, (tuple, list)):
        count = index(axes)
        if not 0 <= count <= min(a_rank, b_rank):
            raise ValueError(
                f"tensordot: axes={count} dimensions cannot be summed for ranks {a_rank}, {b_rank}."
            )
        return tuple(range(a_rank - count, a_rank)), tuple(range(count))
    if len(axes) != 2:
        raise ValueError(f"tensordot: axes must be an integer or a pair, but got {axes}.")
    pairs = [axis if isinstance(axis, (tuple, list)) else (axis,) for axis in axes]
    return tuple(
        tuple(axis_index("tensordot", axis, rank) for axis in chosen)
        for chosen, rank in zip(pairs, (a_rank, b_rank), strict=True)
    )


def vecdot(
    x1: Any,
    x2: Any,
    /,
    *,
    axis: int = -1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """Inner products along one axis, `x1` conjugated; the other dimensions broadcast."""
    x1, x2 = promote_dtypes("vecdot", x1, x2)
    x1 = conjugate(x1) if dtypes.is_complex(x1.dtype) else x1
    x1, x2 = (moveaxis(x, axis_index("vecdot", axis, x.ndim), -1) for x in (x1, x2))
    _check_summed("vecdot", x1, x2, x1.ndim - 1, x2.ndim - 1)
    labels = [(*_batch_labels(x.ndim - 1), "sum") for x in (x1, x2)]
    output = max(labels, key=len)[:-1]
    first, second = labels
    return _contracted("vecdot", x1, x2, first, second, output, precision, preferred_element_type)


def matvec(x1: Any, x2: Any, /) -> Array:
    """Matrix times vector over the last dimensions; leading ones broadcast."""
    x1, x2 = promote_dtypes("matvec", x1, x2)
    _check_ranks("matvec", x1, x2, 2, 1)
    _check_summed("matvec", x1, x2, x1.ndim - 1, x2.ndim - 1)
    labels = [(*_batch_labels(x1.ndim - 2), "row", "sum"), (*_batch_labels(x2.ndim - 1), "sum")]
    output = (*_batch_labels(max(x1.ndim - 2, x2.ndim - 1)), "row")
    first, second = labels
    return _contracted("matvec", x1, x2, first, second, output, None, None)


def vecmat(x1: Any, x2: Any, /) -> Array:
    """Conjugated vector times matrix over the last dimensions; leading ones broadcast."""
    x1, x2 = promote_dtypes("vecmat", x1, x2)
    _check_ranks("vecmat", x1, x2, 1, 2)
    _check_summed("vecmat", x1, x2, x1.ndim - 1, x2.ndim - 2)
    x1 = conjugate(x1) if dtypes.is_complex(x1.dtype) else x1
    labels = [(*_batch_labels(x1.ndim - 1), "sum"), (*_batch_labels(x2.ndim - 2), "sum", "column")]
    output = (*_batch_labels(max(x1.ndim - 1, x2.ndim - 2)), "column")
    first, second = labels
    return _contracted("vecmat", x1, x2, first, second, output, None, None)


def _check_ranks(name, a, b, a_rank, b_rank):
    if a.ndim < a_rank or b.ndim < b_rank:
        raise ValueError(
            f"{name}: operands must have ranks of at least {a_rank} and {b_rank}, but have shapes "
            f"{a.shape} and {b.shape}."
        )


def kron(a: Any, b: Any) -> Array:
    """The Kronecker product: each element of `a` replaced by itself times the whole of `b`."""
    a, b = promote_dtypes("kron", a, b)
    rank = max(a.ndim, b.ndim)
    a = reshape(a, (1,) * (rank - a.ndim) + a.shape)
    b = reshape(b, (1,) * (rank - b.ndim) + b.shape)
    spread = [expand_dims(x, tuple(range(start, 2 * rank, 2))) for x, start in ((a, 1), (b, 0))]
    sizes = tuple(p * q for p, q in zip(a.shape, b.shape, strict=True))
    return reshape(multiply(*spread), sizes)


def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Array:
    """The cross product of vectors of size 2 or 3 along `axisa` and `axisb`, or `axis` of both.

    Two vectors of size 2 give the component perpendicular to them, without a dimension for it;
    otherwise the third component of a vector of size 2 counts as zero. Other dimensions broadcast.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = promote_dtypes("cross", a, b)
    a = moveaxis(a, axis_index("cross", axisa, a.ndim), -1)
    b = moveaxis(b, axis_index("cross", axisb, b.ndim), -1)
    if a.shape[-1] not in (2, 3) or b.shape[-1] not in (2, 3):
        raise ValueError(
            "cross: vectors must have size 2 or 3 along the axis, but the operands have sizes "
            f"{a.shape[-1]} and {b.shape[-1]} there."
        )
    is_plane = a.shape[-1] == b.shape[-1] == 2
    (a0, a1, a2), (b0, b1, b2) = _components(a), _components(b)
    perpendicular = _determinant(a0, b1, a1, b0)
    if is_plane:
        return perpendicular
    components = [_determinant(a1, b2, a2, b1), _determinant(a2, b0, a0, b2), perpendicular]
    return moveaxis(stack(components, axis=-1), -1, axisc)


def _components(x):
    """The three components along the last dimension; the third of a vector of size 2 is zero."""
    size, last = x.shape[-1], x.ndim - 1
    parts = [reshape(slice_in_dim(x, k, k + 1, axis=last), x.shape[:-1]) for k in range(size)]
    return parts if size == 3 else [*parts, zeros_like(parts[0])]


def _determinant(x1, y1, x2, y2):
    return subtract(multiply(x1, y1), multiply(x2, y2))


def convolve(
    a: Any,
    v: Any,
    mode: str = "full",
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """The discrete convolution of two vectors: sums of products, `v` reversed.

    `mode` is "full" (every overlap), "same" (as long as the longer vector) or "valid" (full
    overlaps only). Integers are computed as floats.
    """
    return _sliding("convolve", a, v, mode, precision, preferred_element_type)


def correlate(
    a: Any,
    v: Any,
    mode: str = "valid",
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """The cross-correlation of two vectors: sums of products with `v` conjugated.

    Modes as of `convolve`.
    """
    return _sliding("correlate", a, v, mode, precision, preferred_element_type)


def _sliding(name, a, v, mode, precision, preferred_element_type):
    promote = promote_dtypes_inexact if preferred_element_type is None else promote_dtypes
    a, v = promote(name, a, v)
    if a.ndim != 1 or v.ndim != 1:
        raise ValueError(f"{name}: operands must be vectors, but have shapes {a.shape}, {v.shape}.")
    if a.shape[0] == 0 or v.shape[0] == 0:
        raise ValueError(f"{name}: operands must not be empty: shapes {a.shape} and {v.shape}.")
    is_convolution = name == "convolve"
    if not is_convolution and dtypes.is_complex(v.dtype):
        v = conjugate(v)
    exchanged = a.shape[0] < v.shape[0]
    if exchanged:
        a, v = v, a
    n = v.shape[0]
    paddings = {"full": (n - 1, n - 1), "same": (n // 2, n - 1 - n // 2), "valid": (0, 0)}
    if mode not in paddings:
        raise ValueError(f"{name}: mode must be 'full', 'same' or 'valid', but got {mode!r}.")
    out = conv_general_dilated(
        reshape(a, (1, 1, *a.shape)), reshape(rev(v, (0,)) if is_convolution else v, (1, 1, n)),
        (1,), [paddings[mode]],
        precision=precision, preferred_element_type=preferred_element_type,
    )  # fmt: skip
    out = reshape(out, (out.shape[2],))
    return rev(out, (0,)) if exchanged and not is_convolution else out

"""Loop forms: what the compiler knows of a primitive, independent of any backend.

A form says how element `i` of the result is computed from elements of the operands. Whoever
compiles asks the form, never the primitive's name; whatever has the same form is compiled the same
way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Map:
    """out[i] = scalar(k, x[i], y[i], ...). Operands of rank 0 are the same for every i.

    `scalar` is written in the operations of `k` (see `ScalarOps`). `ufunc` names the NumPy function
    that does the same, if there is one, so that an engine on top of NumPy can give it an `out=`.
    """

    scalar: Callable[..., Any]
    ufunc: str | None = None


@dataclass(frozen=True)
class Affine:
    """An index into one dimension of an operand: offset + sum of step * i[dim] over `terms`."""

    offset: Any = 0
    terms: tuple[tuple[int, Any], ...] = ()


@dataclass(frozen=True)
class View:
    """out[i] = x[affine(i)], one Affine per dimension of the operand."""

    dims: tuple[Affine, ...]


@dataclass(frozen=True)
class Reshape:
    """The same elements in row-major order, under another shape."""


@dataclass(frozen=True)
class Part:
    """One operand's place in the result of `Guarded`: it covers start, start + stride, ... in
    each dimension.
    """

    operand: int
    start: tuple[Any, ...]
    stride: tuple[Any, ...]
    extent: tuple[Any, ...]


@dataclass(frozen=True)
class Guarded:
    """out[i] = the element of the first part whose range holds i, else operand `fill` (of rank
    0).
    """

    parts: tuple[Part, ...]
    fill: int | None = None


@dataclass(frozen=True)
class Index:
    """out[i] = i[dim]."""

    dim: int


@dataclass(frozen=True)
class Reduce:
    """A reduction over `axes` by a monoid, accumulated in `dtype`: add, mul, max, min, and, or,
    xor.
    """

    op: str
    axes: tuple[int, ...]
    dtype: Any = None


@dataclass(frozen=True)
class ArgReduce:
    """The index of the largest (`max`) or smallest (`min`) element along `axis`; the first one
    wins, NaN before all.
    """

    op: str
    axis: int


@dataclass(frozen=True)
class Cumulate:
    """A running reduction along one axis: add, mul, max, min, logaddexp."""

    op: str
    axis: int
    reverse: bool = False


@dataclass(frozen=True)
class Contract:
    """A product of two operands summed over contracted dimensions; batch dimensions lead in the
    result.
    """

    lhs_contract: tuple[int, ...]
    rhs_contract: tuple[int, ...]
    lhs_batch: tuple[int, ...] = ()
    rhs_batch: tuple[int, ...] = ()
    dtype: Any = None


@dataclass(frozen=True)
class Window:
    """A reduction over sliding windows of one operand."""

    op: str
    dimensions: tuple[Any, ...]
    strides: tuple[Any, ...]
    padding: tuple[tuple[Any, Any], ...]
    base_dilation: tuple[Any, ...]
    window_dilation: tuple[Any, ...]


@dataclass(frozen=True)
class Convolve:
    """A convolution, by its dimension numbers and geometry (the parameters of
    conv_general_dilated).
    """

    params: Any


@dataclass(frozen=True)
class Gather:
    """out[i] = x[index[batch part of i] + offset part of i], by the parameters of `gather`."""

    params: Any


@dataclass(frozen=True)
class Scatter:
    """x with updates combined in by `op` at computed indices, by the parameters of `scatter`."""

    op: str
    params: Any


@dataclass(frozen=True)
class Call:
    """The equation runs programs, its parameters `jaxprs`: calls, loops and branches."""

    kind: str
    jaxprs: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Opaque:
    """Computed by the primitive's `value` as one library call; `why` says which."""

    why: str


Form = (
    Map | View | Reshape | Guarded | Index | Reduce | ArgReduce | Cumulate | Contract
    | Window | Convolve | Gather | Scatter | Call | Opaque
)  # fmt: skip

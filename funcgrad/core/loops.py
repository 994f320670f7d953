"""Loop forms: what the compiler knows of a primitive, independent of any backend.

A form says how element `i` of the result is computed from elements of the operands. Whoever
compiles asks the form, never the primitive's name; whatever has the same form is compiled the same
way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, dataclass_transform


@dataclass_transform(frozen_default=True)
class Form:
    """An immutable value with the annotated fields, compared by content.

    What a frozen dataclass would be; a dozen of those would cost a tenth of the time that importing
    the package takes.
    """

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(self._fields, args, strict=False)) | kwargs
        missing = [n for n in self._fields if n not in given and not hasattr(type(self), n)]
        if missing or set(given) - set(self._fields) or len(args) > len(self._fields):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(self._fields)}.")
        for name in self._fields:
            value = given[name] if name in given else getattr(type(self), name)
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable.")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({fields})"


class Map(Form):
    """out[i] = scalar(k, x[i], y[i], ...). Operands of rank 0 are the same for every i.

    `scalar` is written in the operations of `k` (see `ScalarOps`). `ufunc` names the NumPy function
    that does the same, if there is one, so that an engine on top of NumPy can give it an `out=`.
    """

    scalar: Callable[..., Any]
    ufunc: str | None = None


class Affine(Form):
    """An index into one dimension of an operand: offset + sum of step * i[dim] over `terms`."""

    offset: Any = 0
    terms: tuple[tuple[int, Any], ...] = ()


class View(Form):
    """out[i] = x[affine(i)], one Affine per dimension of the operand."""

    dims: tuple[Affine, ...]


class Reshape(Form):
    """The same elements in row-major order, under another shape."""


class Part(Form):
    """One operand's place in the result of `Guarded`: it covers start, start + stride, ... in
    each dimension.
    """

    operand: int
    start: tuple[Any, ...]
    stride: tuple[Any, ...]
    extent: tuple[Any, ...]


class Guarded(Form):
    """out[i] = the element of the first part whose range holds i, else operand `fill` (of rank
    0).
    """

    parts: tuple[Part, ...]
    fill: int | None = None


class Index(Form):
    """out[i] = i[dim]."""

    dim: int


class Reduce(Form):
    """A reduction over `axes` by a monoid, accumulated in `dtype`: add, mul, max, min, and, or,
    xor.
    """

    op: str
    axes: tuple[int, ...]
    dtype: Any = None


class ArgReduce(Form):
    """The index of the largest (`max`) or smallest (`min`) element along `axis`; the first one
    wins, NaN before all.
    """

    op: str
    axis: int


class Cumulate(Form):
    """A running reduction along one axis: add, mul, max, min, logaddexp."""

    op: str
    axis: int
    reverse: bool = False


class Contract(Form):
    """A product of two operands summed over contracted dimensions; batch dimensions lead in the
    result.
    """

    lhs_contract: tuple[int, ...]
    rhs_contract: tuple[int, ...]
    lhs_batch: tuple[int, ...] = ()
    rhs_batch: tuple[int, ...] = ()
    dtype: Any = None


class Window(Form):
    """A reduction over sliding windows of one operand."""

    op: str
    dimensions: tuple[Any, ...]
    strides: tuple[Any, ...]
    padding: tuple[tuple[Any, Any], ...]
    base_dilation: tuple[Any, ...]
    window_dilation: tuple[Any, ...]


class Convolve(Form):
    """A convolution, by its dimension numbers and geometry (the parameters of
    conv_general_dilated).
    """

    params: Any


class Gather(Form):
    """out[i] = x[index[batch part of i] + offset part of i], by the parameters of `gather`."""

    params: Any


class Scatter(Form):
    """x with updates combined in by `op` at computed indices, by the parameters of `scatter`."""

    op: str
    params: Any


class Call(Form):
    """The equation runs programs, its parameters `jaxprs`: calls, loops and branches."""

    kind: str
    jaxprs: tuple[str, ...] = ()


class Opaque(Form):
    """Computed by the primitive's `value` as one library call; `why` says which.

    `routine` names what is computed for backends that have code of their own for it. If it says
    "function of float64", `of_vectors(xp, *xs)` is that function, which backends can run through
    with an `xp` of their own (see `primitives.special.numerics`).
    """

    why: str
    routine: str = ""
    of_vectors: Callable[..., Any] | None = None

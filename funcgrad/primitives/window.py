"""Reductions over sliding windows: maxima, minima and sums of windows, and any other monoid.

Sums are linear; their transpose is a sum over windows of the dilated cotangent. The derivative of
a maximum picks the tangent of the first maximal element of each window (`select_and_gather_add`),
whose transpose adds each cotangent there (`select_and_scatter_add`). How values are computed
stands in `window_values`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.core import dtypes, loops
from funcgrad.core.array import Tracer
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.stage import stage
from funcgrad.primitives import window_values
from funcgrad.primitives.basis import (
    FLOATS,
    NUMBERS,
    ORDERED,
    add,
    add_p,
    batched,
    broadcast_in_dim,
    convert_element_type,
    full,
)
from funcgrad.primitives.elementwise.arithmetic import max as maximum, max_p, min as minimum, min_p
from funcgrad.primitives.kinds import dtype_limits
from funcgrad.primitives.logic import and_p, ge_p, le_p, or_p
from funcgrad.primitives.patches import window_elements
from funcgrad.primitives.windowing import dilated, explicit_pads, positive_tuple

__all__ = ["reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum"]


# ---------------------------------------------------------------- what the primitives share


def _window_abstract(name, accepts):
    """Result of windows over the operand's shape; `accepts` are the dtypes."""

    def rule(*operands, window_dimensions, **params):
        x = operands[-1]
        params.pop("select_prim", None)
        if x.dtype not in accepts:
            raise TypeError(f"{name}: does not accept operands of type {x}. Convert with astype.")
        if len(window_dimensions) != x.ndim:
            raise ValueError(
                f"{name}: window_dimensions needs one entry for each dimension of {x}, "
                f"but got {window_dimensions}. Use 1 where nothing is reduced."
            )
        windows = window_values.Windows(x.shape, window_dimensions, **params)
        return ShapedArray(windows.counts, x.dtype)

    return rule


def _windows(x, params):
    params = {name: value for name, value in params.items() if name != "select_prim"}
    return window_values.Windows(x.shape, **params)


def _inserted(values, position, value):
    return (*values[:position], value, *values[position:])


def _with_dimension(params, dim):
    """The parameters with one more dimension, at `dim`, that windows leave alone."""
    result = dict(params)
    for field in ("window_dimensions", "window_strides", "base_dilation", "window_dilation"):
        result[field] = _inserted(params[field], dim, 1)
    result["padding"] = _inserted(params["padding"], dim, (0, 0))
    return result


def _window_batch(primitive):
    def rule(axis, args, dims, **params):
        to = next(d for d in dims if d is not None)
        lined = [batched(axis, x, dim, to) for x, dim in zip(args, dims, strict=True)]
        return primitive().bind(*lined, **_with_dimension(params, to)), to

    return rule


def _window_loops(op):
    def rule(x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation):
        return loops.Window(
            op, window_dimensions, window_strides, padding, base_dilation, window_dilation
        )

    return rule


# ---------------------------------------------------------------- sums


_sum_abstract = _window_abstract("reduce_window_sum", NUMBERS)


def _sum_value(xp, x, **params):
    module = xp.module
    _sum_abstract(x, **params)  # NumPy adds bools without a word
    return window_values.reduced_windows(xp, x, _windows(x, params), module.add, module.sum, 0)


def _sum_transpose(
    ct, x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation
):
    """A sum over windows again: element i collects the windows that saw it."""
    pads = []
    for size, window, count, stride, (low, _), base, dilation in zip(
        x.aval.shape, window_dimensions, typeof(ct).shape, window_strides, padding, base_dilation,
        window_dilation, strict=True,
    ):  # fmt: skip
        reach = dilated(window, dilation) - 1
        before = reach - low
        pads.append((before, dilated(size, base) + reach - dilated(count, stride) - before))
    if typeof(ct).size == 0:
        return [full(x.aval.shape, 0, x.aval.dtype)]
    return [
        reduce_window_sum_p.bind(
            ct, window_dimensions=window_dimensions, window_strides=base_dilation,
            padding=tuple(pads), base_dilation=window_strides, window_dilation=window_dilation,
        )
    ]  # fmt: skip


reduce_window_sum_p: Primitive = Primitive(
    "reduce_window_sum",
    abstract=_sum_abstract,
    value=_sum_value,
    linear=(0,),
    transpose=_sum_transpose,
    batch=_window_batch(lambda: reduce_window_sum_p),
    loops=_window_loops("add"),
)


# ---------------------------------------------------------------- maxima and minima


def _extreme_of(select_prim):
    return reduce_window_max_p if select_prim is ge_p else reduce_window_min_p


CHOSEN = "elements chosen by another array's windows"


def _gather_value(xp, tangents, operand, *, select_prim, **params):
    extreme = _extreme_of(select_prim).value(xp, operand, **params)
    return window_values.selected(xp, tangents, operand, _windows(operand, params), extreme)


def _gather_transpose(ct, tangents, operand, **params):
    return [select_and_scatter_add_p.bind(ct, operand, **params), None]


select_and_gather_add_p: Primitive = Primitive(
    "select_and_gather_add",
    abstract=_window_abstract("select_and_gather_add", FLOATS),
    value=_gather_value,
    linear=(0,),
    transpose=_gather_transpose,
    batch=_window_batch(lambda: select_and_gather_add_p),
    loops=lambda *avals, **params: loops.Opaque(CHOSEN, "gather by windows"),
)


def _scatter_value(xp, source, operand, *, select_prim, **params):
    extreme = _extreme_of(select_prim).value(xp, operand, **params)
    return window_values.scattered(xp, source, operand, _windows(operand, params), extreme)


def _scatter_transpose(ct, source, operand, **params):
    return [select_and_gather_add_p.bind(ct, operand, **params), None]


select_and_scatter_add_p: Primitive = Primitive(
    "select_and_scatter_add",
    abstract=lambda source, operand, **params: operand,
    value=_scatter_value,
    linear=(0,),
    transpose=_scatter_transpose,
    batch=_window_batch(lambda: select_and_scatter_add_p),
    loops=lambda *avals, **params: loops.Opaque(CHOSEN, "scatter by windows"),
)


def _extremum(name, op, ufunc, select_prim):
    """reduce_window_max or reduce_window_min; `ufunc` and its reduction are NumPy's."""

    def value(xp, x, **params):
        lowest, highest = dtype_limits(x.dtype)
        identity = lowest if op == "max" else highest
        combine, reduce = getattr(xp, ufunc), _without_dtype(getattr(xp, op))
        windows = _windows(x, params)
        return window_values.reduced_windows(xp, x, windows, combine, reduce, identity)

    def jvp(primals, tangents, **params):
        (x,), (t,) = primals, tangents
        out = primitive.bind(x, **params)
        return out, select_and_gather_add_p.bind(t, x, select_prim=select_prim, **params)

    primitive: Primitive = Primitive(
        name,
        abstract=_window_abstract(name, ORDERED),
        value=value,
        jvp=jvp,
        batch=_window_batch(lambda: primitive),
        loops=_window_loops(op),
    )
    return primitive


def _without_dtype(reduce):
    return lambda x, axis, keepdims, dtype: reduce(x, axis=axis, keepdims=keepdims)


reduce_window_max_p = _extremum("reduce_window_max", "max", "maximum", ge_p)
reduce_window_min_p = _extremum("reduce_window_min", "min", "minimum", le_p)


# ---------------------------------------------------------------- public faces


def _parameters(name, x, dimensions, strides, padding, base_dilation, window_dilation):
    n = x.ndim
    dimensions = positive_tuple(name, "window_dimensions", dimensions, n)
    strides = positive_tuple(name, "window_strides", strides, n)
    base_dilation = positive_tuple(name, "base_dilation", base_dilation, n)
    window_dilation = positive_tuple(name, "window_dilation", window_dilation, n)
    windows = [dilated(k, d) for k, d in zip(dimensions, window_dilation, strict=True)]
    return {
        "window_dimensions": dimensions,
        "window_strides": strides,
        "padding": explicit_pads(name, padding, x.shape, windows, strides),
        "base_dilation": base_dilation,
        "window_dilation": window_dilation,
    }


def reduce_window_max(
    operand: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Any:
    """The largest element of each window; padding never wins. Parameters as of `reduce_window`.

    The gradient goes to the first of the largest elements of a window.
    """
    params = _parameters(
        "reduce_window_max", typeof(operand), window_dimensions, window_strides, padding,
        base_dilation, window_dilation,
    )  # fmt: skip
    return reduce_window_max_p.bind(operand, **params)


def reduce_window_min(
    operand: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Any:
    """The smallest element of each window; padding never wins. Parameters as of `reduce_window`.

    The gradient goes to the first of the smallest elements of a window.
    """
    params = _parameters(
        "reduce_window_min", typeof(operand), window_dimensions, window_strides, padding,
        base_dilation, window_dilation,
    )  # fmt: skip
    return reduce_window_min_p.bind(operand, **params)


def reduce_window_sum(
    operand: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Any:
    """The sum of each window; padding counts as zero. Parameters as of `reduce_window`."""
    params = _parameters(
        "reduce_window_sum", typeof(operand), window_dimensions, window_strides, padding,
        base_dilation, window_dilation,
    )  # fmt: skip
    return reduce_window_sum_p.bind(operand, **params)


def reduce_window(
    operand: Any,
    init_value: Any,
    computation: Callable[..., Any],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Any:
    """Slides a window over `operand` and reduces what it shows by `computation`.

    `computation(a, b)` combines two values; it should be associative and commutative, with
    `init_value` as its identity. Windows have the sizes `window_dimensions`, one per dimension (1
    where nothing is reduced), and advance by `window_strides` (default 1). `padding` is "VALID",
    "SAME", "SAME_LOWER" or a (low, high) pair per dimension, filled with the identity, as are the
    gaps of `base_dilation`; `window_dilation` spreads the window. Additions, maxima and minima are
    recognised and have fast forms; other functions are folded over the elements of the window.
    `operand` and `init_value` may be trees of arrays of one shape; `computation` then takes two
    such trees.

    Raises `TypeError` for dtypes that do not fit, `ValueError` for wrong window parameters.

    >>> import numpy as np
    >>> image = np.arange(16, dtype=np.float32).reshape(4, 4)
    >>> np.asarray(reduce_window(image, -np.inf, maximum, (2, 2), (2, 2)))
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    operands, structure = tree.flatten(operand)
    initials = structure.flatten_up_to(init_value)
    if not operands:
        raise ValueError("reduce_window: needs at least one operand, but got an empty tree.")
    shapes = {typeof(x).shape for x in operands}
    if len(shapes) > 1:
        raise ValueError(
            f"reduce_window: operands must have equal shapes, but have {sorted(shapes)}."
        )
    params = _parameters(
        "reduce_window", typeof(operands[0]), window_dimensions, window_strides, padding,
        base_dilation, window_dilation,
    )  # fmt: skip
    initials = [_initial(x, init) for x, init in zip(operands, initials, strict=True)]
    if len(operands) == 1:
        out = _known_monoid(operands[0], initials[0], computation, structure, params)
        if out is not None:
            return structure.unflatten([out])
    return _folded(operands, initials, computation, structure, params)


def _initial(x, init):
    """The initial value with rank 0 and the operand's dtype; a constant if its value is known."""
    if typeof(init).shape != ():
        raise ValueError(
            f"reduce_window: init_value must have rank 0, but has shape {typeof(init).shape}."
        )
    dtype = typeof(x).dtype
    if isinstance(init, Tracer):
        return convert_element_type(init, dtype)
    value = np.asarray(init)
    if dtypes.is_integer(dtype) and dtypes.is_inexact(value.dtype) and not np.isfinite(value):
        raise TypeError(
            f"reduce_window: init_value {value} is no value of the operand's dtype {dtype}. "
            "Use numpy.iinfo(dtype).min or max."
        )
    return value.astype(dtype)[()]


def _known_monoid(x, init, computation, structure, params):
    """The window reduction by a primitive that does what `computation` does, else None."""
    primitive = _primitive_of(computation, typeof(x), structure)
    if primitive is add_p and typeof(x).dtype in NUMBERS:
        out = reduce_window_sum_p.bind(x, **params)
        return out if _is_value(init, 0) else add(out, init)
    is_bool = typeof(x).dtype.kind == "b"
    if primitive is max_p or (primitive is or_p and is_bool):
        reduced, combine, identity = reduce_window_max_p, maximum, 0
    elif primitive is min_p or (primitive is and_p and is_bool):
        reduced, combine, identity = reduce_window_min_p, minimum, 1
    else:
        return None
    if typeof(x).dtype not in ORDERED:
        return None
    out = reduced.bind(x, **params)
    if _is_value(init, dtype_limits(typeof(x).dtype)[identity]):
        return out
    return combine(out, init)


def _is_value(init, value):
    return not isinstance(init, Tracer) and bool(init == value)


def _primitive_of(computation, aval, structure):
    """The primitive that `computation` applies to its two arguments and nothing else, or None."""
    scalar = ShapedArray((), aval.dtype)

    def flat(a, b):
        return tree.leaves(computation(structure.unflatten([a]), structure.unflatten([b])))

    jaxpr, captured = stage(flat, [scalar, scalar])
    if captured or len(jaxpr.eqns) != 1 or len(jaxpr.outputs) != 1:
        return None
    (eqn,) = jaxpr.eqns
    is_plain = list(eqn.outs) == list(jaxpr.outputs) and set(eqn.args) == set(jaxpr.args)
    return eqn.primitive if is_plain and len(eqn.args) == 2 else None


def _folded(operands, initials, computation, structure, params):
    """Any monoid: `computation` applied to the elements under one tap after the other."""
    elements = [
        window_elements(x, init, **params) for x, init in zip(operands, initials, strict=True)
    ]
    shape = typeof(elements[0][0]).shape
    total = structure.unflatten([broadcast_in_dim(init, shape, ()) for init in initials])
    for taps in zip(*elements, strict=True):
        total = computation(total, structure.unflatten(taps))
    return total

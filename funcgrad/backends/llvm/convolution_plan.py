"""The one form that every convolution has for the code generator, whatever its dimension numbers.

out[n, *p, g, o] is the sum over taps t and features f of x[n, *i(p, t), g, f] * w[*t, f, g, o].
Per spatial dimension, outputs fall into phases (one, unless the input is dilated); inside a phase
the element met is a plain i = start + q * stride + t * dilation, with no gaps left.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Phase(NamedTuple):
    """Outputs `first + q * step` for q < extent, and taps `tap + t * tap_step` for t < taps; they
    meet elements `start + q * stride + t * dilation`, which may lie outside.
    """

    first: int
    step: int
    extent: int
    tap: int
    tap_step: int
    taps: int
    start: int
    stride: int
    dilation: int

    @property
    def last(self) -> int:
        """The largest element that is met."""
        return self.start + (self.extent - 1) * self.stride + (self.taps - 1) * self.dilation


class ConvolutionPlan(NamedTuple):
    """A convolution with positive extents; `batch`, `features` and `outputs` are those of a group.

    `phases` has a tuple for each spatial dimension; `lhs_spec`, `rhs_spec` are the dimensions of
    the arrays as (batch, feature, *spatial) and (output, feature, *spatial). `lanewise` is the form
    of groups with one output and one input (or place of the batch) each: the groups are seen as
    outputs of a single one, each of which reads its own lane of the input.
    """

    batch: int
    groups: int
    features: int
    outputs: int
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    phases: tuple[tuple[Phase, ...], ...]
    lhs_spec: tuple[int, ...]
    rhs_spec: tuple[int, ...]
    out_spec: tuple[int, ...]
    groups_of_features: bool
    lanewise: bool = False

    @property
    def low(self) -> tuple[int, ...]:
        """Elements that are missing before each spatial dimension."""
        return tuple(max(0, *(-p.start for p in phases if p.taps)) if any(p.taps for p in phases)
                     else 0 for phases in self.phases)  # fmt: skip

    @property
    def high(self) -> tuple[int, ...]:
        """Elements that are missing after each spatial dimension."""
        return tuple(
            max([0] + [p.last - size + 1 for p in phases if p.taps])
            for phases, size in zip(self.phases, self.sizes)
        )

    @property
    def padded(self) -> bool:
        return any(self.low) or any(self.high)

    def lhs_strides(self, strides: Sequence[int]) -> LhsStrides:
        """The strides of the first operand, given those of the array's dimensions."""
        batch, feature, *spatial = (strides[d] for d in self.lhs_spec)
        group = self.features * feature if self.groups_of_features else self.batch * batch
        return LhsStrides(batch, tuple(spatial), group, feature)

    def rhs_strides(self, strides: Sequence[int]) -> RhsStrides:
        """The strides of the second operand, given those of the array's dimensions."""
        output, feature, *spatial = (strides[d] for d in self.rhs_spec)
        return RhsStrides(tuple(spatial), feature, self.outputs * output, output)


class LhsStrides(NamedTuple):
    """Elements between neighbours of the input."""

    batch: int
    spatial: tuple[int, ...]
    group: int
    feature: int


class RhsStrides(NamedTuple):
    """Elements between neighbours of the kernel."""

    spatial: tuple[int, ...]
    feature: int
    group: int
    output: int


def plan(
    params: Mapping[str, Any], lhs_shape: Sequence[int], rhs_shape: Sequence[int]
) -> ConvolutionPlan | None:
    """The plan of `conv_general_dilated` with these parameters; None where nothing is summed."""
    numbers = params["dimension_numbers"]
    batch, features, *sizes = (lhs_shape[d] for d in numbers.lhs_spec)
    outputs, group_features, *taps = (rhs_shape[d] for d in numbers.rhs_spec)
    of_features, of_batch = params["feature_group_count"], params["batch_group_count"]
    groups = of_features * of_batch
    counts = [
        _count(size, tap, *rest)
        for size, tap, *rest in zip(sizes, taps, *_spatial(params), strict=True)
    ]
    if 0 in (*lhs_shape, *rhs_shape, *counts):
        return None
    phases = tuple(
        tuple(phases_of(count, tap, *rest))
        for count, tap, *rest in zip(counts, taps, *_spatial(params), strict=True)
    )
    found = ConvolutionPlan(
        batch // of_batch, groups, group_features, outputs // groups, tuple(sizes), tuple(counts),
        phases, tuple(numbers.lhs_spec), tuple(numbers.rhs_spec), tuple(numbers.out_spec),
        of_features > 1 or groups == 1,
    )  # fmt: skip
    alone = found.features if found.groups_of_features else found.batch
    if groups > 1 and found.outputs == alone == 1:
        return found._replace(groups=1, outputs=groups, lanewise=True)
    return found


def _spatial(params: Mapping[str, Any]) -> tuple[Sequence[Any], ...]:
    names = ("window_strides", "padding", "lhs_dilation", "rhs_dilation")
    return tuple(params[name] for name in names)


def _count(
    size: int, taps: int, stride: int, padding: tuple[int, int], base: int, window: int
) -> int:
    """Outputs along one dimension."""
    extent = (size - 1) * base + 1 + sum(padding)
    return max((extent - (taps - 1) * window - 1) // stride + 1, 0)


def phases_of(
    count: int, taps: int, stride: int, padding: tuple[int, int], base: int, window: int
) -> list[Phase]:
    """The phases of one dimension.

    Solves i * base = output * stride - low + tap * window for each residue of the output.
    """
    period, tap_step = base // math.gcd(base, stride), base // math.gcd(base, window)
    found = []
    for first in range(min(period, count)):
        outputs = -(-(count - first) // period)
        offset = first * stride - padding[0]
        tap = next((t for t in range(tap_step) if (offset + t * window) % base == 0), taps)
        if tap >= taps:
            found.append(Phase(first, period, outputs, 0, 1, 0, 0, 1, 1))
            continue
        found.append(
            Phase(
                first, period, outputs, tap, tap_step, (taps - 1 - tap) // tap_step + 1,
                (offset + tap * window) // base, period * stride // base, tap_step * window // base,
            )
        )  # fmt: skip
    return found


def combined(phases: Sequence[Sequence[Phase]]) -> list[tuple[Phase, ...]]:
    """Every choice of one phase per spatial dimension."""
    return list(itertools.product(*phases))

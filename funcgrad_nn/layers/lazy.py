"""Layers whose number of input channels comes from the first input.

`init` needs an example input or its shape: `model.init(key, (32, 3, 28, 28))`. The other options
are those of the layer without "Lazy", in the same order.
"""

from __future__ import annotations

import inspect
from typing import Any

from funcgrad_nn.description import bound_arguments
from funcgrad_nn.layers import batch_norm, conv

LAZY_INSTANCE_NORM = {"affine": True, "track_running_stats": True}  # PyTorch's defaults


def _without_first(closed, **defaults):
    """The constructor of `closed` without its first argument, which is left open.

    `defaults` replace those of `closed` where PyTorch's lazy layer has others.
    """
    signature = inspect.signature(closed.__init__)
    this, _, *rest = signature.parameters.values()
    rest = [p.replace(default=defaults.get(p.name, p.default)) for p in rest]
    signature = signature.replace(parameters=[this, *rest])

    def __init__(self, *arguments, **options):
        bound = signature.bind(self, *arguments, **options)
        bound.apply_defaults()
        closed.__init__(self, None, *bound.args[1:], **bound.kwargs)

    shown: Any = __init__
    shown.__signature__ = signature
    return shown


def _closing(closed, rank: int | None = None):
    """`infer` for a layer that becomes `closed`; channels stand `rank` axes before the end.

    Without a rank, they are on axis 1, after the batch.
    """

    def infer(self, x):
        """The layer for inputs with as many channels as x has."""
        bound = bound_arguments(self.itself())
        bound.apply_defaults()
        first = 1 if rank is None else x.ndim - rank - 1
        channels = x.shape[-1 if self.channels_last else first]
        return closed(channels, *bound.args[1:], **bound.kwargs)

    return infer


class LazyConv1d(conv.Conv1d):
    """A `Conv1d` whose number of input channels is that of its first input.

    >>> params, state = nn.LazyConv1d(4, 3).init(fg.random.key(0), (8, 3, 5))
    >>> params["weight"].shape
    (3, 3, 4)
    """

    open = True
    __init__ = _without_first(conv.Conv1d)
    infer = _closing(conv.Conv1d, 1)


class LazyConv2d(conv.Conv2d):
    """A `Conv2d` whose number of input channels is that of its first input.

    >>> params, state = nn.LazyConv2d(4, 3).init(fg.random.key(0), (8, 3, 5, 5))
    >>> params["weight"].shape
    (3, 3, 3, 4)
    """

    open = True
    __init__ = _without_first(conv.Conv2d)
    infer = _closing(conv.Conv2d, 2)


class LazyConv3d(conv.Conv3d):
    """A `Conv3d` whose number of input channels is that of its first input.

    >>> params, state = nn.LazyConv3d(4, 3).init(fg.random.key(0), (8, 3, 5, 5, 5))
    >>> params["weight"].shape
    (3, 3, 3, 3, 4)
    """

    open = True
    __init__ = _without_first(conv.Conv3d)
    infer = _closing(conv.Conv3d, 3)


class LazyConvTranspose1d(conv.ConvTranspose1d):
    """A `ConvTranspose1d` whose number of input channels is that of its first input.

    >>> params, state = nn.LazyConvTranspose1d(4, 3).init(fg.random.key(0), (8, 3, 5))
    >>> params["weight"].shape
    (3, 3, 4)
    """

    open = True
    __init__ = _without_first(conv.ConvTranspose1d)
    infer = _closing(conv.ConvTranspose1d, 1)


class LazyConvTranspose2d(conv.ConvTranspose2d):
    """A `ConvTranspose2d` whose number of input channels is that of its first input.

    >>> params, state = nn.LazyConvTranspose2d(4, 3).init(fg.random.key(0), (8, 3, 5, 5))
    >>> params["weight"].shape
    (3, 3, 3, 4)
    """

    open = True
    __init__ = _without_first(conv.ConvTranspose2d)
    infer = _closing(conv.ConvTranspose2d, 2)


class LazyConvTranspose3d(conv.ConvTranspose3d):
    """A `ConvTranspose3d` whose number of input channels is that of its first input.

    >>> params, state = nn.LazyConvTranspose3d(4, 3).init(fg.random.key(0), (8, 3, 5, 5, 5))
    >>> params["weight"].shape
    (3, 3, 3, 3, 4)
    """

    open = True
    __init__ = _without_first(conv.ConvTranspose3d)
    infer = _closing(conv.ConvTranspose3d, 3)


class LazyBatchNorm1d(batch_norm.BatchNorm1d):
    """A `BatchNorm1d` whose number of channels is that of its first input.

    >>> params, state = nn.LazyBatchNorm1d().init(fg.random.key(0), (8, 3, 5))
    >>> params["weight"].shape
    (3,)
    """

    open = True
    __init__ = _without_first(batch_norm.BatchNorm1d)
    infer = _closing(batch_norm.BatchNorm1d)


class LazyBatchNorm2d(batch_norm.BatchNorm2d):
    """A `BatchNorm2d` whose number of channels is that of its first input.

    >>> params, state = nn.LazyBatchNorm2d().init(fg.random.key(0), (8, 3, 5, 5))
    >>> params["weight"].shape
    (3,)
    """

    open = True
    __init__ = _without_first(batch_norm.BatchNorm2d)
    infer = _closing(batch_norm.BatchNorm2d)


class LazyBatchNorm3d(batch_norm.BatchNorm3d):
    """A `BatchNorm3d` whose number of channels is that of its first input.

    >>> params, state = nn.LazyBatchNorm3d().init(fg.random.key(0), (8, 3, 5, 5, 5))
    >>> params["weight"].shape
    (3,)
    """

    open = True
    __init__ = _without_first(batch_norm.BatchNorm3d)
    infer = _closing(batch_norm.BatchNorm3d)


class LazyInstanceNorm1d(batch_norm.InstanceNorm1d):
    """An `InstanceNorm1d` whose number of channels is that of its first input.

    As in PyTorch, `affine` and `track_running_stats` are True unless given, unlike in that layer.

    >>> params, state = nn.LazyInstanceNorm1d().init(fg.random.key(0), (8, 3, 5))
    >>> params["weight"].shape
    (3,)
    """

    open = True
    __init__ = _without_first(batch_norm.InstanceNorm1d, **LAZY_INSTANCE_NORM)
    infer = _closing(batch_norm.InstanceNorm1d, 1)


class LazyInstanceNorm2d(batch_norm.InstanceNorm2d):
    """An `InstanceNorm2d` whose number of channels is that of its first input.

    As in PyTorch, `affine` and `track_running_stats` are True unless given, unlike in that layer.

    >>> params, state = nn.LazyInstanceNorm2d().init(fg.random.key(0), (8, 3, 5, 5))
    >>> params["weight"].shape
    (3,)
    """

    open = True
    __init__ = _without_first(batch_norm.InstanceNorm2d, **LAZY_INSTANCE_NORM)
    infer = _closing(batch_norm.InstanceNorm2d, 2)


class LazyInstanceNorm3d(batch_norm.InstanceNorm3d):
    """An `InstanceNorm3d` whose number of channels is that of its first input.

    As in PyTorch, `affine` and `track_running_stats` are True unless given, unlike in that layer.

    >>> params, state = nn.LazyInstanceNorm3d().init(fg.random.key(0), (8, 3, 5, 5, 5))
    >>> params["weight"].shape
    (3,)
    """

    open = True
    __init__ = _without_first(batch_norm.InstanceNorm3d, **LAZY_INSTANCE_NORM)
    infer = _closing(batch_norm.InstanceNorm3d, 3)

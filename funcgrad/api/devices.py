"""Where arrays live: `devices`, `device_put`, `device_get`, `default_device`,
`block_until_ready`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.api.flat import argument_leaves
from funcgrad.config import config
from funcgrad.core import backend, transfers
from funcgrad.core.array import Array, ConcreteArray, DeviceArray, to_host
from funcgrad.core.backend import CPU, Device
from funcgrad.core.primitive import wrap_buffer
from funcgrad.errors import user_facing


def _platform_devices(platform: str | None) -> list[Device]:
    """The devices of a platform; of the best one there is, without a name. RuntimeError if there
    are none.
    """
    if platform in (None, "cpu"):
        if platform is None and config.current().default_device is not None:
            return _platform_devices(config.current().default_device.platform)
        return [CPU]
    if platform in ("gpu", "cuda", "rocm"):
        return backend.load("cupy").devices()
    raise RuntimeError(
        f"devices: there is no platform {platform!r}. There are 'cpu' and, with CuPy, 'gpu'."
    )


@user_facing
def devices(backend: str | None = None) -> list[Device]:
    """The devices of a platform, `"cpu"` or `"gpu"`; without a name, those in use by default.

    >>> devices("cpu")
    [Device(cpu:0)]
    """
    return _platform_devices(backend)


def local_devices(
    process_index: int | None = None, backend: str | None = None, host_id: int | None = None
) -> list[Device]:
    """The devices of this process: all of them."""
    return devices(backend)


def device_count(backend: str | None = None) -> int:
    """The number of devices."""
    return len(devices(backend))


def local_device_count(backend: str | None = None) -> int:
    """The number of this process's devices."""
    return len(devices(backend))


def process_index(backend: str | None = None) -> int:
    """The number of this process: 0."""
    return 0


def process_count(backend: str | None = None) -> int:
    """The number of processes: 1."""
    return 1


def default_backend() -> str:
    """The platform of the default device: `"cpu"` or `"gpu"`."""
    device = config.current().default_device
    return "cpu" if device is None else device.platform


def default_device(device: Device | str | None) -> AbstractContextManager[None]:
    """In the `with` block new arrays are made on this device."""
    return config.override(default_device=_as_device(device))


def _as_device(device: Any) -> Device | None:
    if isinstance(device, str):
        platform, _, number = device.partition(":")
        return _platform_devices(platform)[int(number or 0)]
    if device is None or isinstance(device, Device):
        return device
    raise TypeError(
        f"device: needs a Device, its name or None, but got {device!r:.60}. Try devices()[0]."
    )


@user_facing
def device_put(
    x: Any,
    device: Device | str | None = None,
    *,
    src: Any = None,
    donate: bool = False,
    may_alias: bool | None = None,
) -> Any:
    """The tree `x` with all its arrays on `device`; NumPy arrays and numbers become Arrays.

    Raises RuntimeError if the device's platform is not available (a GPU needs CuPy).
    """
    target = _as_device(device)
    leaves, treedef = argument_leaves("device_put", x)
    return tree.unflatten(treedef, [_placed(leaf, target) for leaf in leaves])


def _placed(x: Any, device: Device | None) -> Any:
    if not isinstance(x, ConcreteArray) or device is None:
        return x
    home = backend.device_of(x._buffer)
    if home == device:
        return x
    if device == CPU:
        return wrap_buffer(to_host(x._buffer, explicit=True), x.aval)
    direction = "host_to_device" if home == CPU else "device_to_device"
    transfers.guard(direction, f"from {home} to {device}", explicit=True)
    return wrap_buffer(backend.load("cupy").put(x._buffer, device), x.aval)


@user_facing
def device_get(x: Any) -> Any:
    """The tree `x` with all its arrays as NumPy arrays."""
    return tree.map(_fetched, x)


def _fetched(leaf: Any) -> Any:
    if type(leaf) is DeviceArray:
        return to_host(leaf._buffer, explicit=True)
    return np.asarray(leaf) if isinstance(leaf, Array) else leaf


@user_facing
def block_until_ready(x: Any) -> Any:
    """Returns the tree `x` once all its arrays are computed."""
    for leaf in tree.leaves(x):
        if hasattr(leaf, "block_until_ready"):
            leaf.block_until_ready()
    return x

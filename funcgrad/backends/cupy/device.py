"""Devices that CuPy drives: where their arrays live, and the namespace whose functions compute on
them.

Primitives run by the same `value` rules as on the CPU, with CuPy's functions in place of NumPy's.
CuPy is imported when the first device is asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from funcgrad.core import backend, dtypes, transfers
from funcgrad.core.backend import Device, Namespace
from funcgrad.util import optional


class CupyNamespace(Namespace):
    """CuPy's functions, as `value` rules use them. Its kernels flush denormal float32 to zero."""

    writes_in_order = False

    def fmod(self, x: Any, y: Any) -> Any:
        """The remainder with the sign of x; of integers exactly, where CuPy's own goes through
        float64.
        """
        if x.dtype.kind not in "iu":
            return self.module.fmod(x, y)
        remainder = self.module.remainder(x, y)  # with the sign of y
        other_sign = (remainder != 0) & ((x < 0) != (y < 0))
        return self.module.where(other_sign, remainder - y, remainder)

    def owns(self, buffer: Any) -> bool:
        """Is it an array on a device?"""
        return isinstance(buffer, self.module.ndarray)

    def device_of(self, buffer: Any) -> Device:
        """The device that an array is on."""
        return Device("cuda", buffer.device.id)

    def home(self, buffers: Sequence[Any]) -> Device:
        """The one device that an operation's operands are on; ValueError if there are several."""
        found = {self.device_of(b) for b in buffers if self.owns(b)}
        if len(found) > 1:
            names = ", ".join(sorted(map(str, found)))
            raise ValueError(
                f"operands are on several devices: {names}. Move them to one with device_put."
            )
        return found.pop() if found else backend.config.current().default_device

    def place(self, buffers: Sequence[Any], device: Device) -> list[Any]:
        """The operands on the device: what is on the CPU (constants, numbers) is copied there."""
        if any(not self.owns(b) and b.ndim for b in buffers):
            transfers.guard("host_to_device", f"from the CPU to {device}")
        return [b if self.owns(b) else put(b, device) for b in buffers]

    @contextlib.contextmanager
    def on(self, device: Device) -> Iterator[None]:
        """A context in which new arrays are made on the device, and in which matrices that have no
        factors raise LinAlgError, as with NumPy; CuPy by itself returns what is there.
        """
        cupyx = optional("cupyx")
        with self.module.cuda.Device(device.id), cupyx.errstate(linalg="raise"):
            yield


_namespace: CupyNamespace | None = None


def namespace() -> CupyNamespace:
    """The namespace, made and made known on first use; ImportError says how to install CuPy."""
    global _namespace
    module = optional("cupy")
    if _namespace is None or _namespace.module is not module:
        _namespace = CupyNamespace(module)
        backend.register_device_namespace(_namespace)
    return _namespace


def devices() -> list[Device]:
    """The graphics cards that there are; RuntimeError if there is none."""
    count = namespace().module.cuda.runtime.getDeviceCount()
    if count == 0:
        raise RuntimeError(
            "devices: CuPy finds no graphics card. Check the driver, or use the CPU."
        )
    return [Device("cuda", i) for i in range(count)]


def put(buffer: Any, device: Device) -> Any:
    """The buffer's values on the device."""
    xp = namespace()
    if getattr(buffer, "dtype", None) == dtypes.bfloat16:
        raise TypeError(
            "device_put: bfloat16 stays on the CPU, since CuPy cannot sort it or find its argmax. "
            "Use float16 or float32 on this device."
        )
    with xp.on(device):
        return xp.module.asarray(np.asarray(buffer) if not xp.owns(buffer) else buffer)

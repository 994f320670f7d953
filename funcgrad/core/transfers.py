"""Copies between the CPU and devices, and the settings that guard them.

A copy is explicit if `device_put` or `device_get` makes it, implicit otherwise. Arrays of the CPU
are NumPy's own, so that there only devices have anything to guard.
"""

from __future__ import annotations

from funcgrad.config import config
from funcgrad.util import log

DIRECTIONS = ("host_to_device", "device_to_device", "device_to_host")


def guard(direction: str, what: str, explicit: bool = False) -> None:
    """Called before a copy: logs it, or raises RuntimeError, as the settings say."""
    state = config.current()
    level = getattr(state, f"transfer_guard_{direction}") or state.transfer_guard
    if explicit and not level.endswith("_explicit"):
        return
    if level.startswith("disallow"):
        repair = "" if explicit else " Move the values with device_put or device_get."
        raise RuntimeError(
            f"transfer_guard: a copy {what} is needed here, and the setting {level!r} disallows "
            f"it.{repair}"
        )
    if level.startswith("log"):
        log().warning("transfer_guard: a copy %s", what)

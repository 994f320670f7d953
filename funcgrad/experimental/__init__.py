"""What may still change: callbacks with effects whose results are used, and checked programs."""

from funcgrad.control.callback import io_callback
from funcgrad.experimental import checkify

__all__ = ["checkify", "io_callback"]

"""What may still change: callbacks with side effects whose results a program uses."""

from funcgrad.control.callback import io_callback

__all__ = ["io_callback"]

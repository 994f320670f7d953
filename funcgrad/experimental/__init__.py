from funcgrad.control.callback import io_callback


__all__ = ["io_callback"]

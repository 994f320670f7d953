"""Functions with rules of their own for `vmap`."""

from funcgrad.control.custom_batching import custom_vmap, sequential_vmap

__all__ = ["custom_vmap", "sequential_vmap"]

"""Functions with derivatives of their own, all in one place."""

from funcgrad.control.closures import closure_convert, custom_gradient, linear_call
from funcgrad.control.custom import custom_jvp
from funcgrad.control.custom_vjp import custom_vjp
from funcgrad.control.symbolic_zeros import CustomVJPPrimal, SymbolicZero

__all__ = [
    "CustomVJPPrimal", "SymbolicZero", "closure_convert", "custom_gradient", "custom_jvp",
    "custom_vjp", "linear_call",
]  # fmt: skip

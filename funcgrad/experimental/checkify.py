"""Checks inside programs, and programs that return what their checks have found."""

from funcgrad.control.checkify import (
    Error,
    all_checks,
    automatic_checks,
    check,
    check_error,
    checkify,
    debug_check,
    div_checks,
    float_checks,
    index_checks,
    init_error,
    nan_checks,
    user_checks,
)
from funcgrad.control.checks import CheckError

JaxRuntimeError = CheckError

__all__ = [
    "CheckError", "Error", "JaxRuntimeError", "all_checks", "automatic_checks", "check",
    "check_error", "checkify", "debug_check", "div_checks", "float_checks", "index_checks",
    "init_error", "nan_checks", "user_checks",
]  # fmt: skip

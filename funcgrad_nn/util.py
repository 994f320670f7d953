"""Small tools of funcgrad_nn: is a package there, is anybody watching?"""

from __future__ import annotations

import importlib.util
import os
import sys


def has(name: str) -> bool:
    """Whether an optional package can be imported."""
    return importlib.util.find_spec(name) is not None


def at_a_terminal() -> bool:
    """Whether standard error is a terminal with a person at it, and this is not a CI job."""
    return sys.stderr.isatty() and not os.environ.get("CI")


def in_a_notebook() -> bool:
    """Whether this process is a notebook's, and not a CI job."""
    return "ipykernel" in sys.modules and not os.environ.get("CI")

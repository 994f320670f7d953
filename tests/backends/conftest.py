"""What tests of native programs ask for by name."""

from collections.abc import Iterator
from typing import Any

import pytest

import funcgrad as fg
from funcgrad.backends.llvm import outside


@pytest.fixture
def all_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """An equation that native code leaves to NumPy is an error."""

    def refuse(e: Any) -> None:
        raise AssertionError(f"{e.primitive} runs outside")

    monkeypatch.setattr(outside, "outside", refuse)


@pytest.fixture
def x64() -> Iterator[None]:
    """64-bit numbers where no dtype is said."""
    with fg.enable_x64():
        yield

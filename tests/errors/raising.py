"""What every error owes the user: a message with four parts, and a traceback that ends at the
user's line.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from funcgrad.errors import is_ours


def refused(call: Callable[[], Any], kind: type[BaseException], *parts: str) -> BaseException:
    """Calls, expects exactly this kind of error, and looks for all parts in its message."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    message = str(caught.value)
    for part in parts:
        assert part in message, f"{part!r} is not in {message!r}"
    assert all(len(line) <= 400 for line in message.splitlines())
    return caught.value


def shows_only_the_user(error: BaseException) -> None:
    """No frame of ours but that of the public function itself, and a user's line is there."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f.name for f in frames if is_ours(f.filename)]
    assert len(ours) <= 1, f"frames of the package: {ours}"
    assert any(f.filename.endswith(".py") and not is_ours(f.filename) for f in frames)
    hidden = error.__context__ is None or error.__suppress_context__
    assert hidden, f"a second traceback is shown: {error.__context__!r}"

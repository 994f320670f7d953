"""Who prints tracebacks: scripts, pytest and IPython all leave our frames out."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import funcgrad as fg
from funcgrad import errors
from tests.errors.raising import refused

FAILING = """
import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import random

def of_the_user(call):
    return call()

def test_eager():
    of_the_user(lambda: jnp.concatenate([jnp.ones(2), jnp.ones(2)], axis=5))

def test_method():
    of_the_user(lambda: jnp.ones(3).reshape(5))

def test_compiled():
    of_the_user(lambda: fg.jit(jnp.dot)(jnp.ones(2), jnp.ones(3)))

def test_lazy():
    of_the_user(lambda: random.uniform(3))
"""


@pytest.mark.parametrize("setting, shown", [("short", False), ("full", True)])
def test_pytest_shows_the_users_frames(tmp_path: Path, setting: str, shown: bool) -> None:
    path = tmp_path / "test_failing.py"
    path.write_text(FAILING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    environment = {**os.environ, "FUNCGRAD_TRACEBACK": setting}
    root = str(Path(fg.__file__).parents[1])
    environment["PYTHONPATH"] = root
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "4 failed" in done.stdout, done.stdout + done.stderr
    ours = [line for line in done.stdout.splitlines() if "funcgrad/" in line and ".py:" in line]
    assert bool(ours) == shown, ours
    assert done.stdout.count("in of_the_user") + done.stdout.count("def of_the_user") >= 4


class Shell:
    """What is used of IPython's shell."""

    custom_exceptions: Any = ()

    def set_custom_exc(self, kinds: Any, handler: Any) -> None:
        self.custom_exceptions, self.handler = kinds, handler

    def showtraceback(self, found: Any, tb_offset: Any = None) -> None:
        self.shown = found, tb_offset


@pytest.fixture
def shell(monkeypatch: Any) -> Shell:
    found = Shell()
    ipython = types.SimpleNamespace(get_ipython=lambda: found)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return found


def test_ipython_is_given_the_users_frames(shell: Shell) -> None:
    errors.install_excepthook()
    error = refused(lambda: fg.numpy.ones(3).reshape(5), ValueError, "reshape")
    shell.handler(shell, ValueError, error, error.__traceback__, tb_offset=1)
    (kind, same, tb), offset = shell.shown
    assert (kind, same, offset) == (ValueError, error, 1)
    while tb is not None:
        assert not errors.is_ours(tb.tb_frame.f_code.co_filename)
        tb = tb.tb_next
    with fg.config.override(traceback="full"):
        shell.handler(shell, ValueError, error, error.__traceback__)
    assert shell.shown[0][2] is error.__traceback__


def test_a_hook_of_the_users_in_ipython_stays(shell: Shell) -> None:
    shell.custom_exceptions = (KeyError,)
    errors.install_excepthook()
    assert shell.custom_exceptions == (KeyError,)

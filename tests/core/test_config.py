"""Settings: one table, process-wide values, overrides per context, and what traced programs see."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.config import _FIELDS, config


def test_update_and_override():
    assert config.enable_x64 is False
    config.update("enable_x64", True)
    assert config.enable_x64 and jnp.ones(1).dtype == "float64"
    with config.override(enable_x64=False):
        assert not config.enable_x64
        with config.override(enable_x64=True, disable_jit=True):
            assert config.enable_x64 and config.disable_jit
        assert not config.enable_x64 and not config.disable_jit
    assert config.enable_x64
    config.update("jax_enable_x64", False)  # JAX's spelling
    assert config.enable_x64 is config.jax_enable_x64 is False


def test_an_override_ends_with_an_exception():
    with pytest.raises(RuntimeError), config.override(enable_x64=True):
        raise RuntimeError
    assert not config.enable_x64


def test_an_update_inside_an_override_holds_in_both():
    with config.override(disable_jit=True):
        config.update("enable_x64", True)
        assert config.enable_x64 and config.disable_jit
    assert config.enable_x64 and not config.disable_jit


def test_overrides_belong_to_their_thread():
    seen = []
    with config.override(enable_x64=True):
        worker = threading.Thread(target=lambda: seen.append(config.enable_x64))
        worker.start()
        worker.join()
    assert seen == [False]


@pytest.mark.parametrize(
    "name, value, kind, message",
    [
        ("no_such", 1, AttributeError, "there is no setting 'no_such'.*enable_x64"),
        ("enable_x64", "maybe", ValueError, "enable_x64 is True or False, but got 'maybe'"),
        ("engine", "steam", ValueError, "engine is one of auto, .*, but got 'steam'"),
        ("numpy_rank_promotion", "no", ValueError, "one of allow, warn, raise"),
    ],
)
def test_wrong_settings_are_refused(name, value, kind, message):
    with pytest.raises(kind, match=message):
        config.update(name, value)
    if kind is AttributeError:
        with pytest.raises(AttributeError, match="there is no setting"):
            config.no_such  # noqa: B018 - asking raises


def test_every_setting_is_documented_and_reads_its_variable():
    table = config.table()
    for name, field in _FIELDS.items():
        assert name in table and field.metadata["doc"] in table
        assert f"FUNCGRAD_{name.upper()}" in table
    program = (
        "from funcgrad.config import config\n"
        "print(config.enable_x64, config.engine, config.numpy_rank_promotion)"
    )
    variables = {
        "FUNCGRAD_ENABLE_X64": "1",
        "FUNCGRAD_ENGINE": "reference",
        "FUNCGRAD_NUMPY_RANK_PROMOTION": "warn",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "reference", "warn"]


def test_the_key_of_traced_programs_changes_with_what_they_depend_on():
    plain = config.current().trace_key
    with config.override(traceback="full"):
        assert config.current().trace_key is plain, "programs do not depend on it"
    with config.override(enable_x64=True):
        other = config.current().trace_key
        assert other is not plain
    with config.override(enable_x64=True):
        assert config.current().trace_key is other, "equal settings have one key"
    assert config.current().trace_key is plain


def test_disabled_passes_are_left_out():
    f = fg.jit(lambda x: jnp.sin(x) + jnp.sin(x))
    text = f.lower(1.0).as_text("optimized")
    with config.override(disabled_passes="share_common"):
        longer = f.lower(1.0).as_text("optimized")
    assert text.count("sin") == 1 and longer.count("sin") == 2

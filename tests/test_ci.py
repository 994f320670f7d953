"""CI's own rule: a comparison that is skipped for lack of jax, torch or optax fails the session."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

WHOLE_FILE = """
import sys, pytest
sys.modules["torch"] = None
torch = pytest.importorskip("torch")
def test_compared(): pass
"""
INSIDE_A_TEST = """
import sys, pytest
sys.modules["jax"] = None
def test_compared(): pytest.importorskip("jax.numpy")
"""
MARKED = """
import pytest
@pytest.mark.oracle
def test_compared(): pytest.skip("some reason")
"""
OTHER = """
import pytest
def test_elsewhere(): pytest.skip("no GPU")
"""


def exit_status(tmp_path: Path, text: str, ci: bool, *options: str) -> int:
    """How a session over one file ends, under the hooks of our conftest."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path))  # bytecode of an earlier sample must not be found
    (folder / "test_sample.py").write_text(text + "\ndef test_passes(): pass\n")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = oracle: compares\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "true" if ci else ""}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1, 5), done.stdout + done.stderr
    return done.returncode


@pytest.mark.parametrize("text", [WHOLE_FILE, INSIDE_A_TEST, MARKED], ids=["file", "test", "mark"])
def test_a_skipped_comparison_fails_in_ci_only(tmp_path, text):
    assert exit_status(tmp_path, text, ci=True) == 1
    assert exit_status(tmp_path, text, ci=False) in (0, 5)  # 5: nothing was left to run


def test_other_skips_are_lawful(tmp_path):
    assert exit_status(tmp_path, OTHER, ci=True) == 0


def test_workers_report_their_skips(tmp_path):
    assert exit_status(tmp_path, INSIDE_A_TEST, True, "-n", "2") == 1
    assert exit_status(tmp_path, WHOLE_FILE, True, "-n", "1") == 1

"""What stands for a version of the compiler, in the keys of programs on disk."""

import os
import time

import pytest

pytest.importorskip("llvmlite")

from funcgrad.backends.llvm import recipe


def test_files_that_change_after_loading_are_noticed(monkeypatch):
    monkeypatch.setattr(recipe, "LOADED", time.time_ns() + 10**12)
    files = list(recipe._files())
    monkeypatch.setattr(recipe, "_files", lambda: files)
    before = recipe.state_of_files()
    assert before == recipe.state_of_files() != ""
    assert any(path.endswith("fusion.py") for path, _, _ in files)
    path, size, changed = files[0]
    for other in ((path, size + 1, changed), (path, size, changed - 1)):
        monkeypatch.setattr(recipe, "_files", lambda other=other: [other, *files[1:]])
        assert recipe.state_of_files() not in (before, "")
    monkeypatch.setattr(recipe, "_files", lambda: [(path, size, recipe.LOADED + 1), *files[1:]])
    assert recipe.state_of_files() == ""


def test_files_with_one_time_are_told_apart_by_their_content(tmp_path, monkeypatch):
    """Some builds set all times to one."""
    monkeypatch.setattr(recipe, "LOADED", time.time_ns() + 10**12)
    states = []
    for content in ("a = 1", "a = 2"):
        path = tmp_path / "code.py"
        path.write_text(content)
        monkeypatch.setattr(recipe, "_files", lambda path=path: [(str(path), 5, 1)])
        states.append(recipe.state_of_files())
    assert len({*states, ""}) == 3


def test_without_files_there_are_no_keys(monkeypatch):
    """In an archive, for example: programs are compiled each time."""
    monkeypatch.setattr(recipe, "__file__", os.path.join("app.zip", "a", "b", "recipe.py"))
    assert recipe.state_of_files() == ""
    monkeypatch.setattr(recipe, "_files", lambda: [])
    assert recipe.state_of_files() == ""

"""What the documentation shows is run: doctests of all modules, the README; examples are short."""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import funcgrad
import funcgrad.numpy as jnp
import funcgrad_nn
from funcgrad import lax, random

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
RUN = ("errors", "from_jax", "tour", "training", "adding_a_primitive")
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in RUN)]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
AT_HAND = {
    "funcgrad": funcgrad,
    "fg": funcgrad,
    "jnp": jnp,
    "lax": lax,
    "np": np,
    "nn": funcgrad_nn,
    "random": random,
}
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def module_names() -> list[str]:
    return [
        info.name
        for package in (funcgrad, funcgrad_nn)
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    ] + ["funcgrad", "funcgrad_nn"]


@pytest.mark.parametrize("name", module_names())
def test_doctests(name):
    module = importlib.import_module(name)
    names = {key: value for key, value in AT_HAND.items() if not hasattr(module, key)}
    result = doctest.testmod(module, extraglobs=names, optionflags=FLAGS)
    assert result.failed == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_blocks_run_and_print_what_is_shown(document, tmp_path, monkeypatch):
    """Python blocks run in order in one namespace; a `text` block right after one is its output."""
    monkeypatch.chdir(tmp_path)
    if '"kernels"' in document.read_text(encoding="utf-8"):
        pytest.importorskip("llvmlite")
    scope: dict = {"__name__": document.stem}
    printed = ""
    for language, body in BLOCK.findall(document.read_text(encoding="utf-8")):
        if language == "python" and ">>>" in body:
            check_transcript(body, document.name, scope)
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(body, document.name, "exec"), scope)
            printed = out.getvalue()
        elif language == "text" and printed:
            assert printed.split() == body.split()
            printed = ""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    local = [t.partition("#")[0] for t in targets if "://" not in t]
    assert not [t for t in local if not (page.parent / t).exists()]


def test_readme_is_short_and_leads_to_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {(ROOT / target).resolve() for target in LINK.findall(text)}
    assert not [p for p in PAGES if not {p, p.parent} & (linked | {ROOT / "README.md"})]
    assert len(text.splitlines()) <= 185


def check_transcript(body: str, name: str, scope: dict) -> None:
    test = doctest.DocTestParser().get_doctest(body, scope, name, name, 0)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, clear_globs=False)
    scope.update(test.globs)
    assert runner.failures == 0


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_examples_are_short_and_explained(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith('"""'), "an example begins by saying what it shows"
    assert len(text.splitlines()) <= 120

"""Drawings of programs: what is in the text, and that it is a graph of the program."""

import re
import sys
import types

import pytest

import funcgrad.numpy as jnp
import funcgrad_nn as nn


def block(a, b, c):
    d = a + b
    b * c  # nobody uses it
    return jnp.sum(d / b)


def edges(text):
    return set(re.findall(r"(\w+) -> (\w+);", text))


def labels(text):
    return re.findall(r'label="([^"]*)"', text)


def test_what_is_needed_is_drawn_in_order():
    text = nn.draw(block, (3, 3), (3, 3), (3, 3))
    arrays = [f"{name} float32[3, 3]" for name in "abdf"]
    assert labels(text) == [*arrays, "g float32[]", "add", "div", "reduce_sum"]
    assert edges(text) == {
        *(("a", "op0"), ("b", "op0"), ("op0", "d")),
        *(("d", "op2"), ("b", "op2"), ("op2", "f")),
        *(("f", "op3"), ("op3", "g")),
    }
    with_all = nn.draw(block, (3, 3), (3, 3), (3, 3), unused=True)
    assert labels(with_all)[7:] == ["add", "mul", "div", "reduce_sum"]


def test_modules_are_drawn_with_their_parameters():
    model = nn.Sequential(nn.LazyLinear(4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Tanh())
    text = nn.draw(model, (5, 3))
    assert "float32[3, 4]" in text and labels(text).count("dot_general") == 1
    assert "tanh" in text and "random_bits" not in text


def test_many_arrays_have_names_of_their_own():
    def long(x):
        for _ in range(60):
            x = jnp.sin(x)
        return x

    text = nn.draw(long, jnp.ones(2))
    assert len(edges(text)) == 120 and "i2 " in text


def test_functions_that_return_inputs_and_numbers():
    assert "op" not in nn.draw(lambda x: (x, 3.0), (2,))


def test_files(tmp_path, monkeypatch):
    text = nn.draw(jnp.sin, (2,), path=tmp_path / "sin.dot")
    assert (tmp_path / "sin.dot").read_text() == text + "\n"
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError, match="graphviz is needed here"):
        nn.draw(jnp.sin, (2,), path=tmp_path / "sin.png")

    class Source:
        def __init__(self, text):
            self.text = text

        def render(self, outfile):
            outfile.write_text(f"picture of {self.text}")

    monkeypatch.setitem(sys.modules, "graphviz", types.SimpleNamespace(Source=Source))
    nn.drawing.optional.cache_clear()
    nn.draw(jnp.sin, (2,), path=tmp_path / "sin.png")
    assert (tmp_path / "sin.png").read_text() == f"picture of {text}"
    nn.drawing.optional.cache_clear()


def test_what_cannot_be_drawn():
    with pytest.raises(TypeError, match="draw: needs a function or a module, but got int"):
        nn.draw(3)

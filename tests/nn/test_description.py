"""What a module is without parameters: equality, printed form, JSON."""

import copy
import json
import pickle

import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn


class Block(nn.Module):
    """Arguments of every kind that a description can hold."""

    def __init__(self, size, *inner, scale=1.0, names=(), table=None, dtype=None, **more):
        self.size, self.inner, self.scale, self.names = size, inner, scale, names
        self.table, self.dtype, self.more = table, dtype, more

    def forward(self, x):
        for layer in self.inner:
            x = layer(x)
        return x * self.scale


def plain(x):
    return x


shared = nn.Linear(3, 3)
EQUAL = [
    (lambda: nn.Linear(3, 4), lambda: nn.Linear(3, 4, bias=True)),
    (lambda: nn.Linear(in_features=3, out_features=4), lambda: nn.Linear(3, 4)),
    (lambda: nn.Sequential(), lambda: nn.Sequential()),
    (lambda: nn.Sequential(shared, shared), lambda: nn.Sequential(*2 * [nn.Linear(3, 3)])),
    (
        lambda: Block(1, names=["a"], table={"x": [1]}),
        lambda: Block(1, names=("a",), table={"x": (1,)}),
    ),
]
DIFFERENT = [
    (lambda: nn.Linear(3, 4), lambda: nn.Linear(3, 5)),
    (lambda: nn.ReLU(), lambda: nn.Tanh()),
    (
        lambda: nn.Sequential(shared, shared),
        lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)),
    ),
    (lambda: Block(1), lambda: Block(1.0)),
    (lambda: Block(1, names=("a", "b")), lambda: Block(1, names=("b", "a"))),
]
MODELS = [
    nn.Sequential(),
    nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same"),
        nn.BatchNorm2d(4, momentum=0.2),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.LazyLinear(10, bias=False),
    ),
    nn.Sequential(shared, nn.Residual(nn.Sequential(shared, nn.LayerNorm((3,)))), shared),
    Block(
        2,
        nn.ReLU(),
        Block(3),
        scale=float("inf"),
        names=("a", "b"),
        dtype=jnp.float32,
        table={"deep": {"er": (1, 2.5, None, True)}},
        left=nn.Linear(1, 1),
        right="text",
    ),
    nn.Lambda(fg.nn.relu),
    nn.Linear(2, 2, weight_init="orthogonal", bias_init=0.5),
    nn.Linear(2, 2, weight_init=nn.init.INITIALIZERS["he_normal"]),
    nn.Embedding(5, 2),
    nn.Softmax(dim=0),
    Block(1, scale=()),
]


@pytest.mark.parametrize("a, b", EQUAL)
def test_equal_by_content(a, b):
    assert a() == b() and hash(a()) == hash(b()) and len({a(), b()}) == 1


@pytest.mark.parametrize("a, b", DIFFERENT)
def test_different_content(a, b):
    assert a() != b()


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_json_round_trip(model):
    text = model.to_json()
    again = nn.from_json(text)
    assert again == model and again.to_json() == text
    assert repr(again) == repr(model)


@pytest.mark.parametrize("model", MODELS[:4], ids=lambda m: type(m).__name__)
def test_pickle_and_deep_copy_round_trip(model):
    assert pickle.loads(pickle.dumps(model)) == model
    assert copy.deepcopy(model) == model


def test_json_keeps_sharing():
    model = nn.Sequential(shared, nn.Tanh(), shared)
    again = nn.from_json(model.to_json())
    assert again[0] is again[2]
    assert sorted(again.init(fg.random.key(0))[0]) == ["0"]


def test_json_is_readable():
    written = json.loads(nn.Sequential(nn.Linear(2, 3, bias=False)).to_json())
    assert written == {
        "format": "funcgrad_nn.Module",
        "version": 1,
        "model": {
            "module": "funcgrad_nn.Sequential",
            "arguments": {
                "layers": [
                    {
                        "module": "funcgrad_nn.Linear",
                        "arguments": {"in_features": 2, "out_features": 3, "bias": False},
                    }
                ]
            },
        },
    }


def test_functions_need_a_name():
    with pytest.raises(TypeError, match=r"Lambda.function is <function plain.*no name"):
        nn.Lambda(plain).to_json()
    named = nn.register_function("tests.plain_function", lambda x: x)
    assert nn.from_json(nn.Lambda(named).to_json()).function is named
    text = nn.Lambda(fg.nn.relu).to_json().replace("funcgrad.nn.relu", "mine.relu")
    with pytest.raises(ValueError, match="names the function 'mine.relu', which is not known"):
        nn.from_json(text)
    assert nn.Module.from_json(text, functions={"mine.relu": plain}).function is plain


HOSTILE = {
    "no json": "{",
    "no format": "[1, 2]",
    "other format": '{"format": "x", "version": 1, "model": 1}',
    "future version": '{"format": "funcgrad_nn.Module", "version": 2, "model": 1}',
    "not a module": "1",
    "unknown class": '{"module": "os.system", "arguments": {"command": "true"}}',
    "class is no text": '{"module": ["funcgrad_nn.Linear"]}',
    "arguments no dict": '{"module": "funcgrad_nn.Linear", "arguments": [1, 2]}',
    "wrong arguments": '{"module": "funcgrad_nn.Linear", "arguments": {"size": 3}}',
    "missing arguments": '{"module": "funcgrad_nn.Linear"}',
    "bad value": '{"module": "funcgrad_nn.Linear", "arguments": {"in_features": -1, '
    '"out_features": 1}}',
    "dangling reference": '{"same_as": 7}',
    "odd reference": '{"same_as": [7]}',
    "unknown form": '{"eval": "1"}',
    "forbidden function": '{"module": "funcgrad_nn.Lambda", "arguments": {"function": '
    '{"function": "os.system"}}}',
    "private function": '{"module": "funcgrad_nn.Lambda", "arguments": {"function": '
    '{"function": "funcgrad.numpy.__import__"}}}',
    "a function that writes files": '{"module": "funcgrad_nn.Lambda", "arguments": {"function": '
    '{"function": "funcgrad.numpy.save"}}}',
    "a module as function": '{"module": "funcgrad_nn.Lambda", "arguments": {"function": '
    '{"function": "funcgrad.numpy.linalg"}}}',
    "bad dtype": '{"module": "funcgrad_nn.Lambda", "arguments": {"function": {"dtype": "O"}}}',
    "bad float": '{"module": "funcgrad_nn.Dropout", "arguments": {"rate": {"float": "1"}}}',
    "a thousand million layers": '{"module": "funcgrad_nn.TransformerEncoder", "arguments": '
    '{"encoder_layer": {"module": "funcgrad_nn.ReLU"}, "num_layers": 1000000000}}',
    "deep": '{"module":"funcgrad_nn.Residual","arguments":{"inner":' * 5000 + "1" + "}}" * 5000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_json_is_a_clear_error(case):
    model = HOSTILE[case]
    whole = (
        model
        if case in ("no json", "no format", "other format", "future version")
        else (f'{{"format": "funcgrad_nn.Module", "version": 1, "model": {model}}}')
    )
    with pytest.raises(ValueError):
        nn.from_json(whole)


def test_from_json_of_a_class_wants_that_class():
    with pytest.raises(ValueError, match="describes a ReLU, not a Linear"):
        nn.Linear.from_json(nn.ReLU().to_json())


def test_printed_form():
    model = nn.Sequential(
        nn.Linear(4, 8, bias=False), nn.Residual(nn.Sequential(nn.ReLU(), shared)), shared
    )
    assert (
        repr(model)
        == """\
Sequential()
  0: Linear(4, 8, bias=False)
  1: Residual()
    inner: Sequential()
      0: ReLU()
      1: Linear(3, 3)
  2: the same as 1/inner/1"""
    )


def test_excess_arguments_are_an_error():
    with pytest.raises(TypeError):
        nn.ReLU(3)


def test_sequential_indexing():
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    assert (
        len(model) == 3 and model[1] == nn.ReLU() and model[:2] == nn.Sequential(*list(model)[:2])
    )
    with pytest.raises(TypeError, match="needs modules, but got builtin_function_or_method"):
        nn.Sequential(abs)


def test_a_description_is_a_static_argument_of_jit():
    traces = []

    def forward(model, params, x):
        traces.append(model)
        return model.apply(params, {}, x)[0]

    compiled = fg.jit(forward, static_argnums=0)
    params, _ = nn.Linear(2, 2).init(fg.random.key(0))
    for _ in range(2):
        compiled(nn.Linear(2, 2), params, jnp.ones((1, 2)))
    assert len(traces) == 1

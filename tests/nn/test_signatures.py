"""Arguments stand where PyTorch's layers and optax's optimizers have them.

An argument elsewhere would be taken for another one without a word. What we leave out is behind the
last one by position, and what is ours alone goes by name.
"""

import inspect

import pytest

import funcgrad_nn as nn

pytestmark = pytest.mark.oracle

# Arguments of theirs that have no meaning here, wherever they stand.
WITHOUT_MEANING = {"inplace", "device", "dtype", "sparse", "_weight", "_freeze"}
# Ours are called otherwise, or there are more of them behind the last of theirs.
OTHER_NAMES = {
    "AvgPool1d": {"divisor_override"},
    "chain": {"parts"},
    "global_norm": {"tree"},
    "scale_by_rss": {"eps_in_sqrt"},
    "stateless": {"function"},
}
STATES = {"EmptyState", "GradientTransformation", "GradientTransformationExtraArgs"}


def by_position(function):
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in parameters if p.kind in kinds]


def assert_places(name, ours, theirs):
    ours = [argument for argument in ours if argument not in OTHER_NAMES.get(name, ())]
    theirs = [argument for argument in theirs if argument not in WITHOUT_MEANING]
    assert ours == theirs[: len(ours)], name


def test_arguments_of_layers_stand_where_pytorch_has_them():
    torch = pytest.importorskip("torch")
    hidden = {"GRU", "LSTM", "RNN", "Sequential"}  # (*args, **kwargs)
    seen = 0
    for name in set(dir(nn)) - hidden:
        ours, theirs = getattr(nn, name), getattr(torch.nn, name, None)
        if isinstance(ours, type) and isinstance(theirs, type):
            assert_places(name, by_position(ours), by_position(theirs))
            seen += 1
    assert seen > 100


def test_arguments_of_optimizers_stand_where_optax_has_them():
    optax = pytest.importorskip("optax")
    seen = 0
    for name in nn.optim.__all__:
        ours, theirs = getattr(nn.optim, name), getattr(optax, name, None)
        if theirs is not None and name not in STATES:
            assert_places(name, by_position(ours), by_position(theirs))
            seen += 1
    assert seen > 50

"""Initializers: variances over a million draws, bounds, names, and keys."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)

VARIANCE = {
    "glorot_uniform": lambda i, o: 2 / (i + o),
    "glorot_normal": lambda i, o: 2 / (i + o),
    "he_uniform": lambda i, o: 2 / i,
    "he_normal": lambda i, o: 2 / i,
    "lecun_uniform": lambda i, o: 1 / i,
    "lecun_normal": lambda i, o: 1 / i,
}


@pytest.mark.parametrize("shape", [(500, 2000), (5, 5, 100, 400)], ids=["dense", "conv"])
@pytest.mark.parametrize("name", VARIANCE)
def test_D17_variances(name, shape):
    """A million draws: the sample variance is within 2 % (more than ten standard errors)."""
    values = np.asarray(nn.init.draw(name, KEY, shape))
    field = np.prod(shape[:-2], dtype=int)
    expected = VARIANCE[name](field * shape[-2], field * shape[-1])
    assert abs(values.var() / expected - 1) < 0.02
    assert abs(values.mean()) < 0.01 * np.sqrt(expected)


def test_D45_truncated_normals_stay_within_two_deviations():
    values = np.asarray(nn.init.draw("truncated_normal", KEY, (1000, 1000)))
    assert np.abs(values).max() <= 0.02 * (1 + 1e-6)
    he = np.asarray(nn.init.draw("he_normal", KEY, (1000, 100)))
    # The variance lost by the cut is given back by a wider normal: 0.8796 is its deviation.
    assert np.abs(he).max() <= 2 * np.sqrt(2 / 1000) / 0.87962566 * (1 + 1e-6)


def test_other_initializers():
    assert (np.asarray(nn.init.draw(0.5, KEY, (3,))) == 0.5).all()
    assert (np.asarray(nn.init.draw("ones", KEY, (3,))) == 1).all()
    q = np.asarray(nn.init.draw("orthogonal", KEY, (6, 4)))
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-5)
    params, _ = nn.Linear(
        2, 3, weight_init=lambda key, shape, dtype: jnp.full(shape, 7, dtype), bias_init=1
    ).init(KEY)
    assert (np.asarray(params["weight"]) == 7).all() and (np.asarray(params["bias"]) == 1).all()
    with pytest.raises(ValueError, match="initializer 'xavier' is not known. Use one of zeros"):
        nn.Linear(2, 3, weight_init="xavier").init(KEY)
    with pytest.raises(TypeError, match="name, a number or a function"):
        nn.init.draw([1], KEY, (1,))


@pytest.mark.parametrize("name", nn.init.INITIALIZERS)
def test_initializers_are_functions_of_their_key(name):
    first, again = (np.asarray(nn.init.draw(name, KEY, (4, 3))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32

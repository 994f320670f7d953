"""What the tests of sequence layers share: inputs, stacks of layers, comparison."""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)
RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def hidden(*shape):
    """A mask of PyTorch's: True is not seen; the first key always is."""
    mask = RNG.random(shape) < 0.4
    mask[..., 0] = False
    return mask


X, MEMORY = draw(5, 2, 8), draw(7, 2, 8)
BATCHES, SECOND = draw(2, 5, 8), draw(2, 7, 8)
ENCODER = dict(d_model=8, nhead=2, dim_feedforward=16, dropout=0.0)

POSITIONS = (nn.SinusoidalPositions, lambda n, **options: nn.LearnedPositions(9, n, **options))


def encoder(layers, norm=True, **options):
    def make(n):
        layer = n.TransformerEncoderLayer(**{**ENCODER, **options})
        kwargs = {"enable_nested_tensor": False} if n is not nn else {}
        return n.TransformerEncoder(layer, layers, n.LayerNorm(8) if norm else None, **kwargs)

    return make


def decoder(layers, **options):
    def make(n):
        layer = n.TransformerDecoderLayer(**{**ENCODER, **options})
        return n.TransformerDecoder(layer, layers, n.LayerNorm(8))

    return make


def prepared(model):
    """Parameters unlike their initial values, so that scales of one and biases of 0 are seen."""
    params, state = model.init(KEY)
    return fg.tree.map(lambda p: jnp.asarray(0.5 * draw(*p.shape)), params), state


def close(ours, theirs):
    """To 1e-5 of the largest entry."""
    theirs = np.asarray(theirs)
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-5, atol=1e-5 * scale)

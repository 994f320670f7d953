"""What layers refuse, and what they say: the layer, what it needs, what it got."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)


def image(*shape):
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.Linear(0, 1), "in_features must be at least 1, but got 0"),
        (lambda: nn.Linear(1, 2.0), "out_features must be an integer, but got float"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups=2 must divide"),
        (lambda: nn.Conv2d(3, 4, 3, padding="all"), '"same" or "valid"'),
        (lambda: nn.Lambda(3), "needs a function"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "Conv2d: kernel_size must be one number or 2 of them"),
        (lambda: nn.Conv1d(3, 4, 0), "kernel_size must be at least 1, but got 0"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), "padding must be at least 0"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="edge"), "padding_mode is one of zeros, reflect"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, 2, 0, 2), "output_padding=2 must be smaller"),
        (lambda: nn.MaxPool2d(2, padding=2), "at most half of kernel_size"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), "one positive number or 2 of them"),
        (lambda: nn.AdaptiveMaxPool1d(0), "one positive number or 1 of them, but got 0"),
        (lambda: nn.GroupNorm(4, 6), "num_groups=4 must divide num_channels=6"),
        (lambda: nn.Embedding(4, 2, padding_idx=4), "padding_idx=4 must be one of the 4 rows"),
        (lambda: nn.ZeroPad2d((1, 2, 3)), "padding must be one number or 4 of them"),
        (lambda: nn.Upsample(), "give either size or scale_factor"),
        (lambda: nn.Upsample(2, 2.0), "give either size or scale_factor"),
        (lambda: nn.Upsample(2, mode="area"), "mode is one of nearest"),
        (lambda: nn.Upsample(2, align_corners=True), "align_corners has no meaning"),
        (lambda: nn.Dropout2d(1.5), "Dropout2d: p must be between 0 and 1"),
        (lambda: nn.RReLU(0.5, 0.1), "lower=0.5 must not be greater"),
        (lambda: nn.Hardtanh(1, 1), "min_val=1 must be below max_val=1"),
        (lambda: nn.Softshrink(-1), "lambd must not be negative"),
        (lambda: nn.CELU(0), "alpha must not be 0"),
        (lambda: nn.Sequential(jnp.tanh), r"Wrap a function as nn.Lambda\(function\)"),
        (lambda: nn.Sequential([nn.ReLU()]), r"one by one: \(\*modules\)"),
        (lambda: nn.Sequential(nn.ReLU), r"got type. Make one: ReLU\("),
        (lambda: nn.Conv2d(1, 2, 3.0), "kernel_size must be integers, but got 3.0"),
        (lambda: nn.Dropout("half"), "p must be a number, but got str"),
        (lambda: nn.Residual(nn.ReLU(), 3), "Residual: needs modules, but got int"),
        (
            lambda: nn.Parallel(nn.ReLU(), combine="sum"),
            "None, a function or one of add",
        ),
        (lambda: nn.layers.batch_norm.BatchNorm(3), "use BatchNorm1d, BatchNorm2d or BatchNorm3d"),
        (lambda: nn.layers.conv.Convolution(1, 2, 3), "is abstract"),
        (lambda: nn.layers.pool.MaxPool(2), "is abstract"),
        (lambda: nn.layers.adaptive_pool.AdaptivePool(2), "one positive number"),
        (lambda: nn.layers.pad.ZeroPadding(2), "ZeroPadding is abstract: use one with"),
        (lambda: nn.layers.batch_norm.InstanceNorm(2), "use InstanceNorm1d, 2d or 3d"),
        (lambda: nn.GaussianNoise(-1.0), "must not be negative"),
    ],
)
def test_impossible_layers_are_errors(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_wrong_inputs_name_the_layer_and_the_shape():
    for layer, x, message in (
        (nn.Linear(3, 2), image(4, 5), r"Linear: the last size of the input must be 3.*\(4, 5\)"),
        (
            nn.Conv2d(3, 2, 1),
            image(1, 4, 5, 5),
            r"needs an input NCHW \(or without N\) with 3 channels",
        ),
        (nn.LayerNorm((2, 3)), image(3, 2), r"last sizes of the input must be \(2, 3\)"),
        (
            nn.Conv2d(1, 2, (3, 2), dilation=2),
            image(1, 1, 4, 9),
            r"a window of \(5, 3\) does not fit",
        ),
        (nn.Conv1d(1, 2, 4, padding=1), image(1, 1, 1), r"padding \(\(1, 1\),\)"),
        (nn.MaxPool2d(5), image(1, 1, 9, 4), "MaxPool2d: a window of .* does not fit"),
        (nn.AvgPool1d(3), image(1, 1, 2), "AvgPool1d: a window of .* does not fit"),
        (nn.MaxPool2d(2), image(4, 4), "must have rank 4 or 3"),
        (nn.Flatten(2, 1), image(1, 2, 3), "start_dim=2 lies behind end_dim=1"),
        (nn.Flatten(), image(3), "has no axis 1"),
        (nn.Unflatten(1, (2, 2)), image(3, 6), "cannot be split into"),
        (nn.Unflatten(1, (-1, 4)), image(3, 6), "cannot be split into"),
        (nn.RMSNorm(3), image(4, 5), r"RMSNorm: the last sizes of the input must be \(3,\)"),
        (nn.GroupNorm(2, 4), image(2, 6, 3), "GroupNorm: axis 1 must have size 4"),
        (nn.InstanceNorm1d(3), image(3), "must have rank 2 or 3"),
        (nn.InstanceNorm1d(3), image(2, 3, 1), "more than one value per channel"),
        (nn.ConvTranspose1d(3, 2, 1), image(1, 4, 5), "needs an input NCW .* with 3 channels"),
        (nn.AvgPool1d(2), image(4), "must have rank 3 or 2"),
        (nn.AdaptiveAvgPool2d(2), image(4), "must have rank 4 or 3"),
        (nn.Dropout2d(), image(4, 4), "must have rank 3 or 4"),
        (nn.ReflectionPad2d(1), image(4), "needs at least 2 axes"),
        (nn.PixelShuffle(2), image(1, 3, 2, 2), "must be a multiple of 4"),
        (nn.PixelUnshuffle(2), image(1, 3, 2, 3), "must be multiples of 2"),
        (nn.ChannelShuffle(2), image(1, 3, 2), "must be a multiple of groups=2"),
        (nn.Upsample(4, mode="bilinear"), image(1, 2, 3), "needs an input of rank 4"),
        (nn.Upsample((4, 4)), image(1, 2, 3), "size must be one number or 1 of them"),
        (nn.GLU(), image(3, 5), "axis -1 must have an even size"),
        (nn.PReLU(3), image(2, 4), "3 weights need as many channels on axis 1"),
        (nn.Softmax2d(), image(2, 4), "needs an input"),
        (nn.GELU("erf"), image(2), 'approximate is "none" or "tanh"'),
        (nn.Residual(nn.Linear(3, 2)), image(4, 3), "Give a shortcut module"),
    ):
        with pytest.raises(ValueError, match=message):
            layer.apply(*layer.init(KEY), x, train=True, key=KEY)


def test_bilinear_refuses_inputs_that_do_not_go_together():
    layer = nn.Bilinear(2, 3, 4)
    for left, right in (((5, 2), (5, 2)), ((5, 2), (6, 3)), ((5, 3), (5, 3))):
        with pytest.raises(ValueError, match=r"Bilinear: needs inputs \(\.\.\., 2\) and"):
            layer.apply(*layer.init(KEY), image(*left), image(*right))


def test_sizes_may_be_numbers_of_numpy():
    """Counts of classes and the like come from arrays; descriptions keep plain numbers."""
    classes = np.array([0, 2, 1]).max() + 1
    assert nn.Linear(np.int64(4), classes) == nn.Linear(4, 3)
    assert nn.Conv2d(1, np.int32(2), np.int8(3), (np.int64(1), 2)) == nn.Conv2d(1, 2, 3, (1, 2))
    assert nn.ZeroPad2d(np.int64(1)) == nn.ZeroPad2d(1)
    assert nn.AdaptiveAvgPool2d(np.int64(2)) == nn.AdaptiveAvgPool2d(2)
    assert nn.Dropout(np.float64(0.5)) == nn.Dropout(0.5)
    assert nn.from_json(nn.Linear(np.int64(4), classes).to_json()) == nn.Linear(4, 3)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(2, 3),
        nn.Conv1d(1, 2, 1),
        nn.ConvTranspose1d(1, 2, 1),
        nn.MaxPool1d(1),
        nn.AdaptiveAvgPool1d(1),
        nn.InstanceNorm1d(1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_lists_are_no_arrays(layer):
    name = type(layer).__name__
    with pytest.raises(TypeError, match=f"{name}: the input must be an array, but got list"):
        layer.apply(*layer.init(KEY), [[[1.0, 2.0]]])

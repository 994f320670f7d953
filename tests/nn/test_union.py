"""What the earlier systems had, by name: nothing of it may get lost.

One line a group of the contract's list; the tests of each thing stand elsewhere.
"""

import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

UNION = {
    fg: """grad value_and_grad make_jaxpr jit hessian vjp jvp custom_vjp custom_jvp disable_jit
        vmap""",
    fg.lax: "stop_gradient",
    jnp: """zeros ones full add subtract multiply divide negative abs power exp log log2 log10 clip
        square equal not_equal less less_equal greater greater_equal logical_not logical_and
        logical_or sum mean min max var argmax reshape transpose squeeze expand_dims concatenate
        ravel pad matmul outer dot take_along_axis""",
    fg.random: "uniform normal randint",
    fg.nn: "logsumexp softmax log_softmax",
    nn.functional: """relu leaky_relu sigmoid tanh silu gelu softsign softmax log_softmax""",
    nn: """Linear Conv1d Conv2d ConvTranspose2d MaxPool1d MaxPool2d AvgPool1d AvgPool2d BatchNorm1d
        BatchNorm2d BatchNorm3d LayerNorm Dropout GaussianNoise Embedding SinusoidalPositions
        MultiheadAttention LSTM GRU Reshape Flatten Sequential Residual TransformerEncoder
        TransformerDecoder Graph LazyLinear summary draw Identity Unfold
        mse mae rmse binary_cross_entropy cross_entropy nll kl_divergence l1_penalty l2_penalty
        accuracy confusion_matrix per_class_accuracy
        make_train_step fit evaluate predict save load save_model load_model from_json
        CheckpointManager LiveCurves MixedPrecision plot""",
    nn.optim: """sgd rmsprop adam amsgrad adamw muon add_decayed_weights constant_schedule
        exponential_decay piecewise_constant_schedule cosine_decay_schedule reduce_on_plateau
        warmup_cosine_decay_schedule""",
    nn.data: """ArrayDataset DataLoader RandomFlip random_split OneHot Normalize read_idx read_cifar
        as_dataset""",
}
NAMES = [(place, name) for place, names in UNION.items() for name in names.split()]


@pytest.mark.parametrize("place, name", NAMES, ids=[f"{p.__name__}.{n}" for p, n in NAMES])
def test_it_is_here(place, name):
    assert callable(getattr(place, name))


def test_initializers_have_the_names_of_the_earlier_systems():
    assert set(nn.init.INITIALIZERS) >= {
        *("zeros", "ones", "uniform", "normal", "truncated_normal", "orthogonal"),
        *("glorot_uniform", "glorot_normal", "he_uniform", "he_normal"),
        *("lecun_uniform", "lecun_normal"),
    }

"""D54: what docstrings say of derivatives is true, and nothing is said of them without a test.

One row a statement: whose docstring, the words, and numbers that are there if the words are right.
A statement that is added somewhere fails `test_every_statement_has_a_row` until it has one.
"""

import importlib
import inspect
import re

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad import lax
from funcgrad.scipy import special

F = nn.functional
NAMESPACES = (
    "funcgrad.lax",
    "funcgrad.nn",
    "funcgrad.numpy",
    "funcgrad.numpy.linalg",
    "funcgrad.scipy.special",
    "funcgrad_nn",
    "funcgrad_nn.functional",
    "funcgrad_nn.losses",
)
SPEAKS = re.compile(r"\b(derivatives?|gradients?)\b", re.IGNORECASE)
# Words about what a function is for, what it needs or what it does with gradients; and laws of
# functions that a test of their own checks.
OF_SOMETHING_ELSE = {
    "lax.GatherScatterMode",
    "lax.custom_linear_solve",
    "lax.custom_root",  # test_custom.py
    "lax.random_gamma_grad",  # tests/primitives
    "lax.stop_gradient",
    "numpy.linalg.det",
    "numpy.linalg.eig",
    "numpy.linalg.svd",
    "funcgrad_nn.Embedding",  # tests/nn/test_layers.py, test_layers_torch.py
    "funcgrad_nn.MixedPrecision",
    "funcgrad_nn.ctc",  # tests/nn/test_losses_structured.py
    "funcgrad_nn.dynamic_loss_scale",
    "funcgrad_nn.freeze",
    "funcgrad_nn.make_train_step",
}


def slope(f, *points):
    """f' at each of some numbers."""
    return [float(fg.grad(f)(jnp.float32(x))) for x in points]


def of_layer(layer):
    return lambda x: layer.apply({}, {}, x)[0].sum()


def layer_slope(layer, values):
    return fg.grad(of_layer(layer))(jnp.asarray(values, jnp.float32)).ravel().tolist()


def conv_transpose_is_the_gradient_of_conv():
    """(numbers of the layer, numbers of the gradient of the convolution with the same weights)"""
    forward, back = (
        nn.Conv2d(2, 3, 3, 2, 1, bias=False),
        nn.ConvTranspose2d(3, 2, 3, 2, 1, bias=False),
    )
    weight = forward.init(fg.random.key(0))[0]["weight"]
    x, y = jnp.ones((1, 2, 5, 7)), fg.random.normal(fg.random.key(1), (1, 3, 3, 4))
    (gradient,) = fg.vjp(lambda x: forward.apply({"weight": weight}, {}, x)[0], x)[1](y)
    turned = {"weight": jnp.swapaxes(weight, -1, -2)}
    return back.apply(turned, {}, y)[0].ravel().tolist(), gradient.ravel().tolist()


def unpooled_twice(values):
    """Two windows that chose one place, in an image of two."""
    layer = nn.MaxUnpool2d(1)
    return layer.apply({}, {}, values, jnp.array([[[1, 1]]]))[0].sum()


def lax_conv_transpose():
    x, kernel = jnp.arange(1.0, 5.0).reshape(1, 1, 4), jnp.array([[[1.0, 2.0, 5.0]]])

    def forward(image):
        numbers = ("NCH", "OIH", "NCH")
        return lax.conv_general_dilated(image, kernel, (2,), "SAME", dimension_numbers=numbers)

    (gradient,) = fg.vjp(forward, jnp.zeros((1, 1, 8)))[1](x)
    given = lax.conv_transpose(
        x, kernel, (2,), "SAME", dimension_numbers=("NCH", "OIH", "NCH"), transpose_kernel=True
    )
    return given.ravel().tolist(), gradient.ravel().tolist()


def scatter_in_updates(unique):
    numbers = lax.ScatterDimensionNumbers((), (0,), (0,))
    return lambda updates: lax.scatter_mul(
        jnp.array([2.0, 3.0]), jnp.array([[1]]), updates, numbers, unique_indices=unique
    ).sum()


# name, words, (what is so, what should be)
STATEMENTS = [
    ("lax.abs", "derivative at 0 is 0", lambda: (slope(lax.abs, 0, -2), [0, -1])),
    ("lax.conv_transpose", "is the gradient of a convolution", lax_conv_transpose),
    ("lax.digamma", "derivative of lgamma", lambda: (slope(lax.lgamma, 2.5), [0.7031566])),
    (
        "lax.igamma_grad_a",
        "derivative of igamma in a",
        lambda: (
            [float(lax.igamma_grad_a(jnp.float32(2), jnp.float32(1.5)))],
            slope(lambda a: lax.igamma(a, jnp.float32(1.5)), 2),
        ),
    ),
    (
        "lax.polygamma",
        "derivative of order m of digamma",
        lambda: ([float(lax.polygamma(jnp.float32(1), jnp.float32(2.5)))], slope(lax.digamma, 2.5)),
    ),
    (
        "lax.scatter_mul",
        "derivative in the updates exists only with `unique_indices=True`",
        lambda: (fg.grad(scatter_in_updates(True))(jnp.array([5.0])).tolist(), [3]),
    ),
    ("nn.relu", "derivative 0 at 0", lambda: (slope(fg.nn.relu, 0, 1), [0, 1])),
    ("nn.relu6", "derivative 0 at both bends", lambda: (slope(fg.nn.relu6, 0, 6, 3), [0, 0, 1])),
    (
        "nn.sparse_sigmoid",
        "the derivative of sparse_plus",
        lambda: ([0, 0.25, 1], slope(fg.nn.sparse_plus, -2, -0.5, 3)),
    ),
    (
        "numpy.clip",
        "passes where arr lies inside and is 1/2 on a bound",
        lambda: (slope(lambda x: jnp.clip(x, -1, 1), -2, -1, 0, 1, 2), [0, 0.5, 1, 0.5, 0]),
    ),
    (
        "numpy.sinc",
        "all derivatives up to the ninth are right",
        lambda: (slope(fg.grad(jnp.sinc), 0), [-(np.pi**2) / 3]),
    ),
    (
        "numpy.linalg.norm",
        "gradient of a root at zero is NaN",
        lambda: (fg.grad(jnp.linalg.norm)(jnp.zeros(2)).tolist(), [np.nan] * 2),
    ),
    (
        "scipy.special.digamma",
        "derivative of gammaln",
        lambda: (slope(special.gammaln, 2.5), [float(special.digamma(jnp.float32(2.5)))]),
    ),
    (
        "scipy.special.polygamma",
        "derivative of order n of digamma",
        lambda: (
            [float(special.polygamma(2, jnp.float32(2.5)))],
            slope(fg.grad(special.digamma), 2.5),
        ),
    ),
    (
        "functional.hardshrink",
        "derivative at both ends is 0",
        lambda: (slope(F.hardshrink, -0.5, 0.5), [0, 0]),
    ),
    (
        "functional.hardtanh",
        "derivative at both is 0",
        lambda: (slope(F.hardtanh, -1, 1, 0), [0, 0, 1]),
    ),
    ("functional.relu", "derivative at 0 is 0", lambda: (slope(F.relu, 0, 1), [0, 1])),
    (
        "functional.relu6",
        "derivative at 0 and 6 is 0",
        lambda: (slope(F.relu6, 0, 6, 3), [0, 0, 1]),
    ),
    (
        "functional.softshrink",
        "derivative at the ends is 0",
        lambda: (slope(F.softshrink, -0.5, 0.5), [0, 0]),
    ),
    ("functional.softsign", "derivative at 0 is 1", lambda: (slope(F.softsign, 0, 1), [1, 0.25])),
    ("funcgrad_nn.ReLU", "derivative at 0 is 0", lambda: (layer_slope(nn.ReLU(), [0, 1]), [0, 1])),
    (
        "funcgrad_nn.AdaptiveMaxPool2d",
        "Equal largest values share the gradient",
        lambda: (layer_slope(nn.AdaptiveMaxPool2d(1), [[[3, 1, 3]]]), [0.5, 0, 0.5]),
    ),
    (
        "funcgrad_nn.MaxPool2d",
        "gradient goes to the first of equal values",
        lambda: (layer_slope(nn.MaxPool2d((1, 3)), [[[3, 1, 3]]]), [1, 0, 0]),
    ),
    (
        "funcgrad_nn.LPPool2d",
        "gradient at a sum of 0 is 0",
        lambda: (layer_slope(nn.LPPool2d(2, (1, 2)), [[[0, 0]]]), [0, 0]),
    ),
    (
        "funcgrad_nn.MaxUnpool2d",
        "of windows that chose one place, one gets its gradient",
        lambda: (
            sorted(fg.grad(unpooled_twice)(jnp.array([[[5.0, 5.0]]])).ravel().tolist()),
            [0, 1],
        ),
    ),
    (
        "funcgrad_nn.ConvTranspose2d",
        "gradient of a `Conv2d` with the same options",
        conv_transpose_is_the_gradient_of_conv,
    ),
    (
        "funcgrad_nn.binary_cross_entropy",
        "exact gradients for any finite ones",
        lambda: (slope(lambda x: nn.binary_cross_entropy(x, 0.0), -1e4, 0, 1e4), [0, 0.5, 1]),
    ),
    (
        "funcgrad_nn.cosine_similarity",
        "0, and so is the derivative with respect to the other",
        lambda: (
            fg.grad(nn.cosine_similarity)(jnp.array([1.0, 2.0]), jnp.zeros(2)).tolist(),
            [0, 0],
        ),
    ),
    (
        "funcgrad_nn.l1_penalty",
        "derivative at 0 is 0",
        lambda: (slope(nn.l1_penalty, 0, -3), [0, -1]),
    ),
    (
        "funcgrad_nn.l2_penalty",
        "its gradient is 2 p",
        lambda: (slope(nn.l2_penalty, 0, -3), [0, -6]),
    ),
    (
        "funcgrad_nn.mae",
        "derivative at 0 is 0",
        lambda: (slope(lambda x: nn.mae(x, 1.0), 1, 3, -1), [0, 1, -1]),
    ),
    (
        "funcgrad_nn.rmse",
        "derivative at zero error is 0",
        lambda: (slope(lambda x: nn.rmse(x, 1.0), 1, 3), [0, 1]),
    ),
]
IDS = [name for name, _, _ in STATEMENTS]


def named(name):
    place, _, last = name.rpartition(".")
    place = place if place.startswith("funcgrad_nn") else f"funcgrad.{place}"
    place = place.replace("funcgrad.functional", "funcgrad_nn.functional")
    return getattr(importlib.import_module(place), last)


def sentences(value) -> list[str]:
    """Sentences of a docstring that speak of derivatives, without its examples."""
    text = (inspect.getdoc(value) or "").partition(">>>")[0]
    return [
        part for part in re.split(r"(?<=[.;:]) ", " ".join(text.split())) if SPEAKS.search(part)
    ]


@pytest.mark.parametrize("name, words, numbers", STATEMENTS, ids=IDS)
def test_D54_what_a_docstring_says_of_derivatives_is_so(name, words, numbers):
    assert words in " ".join((inspect.getdoc(named(name)) or "").split())
    found, expected = numbers()
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_scatter_mul_refuses_the_derivative_that_it_says_it_lacks():
    with pytest.raises(ValueError, match="unique_indices"):
        fg.grad(scatter_in_updates(False))(jnp.array([5.0]))


def test_every_statement_has_a_row():
    covered = {id(named(name)) for name in [*IDS, *OF_SOMETHING_ELSE]}
    for place in NAMESPACES:
        module = importlib.import_module(place)
        for name in getattr(module, "__all__", dir(module)):
            value = getattr(module, name)
            if callable(value) and id(value) not in covered:
                assert not sentences(value), f"{place}.{name} speaks of derivatives without a test"


def test_D54_division_products_and_logarithms_by_their_formulas():
    """The derivatives that the earlier systems' documentation had wrong."""
    x, y = jnp.array([1.5, -2.0, 0.5]), jnp.array([2.0, 3.0, -1.0])
    by_x, by_y = fg.grad(lambda x, y: (x / y).sum(), (0, 1))(x, y)
    np.testing.assert_allclose(by_x, 1 / y, rtol=1e-6)
    np.testing.assert_allclose(by_y, -x / y**2, rtol=1e-6)
    a, b, ct = (
        fg.random.normal(fg.random.key(i), s) for i, s in enumerate([(2, 3), (3, 4), (2, 4)])
    )
    by_a, by_b = fg.vjp(jnp.matmul, a, b)[1](ct)
    np.testing.assert_allclose(by_a, ct @ b.T, rtol=1e-5)
    np.testing.assert_allclose(by_b, a.T @ ct, rtol=1e-5)
    jacobian = fg.jacrev(fg.nn.log_softmax)(x)
    np.testing.assert_allclose(jacobian, np.eye(3) - np.exp(fg.nn.log_softmax(x)), rtol=1e-5)


def test_D54_convolution_is_computed_as_it_is_defined():
    """Cross-correlation: the kernel is not flipped; NumPy's `convolve` flips it."""
    x, kernel = np.array([1.0, 2, 3, 4, 5], np.float32), np.array([1.0, 10, 100], np.float32)
    layer = {"weight": jnp.asarray(kernel)[:, None, None]}
    output, _ = nn.Conv1d(1, 1, 3, bias=False).apply(layer, {}, x[None, None])
    assert output.ravel().tolist() == np.correlate(x, kernel, "valid").tolist() == [321, 432, 543]
    assert jnp.convolve(x, kernel, "valid").tolist() == np.convolve(x, kernel, "valid").tolist()

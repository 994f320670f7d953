"""Losses against PyTorch and against exact values; metrics against counting."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 5)).astype(np.float32) * 3
LABELS = RNG.integers(0, 5, 6)
SOFT = RNG.dirichlet(np.ones(5), 6).astype(np.float32)
A, B = RNG.normal(size=(2, 4, 3)).astype(np.float32)
MASK = (RNG.random((4, 3)) < 0.5).astype(np.float32)
REDUCTIONS = ("mean", "sum", "none")


def against_torch(ours, theirs, inputs, targets, **options):
    """Value and gradient with respect to the first argument, to 1e-6 relative to the largest."""
    torch = pytest.importorskip("torch")
    x = torch.tensor(inputs, requires_grad=True)
    expected = theirs(torch)(x, torch.tensor(targets), **options)
    expected.sum().backward()
    value = ours(jnp.asarray(inputs), jnp.asarray(targets))
    grad = fg.grad(lambda x: ours(x, jnp.asarray(targets)).sum())(jnp.asarray(inputs))
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad, x.grad.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_D23_cross_entropy_with_integer_labels(reduction, smoothing):
    against_torch(
        lambda x, y: nn.cross_entropy(x, y, reduction=reduction, label_smoothing=smoothing),
        lambda torch: torch.nn.functional.cross_entropy,
        LOGITS,
        LABELS,
        reduction=reduction,
        label_smoothing=smoothing,
    )


@pytest.mark.oracle
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_with_soft_labels(reduction, smoothing):
    against_torch(
        lambda x, y: nn.cross_entropy(x, y, reduction=reduction, label_smoothing=smoothing),
        lambda torch: torch.nn.functional.cross_entropy,
        LOGITS,
        SOFT,
        reduction=reduction,
        label_smoothing=smoothing,
    )


def test_D23_cross_entropy_over_another_axis():
    rows = nn.cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS), reduction="none")
    columns = nn.cross_entropy(jnp.asarray(LOGITS.T), jnp.asarray(LABELS), axis=0, reduction="none")
    np.testing.assert_allclose(rows, columns, rtol=1e-6)
    volume = np.stack([LOGITS, LOGITS + 1], axis=-1)  # (rows, classes, 2)
    twice = nn.cross_entropy(
        jnp.asarray(volume), jnp.asarray(np.stack([LABELS, LABELS], -1)), axis=1, reduction="none"
    )
    np.testing.assert_allclose(twice[:, 0], rows, rtol=1e-6)
    np.testing.assert_allclose(twice[:, 1], rows, rtol=1e-5)


def test_one_hot_labels_are_integer_labels():
    one_hot = np.eye(5, dtype=np.float32)[LABELS]
    np.testing.assert_allclose(
        nn.cross_entropy(jnp.asarray(LOGITS), jnp.asarray(one_hot)),
        nn.cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS)),
        rtol=1e-6,
    )


def test_D10_cross_entropy_is_exact_for_large_logits():
    logits, label = jnp.array([[1000.0, -1000.0, 0.0], [0.0, 0.0, -5.0]]), jnp.array([1, 0])
    losses = nn.cross_entropy(logits, label, reduction="none")
    assert float(losses[0]) == 2000.0
    grad = fg.grad(lambda x: nn.cross_entropy(x, label))(logits)
    np.testing.assert_array_equal(np.asarray(grad[0]), [0.5, -0.5, 0.0])


@pytest.mark.parametrize("size", [1.0, 100.0, 1e4])
def test_D10_no_loss_overflows(size):
    logits = jnp.array([[size, -size, 0.0]])
    for label in range(3):
        value, grad = fg.value_and_grad(nn.cross_entropy)(logits, jnp.array([label]))
        exact = np.asarray(logits, np.float64)[0]
        log_p = exact - exact.max() - np.log(np.exp(exact - exact.max()).sum())
        np.testing.assert_allclose(value, -log_p[label], rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(grad[0], np.exp(log_p) - np.eye(3)[label], atol=1e-6)
    for y in (0.0, 1.0):
        for x in (-size, size):
            value, slope = fg.value_and_grad(nn.binary_cross_entropy)(
                jnp.array([x]), jnp.array([y])
            )
            right = (x > 0) == (y == 1)
            np.testing.assert_allclose(
                value, np.log1p(np.exp(-size)) + (0 if right else size), rtol=1e-6, atol=1e-30
            )
            np.testing.assert_allclose(slope[0], 0.5 + 0.5 * np.tanh(x / 2) - y, atol=1e-6)


def test_impossible_classes_do_not_spoil_the_others():
    logits = jnp.array([[0.0, -jnp.inf, 0.0]])
    for labels in (jnp.array([0]), jnp.array([[1.0, 0.0, 0.0]])):
        value, grad = fg.value_and_grad(nn.cross_entropy)(logits, labels)
        np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
        np.testing.assert_allclose(grad[0], [-0.5, 0.0, 0.5], rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 5, 1000])
def test_labels_that_are_no_class_give_nan(label):
    labels = jnp.array([0, label, 1, 2, 3, 4])
    losses = np.asarray(nn.cross_entropy(jnp.asarray(LOGITS), labels, reduction="none"))
    assert np.isnan(losses[1]) and np.isfinite(np.delete(losses, 1)).all()


@pytest.mark.oracle
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "ours, theirs, targets",
    [
        (nn.mse, "mse_loss", B),
        (nn.mae, "l1_loss", B),
        (nn.huber, "huber_loss", B),
        (nn.binary_cross_entropy, "binary_cross_entropy_with_logits", MASK),
        (nn.binary_cross_entropy, "binary_cross_entropy_with_logits", np.abs(np.tanh(B))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_elementwise_losses(ours, theirs, targets, reduction):
    against_torch(
        lambda x, y: ours(x, y, reduction=reduction),
        lambda torch: getattr(torch.nn.functional, theirs),
        A,
        targets,
        reduction=reduction,
    )


@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
def test_the_curvature_of_binary_cross_entropy_is_right_where_training_begins(label):
    """At a logit of 0, where formulas with max and abs have their bend: p (1 - p) = 1/4."""
    second = fg.grad(fg.grad(lambda x: nn.binary_cross_entropy(x, jnp.float32(label))))
    assert float(second(0.0)) == pytest.approx(0.25, rel=1e-6)


def test_D11_mse_has_no_half():
    assert float(nn.mse(jnp.array([3.0]), jnp.array([1.0]))) == 4.0


def test_D24_mae_gradient_is_the_sign_and_zero_at_zero():
    grad = fg.grad(lambda x: nn.mae(x, jnp.zeros(3), reduction="sum"))(jnp.array([-2.0, 0.0, 5.0]))
    assert grad.tolist() == [-1.0, 0.0, 1.0]


LOSSES = {
    "cross_entropy": (nn.cross_entropy, LOGITS, LABELS),
    "binary_cross_entropy": (nn.binary_cross_entropy, A, MASK),
    "mse": (nn.mse, A, B),
    "mae": (nn.mae, A, B),
    "huber": (nn.huber, A, B),
}


@pytest.mark.parametrize("name", LOSSES)
def test_D43_means_do_not_depend_on_the_size_of_the_batch(name):
    loss, inputs, targets = LOSSES[name]
    twice, targets_twice = np.concatenate([inputs] * 2), np.concatenate([targets] * 2)
    value, grad = fg.value_and_grad(loss)(jnp.asarray(inputs), jnp.asarray(targets))
    again, grads = fg.value_and_grad(loss)(jnp.asarray(twice), jnp.asarray(targets_twice))
    assert value.shape == ()
    np.testing.assert_allclose(value, again, rtol=1e-6)
    np.testing.assert_allclose(
        grad, grads[: len(inputs)] + grads[len(inputs) :], rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("name", LOSSES)
def test_D24b_float32_stays_float32(name):
    loss, inputs, targets = LOSSES[name]
    assert loss(jnp.asarray(inputs), jnp.asarray(targets)).dtype == jnp.float32
    half = jnp.asarray(inputs).astype(jnp.bfloat16)
    assert loss(half, jnp.asarray(targets)).dtype in (jnp.bfloat16, jnp.float32)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_the_same_under_jit_and_vmap(name):
    loss, inputs, targets = LOSSES[name]
    x, y = jnp.asarray(inputs), jnp.asarray(targets)
    np.testing.assert_allclose(fg.jit(loss)(x, y), loss(x, y), rtol=1e-6)
    by_row = fg.vmap(loss)(x, y)
    np.testing.assert_allclose(by_row.mean(), loss(x, y), rtol=1e-5)


@pytest.mark.parametrize("loss", [nn.mse, nn.mae, nn.huber, nn.binary_cross_entropy])
@pytest.mark.parametrize("a, b", [((3,), (3, 1)), ((3,), ()), ((2, 3), (3,)), ((1, 3), (2, 3))])
def test_D51_shapes_must_be_equal(loss, a, b):
    with pytest.raises(ValueError) as caught:
        loss(jnp.zeros(a), jnp.zeros(b))
    assert loss.__name__ in str(caught.value) and str(a) in str(caught.value)
    assert str(b) in str(caught.value) and "nothing is broadcast" in str(caught.value)


@pytest.mark.parametrize(
    "logits, labels, message",
    [
        (
            jnp.zeros((3, 2)),
            jnp.zeros((3, 1), jnp.int32),
            r"must have shape \(3,\), but have \(3, 1\)",
        ),
        (jnp.zeros((3, 2)), jnp.zeros(2, jnp.int32), r"must have shape \(3,\), but have \(2,\)"),
        (jnp.zeros((3, 2)), jnp.zeros((), jnp.int32), r"must have shape \(3,\), but have \(\)"),
    ],
)
def test_D51_cross_entropy_shapes(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        nn.cross_entropy(logits, labels)


def test_wrong_types_and_options_are_errors():
    with pytest.raises(TypeError, match="logits must be floats, but got int32"):
        nn.cross_entropy(jnp.zeros((2, 2), jnp.int32), jnp.zeros(2, jnp.int32))
    with pytest.raises(TypeError, match="labels must be integers, or probabilities"):
        nn.cross_entropy(jnp.zeros((2, 2)), jnp.zeros(2))
    with pytest.raises(ValueError, match="reduction must be mean, sum or none, but got 'avg'"):
        nn.mse(jnp.zeros(2), jnp.zeros(2), reduction="avg")
    with pytest.raises(ValueError, match="label_smoothing must be between 0 and 1, but got 2"):
        nn.cross_entropy(jnp.zeros((2, 2)), jnp.zeros(2, jnp.int32), label_smoothing=2)
    with pytest.raises(ValueError, match="axis 2 is not an axis"):
        nn.cross_entropy(jnp.zeros((2, 2)), jnp.zeros(2, jnp.int32), axis=2)


# -- metrics ---------------------------------------------------------------------------------------


def test_accuracy_counts_rows():
    assert float(nn.accuracy(LOGITS, LOGITS.argmax(1))) == 1.0
    expected = (LOGITS.argmax(1) == LABELS).mean()
    assert abs(float(nn.accuracy(LOGITS, LABELS)) - expected) < 1e-7
    assert float(nn.accuracy(LOGITS, np.eye(5, dtype=np.float32)[LABELS])) == float(
        nn.accuracy(LOGITS, LABELS)
    )
    with pytest.raises(ValueError, match=r"must have shape \(6,\), but have \(6, 1\)"):
        nn.accuracy(LOGITS, LABELS[:, None])


def test_confusion_matrix_counts_pairs():
    guesses = RNG.integers(0, 4, 200)
    labels = RNG.integers(0, 4, 200)
    matrix = np.asarray(nn.confusion_matrix(guesses, labels, 4))
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (labels, guesses), 1)
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.sum() == 200 and np.trace(matrix) / 200 == (guesses == labels).mean()
    np.testing.assert_allclose(
        nn.per_class_accuracy(matrix), np.diag(expected) / expected.sum(1), rtol=1e-6
    )
    from_logits = nn.confusion_matrix(np.eye(4, dtype=np.float32)[guesses], labels, 4)
    np.testing.assert_array_equal(np.asarray(from_logits), expected)


def test_confusion_matrix_leaves_out_what_is_no_class():
    matrix = nn.confusion_matrix(np.array([0, 1, 7, -1]), np.array([0, -1, 1, 1]), 2)
    assert np.asarray(matrix).tolist() == [[1, 0], [0, 0]]

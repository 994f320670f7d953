"""Losses against PyTorch and against exact values."""

from functools import partial

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


WEIGHTS = np.array([0.5, 2.0, 1.0, 0.0, 3.0], np.float32)


@pytest.mark.oracle
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ignored", [None, 2, -100])
def test_cross_entropy_with_class_weights_and_ignored_labels(reduction, smoothing, ignored):
    labels = np.array([0, 2, 1, 2, 3, 4])
    if ignored == -100:
        labels[3] = ignored
    against_torch(
        lambda x, y: nn.cross_entropy(
            x,
            y,
            class_weights=WEIGHTS,
            label_smoothing=smoothing,
            ignore_index=ignored,
            reduction=reduction,
        ),
        lambda torch: torch.nn.functional.cross_entropy,
        LOGITS,
        labels,
        reduction=reduction,
        label_smoothing=smoothing,
        weight=pytest.importorskip("torch").tensor(WEIGHTS),
        ignore_index=-100 if ignored is None else ignored,
    )


@pytest.mark.oracle
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_with_soft_labels_and_class_weights(smoothing):
    against_torch(
        lambda x, y: nn.cross_entropy(
            x, y, class_weights=WEIGHTS, label_smoothing=smoothing, reduction="none"
        ),
        lambda torch: torch.nn.functional.cross_entropy,
        LOGITS,
        SOFT,
        label_smoothing=smoothing,
        weight=pytest.importorskip("torch").tensor(WEIGHTS),
        reduction="none",
    )


def test_ignored_labels_without_weights_are_as_if_the_rows_were_absent():
    labels = jnp.array([0, -1, 1, -1, 3, 4])
    keep = np.array([0, 2, 4, 5])
    some = nn.cross_entropy(jnp.asarray(LOGITS), labels, ignore_index=-1)
    np.testing.assert_allclose(some, nn.cross_entropy(LOGITS[keep], labels[keep]), rtol=1e-6)
    grad = fg.grad(lambda x: nn.cross_entropy(x, labels, ignore_index=-1))(jnp.asarray(LOGITS))
    assert (np.asarray(grad)[[1, 3]] == 0).all() and (np.asarray(grad)[keep] != 0).all()
    nothing = nn.cross_entropy(jnp.zeros((2, 3)), jnp.array([7, 7]), ignore_index=7)
    assert np.isnan(float(nothing)), "the mean of nothing, as in PyTorch"


@pytest.mark.oracle
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll(reduction):
    log_p = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    labels = np.array([0, 2, 1, 2, 3, 4])
    against_torch(
        lambda x, y: nn.nll(x, y, class_weights=WEIGHTS, ignore_index=2, reduction=reduction),
        lambda torch: torch.nn.functional.nll_loss,
        log_p,
        labels,
        weight=pytest.importorskip("torch").tensor(WEIGHTS),
        ignore_index=2,
        reduction=reduction,
    )


@pytest.mark.oracle
@pytest.mark.parametrize("log_targets", [False, True])
@pytest.mark.parametrize("reduction, theirs", [("mean", "batchmean"), ("sum", "sum")])
def test_kl_divergence(reduction, theirs, log_targets):
    log_q = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    against_torch(
        lambda x, y: nn.kl_divergence(x, y, log_targets=log_targets, reduction=reduction),
        lambda torch: torch.nn.functional.kl_div,
        log_q,
        np.log(SOFT) if log_targets else SOFT,
        reduction=theirs,
        log_target=log_targets,
    )


def test_kl_divergence_of_certain_targets_is_finite_and_zero_at_equality():
    certain = jnp.array([[1.0, 0.0]])
    log_q = jnp.log(jnp.array([[0.5, 0.5]]))
    value, grad = fg.value_and_grad(nn.kl_divergence)(log_q, certain)
    assert float(value) == pytest.approx(np.log(2)) and grad.tolist() == [[-1.0, 0.0]]
    impossible = jnp.array([[0.0, -jnp.inf]])
    assert float(nn.kl_divergence(impossible, certain)) == 0.0
    assert float(nn.kl_divergence(jnp.log(certain), jnp.log(certain), log_targets=True)) == 0.0
    columns = nn.kl_divergence(jnp.log(SOFT).T, jnp.asarray(SOFT[::-1]).T, axis=0)
    rows = nn.kl_divergence(jnp.log(SOFT), jnp.asarray(SOFT[::-1]))
    np.testing.assert_allclose(columns, rows, rtol=1e-5)


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


@pytest.mark.parametrize("dtype", [np.int32, bool, np.float32])
def test_one_hot_labels_of_any_dtype(dtype):
    one_hot = np.eye(5)[LABELS].astype(dtype)
    np.testing.assert_allclose(
        nn.cross_entropy(jnp.asarray(LOGITS), jnp.asarray(one_hot), label_smoothing=0.1),
        nn.cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS), label_smoothing=0.1),
        rtol=1e-6,
    )


def test_class_numbers_for_a_single_class_are_no_one_hot_labels():
    with pytest.raises(ValueError, match=r"must have shape \(4,\), but have \(4, 1\)"):
        nn.cross_entropy(jnp.zeros((4, 1)), jnp.zeros((4, 1), jnp.int32))


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
        (partial(nn.huber, delta=0.3), "huber_loss:delta=0.3", B),
        (nn.smooth_l1, "smooth_l1_loss", B),
        (partial(nn.smooth_l1, beta=0.4), "smooth_l1_loss:beta=0.4", B),
        (nn.binary_cross_entropy, "binary_cross_entropy_with_logits", MASK),
        (nn.binary_cross_entropy, "binary_cross_entropy_with_logits", np.abs(np.tanh(B))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_elementwise_losses(ours, theirs, targets, reduction):
    theirs, _, option = theirs.partition(":")
    options = {option.split("=")[0]: float(option.split("=")[1])} if option else {}
    against_torch(
        lambda x, y: ours(x, y, reduction=reduction),
        lambda torch: getattr(torch.nn.functional, theirs),
        A,
        targets,
        reduction=reduction,
        **options,
    )


@pytest.mark.oracle
@pytest.mark.parametrize("pos_weight", [3.0, [0.5, 2.0, 1.0]])
def test_binary_cross_entropy_with_weights_of_positives(pos_weight):
    against_torch(
        lambda x, y: nn.binary_cross_entropy(x, y, pos_weight=pos_weight),
        lambda torch: torch.nn.functional.binary_cross_entropy_with_logits,
        A,
        MASK,
        pos_weight=pytest.importorskip("torch").tensor(pos_weight),
    )


@pytest.mark.oracle
def test_binary_cross_entropy_of_probabilities():
    p = 1 / (1 + np.exp(-A))
    against_torch(
        partial(nn.binary_cross_entropy, from_logits=False),
        lambda torch: torch.nn.functional.binary_cross_entropy,
        p,
        MASK,
    )
    certain = jnp.array([0.0, 1.0, 0.0, 1.0])
    values = nn.binary_cross_entropy(
        certain, jnp.array([0.0, 1.0, 1.0, 0.0]), from_logits=False, reduction="none"
    )
    assert values.tolist() == [0.0, 0.0, np.inf, np.inf]


@pytest.mark.oracle
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("p, margin, weighted", [(1, 1.0, False), (2, 0.5, True)])
def test_multi_margin(reduction, p, margin, weighted):
    weights = WEIGHTS if weighted else None
    against_torch(
        lambda x, y: nn.multi_margin(
            x, y, p=p, margin=margin, class_weights=weights, reduction=reduction
        ),
        lambda torch: torch.nn.functional.multi_margin_loss,
        LOGITS,
        LABELS,
        p=p,
        margin=margin,
        weight=pytest.importorskip("torch").tensor(WEIGHTS) if weighted else None,
        reduction=reduction,
    )


def test_hinge_is_its_definition():
    labels = np.where(MASK > 0, 1, -1)
    values = nn.hinge(jnp.asarray(A), jnp.asarray(labels), reduction="none")
    np.testing.assert_allclose(values, np.maximum(1 - labels * A, 0), rtol=1e-6)
    wider = nn.hinge(jnp.asarray(A), jnp.asarray(labels), margin=2.0)
    np.testing.assert_allclose(wider, np.maximum(2 - labels * A, 0).mean(), rtol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cosine_similarity(axis):
    against_torch(
        lambda x, y: nn.cosine_similarity(x, y, axis=axis),
        lambda torch: torch.nn.functional.cosine_similarity,
        A,
        B,
        dim=axis,
    )


@pytest.mark.oracle
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_cosine_embedding(reduction, margin):
    labels = np.array([1, -1, -1, 1])
    torch = pytest.importorskip("torch")
    against_torch(
        lambda x, y: nn.cosine_embedding(x, jnp.asarray(B), y, margin=margin, reduction=reduction),
        lambda torch: (
            lambda x, y, **options: torch.nn.functional.cosine_embedding_loss(
                x, torch.tensor(B), y, **options
            )
        ),
        A,
        labels,
        margin=margin,
        reduction=reduction,
    )
    assert torch is not None


def test_cosine_similarity_has_a_gradient_at_zero():
    value, grad = fg.value_and_grad(nn.cosine_similarity)(jnp.zeros(3), jnp.ones(3))
    assert float(value) == 0.0 and np.isfinite(np.asarray(grad)).all()
    assert float(nn.cosine_similarity(jnp.full(3, 1e-3), jnp.full(3, 2e3))) == pytest.approx(1.0)


def test_rmse_is_the_root_and_finite_at_zero():
    value, grad = fg.value_and_grad(nn.rmse)(jnp.asarray(A), jnp.asarray(B))
    root = np.sqrt(((A - B) ** 2).mean())
    np.testing.assert_allclose(value, root, rtol=1e-6)
    np.testing.assert_allclose(grad, (A - B) / (A.size * root), rtol=1e-5)
    value, grad = fg.value_and_grad(nn.rmse)(jnp.asarray(A), jnp.asarray(A))
    assert float(value) == 0.0 and (np.asarray(grad) == 0).all()


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
    "smooth_l1": (nn.smooth_l1, A, B),
    "nll": (nn.nll, np.log(np.full((6, 5), 0.2, np.float32)), LABELS),
    "kl_divergence": (nn.kl_divergence, np.log(SOFT), SOFT[::-1].copy()),
    "hinge": (nn.hinge, A, np.where(MASK > 0, 1, -1)),
    "multi_margin": (nn.multi_margin, LOGITS, LABELS),
    "cosine_embedding": (lambda x, y: nn.cosine_embedding(x, x[..., ::-1], y), A, [1, -1, 1, -1]),
    "ctc": (nn.ctc, RNG.normal(size=(2, 5, 4)).astype(np.float32), np.array([[1, 2], [3, 3]])),
}
OTHERS = {
    "rmse",
    "cosine_similarity",
    "l1_penalty",
    "l2_penalty",
    "elastic_penalty",
}


def test_every_loss_has_a_row():
    assert set(nn.losses.__all__) == set(LOSSES) | OTHERS


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
    one_row = (lambda x, y: loss(x[None], y[None])) if name == "ctc" else loss
    by_row = fg.vmap(one_row)(x, y)
    np.testing.assert_allclose(by_row.mean(), loss(x, y), rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        nn.mse,
        nn.rmse,
        nn.mae,
        nn.huber,
        nn.smooth_l1,
        nn.binary_cross_entropy,
        nn.kl_divergence,
        nn.hinge,
        nn.cosine_similarity,
    ],
)
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
    with pytest.raises(ValueError, match=r"class_weights must have shape \(2,\), but have \(3,\)"):
        nn.cross_entropy(jnp.zeros((4, 2)), jnp.zeros(4, jnp.int32), class_weights=jnp.ones(3))
    with pytest.raises(ValueError, match="ignore_index needs integer labels"):
        nn.cross_entropy(jnp.zeros((4, 2)), jnp.zeros((4, 2)), ignore_index=1)
    with pytest.raises(ValueError, match=r"pos_weight must have the shape .* but has \(2,\)"):
        nn.binary_cross_entropy(jnp.zeros((4, 3)), jnp.zeros((4, 3)), pos_weight=jnp.ones(2))
    with pytest.raises(ValueError, match="huber: delta must be positive, but got 0"):
        nn.huber(jnp.zeros(2), jnp.zeros(2), delta=0)
    with pytest.raises(TypeError, match="multi_margin: labels must be integers, but got float32"):
        nn.multi_margin(jnp.zeros((2, 2)), jnp.zeros(2))
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\), but have \(2, 1\)"):
        nn.cosine_embedding(jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.ones((2, 1), jnp.int32))
    with pytest.raises(ValueError, match="axis 2 is not an axis"):
        nn.cross_entropy(jnp.zeros((2, 2)), jnp.zeros(2, jnp.int32), axis=2)


@pytest.mark.oracle
def test_edges_as_in_torch():
    """Nothing, one row without a batch axis, NaN, infinity, one class, narrow label dtypes."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    nothing = np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    row = np.array([1.0, 2.0, 3.0], np.float32), np.int64(1)
    bad = np.array([[np.nan, 1.0], [1.0, 2.0]], np.float32), np.array([1, 1])
    for x, y in (nothing, row, bad):
        ours, theirs = nn.cross_entropy(x, y), functional.cross_entropy(*map(torch.tensor, (x, y)))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert np.isnan(float(nn.mse(np.zeros(0, np.float32), np.zeros(0, np.float32))))
    infinite = np.array([np.inf, -np.inf], np.float32)
    for name in ("huber", "mae", "mse"):
        assert float(getattr(nn, name)(infinite, np.zeros(2, np.float32))) == np.inf
    assert float(nn.multi_margin(np.zeros((2, 1), np.float32), np.zeros(2, np.int64))) == 0.0
    labels = np.array([0, 255], np.uint8)
    value = nn.cross_entropy(np.zeros((2, 3), np.float32), labels, ignore_index=255)
    assert float(value) == pytest.approx(np.log(3))

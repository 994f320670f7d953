"""Metrics against scikit-learn, over one batch and over many."""

import inspect

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad_nn import metrics

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 5)).astype(np.float32) * 3
LABELS = RNG.integers(0, 5, 6)

ROWS, CLASSES = 203, 5  # five batches of 37, and a short one
MANY = RNG.normal(size=(ROWS, CLASSES)).astype(np.float32)
TRUE = RNG.choice(CLASSES, ROWS, p=[0.4, 0.3, 0.2, 0.1, 0.0])  # one class never appears
MANY[np.arange(ROWS), TRUE] += 1
GUESS = MANY.argmax(1)
SCORES = np.round(1 / (1 + np.exp(-MANY[:, 0])), 2).astype(np.float32)  # with ties
YES = (TRUE == 0).astype(int)
X, Y = RNG.normal(size=(2, ROWS, 3)).astype(np.float32)
Y = (X + 0.5 * Y + 100).astype(np.float32)
X = X + 100


def sklearn():
    return pytest.importorskip("sklearn.metrics")


def averaged(name, average):
    options = dict(average=average, zero_division=0)
    if average != "binary":
        options["labels"] = range(CLASSES)
    return lambda y, p: getattr(sklearn(), name)(y, p, **options)


def one_against_rest(y, p):
    areas = [
        sklearn().roc_auc_score(y == c, p[:, c]) if (y == c).any() else np.nan
        for c in range(CLASSES)
    ]
    return np.mean(areas)


EXPECTED = {
    "Mean": (metrics.Mean(), X, None, lambda y, p: p.mean()),
    "Accuracy": (metrics.Accuracy(), MANY, TRUE, lambda y, p: (p.argmax(1) == y).mean()),
    "Accuracy, top": (
        metrics.Accuracy(top_k=2),
        MANY,
        TRUE,
        lambda y, p: sklearn().top_k_accuracy_score(y, p, k=2, labels=range(CLASSES)),
    ),
    "Accuracy, threshold": (
        metrics.Accuracy(threshold=0.6),
        SCORES,
        YES,
        lambda y, p: ((p > np.float32(0.6)) == y).mean(),
    ),
    "Accuracy, ignoring": (
        metrics.Accuracy(ignore_index=1),
        MANY,
        TRUE,
        lambda y, p: (p.argmax(1) == y)[y != 1].mean(),
    ),
    "ConfusionMatrix": (
        metrics.ConfusionMatrix(CLASSES),
        MANY,
        TRUE,
        lambda y, p: sklearn().confusion_matrix(y, p.argmax(1), labels=range(CLASSES)),
    ),
    "ConfusionMatrix, threshold": (
        metrics.ConfusionMatrix(2, threshold=0.5),
        SCORES,
        YES,
        lambda y, p: sklearn().confusion_matrix(y, p > 0.5),
    ),
    "PerClassAccuracy": (
        metrics.PerClassAccuracy(CLASSES),
        GUESS,
        TRUE,
        lambda y, p: np.array(
            [(p[y == c] == c).mean() if (y == c).any() else np.nan for c in range(CLASSES)]
        ),
    ),
    **{
        f"{kind.__name__}, {average}": (
            kind(CLASSES, average=average),
            GUESS,
            TRUE,
            averaged(theirs, average),
        )
        for kind, theirs in (
            (metrics.Precision, "precision_score"),
            (metrics.Recall, "recall_score"),
            (metrics.F1, "f1_score"),
        )
        for average in ("macro", "micro", "weighted", None)
    },
    **{
        f"{kind.__name__}, binary": (
            kind(2, average="binary"),
            (SCORES > 0.5).astype(int),
            YES,
            averaged(theirs, "binary"),
        )
        for kind, theirs in (
            (metrics.Precision, "precision_score"),
            (metrics.Recall, "recall_score"),
            (metrics.F1, "f1_score"),
        )
    },
    "AUROC": (metrics.AUROC(), SCORES, YES, lambda y, p: sklearn().roc_auc_score(y, p)),
    "AUROC, classes": (metrics.AUROC(classes=CLASSES), MANY, TRUE % 4, one_against_rest),
    "MeanSquaredError": (
        metrics.MeanSquaredError(),
        X,
        Y,
        lambda y, p: sklearn().mean_squared_error(y, p),
    ),
    "RootMeanSquaredError": (
        metrics.RootMeanSquaredError(),
        X[:, 0],
        Y[:, 0],
        lambda y, p: sklearn().root_mean_squared_error(y, p),
    ),
    "MeanAbsoluteError": (
        metrics.MeanAbsoluteError(),
        X,
        Y,
        lambda y, p: sklearn().mean_absolute_error(y, p),
    ),
    "R2Score": (metrics.R2Score(), X[:, 0], Y[:, 0], lambda y, p: sklearn().r2_score(y, p)),
    "R2Score, outputs": (metrics.R2Score(outputs=3), X, Y, lambda y, p: sklearn().r2_score(y, p)),
}


def batches(predictions, targets, size=37):
    for begin in range(0, ROWS, size):
        rows = slice(begin, begin + size)
        yield (
            jnp.asarray(predictions[rows]),
            None if targets is None else jnp.asarray(targets[rows]),
        )


def test_every_metric_has_a_row():
    kinds = {n for n in metrics.__all__ if inspect.isclass(getattr(metrics, n))} - {"Metric"}
    assert kinds == {row.partition(",")[0] for row in EXPECTED}


@pytest.mark.oracle
@pytest.mark.parametrize("name", EXPECTED)
def test_over_batches_and_at_once_as_scikit_learn(name):
    metric, predictions, targets, theirs = EXPECTED[name]
    expected = theirs(targets, predictions)
    state = metric.init()
    update = metric.update if name.startswith("AUROC") else fg.jit(metric.update)
    for batch in batches(predictions, targets):
        state = update(state, *batch)
    # targets near 100 with deviations near 1: float32 keeps five digits of the squares
    options = dict(rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(metric.compute(state), expected, **options)
    whole = (jnp.asarray(predictions), None if targets is None else jnp.asarray(targets))
    np.testing.assert_allclose(metric(*whole), expected, **options)


@pytest.mark.parametrize("name", EXPECTED)
def test_merged_states_are_the_state_of_all_batches(name):
    metric, predictions, targets, _ = EXPECTED[name]
    parts = []
    for batch in batches(predictions, targets, 101):
        parts.append(metric.update(metric.init(), *batch))
    merged = metric.merge(metric.merge(parts[0], metric.init()), metric.merge(*parts[1:]))
    expected = metric(jnp.asarray(predictions), None if targets is None else jnp.asarray(targets))
    np.testing.assert_allclose(metric.compute(merged), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in EXPECTED if not name.startswith("AUROC")])
def test_states_keep_their_shapes_so_that_scan_can_carry_them(name):
    metric, predictions, targets, _ = EXPECTED[name]
    rows = 29 * (ROWS // 29)
    split = [
        jnp.asarray(a[:rows]).reshape(-1, 29, *a.shape[1:])
        for a in (predictions, predictions if targets is None else targets)
    ]
    state, _ = fg.lax.scan(
        lambda state, batch: (metric.update(state, *batch), None), metric.init(), tuple(split)
    )
    whole = [a.reshape(rows, *a.shape[2:]) for a in split]
    np.testing.assert_allclose(metric.compute(state), metric(*whole), rtol=1e-5, atol=1e-6)


def test_metrics_are_descriptions():
    assert metrics.F1(3) == metrics.F1(3) != metrics.F1(4)
    assert len({metrics.Accuracy(), metrics.Accuracy(), metrics.Accuracy(2)}) == 2
    with pytest.raises(TypeError, match="abstract"):
        metrics.Metric()


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_binned_auroc_is_near_the_exact_one(classes):
    p = 1 / (1 + np.exp(-MANY))
    scores, labels = (p, TRUE % 4 if classes is None else np.arange(ROWS) % CLASSES)
    scores = scores[:, 0] if classes is None else scores
    labels = YES if classes is None else labels
    fine = metrics.AUROC(classes=classes, bins=2000)
    exact = metrics.auroc(jnp.asarray(scores), jnp.asarray(labels))
    state = fine.init()
    for batch in batches(scores, labels):
        state = fg.jit(fine.update)(state, *batch)
    assert abs(float(fine.compute(state)) - float(exact)) < 2e-3
    assert (np.asarray(state) >= 0).all() and int(state.sum()) == ROWS * (classes or 1)
    halves = [fine.update(fine.init(), *b) for b in batches(scores, labels, 102)]
    np.testing.assert_array_equal(fine.merge(*halves), state)
    edges = metrics.AUROC(bins=4)(jnp.array([0.0, 1.0, 1.5, -1.0]), jnp.array([0, 1, 1, 0]))
    assert float(edges) == 1.0
    ties = metrics.AUROC(bins=2)(jnp.full(4, 0.3), jnp.array([0, 1, 1, 0]))
    assert float(ties) == 0.5
    assert metrics.AUROC(classes=2).init().scores.shape == (0, 2)


def test_auroc_of_one_class_is_nan_and_of_ties_a_half():
    assert np.isnan(float(metrics.auroc(jnp.array([0.1, 0.2]), jnp.array([1, 1]))))
    assert float(metrics.auroc(jnp.zeros(4), jnp.array([0, 1, 1, 0]))) == 0.5
    assert float(fg.jit(metrics.auroc)(jnp.array([0.9, 0.1]), jnp.array([True, False]))) == 1.0


def test_metrics_of_nothing_are_nan():
    for metric in (
        metrics.Mean(),
        metrics.Accuracy(),
        metrics.MeanSquaredError(),
        metrics.R2Score(),
    ):
        assert np.isnan(float(metric.compute(metric.init())))
    empty = metrics.MeanSquaredError().update(
        metrics.MeanSquaredError().init(), *[jnp.zeros(0)] * 2
    )
    one = metrics.MeanSquaredError().update(empty, jnp.ones(1), jnp.zeros(1))
    assert float(metrics.MeanSquaredError().compute(one)) == 1.0


def test_r2_of_constant_targets():
    constant = jnp.full(3, 2.0)
    assert float(metrics.R2Score()(constant, constant)) == 1.0
    assert float(metrics.R2Score()(constant + 1, constant)) == 0.0


def test_running_means_do_not_lose_digits():
    """Ten thousand batches of 0.1 in float32: a running sum would be off in the fourth digit."""
    values = jnp.full((10_000, 1000), 0.1)
    state, _ = fg.lax.scan(
        lambda state, v: (metrics.Mean().update(state, v), None), metrics.Mean().init(), values
    )
    assert int(state.count) == 10_000_000
    assert float(metrics.Mean().compute(state)) == pytest.approx(0.1, rel=1e-6)


def test_mistakes_are_errors():
    with pytest.raises(ValueError, match="average must be macro, .* but got 'mean'"):
        metrics.F1(3, average="mean")
    with pytest.raises(ValueError, match="binary needs 2 classes, not 3"):
        metrics.Recall(3, average="binary")
    with pytest.raises(ValueError, match="ConfusionMatrix: classes must be at least 1, but got 0"):
        metrics.ConfusionMatrix(0)
    with pytest.raises(ValueError, match="AUROC: bins must be at least 2, but got 1"):
        metrics.AUROC(bins=1)
    with pytest.raises(ValueError, match="with a threshold there is no top_k"):
        metrics.Accuracy(top_k=2, threshold=0.5)
    with pytest.raises(ValueError, match="k must be from 1 to 5 classes, but got 6"):
        metrics.top_k_accuracy(LOGITS, LABELS, 6)
    with pytest.raises(ValueError, match=r"equal shapes, but got \(3,\) and \(3, 1\)"):
        metrics.MeanSquaredError()(jnp.zeros(3), jnp.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"equal shapes, but got \(3,\) and \(3, 1\)"):
        metrics.Accuracy(threshold=0.5)(jnp.zeros(3), jnp.zeros((3, 1)))
    with pytest.raises(ValueError, match="do not fit classes=None"):
        metrics.AUROC()(jnp.zeros((3, 2)), jnp.zeros(3, jnp.int32))
    with pytest.raises(ValueError, match="auroc: labels must have the shape of scores"):
        metrics.auroc(jnp.zeros((3, 2)), jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match="the last axis must have 2 outputs"):
        metrics.R2Score(outputs=2)(jnp.zeros((4, 3)), jnp.zeros((4, 3)))


def test_top_k_counts_the_first_of_equals_as_larger():
    equal = jnp.zeros((1, 4))
    right = [float(metrics.top_k_accuracy(equal, jnp.array([c]), 2)) for c in range(4)]
    assert right == [1.0, 1.0, 0.0, 0.0]
    one_hot = np.eye(5, dtype=np.float32)[LABELS]
    assert float(metrics.top_k_accuracy(LOGITS, one_hot, 2)) == float(
        metrics.top_k_accuracy(LOGITS, LABELS, 2)
    )


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

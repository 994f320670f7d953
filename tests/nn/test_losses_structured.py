"""CTC against PyTorch and against counting all alignments; penalties over chosen paths."""

import itertools

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(size=(4, 9, 6)).astype(np.float32)
LABELS = RNG.integers(1, 6, (4, 4))
LABELS[1] = [2, 2, 2, 3]  # repetitions need a blank between them
LOGIT_LENGTHS, LABEL_LENGTHS = np.array([9, 8, 7, 9]), np.array([4, 4, 1, 0])


def by_counting(logits, labels, blank):
    """-log of the total probability of all alignments, one by one."""
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    total = 0.0
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        joined = [c for c, _ in itertools.groupby(path) if c != blank]
        if joined == list(labels):
            total += np.exp(sum(log_p[t, c] for t, c in enumerate(path)))
    return -np.log(total) if total else np.inf


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("labels", [[], [1], [1, 1], [1, 3], [3, 1, 3], [1, 1, 1]])
def test_ctc_is_the_sum_over_all_alignments(labels, blank):
    logits = LOGITS[0, :4, :4].astype(np.float64)
    value = nn.ctc(
        jnp.asarray(logits, jnp.float64)[None],
        jnp.asarray(np.array(labels, np.int32).reshape(1, -1)),
        blank=blank,
        reduction="sum",
    )
    np.testing.assert_allclose(value, by_counting(logits, labels, blank), rtol=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ctc_with_lengths_is_torch_s(reduction):
    torch = pytest.importorskip("torch")
    x = torch.tensor(LOGITS, requires_grad=True)
    expected = torch.nn.functional.ctc_loss(
        x.log_softmax(-1).transpose(0, 1),
        torch.tensor(LABELS),
        torch.tensor(LOGIT_LENGTHS),
        torch.tensor(LABEL_LENGTHS),
        reduction=reduction,
    )
    expected.sum().backward()

    def loss(x):
        return nn.ctc(x, LABELS, LOGIT_LENGTHS, LABEL_LENGTHS, reduction=reduction)

    value, grad = loss(jnp.asarray(LOGITS)), fg.grad(lambda x: loss(x).sum())(jnp.asarray(LOGITS))
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(grad, x.grad.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fg.jit(loss)(jnp.asarray(LOGITS)), value, rtol=1e-6)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_labels_that_do_not_fit_cost_infinity_and_spoil_nothing(zero_infinity):
    labels = jnp.array([[1, 2, 3], [1, 2, 3]])
    lengths = jnp.array([2, 5])

    def loss(x):
        values = nn.ctc(x, labels, lengths, zero_infinity=zero_infinity, reduction="none")
        return values.sum(), values

    logits = jnp.asarray(LOGITS[:2, :5, :4])
    grad, values = fg.grad(loss, has_aux=True)(logits)
    assert float(values[0]) == (0.0 if zero_infinity else np.inf)
    assert np.isfinite(float(values[1]))
    assert (np.asarray(grad[0]) == 0).all() and np.isfinite(np.asarray(grad)).all()
    assert (np.asarray(grad[1]) != 0).any()


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_D10_ctc_is_finite_for_large_logits(size):
    value, grad = fg.value_and_grad(nn.ctc)(jnp.asarray(LOGITS * size), LABELS)
    assert np.isfinite(float(value)) and np.isfinite(np.asarray(grad)).all()


def test_ctc_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"logits must have shape \(batch, time, classes\)"):
        nn.ctc(jnp.zeros((3, 4)), jnp.zeros((3, 1), jnp.int32))
    with pytest.raises(ValueError, match=r"labels must have shape \(3, length\), but have \(2"):
        nn.ctc(jnp.zeros((3, 4, 5)), jnp.zeros((2, 1), jnp.int32))
    with pytest.raises(ValueError, match=r"logit_lengths must have shape \(3,\)"):
        nn.ctc(jnp.zeros((3, 4, 5)), jnp.zeros((3, 1), jnp.int32), jnp.array([4]))
    with pytest.raises(ValueError, match="blank must be one of 5 classes, but got 5"):
        nn.ctc(jnp.zeros((3, 4, 5)), jnp.zeros((3, 1), jnp.int32), blank=5)


# -- penalties -------------------------------------------------------------------------------------

PARAMS = {
    "encoder": {"weight": jnp.array([1.0, -2.0, 0.0]), "bias": jnp.array([4.0])},
    "head": {"weight": jnp.array([[3.0]])},
}


@pytest.mark.parametrize(
    "paths, entries",
    [
        (None, [1, -2, 0, 4, 3]),
        ("**/weight", [1, -2, 0, 3]),
        (("head/**", "**/bias"), [4, 3]),
        (lambda tree: fg.tree.map(lambda p: p.ndim == 2, tree), [3]),
        ({"encoder": {"weight": False, "bias": True}, "head": {"weight": False}}, [4]),
        (False, []),
    ],
)
def test_D18_penalties_over_chosen_paths(paths, entries):
    entries = np.array(entries, float)
    l1, l2 = np.abs(entries).sum(), (entries**2).sum()
    assert float(nn.l1_penalty(PARAMS, paths)) == l1
    assert float(nn.l2_penalty(PARAMS, paths)) == l2
    assert float(nn.elastic_penalty(PARAMS, 0.5, 2.0, paths)) == 0.5 * l1 + 2 * l2


def test_D18_gradients_of_penalties():
    """L2's is 2 lambda w; L1's is the sign, 0 at 0; leaves not chosen have none."""
    grads = fg.grad(lambda p: 0.25 * nn.l2_penalty(p, "encoder/**"))(PARAMS)
    np.testing.assert_array_equal(grads["encoder"]["weight"], [0.5, -1.0, 0.0])
    assert grads["head"]["weight"].tolist() == [[0.0]]
    grads = fg.grad(nn.l1_penalty)(PARAMS)
    np.testing.assert_array_equal(grads["encoder"]["weight"], [1.0, -1.0, 0.0])


def test_penalties_refuse_misspelt_paths_and_negative_weights():
    with pytest.raises(ValueError, match="no parameter fits 'encodr/"):
        nn.l1_penalty(PARAMS, "encodr/**")
    with pytest.raises(ValueError, match="elastic_penalty: l1 must be .* but got -1"):
        nn.elastic_penalty(PARAMS, -1, 0.0)

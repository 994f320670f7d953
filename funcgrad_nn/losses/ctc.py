"""Connectionist temporal classification: labels for a sequence, without saying when."""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.nn import log_softmax, logsumexp
from funcgrad_nn.losses.checks import inexact, integers, reduced, require_shape, shape

IMPOSSIBLE = -1e30  # in place of -infinity, whose differences are NaN


def ctc(
    logits,
    labels,
    logit_lengths=None,
    label_lengths=None,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
    reduction: str = "mean",
):
    """-log of the probability that the frames spell the labels (Graves et al., 2006).

    The frames choose classes independently by softmax(logits); a choice spells the labels if
    joining runs of equal classes and then dropping `blank` leaves them. `logits`: floats (batch,
    time, classes); `labels`: integers (batch, length) without `blank`; `logit_lengths` and
    `label_lengths`: integers (batch,), how much of each row counts, all if not given.

    "none" and "sum" are of the losses of the rows; "mean" first divides each by its number of
    labels (at least 1), as PyTorch does. Labels that do not fit into the frames cost infinity, or
    nothing with `zero_infinity`; they have no gradient. Raises `ValueError` for wrong shapes.

    >>> import funcgrad.numpy as jnp
    >>> round(float(ctc(jnp.zeros((1, 3, 2)), jnp.array([[1]]), reduction="sum")), 4)  # 6 of 8
    0.2877
    """
    logits, labels = inexact("ctc", "logits", logits), integers("ctc", "labels", labels)
    logit_lengths, label_lengths = _lengths(logits, labels, logit_lengths, label_lengths)
    if not 0 <= blank < logits.shape[2]:
        raise ValueError(f"ctc: blank must be one of {logits.shape[2]} classes, but got {blank}.")
    log_p = _log_likelihood(log_softmax(logits), labels, logit_lengths, label_lengths, blank)
    impossible = log_p < IMPOSSIBLE / 2
    losses = jnp.where(impossible, 0.0 if zero_infinity else jnp.inf, -log_p)
    if reduction == "mean":
        losses = losses / jnp.maximum(label_lengths, 1).astype(losses.dtype)
    return reduced("ctc", losses, reduction)


def _lengths(logits, labels, logit_lengths, label_lengths):
    if logits.ndim != 3:
        raise ValueError(
            f"ctc: logits must have shape (batch, time, classes), but have {shape(logits)}."
        )
    batch, time, _ = logits.shape
    if labels.ndim != 2 or labels.shape[0] != batch:
        raise ValueError(
            f"ctc: labels must have shape ({batch}, length), but have {shape(labels)}."
        )
    given = (
        ("logit_lengths", logit_lengths, time),
        ("label_lengths", label_lengths, labels.shape[1]),
    )
    found = []
    for what, lengths, whole in given:
        lengths = jnp.full(batch, whole) if lengths is None else integers("ctc", what, lengths)
        require_shape("ctc", what, lengths, (batch,))
        found.append(lengths)
    return found


def _log_likelihood(log_p, labels, logit_lengths, label_lengths, blank: int):
    """The forward recursion over time, for all positions in "_a_b_..._" at once.

    alpha[s] <- p(s) (alpha[s] + alpha[s-1] + alpha[s-2]), the last only where a blank may be left
    out; in logarithms, with `labels` padded by one blank before, between and after.
    """
    spelled = _with_blanks(labels, blank)
    emitted = jnp.take_along_axis(log_p, spelled[:, None, :], axis=2)
    skips = (spelled != blank) & (spelled != _shifted(spelled, 2, blank))
    positions = jnp.arange(spelled.shape[1])
    begin = jnp.where(positions == 0, 0.0, IMPOSSIBLE).astype(log_p.dtype)
    begin = jnp.broadcast_to(begin, spelled.shape)

    def step(alpha, frame):
        time, log_emission = frame
        stay, forward, skip = alpha, _shifted(alpha, 1, IMPOSSIBLE), _shifted(alpha, 2, IMPOSSIBLE)
        # before the first frame only position 0 is held, from which the first label is one step
        ways = jnp.stack([stay, forward, jnp.where(skips, skip, IMPOSSIBLE)])
        moved = jnp.maximum(logsumexp(ways, axis=0) + log_emission, IMPOSSIBLE)
        return jnp.where((time < logit_lengths)[:, None], moved, alpha), None

    frames = jnp.arange(log_p.shape[1]), jnp.moveaxis(emitted, 1, 0)
    alpha, _ = fg.lax.scan(step, begin, frames)
    last = 2 * label_lengths[:, None]
    ends = (positions == last) | (positions == last - 1)
    return logsumexp(jnp.where(ends, alpha, IMPOSSIBLE), axis=1)


def _with_blanks(labels, blank: int):
    batch, length = labels.shape
    blanks = jnp.full((batch, length), blank, labels.dtype)
    pairs = jnp.stack([blanks, labels], axis=2).reshape(batch, 2 * length)
    return jnp.concatenate([pairs, jnp.full((batch, 1), blank, labels.dtype)], axis=1)


def _shifted(values, by: int, fill):
    """Moved to the right by some positions, with `fill` on the left."""
    padding = jnp.full((values.shape[0], by), fill, values.dtype)
    return jnp.concatenate([padding, values], axis=1)[:, : values.shape[1]]

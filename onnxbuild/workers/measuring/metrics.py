"""Metrics of a variant against its reference: pure functions of two arrays of one shape.

`reference` and `variant` are float arrays [rows, width]: a row is the vector of a token or a sentence, or the logits of
one decision. Rows of padding are removed before.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

TOP = 5
_ROUNDING = 1e-5  # of the largest logit: what right exports in fp32 differ by, with a margin
_TINY = 1e-12  # below this length a vector has no direction


def max_abs(reference: Array, variant: Array) -> float:
    """Largest |reference - variant| of any element."""
    return float(np.abs(reference - variant).max())


def mean_abs(reference: Array, variant: Array) -> float:
    """Mean |reference - variant| over all elements."""
    return float(np.abs(reference - variant).mean())


def cosines(reference: Array, variant: Array) -> Array:
    """Cosine of each pair of rows, [rows]: r·v / (|r| |v|); 1 for two zero rows, 0 for one."""
    one, other = _directions(reference), _directions(variant)
    both_zero = ~one.any(axis=-1) & ~other.any(axis=-1)
    return np.where(both_zero, 1.0, np.clip((one * other).sum(axis=-1), -1.0, 1.0))  # type: ignore[no-any-return]


def _directions(rows: Array) -> Array:
    """Rows of length 1, or 0 where a row is too short to have a direction."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.where(lengths < _TINY, 0.0, rows / np.maximum(lengths, _TINY))  # type: ignore[no-any-return]


def cosine_min(reference: Array, variant: Array) -> float:
    """Smallest cosine of a pair of rows."""
    return float(cosines(reference, variant).min())


def cosine_mean(reference: Array, variant: Array) -> float:
    """Mean cosine of the pairs of rows."""
    return float(cosines(reference, variant).mean())


def decisions(logits: Array) -> Array:
    """The decision of each row, [rows]: the index of the largest logit, or the sign of a single logit."""
    return (logits[:, 0] > 0) if logits.shape[1] == 1 else logits.argmax(axis=-1)  # type: ignore[no-any-return]


def same_decisions(reference: Array, variant: Array) -> Array:
    """Whether both decide alike, [rows]; also if the reference prefers its own decision by no more than rounding.

    Of 2,668 rows over 389 random logits, one has two largest ones that differ in the last digits of fp32: kernels that
    add in another order exchange them.
    """
    wanted, found = decisions(reference), decisions(variant)
    if reference.shape[1] == 1:
        return wanted == found  # type: ignore[no-any-return]
    largest, other = (np.take_along_axis(reference, one[:, None], -1)[:, 0] for one in (wanted, found))
    return (wanted == found) | (largest - other <= _ROUNDING * np.abs(largest))  # type: ignore[no-any-return]


def top1(reference: Array, variant: Array) -> float:
    """Share of rows with the same decision."""
    return float(same_decisions(reference, variant).mean())


def top5(reference: Array, variant: Array) -> float:
    """Share of rows whose decision of the reference is among the variant's five largest logits."""
    wanted = decisions(reference)
    largest = np.argpartition(variant, -TOP, axis=-1)[:, -TOP:]
    return float((largest == wanted[:, None]).any(axis=1).mean())


def log_softmax(logits: Array) -> Array:
    """log(exp(x) / sum exp(x)) along the last axis, shifted by the largest value so that nothing overflows."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))  # type: ignore[no-any-return]


def probabilities(logits: Array, *, independent: bool = False) -> Array:
    """Softmax of each row; for `independent` labels, or a single one, the logistic function of each logit."""
    if independent or logits.shape[-1] == 1:
        return np.exp(-np.logaddexp(0.0, -logits))  # type: ignore[no-any-return]
    return np.exp(log_softmax(logits))  # type: ignore[no-any-return]


def max_probability(reference: Array, variant: Array, *, independent: bool = False) -> float:
    """Largest difference between the probabilities of any label."""
    return max_abs(probabilities(reference, independent=independent), probabilities(variant, independent=independent))


def divergences(reference: Array, variant: Array) -> Array:
    """KL(reference ‖ variant) = sum p (log p - log q) of each row, [rows], in nats; rounding below 0 counts as 0."""
    log_p, log_q = log_softmax(reference), log_softmax(variant)
    return np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=-1), 0.0)  # type: ignore[no-any-return]


def kl_mean(reference: Array, variant: Array) -> float:
    """Mean over rows of KL(reference ‖ variant)."""
    return float(divergences(reference, variant).mean())


def negative_log_likelihoods(logits: Array, targets: Array) -> Array:
    """-log p(target) of each row, [rows]: logits [rows, vocabulary], targets [rows]."""
    return -log_softmax(logits)[np.arange(len(targets)), targets]  # type: ignore[no-any-return]


def perplexity_ratio(reference: Array, variant: Array) -> float:
    """Perplexity of the variant over that of the reference: exp(mean(variant - reference)), from losses [rows]."""
    return float(np.exp(np.mean(variant) - np.mean(reference)))


def non_finite(reference: Array, variant: Array) -> int:
    """How many elements of the variant are NaN, or infinite if the reference does not have the same infinity."""
    same_infinity = np.isinf(reference) & (reference == variant)
    return int((~np.isfinite(variant) & ~same_infinity).sum())

r"""Auditing a promise of privacy: what an attack on one training run proves about ε.

Of m canaries each takes part with probability 1/2, on its own. Whoever sees the result guesses for
r of them whether they took part, and is right v times. Under (ε, δ)-differential privacy (records
added or removed) v is hardly ever larger than a binomial number of r guesses that are each right
with probability e^ε/(1 + e^ε) (Steinke, Nasr, Jagielski 2023, arXiv 2305.08846, theorem 5.2):

.. math:: P[V \ge v] \le P[B \ge v] + 2 m δ \max_{i=1}^{v} \frac1i P[v > B \ge v - i],
          \quad B \sim \mathrm{Binomial}(r, e^ε/(1 + e^ε)).

So an ε under which the v that came out has a probability below 1 - confidence is refuted.
A lower bound near 0 proves nothing: a better attack might do more. One above the claimed ε
proves that the claim is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import UsageError


def _log_binomial(r: int, p: float) -> NDArray[np.float64]:
    """ln P[B = k] for k = 0 ... r."""
    k = np.arange(r + 1)
    choose = [math.lgamma(r + 1) - math.lgamma(i + 1) - math.lgamma(r - i + 1) for i in k]
    with np.errstate(divide="ignore", invalid="ignore"):
        fail = math.log1p(-p) if p < 1 else -math.inf
        tail = np.where(k < r, (r - k) * fail, 0.0)
        return np.asarray(choose) + k * math.log(p) + tail


def audit_p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Largest probability, under (ε, δ), of so many right guesses; at most 1.

    Raises:
        UsageError: not 0 <= right <= guesses <= canaries.
    """
    if not 0 <= right <= guesses <= canaries or guesses < 1:
        raise UsageError(
            f"expected 0 <= right <= guesses <= canaries, got {right}, {guesses} and {canaries}"
        )
    pmf = np.exp(_log_binomial(guesses, 1 / (1 + math.exp(-min(epsilon, 700.0)))))
    beta = float(pmf[right:].sum())
    below = np.cumsum(pmf[:right][::-1])  # P[v > B >= v - i], i = 1 ... v
    alpha = float((below / np.arange(1, right + 1)).max()) if right else 0.0
    return min(1.0, beta + 2 * canaries * delta * alpha)


def epsilon_lower_bound(
    canaries: int, guesses: int, right: int, delta: float, confidence: float = 0.95
) -> float:
    """The largest ε that the guesses refute at this confidence; 0 if they refute none."""
    bad = 1 - confidence
    if audit_p_value(canaries, guesses, right, 0.0, delta) > bad:
        return 0.0
    low, high = 0.0, 1.0
    while audit_p_value(canaries, guesses, right, high, delta) <= bad and high < 64:
        low, high = high, 2 * high
    for _ in range(50):
        middle = 0.5 * (low + high)
        if audit_p_value(canaries, guesses, right, middle, delta) <= bad:
            low = middle
        else:
            high = middle
    return low


def guesses_from_scores(
    scores: Tensor | Sequence[float], took_part: Sequence[bool] | Tensor, guesses: int
) -> int:
    """Right guesses of an attack that calls the highest scores "in" and the lowest "out".

    Args:
        scores: of every canary, high where it seems to have taken part.
        took_part: the truth.
        guesses: how many are guessed, half of them each way; an even number.

    Raises:
        UsageError: more guesses than canaries, or an odd number.
    """
    score = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(took_part, dtype=bool)
    if score.shape != truth.shape or guesses % 2 or not 2 <= guesses <= len(score):
        raise UsageError(
            f"expected one score for each of {len(truth)} canaries and an even number of guesses "
            f"up to that, got {len(score)} scores and {guesses} guesses"
        )
    order = np.argsort(-score, kind="stable")
    half = guesses // 2
    return int(truth[order[:half]].sum() + (~truth[order[-half:]]).sum())

r"""How much privacy a run costs: the sampled Gaussian mechanism, composed over its steps.

One step adds N(0, (sC)² I) to a sum to which every record, included with probability q, adds a
vector no longer than C. Whoever compares neighbouring data sets, equal but for one record that is
there or not, then tells them apart no better than the mixture (1 - q) N(0, s²) + q N(1, s²) from
N(0, s²). The price of T steps is

* **RDP** (Mironov, Talwar, Zhang 2019, arXiv 1908.10530, eq. 6): with R(α) the Rényi divergence
  of one step, ε = min_α T R(α) + ln((α-1)/α) - (ln δ + ln α)/(α-1) (Balle et al. 2020,
  arXiv 1905.09982, theorem 21);
* **PRV** (Gopi, Lee, Wutschitz 2021, arXiv 2106.02848): the privacy loss convolved with itself
  numerically; the upper end of its error interval. A twentieth to a tenth less than RDP.

Both are computed by Opacus (extra ``private``).
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

import numpy as np

from sfumato.errors import UsageError, require
from sfumato.systems.dpdm.options import Accountant

ORDERS = (
    *(1 + x / 10 for x in range(1, 100)),
    *(float(a) for a in range(11, 64)),
    *(2.0**p for p in range(6, 12)),
)
"""Rényi orders α over which the best is taken."""

DIGITS = 1e-3  # relative width to which a noise multiplier is searched


def epsilon(
    noise: float, rate: float, steps: int, delta: float, accountant: Accountant = Accountant.RDP
) -> float:
    """ε that ``steps`` steps cost at this δ; infinite without noise.

    Args:
        noise: the noise multiplier s: standard deviation of the noise over the clipping norm.
        rate: q, the probability with which a record takes part in a step.
        steps: T.
        delta: δ.

    Raises:
        UsageError: a value outside its range.
        MissingExtra: Opacus is not installed.
    """
    _check(rate, steps, delta)
    if not noise >= 0:
        raise UsageError(f"expected a noise multiplier of at least 0, got {noise}")
    if steps == 0:
        return 0.0
    if noise == 0:
        return math.inf
    return _epsilon(float(noise), float(rate), int(steps), float(delta), accountant)


@lru_cache(maxsize=4096)
def _epsilon(noise: float, rate: float, steps: int, delta: float, accountant: Accountant) -> float:
    opacus = require("opacus.accountants", "private")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # where the best order is the first or last
        if accountant is Accountant.PRV:
            made = opacus.PRVAccountant()
            made.history = [(noise, rate, steps)]
            return float(made.get_epsilon(delta))
        rdp = require("opacus.accountants.analysis.rdp", "private")
        spent = steps * np.array(_divergences(noise, rate))
        value, _ = rdp.get_privacy_spent(orders=list(ORDERS), rdp=spent, delta=delta)
        return max(float(value), 0.0)


@lru_cache(maxsize=64)
def _divergences(noise: float, rate: float) -> tuple[float, ...]:
    """R(α) of one step for all orders; steps add up, so it is computed once."""
    rdp = require("opacus.accountants.analysis.rdp", "private")
    return tuple(rdp.compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=list(ORDERS)))


def noise_for(
    target: float, rate: float, steps: int, delta: float, accountant: Accountant = Accountant.RDP
) -> float:
    """The smallest noise multiplier, to a thousandth, with which T steps cost at most ``target``.

    Raises:
        UsageError: a value outside its range, or a target that no noise reaches.
    """
    _check(rate, steps, delta)
    if not (target > 0 and math.isfinite(target)):
        raise UsageError(f"expected a target epsilon > 0, got {target}")
    prv = accountant is Accountant.PRV  # its work explodes with ε: begin near the answer
    high = noise_for(target, rate, steps, delta) if prv else 1.0
    while epsilon(high, rate, steps, delta, accountant) > target:
        high *= 2
        if high > 1e6:
            why = "its own error is about 0.01: take rdp" if prv else "take fewer steps"
            raise UsageError(
                f"no noise multiplier up to a million keeps {steps:,} steps at rate {rate:.3g} "
                f"below epsilon {target} by {accountant.value}; {why}"
            )
    low = 0.8 * high
    while low > 0.05 and epsilon(low, rate, steps, delta, accountant) <= target:
        low, high = 0.8 * low, low
    while high > low * (1 + DIGITS):
        middle = math.sqrt(low * high)
        if epsilon(middle, rate, steps, delta, accountant) > target:
            low = middle
        else:
            high = middle
    return float(f"{high * 1.00001:.6g}")  # six digits, and never rounded down


def most_steps(
    target: float,
    noise: float,
    rate: float,
    delta: float,
    accountant: Accountant = Accountant.RDP,
    limit: int = 2**40,
) -> int:
    """How many steps, up to ``limit``, cost at most ``target``; 0 if already one costs more."""
    if limit < 1 or epsilon(noise, rate, 1, delta, accountant) > target:
        return 0
    low, high, growth = 1, 2, 2.0
    if accountant is Accountant.PRV:  # its cost explodes with ε: begin near the answer
        high, growth = max(2, most_steps(target, noise, rate, delta, limit=limit)), 1.1
    high = min(high, limit)
    while epsilon(noise, rate, high, delta, accountant) <= target:
        if high == limit:
            return limit
        low, high = high, min(limit, math.ceil(growth * high))
    while high - low > 1:
        middle = (low + high) // 2
        if epsilon(noise, rate, middle, delta, accountant) > target:
            high = middle
        else:
            low = middle
    return low


def _check(rate: float, steps: int, delta: float) -> None:
    if not 0 < rate <= 1:
        raise UsageError(
            f"expected a sampling rate (batch over records) above 0 and at most 1, got {rate:.4g}: "
            "the expected batch cannot be larger than the data set"
        )
    if steps < 0:
        raise UsageError(f"expected steps >= 0, got {steps}")
    if not 0 < delta < 1:
        raise UsageError(f"expected 0 < delta < 1, got {delta}")

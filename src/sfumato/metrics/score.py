"""What a metric returns: a number that never travels without its features' name and its n."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Score:
    """One measured figure.

    Attributes:
        metric: what was measured, e.g. "Fréchet distance".
        value: the figure, in ``unit``.
        error: one standard error of ``value`` from the finite number of generated samples, or
            None where none is estimated. How it was found stands in the metric's docstring.
        n: number of generated samples (or points, or test images) it was measured on.
        features: the features' name. Scores with different names cannot be compared.
        setting: parameters a reader needs beside it, e.g. "k=3".
        unbiased: ``value`` less its estimated bias from finite n, or None.
        unit: "", "%" or "dB"; or "p" of a p-value, which is told to two digits and down to 1e-6.
    """

    metric: str
    value: float
    error: float | None
    n: int
    features: str
    setting: str = ""
    unbiased: float | None = None
    unit: str = ""

    @property
    def figure(self) -> str:
        """The value with its error and unit: "91.1 ± 0.3%", "28.3 ± 0.2 dB"; or "< 1e-6"."""
        if self.unit == "p":
            return "< 1e-6" if self.value < 1e-6 else f"{self.value:.2g}"
        gap = "" if self.unit in ("", "%") else " "
        return f"{plus_minus(self.value, self.error)}{gap}{self.unit}"

    def __str__(self) -> str:
        about = ", ".join(part for part in (self.features, f"n={self.n}", self.setting) if part)
        number = self.figure
        if self.unit not in ("", "p"):
            number = f"{plus_minus(self.value, self.error)} {self.unit}"
        text = f"{self.metric} ({about}) {number}"
        if self.unbiased is not None:
            text += f"; for n to infinity about {plus_minus(self.unbiased, self.error, bare=True)}"
        return text

    def as_dict(self) -> dict[str, str | float | int | None]:
        """Plain values for JSON; a value that is not finite becomes None."""
        fields = dataclasses.asdict(self)
        return {
            key: None if isinstance(item, float) and not math.isfinite(item) else item
            for key, item in fields.items()
        }


def jackknife(left_out: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error, from the values v_j without part j of g: (g-1)/g Σ (v_j - v̄)²."""
    g = len(left_out)
    mean = math.fsum(left_out) / g
    return mean, math.sqrt((g - 1) / g * math.fsum((v - mean) ** 2 for v in left_out))


def plus_minus(value: float, error: float | None, *, bare: bool = False) -> str:
    """``value ± error`` with the error to two digits when it starts with 1, else to one.

    >>> plus_minus(12.3456, 0.4321)
    '12.3 ± 0.4'
    >>> plus_minus(12.3456, 0.0149)
    '12.346 ± 0.015'
    >>> plus_minus(0.5, None)
    '0.5'
    """
    if error is None or not math.isfinite(error) or error <= 0 or not math.isfinite(value):
        return f"{value:.4g}"
    exponent = math.floor(math.log10(error))
    digits = -exponent + (1 if error / 10.0**exponent < 1.95 else 0)
    if digits > 6 or exponent > 6:
        return f"{value:.4g}" if bare else f"{value:.4g} ± {error:.1g}"
    digits = max(digits, 0)
    return f"{value:.{digits}f}" if bare else f"{value:.{digits}f} ± {error:.{digits}f}"

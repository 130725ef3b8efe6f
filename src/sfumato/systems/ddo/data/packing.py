"""Packed values, and values that stand for missing ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

__all__ = ["Suspect", "suspects", "unpacked"]

_KEYS: Final = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned")
_USUAL: Final = (
    99.0, 99.9, 99.99, 999.0, 999.9, 999.99, 9999.0, 9999.9, 99999.0, 999999.0, 9999999.0, 32767.0,
    32768.0, 65535.0, 2147483647.0, 2147483648.0,
)  # fmt: skip
"""Sizes of numbers that programs write for missing values."""
_HUGE: Final = 1e15
"""Larger ones stand for missing values in NetCDF (9.97e36), CMOR (1e20), GrADS (-9.99e33), ..."""
_APART: Final = 0.5
_FAR: Final = 100


def unpacked(
    values: np.ndarray, attributes: Mapping[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Values by CF's attributes for packed data, and the attributes that are left.

    CF conventions 1.11, sections 2.5.1 and 8.1: values equal to _FillValue or one of missing_value,
    as they are stored, are NaN; the others are scale_factor * stored + add_offset, float64.
    _Unsigned "true" takes whole numbers as unsigned. Other than numbers stays as it is.
    """
    rest = {key: value for key, value in attributes.items() if key not in _KEYS}
    if values.dtype.kind not in "iuf":
        return values, dict(attributes)
    if values.dtype.kind == "i" and str(attributes.get("_Unsigned", "")).lower() == "true":
        values = values.view(values.dtype.str.replace("i", "u"))
    declared = [_number(v, values) for key in _KEYS[2:4] for v in _each(attributes.get(key))]
    gap = np.isin(values, [v for v in declared if v is not None]) if declared else np.False_
    scale, offset = (_factor(attributes.get(key)) for key in _KEYS[:2])
    if scale is not None or offset is not None:
        values = values * (1.0 if scale is None else scale) + (offset or 0.0)
    if gap.any():
        values = np.where(gap, np.nan, values)
    return values, rest


def _each(value: Any) -> list[Any]:
    return [] if value is None else list(np.atleast_1d(np.asarray(value)).ravel())


def _number(value: Any, like: np.ndarray) -> Any:
    """A declared value in the type of the stored ones; None if it is none."""
    try:
        with np.errstate(all="ignore"):
            made = np.asarray(value.decode() if isinstance(value, bytes) else value).astype(float)
            if like.dtype.kind == "u" and made < 0:  # declared before it was taken as unsigned
                made = made + 2.0 ** (8 * like.dtype.itemsize)
            return made.astype(like.dtype)
    except (ValueError, TypeError, OverflowError):
        return None


def _factor(value: Any) -> float | None:
    try:
        return None if value is None else float(np.asarray(value, dtype=float).reshape(()))
    except (ValueError, TypeError):
        return None


@final
@dataclass(frozen=True)
class Suspect:
    """A value that may stand for missing ones: how often it comes, and the range of the others."""

    value: float
    count: int
    low: float
    high: float


def suspects(values: np.ndarray) -> list[Suspect]:
    """Values at the ends of the range, apart from all others, that may stand for missing ones.

    Those of a usual size (9999, 1e20, ...) that are further from the others than half their range;
    and any that comes several times and is 100 times as far. NaN is passed over.
    """
    left = values[np.isfinite(values)].ravel()
    found: list[Suspect] = []
    looking = True
    while looking and left.size and len(found) < 4:
        looking = False
        for end in (left.min(), left.max()):
            here = left == end
            rest = left[~here]
            if not rest.size:
                break
            low, high, count = float(rest.min()), float(rest.max()), int(here.sum())
            away = max(low - float(end), float(end) - high)
            size = abs(float(end))
            huge = size >= _HUGE and max(abs(low), abs(high)) < 1e-3 * size
            usual = huge or bool(np.isclose(size, _USUAL, rtol=1e-6, atol=0).any())
            spread = high - low
            if (usual and away > _APART * spread) or (count > 1 and away > _FAR * spread > 0):
                found.append(Suspect(float(end), count, low, high))
                left, looking = rest, True
                break
    return found

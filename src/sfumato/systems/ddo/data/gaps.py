r"""Filling of missing values on a grid.

By the mean of what is known, or harmonic: at the unknown points u solves the discrete

    Δu = Σ_a (u(x + h_a) - 2 u(x) + u(x - h_a)) / h_a² = 0

with the known values held and the boundary of the domain. The filled values
have no bump of their own: by the maximum principle they lie between the known values around the
gap, and a function that is linear around and across the gap is restored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from sfumato.errors import SfumatoError, UsageError, require
from sfumato.systems.ddo.nn.harmonic import Domain

__all__ = ["FILLS", "Fill", "fill_gaps"]

Fill: TypeAlias = Literal["mean", "harmonic"]
FILLS = ("mean", "harmonic")


def fill_gaps(
    values: np.ndarray, how: Fill, domain: Domain, spacing: Sequence[float]
) -> np.ndarray:
    """The fields with every NaN replaced, each field from its own known values.

    Args:
        values: float (M, *grid), NaN where not known.
        how: "mean" of the field's known values, or "harmonic".
        domain: the boundary, for "harmonic".
        spacing: h_a along each axis, in units of one length.

    Returns:
        float64 (M, *grid). Known values are as they were.

    Raises:
        UsageError: a field of which nothing is known.
        MissingExtra: scipy is not installed and "harmonic" needs it.
        SfumatoError: the linear equations were not solved.
    """
    made = values.astype(np.float64)
    nothing = np.isnan(made).reshape(len(made), -1).all(1)
    if nothing.any():
        raise UsageError(
            f"{nothing.sum()} of {len(made)} fields (the first is number {nothing.argmax()}) have "
            "no known value to fill from; leave them out of the file"
        )
    for field in made:
        gap = np.isnan(field)
        if gap.any():
            field[gap] = field[~gap].mean() if how == "mean" else _harmonic(field, domain, spacing)
    return made


def _harmonic(field: np.ndarray, domain: Domain, spacing: Sequence[float]) -> np.ndarray:
    """The solution at the unknown points, in their order."""
    sparse = require("scipy.sparse", "fields")
    linalg = require("scipy.sparse.linalg", "fields")
    gap = np.isnan(field)
    number = np.full(field.shape, -1)
    n = int(gap.sum())
    number[gap] = np.arange(n)
    here = number[gap]
    least = min(spacing)
    diagonal, right = np.zeros(n), np.zeros(n)
    rows, columns, weights = [], [], []
    for axis, h in enumerate(spacing):
        weight = (least / h) ** 2
        for step in (1, -1):
            there = np.roll(number, -step, axis)[gap]
            value = np.roll(field, -step, axis)[gap]
            inside = np.ones(n, bool)
            if domain is Domain.REFLECTING:  # the mirror image of a border point is itself
                last = field.shape[axis] - 1 if step == 1 else 0
                inside = np.nonzero(gap)[axis] != last
            unknown, known = inside & (there >= 0), inside & (there < 0)
            diagonal += weight * inside
            right[known] += weight * value[known]
            rows.append(here[unknown])
            columns.append(there[unknown])
            weights.append(np.full(int(unknown.sum()), -weight))
    i = np.concatenate([here, *rows])
    j = np.concatenate([here, *columns])
    matrix = sparse.csr_matrix((np.concatenate([diagonal, *weights]), (i, j)), shape=(n, n))
    middle = float(np.mean(field[~gap]))  # solving for the difference loses no digits to an offset
    right -= middle * np.asarray(matrix.sum(1)).ravel()
    scale = sparse.diags(1 / diagonal)
    solution, failed = linalg.cg(matrix, right, rtol=1e-10, maxiter=20 * n + 1000, M=scale)
    if failed:
        raise SfumatoError(f"the equations for {n:,} unknown values were not solved; use 'mean'")
    made: np.ndarray = solution + middle
    return made

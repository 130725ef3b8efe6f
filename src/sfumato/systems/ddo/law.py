"""A stationary Gaussian field with the spectrum of a data set."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.systems.ddo.data.base import Frame
from sfumato.systems.ddo.field import GaussianField, radius
from sfumato.systems.ddo.kernel import Measured
from sfumato.systems.ddo.nn.harmonic import Domain, highest, to_modes, wave_numbers

_SHELL = 1.125
"""Ratio of the wave numbers between which powers are averaged."""


def measured_law(x: Tensor, frame: Frame, smoothest: float = 1e-12) -> GaussianField:
    """The Gaussian law with the spectrum of normalised fields (N, *grid), carried on beyond.

    The mean power of the modes in shells of wave numbers, each an eighth wider than the last, from
    the longest wave up to where the power has fallen by ``smoothest``, or to the grid's shortest
    wave along an axis. Beyond, it falls on as in the last third of the octaves, but at least a
    little faster than what a finite variance needs. The mean over the box is apart. What the law
    says that folds onto the grid's modes is then taken off the measured powers, three times.

    Raises:
        UsageError: fields with so few waves that there is no spectrum.
    """
    dims, domain, grid = frame.dims, frame.domain, tuple(x.shape[1:])
    power = torch.zeros(grid, dtype=torch.float64)
    for part in x.split(512):  # all modes of a large set at once are gigabytes
        power += to_modes(part.double(), dims, domain).abs().square().sum(0) / len(x)
    if domain is Domain.REFLECTING:  # of cosines, whose mean square is 1/2 on each axis
        for a, n in enumerate(grid):
            half = torch.full((n,), 0.5, dtype=torch.float64)
            half[0] = 1.0
            power = power * half.reshape(-1, *[1] * (dims - 1 - a))
    extent = () if set(frame.extent) == {1.0} else frame.extent
    shells = _shells(grid, frame)
    share = torch.ones_like(power)
    for _ in range(4):
        law = GaussianField(_kernel(power * share, shells, dims, smoothest), dims, domain, extent)
        own, folded = law.own_power(grid), law.power(grid)
        share = torch.where(folded > 0, own / folded, torch.ones_like(own))
    return law


Shell = tuple[float, Tensor]


def _shells(grid: tuple[int, ...], frame: Frame) -> list[Shell]:
    """(waves per unit length, where on the grid), from long waves to short ones."""
    at = radius([wave_numbers(n, frame.domain) for n in grid], frame.extent)
    step = 1.0 if frame.domain is Domain.PERIODIC else 0.5
    top = min(
        step * highest(n, frame.domain) / length
        for n, length in zip(grid, frame.extent, strict=True)
    )
    edge, shells = float(at[at > 0].min()) * (1 - 1e-9), []
    while edge <= top:
        here = (at >= edge) & (at < min(_SHELL * edge, top * (1 + 1e-9)))
        if bool(here.any()):
            shells.append((float(at[here].log().mean().exp()), here))
        edge *= _SHELL
    return shells


def _kernel(power: Tensor, shells: list[Shell], dims: int, smoothest: float) -> Measured:
    """The kernel with these mean squares of normalised harmonics."""
    waves: list[float] = []
    densities: list[float] = []
    for wave, here in shells:
        mean = float(power[here].mean())
        if mean <= smoothest * max([*densities, mean]):
            break
        waves.append(wave)
        densities.append(mean)
    if len(waves) < 3:
        raise UsageError(
            f"expected fields with waves of at least 3 lengths to measure, got {len(waves)}; "
            "take a finer grid"
        )
    zero = float(power.flatten()[0])
    if zero < min(1e-4 * max(densities), densities[-1]):  # nothing but what folds onto it
        zero = 0.0
    last = max(2, sum(w > waves[-1] * (waves[0] / waves[-1]) ** (1 / 3) for w in waves))
    w, s = (torch.tensor(v[-last:], dtype=torch.float64).log() for v in (waves, densities))
    slope = float(((w - w.mean()) * (s - s.mean())).sum() / (w - w.mean()).square().sum())
    waves.append(4 * waves[-1])
    densities.append(densities[-1] * 4 ** min(slope, -dims - 0.5))
    return Measured(
        tuple(float(f"{v:.5g}") for v in waves),
        tuple(float(f"{v:.5g}") for v in densities),
        float(f"{zero:.5g}"),
    )

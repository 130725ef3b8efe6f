"""Which Gaussian of the mixture a field is of, by its long waves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.systems.ddo.data.mixture import BAND, Mixture
from sfumato.systems.ddo.nn.harmonic import Domain, to_modes, wave_numbers


def log_joint(law: Mixture, x: Tensor, top: int = 3) -> Tensor:
    """log(weight) + log density of the modes of at most ``top`` waves along each axis.

    log w_c - ½ Σ_j (|û_j - m̂_j|² / P_c(j) + log P_c(j)), over j and -j both, which is the log
    density of the (2 top + 1)² real numbers that those modes are, up to a constant that is
    the same for all components.

    Args:
        law: the mixture.
        x: fields (B, n, n), n > 2 top.
        top: 0..15. High modes tell the spectra apart ever more sharply, which is right for
            draws of the mixture and harsh on fields that are like them but a little rough.

    Returns:
        float64 (B, K).

    Raises:
        ValueError: a wrong shape, ``top`` out of range, or a grid that lacks those modes.
    """
    if x.ndim != 3 or x.shape[1] != x.shape[2]:
        raise ValueError(f"expected fields (B, n, n), got {tuple(x.shape)}")
    n = int(x.shape[-1])
    if not 0 <= top <= BAND or n <= 2 * top:
        raise ValueError(
            f"expected top in 0..{BAND} and more than 2 top points along each axis, got "
            f"top={top} and {n} points"
        )
    modes = to_modes(x.double(), 2, Domain.PERIODIC)
    low = wave_numbers(n, Domain.PERIODIC).abs() <= top
    kept = (low[:, None] & low).to(x.device)
    columns = []
    for c, weight in enumerate(law.weights):
        mean = to_modes(law.mean(c, n), 2, Domain.PERIODIC).to(x.device)
        power = law.power(c, n).to(x.device)[kept]
        gap = (modes - mean)[:, kept].abs().square() / power
        columns.append(math.log(weight) - 0.5 * (gap.sum(-1) + power.log().sum()))
    return torch.stack(columns, -1)


def responsibility(law: Mixture, x: Tensor, top: int = 3) -> Tensor:
    """Probability of each component given the same modes, float64 (B, K); see `log_joint`.

    The mean of it over a sample estimates the weights of the mixture that it came from.
    """
    return log_joint(law, x, top).softmax(-1)

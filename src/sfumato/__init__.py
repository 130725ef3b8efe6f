"""sfumato: one small, exact core for generative models.

A *process* turns data into noise, a *denoiser* estimates the data from a noisy state, a
*solver* walks from noise to data by asking the denoiser. `sample` and `denoising_loss` are the
two verbs; `encode` and `log_likelihood` follow the probability flow the other way.
"""

from sfumato import guide, solve, times
from sfumato.damped import CriticallyDamped
from sfumato.denoise import Denoiser, Preconditioned, Prediction
from sfumato.likelihood import Trace, bits_per_dim, log_likelihood
from sfumato.loss import LogNormal, TimeLaw, Uniform, denoising_loss
from sfumato.noise import GaussianField, Noise, White
from sfumato.pinned import Pinned
from sfumato.process import Gaussian, Process, Scheduled
from sfumato.sample import Solution, Solver, encode, sample
from sfumato.schedule import (
    EDM,
    VE,
    RectifiedFlow,
    Schedule,
    SymmetricBrownian,
    VPCosine,
    VPLinear,
)
from sfumato.seeds import generator, generators

__version__ = "0.1.0"

__all__ = [
    "EDM",
    "VE",
    "CriticallyDamped",
    "Denoiser",
    "Gaussian",
    "GaussianField",
    "LogNormal",
    "Noise",
    "Pinned",
    "Preconditioned",
    "Prediction",
    "Process",
    "RectifiedFlow",
    "Schedule",
    "Scheduled",
    "Solution",
    "Solver",
    "SymmetricBrownian",
    "TimeLaw",
    "Trace",
    "Uniform",
    "VPCosine",
    "VPLinear",
    "White",
    "bits_per_dim",
    "denoising_loss",
    "encode",
    "generator",
    "generators",
    "guide",
    "log_likelihood",
    "sample",
    "solve",
    "times",
]

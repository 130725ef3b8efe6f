"""sfumato: one small, exact core for generative models.

A *process* turns data into noise, a *denoiser* estimates the data from a noisy state, a
*solver* walks from noise to data by asking the denoiser. `sample` and `denoising_loss` are the
two verbs; `encode` and `log_likelihood` follow the probability flow the other way.

The names below are imported when they are first used, so that ``sfumato --help`` need not wait
for torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato import guide, solve, times
    from sfumato.blurred import Blurred, Modes, OnGrid
    from sfumato.damped import CriticallyDamped
    from sfumato.damped_loss import Matching, Weighting, damped_loss
    from sfumato.denoise import Denoiser, Preconditioned, Prediction
    from sfumato.derivative import (
        Differentiable,
        ExactDerivative,
        LearnedDerivative,
        derivative_loss,
    )
    from sfumato.field import GaussianField, OpenField
    from sfumato.implicit import Implicit
    from sfumato.kernel import Kernel, Laplacian, Matern, Measured, SquaredExponential
    from sfumato.likelihood import Trace, bits_per_dim, likelihood_bound, log_likelihood
    from sfumato.loss import LogNormal, OneOf, TimeLaw, Uniform, denoising_loss
    from sfumato.noise import Noise, White
    from sfumato.pinned import Pinned
    from sfumato.process import Gaussian, Process, Scheduled
    from sfumato.sample import Solution, Solver, edit, encode, sample
    from sfumato.schedule import (
        EDM,
        VE,
        RectifiedFlow,
        Schedule,
        Shifted,
        SymmetricBrownian,
        VPCosine,
        VPLinear,
    )
    from sfumato.seeds import generator, generators
    from sfumato.trajectory import TrajectoryOperator
    from sfumato.wiener import Wiener

__version__ = "0.1.0"

__all__ = [
    "EDM",
    "VE",
    "Blurred",
    "CriticallyDamped",
    "Denoiser",
    "Differentiable",
    "ExactDerivative",
    "Gaussian",
    "GaussianField",
    "Implicit",
    "Kernel",
    "Laplacian",
    "LearnedDerivative",
    "LogNormal",
    "Matching",
    "Matern",
    "Measured",
    "Modes",
    "Noise",
    "OnGrid",
    "OneOf",
    "OpenField",
    "Pinned",
    "Preconditioned",
    "Prediction",
    "Process",
    "RectifiedFlow",
    "Schedule",
    "Scheduled",
    "Shifted",
    "Solution",
    "Solver",
    "SquaredExponential",
    "SymmetricBrownian",
    "TimeLaw",
    "Trace",
    "TrajectoryOperator",
    "Uniform",
    "VPCosine",
    "VPLinear",
    "Weighting",
    "White",
    "Wiener",
    "bits_per_dim",
    "damped_loss",
    "denoising_loss",
    "derivative_loss",
    "edit",
    "encode",
    "generator",
    "generators",
    "guide",
    "likelihood_bound",
    "log_likelihood",
    "sample",
    "solve",
    "times",
]

_HOME = {
    "Blurred": "sfumato.blurred",
    "Modes": "sfumato.blurred",
    "OnGrid": "sfumato.blurred",
    "CriticallyDamped": "sfumato.damped",
    "Matching": "sfumato.damped_loss",
    "Weighting": "sfumato.damped_loss",
    "damped_loss": "sfumato.damped_loss",
    "Denoiser": "sfumato.denoise",
    "Preconditioned": "sfumato.denoise",
    "Prediction": "sfumato.denoise",
    "Differentiable": "sfumato.derivative",
    "ExactDerivative": "sfumato.derivative",
    "LearnedDerivative": "sfumato.derivative",
    "derivative_loss": "sfumato.derivative",
    "Implicit": "sfumato.implicit",
    "Trace": "sfumato.likelihood",
    "bits_per_dim": "sfumato.likelihood",
    "likelihood_bound": "sfumato.likelihood",
    "log_likelihood": "sfumato.likelihood",
    "LogNormal": "sfumato.loss",
    "OneOf": "sfumato.loss",
    "TimeLaw": "sfumato.loss",
    "Uniform": "sfumato.loss",
    "denoising_loss": "sfumato.loss",
    "GaussianField": "sfumato.field",
    "OpenField": "sfumato.field",
    "Kernel": "sfumato.kernel",
    "Laplacian": "sfumato.kernel",
    "Matern": "sfumato.kernel",
    "Measured": "sfumato.kernel",
    "SquaredExponential": "sfumato.kernel",
    "Noise": "sfumato.noise",
    "White": "sfumato.noise",
    "Pinned": "sfumato.pinned",
    "Gaussian": "sfumato.process",
    "Process": "sfumato.process",
    "Scheduled": "sfumato.process",
    "Solution": "sfumato.sample",
    "Solver": "sfumato.sample",
    "edit": "sfumato.sample",
    "encode": "sfumato.sample",
    "sample": "sfumato.sample",
    "EDM": "sfumato.schedule",
    "VE": "sfumato.schedule",
    "RectifiedFlow": "sfumato.schedule",
    "Schedule": "sfumato.schedule",
    "Shifted": "sfumato.schedule",
    "SymmetricBrownian": "sfumato.schedule",
    "VPCosine": "sfumato.schedule",
    "VPLinear": "sfumato.schedule",
    "generator": "sfumato.seeds",
    "generators": "sfumato.seeds",
    "TrajectoryOperator": "sfumato.trajectory",
    "Wiener": "sfumato.wiener",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        value: object = getattr(importlib.import_module(_HOME[name]), name)
    elif name in __all__:
        value = importlib.import_module(f"sfumato.{name}")
    else:
        raise AttributeError(f"module 'sfumato' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps ``sfumato.sample`` the verb, also once its module of the same name was imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "sample" and isinstance(value, ModuleType):
            value = value.sample
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

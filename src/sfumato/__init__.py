"""sfumato: one small, exact core for generative models.

A *process* turns data into noise, a *denoiser* estimates the data from a noisy state, a
*solver* walks from noise to data by asking the denoiser. `sample` and `denoising_loss` are the
two verbs; `encode` and `log_likelihood` follow the probability flow the other way.

The names below are imported when they are first used, so that ``sfumato --help`` need not wait
for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato import guide, solve, times
    from sfumato.bridge import Bridge
    from sfumato.condition import Condition, ImageCondition
    from sfumato.damped import CriticallyDamped
    from sfumato.denoise import Denoiser, Preconditioned, Prediction
    from sfumato.likelihood import Trace, bits_per_dim, likelihood_bound, log_likelihood
    from sfumato.loss import LogNormal, OneOf, TimeLaw, Uniform, denoising_loss
    from sfumato.noise import Noise, White
    from sfumato.process import Diffusion, Gaussian, Process, Scheduled
    from sfumato.sampling import Solution, Solver, edit, encode, sample
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
    from sfumato.seeds import Replay, generator, generators
    from sfumato.solve import (
        DDIM,
        DEIS,
        Ancestral,
        DormandPrince,
        DPMSolverPP,
        Euler,
        EulerMaruyama,
        Heun,
        StochasticDDIM,
        UniPC,
    )
    from sfumato.systems.cld.loss import Matching, Weighting, damped_loss
    from sfumato.systems.cld.sscs import SSCS
    from sfumato.systems.ddgan.implicit import ImplicitDenoiser
    from sfumato.systems.ddo.blurred import Blurred, Modes, OnGrid
    from sfumato.systems.ddo.field import GaussianField, OpenField
    from sfumato.systems.ddo.kernel import (
        Covariance,
        Laplacian,
        Matern,
        Measured,
        SquaredExponential,
    )
    from sfumato.systems.ddo.langevin import AnnealedLangevin
    from sfumato.systems.ddo.observed import PointObservations
    from sfumato.systems.ddo.wiener import Wiener
    from sfumato.systems.dsno.operator import TrajectoryOperator
    from sfumato.systems.ediffi.experts import Experts
    from sfumato.systems.ediffi.fixed_condition import FixedCondition
    from sfumato.systems.ediffi.paint import PaintWithWords
    from sfumato.systems.genie.derivative import (
        Differentiable,
        ExactDerivative,
        LearnedDerivative,
        derivative_loss,
    )
    from sfumato.systems.genie.guidance import MixedDerivative
    from sfumato.systems.genie.taylor import Taylor

__version__ = "0.1.0"

__all__ = [
    "SSCS",
    "Ancestral",
    "DDIM",
    "DEIS",
    "DPMSolverPP",
    "DormandPrince",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "StochasticDDIM",
    "UniPC",
    "Taylor",
    "AnnealedLangevin",
    "PointObservations",
    "PaintWithWords",
    "FixedCondition",
    "Experts",
    "MixedDerivative",
    "Condition",
    "ImageCondition",
    "EDM",
    "VE",
    "Blurred",
    "CriticallyDamped",
    "Denoiser",
    "Differentiable",
    "ExactDerivative",
    "Diffusion",
    "Gaussian",
    "GaussianField",
    "ImplicitDenoiser",
    "Covariance",
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
    "Bridge",
    "Preconditioned",
    "Prediction",
    "Process",
    "RectifiedFlow",
    "Replay",
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
    "SSCS": "sfumato.systems.cld.sscs",
    "Taylor": "sfumato.systems.genie.taylor",
    "AnnealedLangevin": "sfumato.systems.ddo.langevin",
    "Ancestral": "sfumato.solve",
    "DDIM": "sfumato.solve",
    "DEIS": "sfumato.solve",
    "DPMSolverPP": "sfumato.solve",
    "DormandPrince": "sfumato.solve",
    "Euler": "sfumato.solve",
    "EulerMaruyama": "sfumato.solve",
    "Heun": "sfumato.solve",
    "StochasticDDIM": "sfumato.solve",
    "UniPC": "sfumato.solve",
    "PointObservations": "sfumato.systems.ddo.observed",
    "PaintWithWords": "sfumato.systems.ediffi.paint",
    "FixedCondition": "sfumato.systems.ediffi.fixed_condition",
    "Experts": "sfumato.systems.ediffi.experts",
    "MixedDerivative": "sfumato.systems.genie.guidance",
    "Condition": "sfumato.condition",
    "ImageCondition": "sfumato.condition",
    "Blurred": "sfumato.systems.ddo.blurred",
    "Modes": "sfumato.systems.ddo.blurred",
    "OnGrid": "sfumato.systems.ddo.blurred",
    "CriticallyDamped": "sfumato.damped",
    "Matching": "sfumato.systems.cld.loss",
    "Weighting": "sfumato.systems.cld.loss",
    "damped_loss": "sfumato.systems.cld.loss",
    "Denoiser": "sfumato.denoise",
    "Preconditioned": "sfumato.denoise",
    "Prediction": "sfumato.denoise",
    "Differentiable": "sfumato.systems.genie.derivative",
    "ExactDerivative": "sfumato.systems.genie.derivative",
    "LearnedDerivative": "sfumato.systems.genie.derivative",
    "derivative_loss": "sfumato.systems.genie.derivative",
    "ImplicitDenoiser": "sfumato.systems.ddgan.implicit",
    "Trace": "sfumato.likelihood",
    "bits_per_dim": "sfumato.likelihood",
    "likelihood_bound": "sfumato.likelihood",
    "log_likelihood": "sfumato.likelihood",
    "LogNormal": "sfumato.loss",
    "OneOf": "sfumato.loss",
    "TimeLaw": "sfumato.loss",
    "Uniform": "sfumato.loss",
    "denoising_loss": "sfumato.loss",
    "GaussianField": "sfumato.systems.ddo.field",
    "OpenField": "sfumato.systems.ddo.field",
    "Covariance": "sfumato.systems.ddo.kernel",
    "Laplacian": "sfumato.systems.ddo.kernel",
    "Matern": "sfumato.systems.ddo.kernel",
    "Measured": "sfumato.systems.ddo.kernel",
    "SquaredExponential": "sfumato.systems.ddo.kernel",
    "Noise": "sfumato.noise",
    "White": "sfumato.noise",
    "Bridge": "sfumato.bridge",
    "Diffusion": "sfumato.process",
    "Gaussian": "sfumato.process",
    "Process": "sfumato.process",
    "Scheduled": "sfumato.process",
    "Solution": "sfumato.sampling",
    "Solver": "sfumato.sampling",
    "edit": "sfumato.sampling",
    "encode": "sfumato.sampling",
    "sample": "sfumato.sampling",
    "EDM": "sfumato.schedule",
    "VE": "sfumato.schedule",
    "RectifiedFlow": "sfumato.schedule",
    "Schedule": "sfumato.schedule",
    "Shifted": "sfumato.schedule",
    "SymmetricBrownian": "sfumato.schedule",
    "VPCosine": "sfumato.schedule",
    "VPLinear": "sfumato.schedule",
    "Replay": "sfumato.seeds",
    "generator": "sfumato.seeds",
    "generators": "sfumato.seeds",
    "TrajectoryOperator": "sfumato.systems.dsno.operator",
    "Wiener": "sfumato.systems.ddo.wiener",
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

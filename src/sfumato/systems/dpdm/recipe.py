r"""Differentially private diffusion models (Dockhorn et al. 2023, arXiv 2210.09929).

Labelled images, a small U-Net, DP-SGD with noise multiplicity (`sfumato.systems.dpdm`). Nothing
here is measured from the data: σ_d is the constant √⅓, that of pixels uniform in [-1, 1].

The paper's four parametrisations, in the terms of this library (all with unit weight on what the
network predicts, which is the paper's λ(σ)):

==========  ==============================  ===========  =====================================
``edm``     σ = 80 t                        F (EDM)      ln σ ~ N(-1.2, 1.2²)
``v``       variance preserving, cosine     v            t uniform, log-SNR from 13 to -9
``vp``      variance preserving, linear β   ε            t uniform from 10⁻⁵
``ve``      σ up to 80                      ε            t uniform from 10⁻⁵
==========  ==============================  ===========  =====================================

The paper's ``ve`` feeds x unscaled into the network; here it is scaled to unit variance as
everywhere in this library. Its σ is that of `VE`, 0.002 (r^{2t} - 1)^½ with r = 40,000: ln σ is
uniform but for the share ln 2/(2 ln r) = 3.3 % of the times whose σ lies below 0.002 (down to
3 10⁻⁵ at t = 10⁻⁵). The paper's best best: edm for ε of 1 and more, v for ε = 0.2.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from sfumato.denoise import Prediction
from sfumato.files.atomic import remove
from sfumato.loss import LogNormal, TimeLaw, Uniform
from sfumato.model.description import ModelConfig, with_labels
from sfumato.model.fit import fit
from sfumato.process import Scheduled
from sfumato.schedule import EDM, VE, Schedule, VPCosine, VPLinear
from sfumato.systems.dpdm.descent import private
from sfumato.systems.dpdm.options import Config, Parametrisation


class Formulation(NamedTuple):
    """α(t) and σ(t), what the network predicts, and the law of the times in training."""

    schedule: Schedule
    prediction: Prediction
    law: TimeLaw


def formulation_of(chosen: Parametrisation) -> Formulation:
    """What a parametrisation is."""
    uniform = Uniform(start=1e-5)  # in VE's time, ln σ is linear but near 0
    match chosen:
        case Parametrisation.EDM:
            return Formulation(EDM(), Prediction.EDM, LogNormal(-1.2, 1.2))
        case Parametrisation.V:  # σ/α = tan(πt/2), log-SNR = -2 ln tan(πt/2)
            ends = [2 / math.pi * math.atan(math.exp(-snr / 2)) for snr in (13.0, -9.0)]
            return Formulation(VPCosine(), Prediction.V, Uniform(start=ends[0], end=ends[1]))
        case Parametrisation.VP:
            return Formulation(VPLinear(), Prediction.EPSILON, uniform)
        case Parametrisation.VE:
            return Formulation(VE(0.002, 80.0), Prediction.EPSILON, uniform)


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError, SfumatoError: the data is not there, the promise cannot be kept, or see
            `sfumato.train.train`.
    """
    data = config.load()
    decoded = data.summary.cache if data.summary is not None else None
    if decoded is not None and not config.train.quiet:
        last = "are deleted at the end" if config.delete_cache else "stay there: --delete-cache"
        print(f"decoded copies of the records, with their names: {decoded}; they {last}")
    network = with_labels(config.network, data.axes, data.resolution, data.channels)
    chosen = config.parametrisation
    formulation = formulation_of(chosen)
    vp = chosen in (Parametrisation.V, Parametrisation.VP)
    model = ModelConfig(
        data=data.name,
        network=network,
        process=Scheduled(formulation.schedule),
        prediction=formulation.prediction,
        sigma_data=1.0 if vp else config.sigma_data,  # as published: c_in is 1 for VP states
        axes=data.axes,
    )
    done = fit(
        "private",
        config,
        model,
        data,
        formulation.law,
        config.train,
        config.out,
        config.resume,
        rule=private(config.privacy),
        show=False,
    )
    if decoded is not None and config.delete_cache:
        remove(decoded)
    return done

"""Critically-damped Langevin diffusion in the plane: spirals and a diamond of Gaussians.

The toy experiments of Dockhorn et al. 2022 (arXiv 2112.07068): a perceptron of position, velocity
and time, with the loss and the samplers of `cld.recipe`. As published, the score is not
mixed here.
"""

from __future__ import annotations

from pathlib import Path

from sfumato.data import points
from sfumato.model.fit import root_mean_square
from sfumato.nn import MLPConfig
from sfumato.systems.cld.options import DampedPoints
from sfumato.systems.cld.recipe import damped_model, fit_damped


def run(config: DampedPoints) -> Path:
    """Train, without labels; returns the run folder. Raises as `sfumato.train.train`."""
    data = points(config.data, config.n, seed=config.train.seed)
    d = data.dimension
    network = MLPConfig(2 * d, d, width=config.width, blocks=config.blocks)
    model = damped_model(config.damped, data.name, network, root_mean_square(data), ())
    return fit_damped("cld-points", config, model, data)

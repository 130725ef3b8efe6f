r"""Pictures: EDM (Karras et al. 2022, arXiv 2206.00364, table 1) on any data set.

The process is x = x_0 + σ ε up to σ = 80, the network predicts EDM's F, and the law of the noise
levels is `sfumato.loss.edm_times`. Karras et al. took σ_d = 1/2; here σ_d is the data's own root
mean square, and the law moves along with it, so that the signal-to-noise ratios seen in training
are theirs. Labels are hidden one time in ten; Adam with warm-up and a cosine decay to zero;
averaged weights. The recipes differ in their data and in their defaults.
"""

from __future__ import annotations

from pathlib import Path

from sfumato.loss import edm_times
from sfumato.model.description import ModelConfig, with_labels
from sfumato.model.fit import fit, root_mean_square
from sfumato.systems.edm.options import Avatars, Digits, Fashion, ImageRecipe, Images

__all__ = ["Avatars", "Digits", "Fashion", "ImageRecipe", "Images", "run"]


def run(config: ImageRecipe) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError: no path, or settings that do not fit together.
        SfumatoError: broken or missing data, or see `sfumato.train.train`.
    """
    data = config.pictures()
    sigma_data = config.sigma_data or root_mean_square(data)
    model = ModelConfig(
        data=data.name,
        network=with_labels(
            config.network, data.axes, data.resolution, data.channels, data.image_width
        ),
        sigma_data=sigma_data,
        axes=data.axes,
    )
    law = edm_times(sigma_data)
    return fit(config.recipe, config, model, data, law, config.train, config.out, config.resume)

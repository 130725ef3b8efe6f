r"""What the image recipes share: EDM (Karras et al. 2022, arXiv 2206.00364, table 1) for any data.

The process is x = x_0 + σ ε up to σ = 80, the network predicts EDM's F, and ln(σ/σ_d) is normal
with mean -1.2 + ln 2 and deviation 1.2. Karras et al. took σ_d = 1/2; here σ_d is the data's own
root mean square, and the law of the times moves along with it, so that the signal-to-noise
ratios seen in training are theirs.
"""

from __future__ import annotations

import math

from sfumato.data import ImageSet
from sfumato.loss import LogNormal
from sfumato.model.description import ModelConfig, with_labels
from sfumato.model.fit import root_mean_square
from sfumato.nn import UNetConfig


def edm_model(data: ImageSet, network: UNetConfig, sigma_data: float = 0.0) -> ModelConfig:
    """An EDM model that fits a data set; ``sigma_data=0`` measures it."""
    return ModelConfig(
        data=data.name,
        network=with_labels(network, data.axes, data.resolution, data.channels),
        sigma_data=sigma_data or root_mean_square(data),
        axes=data.axes,
    )


def edm_times(sigma_data: float, mean: float = -1.2) -> LogNormal:
    """The law of the noise levels for a given σ_d; ``mean`` of ln σ is that for σ_d = 1/2."""
    return LogNormal(mean + math.log(2 * sigma_data), 1.2)

"""What surfaces look like, as features: for the sets of a few hundred pictures of `i2sb.py`."""

from __future__ import annotations

from pathlib import Path
from typing import final

import torch
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.metrics.features import Features, Images, pixel_values, rgb
from sfumato.metrics.mobilenet import imagenet_normalised, load_mobilenet


@final
class Textures(Features):
    """How strongly, and how unevenly, the first layers of MobileNetV2 answer: 144 numbers.

    The mean and the standard deviation over space of each channel at the strides 2, 4 and 8 (16, 24
    and 32 channels; blocks 1, 3 and 6). They say what surfaces look like, sharp or blurred, clean
    or noisy, and little of what is where; and they are few enough for sets of a few hundred
    pictures. Pictures keep their resolution.

    Args:
        weights: path of ``mobilenet_v2-b0353104.pth``, see `load_mobilenet`.
        device: where the network runs.

    Raises:
        UsageError: no such file. SfumatoError: another file than that one.
    """

    dim = 144
    name = "ImageNet MobileNetV2 textures at strides 2, 4, 8"

    def __init__(self, weights: str | Path, *, device: str = "cpu") -> None:
        self.network = load_mobilenet(weights).to(device)
        self.device = device

    def __call__(self, images: Images) -> Tensor:
        """Images (B, 1 or 3, H, W) of at least 16 pixels a side -> (B, 144).

        Raises:
            UsageError: smaller ones; of 8 places or fewer no deviation means much.
        """
        x = rgb((pixel_values(images) + 1) / 2)
        if min(x.shape[2:]) < 16:
            raise UsageError(f"textures need images of 16 pixels or more, got {tuple(x.shape[2:])}")
        found = []
        with torch.inference_mode():
            for part in imagenet_normalised(x).to(self.device).split(64):
                layers = [f.flatten(2) for f in self.network.stages(part, (1, 3, 6))]
                both = [torch.cat([f.mean(2), f.std(2, unbiased=False)], 1) for f in layers]
                found.append(torch.cat(both, 1).float().cpu())
        return torch.cat(found)

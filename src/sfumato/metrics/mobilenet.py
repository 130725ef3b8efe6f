"""ImageNet features: MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) in plain torch.

The module's parameters have the names of the widely used file ``mobilenet_v2-b0353104.pth``
(ImageNet-1k, 3.5 M parameters, BSD-3-Clause), so that it loads unchanged.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sfumato.data.places import sha256
from sfumato.errors import SfumatoError, UsageError
from sfumato.metrics.features import Features, Images, pixel_values, rgb

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
# table 2 of the paper: expansion t, channels c, repeats n, stride s
_TABLE = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


@final
class _InvertedResidual(nn.Module):
    """1x1 expand, 3x3 depthwise, 1x1 linear, with a skip where shapes allow (figure 3)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.skip = stride == 1 and inputs == outputs
        expand = [_conv(inputs, hidden, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            _conv(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.skip else self.conv(x)


@final
class MobileNetV2(nn.Module):
    """The network of table 2, width 1.0: normalised (B, 3, H, W) -> logits (B, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, 32, 3, 2)]
        channels = 32
        for expansion, outputs, repeats, stride in _TABLE:
            for i in range(repeats):
                layers.append(
                    _InvertedResidual(channels, outputs, stride if i == 0 else 1, expansion)
                )
                channels = outputs
        layers.append(_conv(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def pooled(self, x: Tensor) -> Tensor:
        """The 1280 features before the classifier, (B, 1280)."""
        return self.features(x).mean((2, 3))

    def stages(self, x: Tensor, blocks: Collection[int]) -> list[Tensor]:
        """What the given blocks of ``features`` put out, in order, (B, C_l, H_l, W_l) each.

        Block 0 is the first convolution, 1 to 17 are the bottlenecks of table 2, 18 is the last
        convolution. Nothing behind the last one asked for is computed.

        Raises:
            ValueError: no blocks, or a block that is not among 0 ... 18.
        """
        if not blocks or not set(blocks) <= set(range(len(self.features))):
            raise ValueError(f"expected blocks among 0..{len(self.features) - 1}, got {blocks}")
        found = []
        for i in range(max(blocks) + 1):
            x = self.features[i](x)
            if i in blocks:
                found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1000) logits."""
        return self.classifier(self.pooled(x))


_PART = 16
"""Pictures that are computed at once, few enough for the cache of a CPU."""


@final
class MobileNet(Features):
    """1280 ImageNet features of images of any size, resized to ``resolution`` with antialiasing.

    Args:
        weights: path of ``mobilenet_v2-b0353104.pth``; its SHA-256 must begin with b0353104.
        resolution: 224 is what the network was trained at. Another one is faster, gives other
            features, and stands in the name.
        device: where it runs.

    Raises:
        UsageError: no such file. SfumatoError: another file than that one.
    """

    dim = 1280

    def __init__(self, weights: str | Path, *, resolution: int = 224, device: str = "cpu") -> None:
        if resolution < 32:
            raise UsageError(f"expected resolution >= 32, got {resolution}")
        self.network = _fused(load_mobilenet(weights)).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.resolution = resolution
        self.device = device
        self.name = "ImageNet MobileNetV2" + ("" if resolution == 224 else f" at {resolution}")

    def __call__(self, images: Images) -> Tensor:
        """Images of any size -> (B, 1280)."""
        x = self.prepare(images)
        with torch.inference_mode():
            return torch.cat([self.network.pooled(part).float().cpu() for part in x.split(_PART)])

    def prepare(self, images: Images) -> Tensor:
        """Images to what the network takes: RGB, resized, normalised by ImageNet's statistics."""
        x = rgb((pixel_values(images) + 1) / 2)
        size = (self.resolution, self.resolution)
        if tuple(x.shape[2:]) != size:
            x = interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        x = imagenet_normalised(x)
        return x.to(self.device).contiguous(memory_format=torch.channels_last)


def _fused(network: MobileNetV2) -> MobileNetV2:
    """In evaluation mode, with each batch norm in the convolution before it, to rounding."""
    for part in network.modules():
        if isinstance(part, nn.Sequential):
            for i in range(len(part) - 1):
                here, there = part[i], part[i + 1]
                if isinstance(here, nn.Conv2d) and isinstance(there, nn.BatchNorm2d):
                    part[i], part[i + 1] = fuse_conv_bn_eval(here, there), nn.Identity()
    return network


def imagenet_normalised(x: Tensor) -> Tensor:
    """Colours (B, 3, H, W) in [0, 1] as ImageNet's networks take them: less mean, over std."""
    mean, std = (torch.tensor(v, device=x.device)[:, None, None] for v in (_MEAN, _STD))
    return (x - mean) / std


def load_mobilenet(weights: str | Path) -> MobileNetV2:
    """The pretrained network, in evaluation mode; reads tensors only, runs no code of the file."""
    path = Path(weights)
    if not path.is_file():
        raise UsageError(f"no MobileNetV2 weights at {path}; run 'sfumato data fetch mobilenet'")
    if not (digest := sha256(path)).startswith("b0353104"):
        raise SfumatoError(
            f"{path} is not mobilenet_v2-b0353104.pth: its SHA-256 begins with {digest[:8]}"
        )
    network = MobileNetV2()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)

"""What images are compared by: a typed protocol, and the features that need no file.

A distance between image sets is a distance between their *features*, and means nothing without
saying which. So features carry a name, and every score prints it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sfumato.errors import UsageError

Images = Tensor | np.ndarray


class Features(ABC):
    """A fixed map from images to vectors.

    Attributes:
        name: printed with every score; scores of different names cannot be compared.
        dim: F, the length of a vector.
    """

    name: str
    dim: int

    @abstractmethod
    def __call__(self, images: Images) -> Tensor:
        """Images (B, C, H, W), uint8 or float in [-1, 1] -> (B, F) float tensor on the CPU.

        Raises:
            ValueError: another shape, or a resolution or channel count these features cannot take.
        """


@final
class Pixels(Features):
    """The pixels themselves, flattened, in [-1, 1]: for tests and for tiny pictures."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.name = "pixels {}x{}x{}".format(*shape)
        self.dim = shape[0] * shape[1] * shape[2]

    def __call__(self, images: Images) -> Tensor:
        """Images of exactly `shape` -> (B, C H W)."""
        x = pixel_values(images)
        if tuple(x.shape[1:]) != self.shape:
            raise UsageError(f"expected images (B, {self.shape}), got {tuple(x.shape)}")
        return x.flatten(1)


@final
class Thumbnails(Features):
    """The pixels of pictures shrunk to at most ``side`` pixels a side, by areas, in [-1, 1].

    What can be had without any file for pictures whose own pixels are too many to compare by: it
    sees colours and layout, and nothing fine.
    """

    def __init__(self, channels: int, side: int = 16) -> None:
        self.channels, self.side = channels, side
        self.name = f"thumbnails {channels}x{side}x{side}"
        self.dim = channels * side * side

    def __call__(self, images: Images) -> Tensor:
        """Images (B, C, H, W) of any size -> (B, C side²)."""
        x = pixel_values(images)
        if x.shape[1] != self.channels:
            raise UsageError(f"expected images of {self.channels} channels, got {x.shape[1]}")
        return F.adaptive_avg_pool2d(x, self.side).flatten(1)


@final
class Inception(Features):
    """The TorchScript Inception network that published FIDs use, from a file of the user's.

    The file (``inception-2015-12-05.pt`` beside NVIDIA's StyleGAN and EDM code, 2048 features)
    is not shipped for its licence. Any TorchScript module works that maps (B, 3, H, W) float
    values 0 ... 255 to (B, F); if its forward has an argument ``return_features``, it is set.
    TorchScript is a program: load only files that you trust.

    Args:
        path: the file. device: where it runs.

    Raises:
        UsageError: no such file, or not TorchScript (a bare state dict, say).
    """

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        path = Path(path)
        if not path.is_file():
            raise UsageError(
                f"no Inception weights at {path}; give the TorchScript file "
                "(inception-2015-12-05.pt), or choose other features"
            )
        try:
            self.network = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise UsageError(
                f"{path} is not a TorchScript file; a state dict alone has no network in it"
            ) from error
        arguments = {argument.name for argument in self.network.forward.schema.arguments}
        self.options = {"return_features": True} if "return_features" in arguments else {}
        self.device = device
        with torch.inference_mode():
            self.dim = self._run(torch.zeros(1, 3, 64, 64)).shape[1]
        self.name = f"Inception {path.stem}" if "inception" not in path.stem.lower() else path.stem

    def __call__(self, images: Images) -> Tensor:
        """Images of any size the module takes -> (B, F)."""
        x = (pixel_values(images) + 1) * 127.5
        with torch.inference_mode():
            return self._run(rgb(x).round()).clone()

    def _run(self, x: Tensor) -> Tensor:
        out = self.network(x.to(self.device), **self.options)
        if not isinstance(out, Tensor) or out.ndim != 2:
            raise UsageError("expected the TorchScript module to return features (B, F)")
        return out.float().cpu()


def pixel_values(images: Images) -> Tensor:
    """Images (B, C, H, W) as float32 in [-1, 1], on the 256 levels a file could hold.

    Real pictures come from files. Rounding generated ones likewise keeps a metric from seeing the
    difference between a float and a byte.

    Raises:
        UsageError: not four-dimensional, not 1 or 3 channels, not uint8 or float, or not finite.
    """
    x = torch.from_numpy(np.array(images)) if isinstance(images, np.ndarray) else images
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise UsageError(f"expected images (B, 1 or 3, H, W), got {tuple(x.shape)}")
    if x.dtype == torch.uint8:
        return x.detach().cpu().float() / 127.5 - 1
    if not x.dtype.is_floating_point:
        raise UsageError(f"expected uint8, or float in [-1, 1], got {x.dtype}")
    x = x.detach().cpu().float()
    if not torch.isfinite(x).all():
        raise UsageError("images hold values that are not finite")
    return ((x + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


def rgb(x: Tensor) -> Tensor:
    """Grey images repeated on three channels; colour ones unchanged."""
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


def extract(
    features: Features,
    images: Images | Iterable[Images],
    *,
    batch: int = 256,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Features of many images, (N, F) float32.

    Args:
        images: one array or tensor (N, C, H, W), memory maps included, or batches of them: only
            ``batch`` images are converted at a time.
        progress: called with the number of images done.

    Raises:
        UsageError: no images.
    """
    out: list[Tensor] = []
    done = 0
    for part in _batches(images, batch):
        out.append(features(part))
        done += len(part)
        if progress is not None:
            progress(done)
    if not out:
        raise UsageError("expected images, got none")
    return torch.cat(out)


def _batches(images: Images | Iterable[Images], batch: int) -> Iterable[Images]:
    whole = hasattr(images, "shape")  # arrays, tensors, and images that are read when asked for
    for part in cast("Iterable[Images]", (images,) if whole else images):
        for start in range(0, len(part), batch):
            yield part[start : start + batch]

r"""Restored pictures against the truth, pair by pair: PSNR, SSIM, a perceptual distance.

PSNR is highest for the mean of all pictures that are possible, which is blurred. The perceptual
distance hardly minds a change of brightness, and minds lost detail much; but it, too, compares with
the one truth, so that a draw from the posterior pays for detail that is plausible and not the
truth's. None of the three says whether pictures look real: that is for a distance between sets
(Blau and Michaeli 2018, arXiv 1711.06077, on why no restoration is best at both). `psnr` and `ssim`
see pictures as files hold them, on 256 levels (`pixel_values`), so a float picture scores as it
would after being saved.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from sfumato.errors import UsageError
from sfumato.metrics.distance import Distance, layered_distance
from sfumato.metrics.features import Images, pixel_values, rgb
from sfumato.metrics.mobilenet import imagenet_normalised, load_mobilenet
from sfumato.metrics.score import Score

CAP = 100.0
"""dB that an identical picture counts in the mean of a set, and the most that any counts."""

WINDOW = 11
"""Pixels that SSIM's window is high and wide, and that a picture must be at least."""

_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2

# indices in MobileNetV2.features: the last block before each halving of the resolution
_STAGES = (1, 3, 6, 13)
_STRIDE = 16


def psnr(a: Images, b: Images, mask: Images | None = None) -> Tensor:
    r"""Peak signal-to-noise ratio of each pair, in dB.

    .. math:: 10 \log_{10} \frac{255^2}{\mathrm{mse}}, \qquad
              \mathrm{mse} = \frac{\sum_{c, h, w} m_{hw} (a - b)_{chw}^2}{C \sum_{h, w} m_{hw}}

    with a and b in levels 0 ... 255 (which is a peak of 2 in [-1, 1]), over all channels at once.

    Args:
        a, b: (B, C, H, W), uint8 or float in [-1, 1]; symmetric.
        mask: (B or 1, 1, H, W), 1 where a pixel counts and 0 where it does not (for inpainting the
            hole, not what is known); every pixel counts by default.

    Returns:
        (B,) float64; infinite where no level differs. `restoration_scores` says how a set's mean
        takes that.

    Raises:
        UsageError: shapes that differ or are no pictures; a mask of another shape, with other
            values than 0 and 1, or without a single pixel that counts.
    """
    _check_pair(a, b)
    squared = (_levels(a) - _levels(b)).square()
    if mask is None:
        error = squared.flatten(1).mean(1)
    else:
        weights = _check_mask(mask, tuple(squared.shape))
        counted = weights.flatten(1).sum(1)
        error = (squared.mean(1, keepdim=True) * weights).flatten(1).sum(1) / counted
    return 10 * torch.log10(255**2 / error)


def ssim(a: Images, b: Images) -> Tensor:
    r"""Structural similarity of each pair (Wang et al. 2004, IEEE TIP 13(4), eq. 13).

    .. math:: \frac{(2 \mu_a \mu_b + C_1)(2 \sigma_{ab} + C_2)}
                   {(\mu_a^2 + \mu_b^2 + C_1)(\sigma_a^2 + \sigma_b^2 + C_2)}

    with means, variances and the covariance under a Gaussian window of 11 x 11 pixels (standard
    deviation 1.5, weights that sum to 1), C₁ = (0.01 · 255)², C₂ = (0.03 · 255)². Averaged over the
    positions at which the window lies within the picture, then over the channels. This is
    scikit-image's ``structural_similarity`` with ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255``; the picture is not made smaller or grey first.

    Args:
        a, b: (B, C, H, W), uint8 or float in [-1, 1]; symmetric.

    Returns:
        (B,) float64, at most 1, which only identical pictures reach.

    Raises:
        UsageError: shapes that differ or are no pictures, or pictures smaller than the window.
    """
    _check_pair(a, b)
    _check_window(a)
    x, y = (_levels(p).flatten(0, 1)[:, None] for p in (a, b))
    mean_a, mean_b, aa, bb, ab = (_windowed(m) for m in (x, y, x * x, y * y, x * y))
    covariance = ab - mean_a * mean_b
    variances = aa - mean_a.square() + bb - mean_b.square()
    means = mean_a.square() + mean_b.square()
    similarity = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    similarity = similarity / ((means + _C1) * (variances + _C2))
    # the channels of a picture have as many positions each: one mean over all of them
    return similarity.reshape(len(a), -1).mean(1)


@final
class ImageNetPerceptual(Distance):
    """LPIPS' distance (`layered_distance`) in what an ImageNet MobileNetV2 sees, weights equal.

    Its layers are the outputs of the last block at each of the strides 2, 4, 8 and 16 (16, 24, 32
    and 96 channels; blocks 1, 3, 6 and 13 of ``MobileNetV2.features``). Pictures keep their
    resolution: at 64 x 64 the layers have 32², 16², 8² and 4² pixels. Distances of pictures of
    different resolutions, or published LPIPS figures (AlexNet or VGG with fitted weights), cannot
    be compared with these.

    Args:
        weights: path of ``mobilenet_v2-b0353104.pth``, see `load_mobilenet`.
        device: where the network runs; pictures are moved there, distances back.

    Attributes:
        name: the features' name, printed with every score.

    Raises:
        UsageError: no such file. SfumatoError: another file than that one.
    """

    name = "ImageNet MobileNetV2 at strides 2, 4, 8, 16"

    def __init__(self, weights: str | Path, *, device: str = "cpu") -> None:
        self.network = load_mobilenet(weights).to(device)
        self.device = device

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b (B, 1 or 3, H, W), float in [-1, 1] or uint8 -> (B,) float32, at least 0.

        Gradients flow to a alone; therefore floats are *not* rounded to levels here.

        Raises:
            UsageError: shapes that differ or are no pictures, another type, or less than 16 pixels
                either way.
        """
        _check_pair(a, b)
        self.check(a)
        mine = self._layers(a)
        with torch.no_grad():
            theirs = self._layers(b)
        return layered_distance(mine, theirs).to(a.device)

    def check(self, images: Images) -> None:
        """Raises UsageError for pictures too small, or with other than 1 or 3 channels."""
        if images.shape[1] not in (1, 3):
            raise UsageError(f"expected images (B, 1 or 3, H, W), got {tuple(images.shape)}")
        if min(images.shape[2:]) < _STRIDE:
            raise UsageError(
                f"the perceptual distance needs pictures of at least {_STRIDE} x {_STRIDE} pixels, "
                f"got {_size(images)}"
            )

    def _layers(self, images: Tensor) -> list[Tensor]:
        if images.dtype != torch.uint8 and not images.dtype.is_floating_point:
            raise UsageError(f"expected uint8, or float in [-1, 1], got {images.dtype}")
        x = images.to(self.device).float()
        x = x / 255 if images.dtype == torch.uint8 else (x + 1) / 2
        return self.network.stages(imagenet_normalised(rgb(x)), _STAGES)


def detail(restored: Images, truth: Images) -> float:
    """Energy of the Laplacian of all restored pictures over that of the true ones: 1 is as sharp.

    Σ (Δx̂)² / Σ (Δx)² with Δ the five-point Laplacian, over all pictures. A mean of many answers
    has less, noise that was left has more.

    Raises:
        UsageError: shapes that differ or are no pictures, or true pictures without any detail.
    """
    _check_pair(restored, truth)

    def energy(images: Images) -> float:
        x = pixel_values(images).double()
        inner = 4 * x[..., 1:-1, 1:-1] - x[..., :-2, 1:-1] - x[..., 2:, 1:-1]
        return float((inner - x[..., 1:-1, :-2] - x[..., 1:-1, 2:]).square().sum())

    whole = energy(truth)
    if not whole > 0:
        raise UsageError("expected true pictures of 3 x 3 pixels or more with any detail")
    return energy(restored) / whole


def restoration_scores(
    restored: Images,
    truth: Images,
    perceptual: ImageNetPerceptual | None = None,
    *,
    mask: Images | None = None,
    batch: int = 64,
) -> tuple[Score, ...]:
    """Mean PSNR and SSIM of a set of restored pictures, and perceptual distance if one is given.

    Each picture counts equally: the PSNR is the mean of the pictures' own, not that of the mean
    error. A picture's PSNR counts as at most 100 dB (`CAP`), or a single one restored without any
    error would make the mean infinite; the score's setting says how many were capped. The error is
    the sample standard deviation over √n, for pictures that are independent; None for one picture.

    Args:
        restored, truth: (N, C, H, W), uint8 or float in [-1, 1]; picture i against picture i.
        perceptual: the distance; floats are rounded to levels for it, too.
        mask: as in `psnr`; adds a last score, the PSNR of the pixels where it is 1.
        batch: pictures at once.

    Returns:
        PSNR (dB), SSIM, then the perceptual distance and the masked PSNR if asked for.

    Raises:
        UsageError: no pictures, shapes that differ, pictures smaller than 11 x 11 (with
            ``perceptual`` 16 x 16), or a mask that `psnr` refuses.
    """
    _check_pair(restored, truth)
    _check_window(restored)
    if perceptual is not None:
        perceptual.check(restored)
    if batch < 1:
        raise UsageError(f"expected batch >= 1, got {batch}")
    n = len(restored)
    weights = (
        None if mask is None else _check_mask(mask, tuple(restored.shape)).expand(n, 1, -1, -1)
    )
    columns: list[list[Tensor]] = [[], [], [], []]
    for start in range(0, n, batch):
        part = slice(start, start + batch)
        a, b = pixel_values(restored[part]), pixel_values(truth[part])
        columns[0].append(psnr(a, b))
        columns[1].append(ssim(a, b))
        if perceptual is not None:
            with torch.no_grad():
                columns[2].append(perceptual(a, b).double())
        if weights is not None:
            columns[3].append(psnr(a, b, weights[part]))
    pixels = "pixels {}x{}x{}".format(*restored.shape[1:])
    similarity = torch.cat(columns[1])
    scores = [
        _psnr_score(torch.cat(columns[0]), pixels),
        _mean_score("SSIM", similarity, pixels, f"Gaussian window {WINDOW}x{WINDOW}"),
    ]
    if perceptual is not None:
        size = "{}x{} pixels".format(*restored.shape[2:])
        distances = torch.cat(columns[2])
        scores.append(_mean_score("perceptual distance", distances, perceptual.name, size))
    if weights is not None:
        scores.append(_psnr_score(torch.cat(columns[3]), f"{pixels} in the mask"))
    return tuple(scores)


def _psnr_score(values: Tensor, features: str) -> Score:
    capped = int((values > CAP).sum())
    setting = f"{capped} capped at {CAP:.0f} dB" if capped else ""
    return _mean_score("PSNR", values.clamp_max(CAP), features, setting, "dB")


def _mean_score(metric: str, values: Tensor, features: str, setting: str, unit: str = "") -> Score:
    """The mean over pictures (n,) with its standard error."""
    n = len(values)
    error = float(values.std()) / math.sqrt(n) if n > 1 else None
    return Score(metric, float(values.mean()), error, n, features, setting, unit=unit)


def _levels(images: Images) -> Tensor:
    """(B, C, H, W) float64 with the whole numbers 0 ... 255."""
    return ((pixel_values(images).double() + 1) * 127.5).round()


def _windowed(x: Tensor) -> Tensor:
    """(M, 1, H, W) -> (M, 1, H - 10, W - 10): means under the window, rows and columns in turn."""
    at = torch.arange(WINDOW, dtype=x.dtype) - WINDOW // 2
    weights = torch.exp(-at.square() / (2 * _SIGMA**2))
    weights = (weights / weights.sum())[None, None]
    return conv2d(conv2d(x, weights[..., None]), weights[:, :, None])


def _check_pair(a: Images, b: Images) -> None:
    if a.ndim != 4 or tuple(a.shape) != tuple(b.shape):
        raise UsageError(
            "expected restored pictures and the truth of one shape (B, C, H, W), "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not len(a):
        raise UsageError("expected pictures, got none")


def _check_window(images: Images) -> None:
    if min(images.shape[2:]) < WINDOW:
        raise UsageError(
            f"SSIM needs pictures of at least {WINDOW} x {WINDOW} pixels (its window), "
            f"got {_size(images)}"
        )


def _check_mask(mask: Images, shape: tuple[int, ...]) -> Tensor:
    """The mask as float64 (B or 1, 1, H, W) on the CPU."""
    m = torch.from_numpy(np.array(mask)) if isinstance(mask, np.ndarray) else mask.detach()
    m = m.cpu().double()
    b, _, h, w = shape
    if tuple(m.shape) not in ((b, 1, h, w), (1, 1, h, w)):
        raise UsageError(
            f"expected a mask ({b} or 1, 1, {h}, {w}) for pictures {shape}, got {tuple(m.shape)}"
        )
    if not bool(((m == 0) | (m == 1)).all()):
        raise UsageError("expected a mask of zeros and ones (1 where a pixel counts)")
    empty = (m.flatten(1).sum(1) == 0).nonzero().flatten().tolist()
    if empty:
        raise UsageError(
            f"expected a mask with at least one pixel that counts (1), got none for {len(empty)} "
            f"of {len(m)} (the first is number {empty[0]})"
        )
    return m


def _size(images: Images) -> str:
    return "{} x {}".format(*images.shape[2:])

"""One picture as it is restored, with all that its file said about it."""

from __future__ import annotations

import dataclasses
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sfumato.data.decode import MAX_BYTES, MAX_PIXELS, BrokenImage, opened
from sfumato.data.degrade.jpeg import tables
from sfumato.errors import UsageError
from sfumato.systems.i2sb import deep
from sfumato.systems.i2sb.exif import of_other_pixels, read_exif, turned

_GREY: Final = ("1", "L", "LA", "La")
_COLOUR: Final = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr")
_WITH_ALPHA: Final = ("LA", "La", "PA", "RGBA", "RGBa")


@final
@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, upright, its colours apart from its alpha.

    Args:
        pixels: float32 (C, H, W) in [-1, 1], C = 1 (grey) or 3 (RGB in the file's own profile).
        alpha: float32 (1, H, W) in [0, 1], 1 where opaque; None if the file has none.
        depth: bits of a channel, 8 or 16.
        icc: the colour profile, byte for byte.
        exif: EXIF, beginning with "Exif", with its orientation set to 1.
        dpi: dots per inch, across and down.

    Raises:
        ValueError: another shape, type or depth.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    depth: int = 8
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.pixels.shape)
        if len(shape) != 3 or shape[0] not in (1, 3) or 0 in shape or self.depth not in (8, 16):
            raise ValueError(
                "expected pixels (C, H, W) with C = 1 or 3 and a depth of 8 or 16 bits, "
                f"got {shape} and {self.depth}"
            )
        if self.alpha is not None and tuple(self.alpha.shape) != (1, *shape[1:]):
            raise ValueError(f"expected alpha {(1, *shape[1:])}, got {tuple(self.alpha.shape)}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def replaced(self, pixels: Tensor, alpha: Tensor | None) -> Picture:
        """The same file with other pixels.

        A profile for grey is left out where grey became RGB, and the other way round; EXIF keeps no
        thumbnail of the old pixels, and has the new size.
        """
        icc = self.icc if len(pixels) == len(self.pixels) else None
        exif = self.exif and of_other_pixels(self.exif, pixels.shape[1], pixels.shape[2])
        return dataclasses.replace(self, pixels=pixels, alpha=alpha, icc=icc, exif=exif)


def read_picture(path: Path | str, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in a file.

    Turned as its EXIF orientation says. A palette becomes RGB; what is transparent becomes alpha.
    CMYK is converted to sRGB by its colour profile, and refused without one: its colours are not
    defined then, and the common formula turns them garish. Of a stereo or burst photograph (MPO)
    the first picture is taken. PNG and TIFF of 16 bits are read in 16 bits, with colours by pypng
    and tifffile; colours of 16 bits in a PPM are read in 8, as Pillow does. Besides EXIF, profile
    and resolution nothing that the file says is kept (no XMP, no comments).

    Args:
        path: the file.
        max_pixels: more are refused from the header, before anything is decoded. Pillow's own limit
            of 178,956,970 stands whatever is asked for.

    Raises:
        BrokenImage: not a picture of a kind that is read, cut short, animated, or too large.
        MissingExtra: 16 bits need a package that is not installed.
        OSError: the file cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BrokenImage(f"{size:,} bytes, more than {MAX_BYTES:,}")
    return _decode(path.read_bytes(), max_pixels)


def read_mask(path: Path | str, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> Tensor:
    """Which pixels are to be painted anew: (1, H, W), 1 where white (at least half), else 0.

    A mask painted on a transparent layer works too: where alpha varies, and all that can be seen
    is of one colour, what can be seen (at least half) is to be painted anew, whatever its colour.
    Otherwise transparent parts count as black.

    Args:
        path: a picture, turned as its EXIF orientation says.
        size: (height, width) of the picture that the mask is for.
        max_pixels: see `read_picture`.

    Raises:
        BrokenImage: the mask cannot be read; the message names it.
        UsageError: it is of another size than the picture, or marks nothing.
    """
    path = Path(path)
    try:
        mask = read_picture(path, max_pixels)
    except BrokenImage as error:
        raise BrokenImage(f"the mask {path}: {error}") from error
    if mask.size != tuple(size):
        raise UsageError(
            f"the mask {path} has {mask.size[1]}x{mask.size[0]} pixels (width x height), the "
            f"picture {size[1]}x{size[0]}; expected a mask of the picture's size"
        )
    level = mask.pixels.double().add(1).div(2).mean(0, keepdim=True)
    if mask.alpha is not None and bool((mask.alpha != mask.alpha[0, 0, 0]).any()):
        seen = mask.pixels[:, mask.alpha[0] > 0]
        level = mask.alpha.double() if bool((seen == seen[:, :1]).all()) else level * mask.alpha
    marked = (level >= 0.5).float()
    if not bool(marked.any()):
        raise UsageError(f"the mask {path} marks nothing: white is what is to be painted anew")
    return marked


_LARGE: Final = " (a few bytes can claim as many as fill the memory; --max-pixels allows more)"


def _decode(data: bytes, max_pixels: int) -> Picture:
    with opened(data, max_pixels, _LARGE) as found:
        _check_still(found)
        told = getattr(found, "tag_v2", {}).get(274, 1)
        found.load()  # which turns a TIFF, and forgets that it was to be turned
        exif, orientation = read_exif(found)
        if found.format == "TIFF" and deep.is_deep_tiff(found):
            orientation = told if told in range(1, 9) else 1
        icc = found.info.get("icc_profile") or None
        levels, icc = _levels(found, data, icc)
        dpi = _dpi(found.info.get("dpi"), swap=max(orientation, told) >= 5)
        top = np.float32(np.iinfo(levels.dtype).max)
        levels = turned(levels, orientation).transpose(2, 0, 1)
        part = torch.from_numpy(np.ascontiguousarray(levels, np.float32)).div_(float(top))
    colours = len(part) - (len(part) in (2, 4))
    alpha = part[colours:].clone() if len(part) > colours else None
    pixels = part[:colours].mul(2).sub_(1)
    return Picture(pixels, alpha, 8 * levels.dtype.itemsize, icc, exif, dpi)


def _check_still(picture: Image.Image) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        what = "pages" if picture.format == "TIFF" else "frames"
        raise BrokenImage(
            f"{frames} {what}, and one picture is restored at a time: save the one that is meant "
            "as a file of its own"
        )


def _levels(
    picture: Image.Image, data: bytes, icc: bytes | None
) -> tuple[np.ndarray, bytes | None]:
    """uint8 or uint16 (H, W, C), C = 1 to 4 with alpha last; and the profile of its colours."""
    if picture.format == "PNG" and deep.is_deep_png(data):
        return deep.read_png(data), icc
    if picture.format == "TIFF" and deep.is_deep_tiff(picture):
        return deep.read_tiff(data), icc
    if picture.mode.startswith("I"):
        return _deep_grey(picture), icc
    if picture.mode == "CMYK":
        picture, icc = _from_cmyk(picture, icc)
    if picture.mode not in _GREY + _COLOUR:
        raise BrokenImage(
            f"pixels of the kind {picture.mode!r}; expected grey, RGB, a palette or CMYK of 8 or "
            "16 bits"
        )
    mode = "L" if picture.mode in _GREY else "RGB"
    if picture.mode in _WITH_ALPHA or "transparency" in picture.info:
        mode += "A"
    levels = np.asarray(picture.convert(mode))
    return levels.reshape(*levels.shape[:2], -1), icc


def _deep_grey(picture: Image.Image) -> np.ndarray:
    levels = np.asarray(picture)
    if levels.min() < 0 or levels.max() > 65535:
        raise BrokenImage("more than 16 bits a pixel; expected 8 or 16")
    levels = levels.astype(np.uint16)[..., None]
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        alpha = np.where(levels == clear, np.uint16(0), np.uint16(65535))
        return np.concatenate([levels, alpha], axis=-1)
    return levels


def _from_cmyk(picture: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes]:
    if icc is None:
        raise BrokenImage(
            "CMYK without a colour profile, so its colours are not defined; convert it to RGB "
            "first, with the profile that it was printed by"
        )
    from PIL import ImageCms

    target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        made = ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise BrokenImage(f"CMYK with a colour profile that does not work: {error}") from error
    if made is None:  # only in place
        raise BrokenImage("CMYK that could not be converted")
    return made, target.tobytes()


def _dpi(found: Any, swap: bool) -> tuple[float, float] | None:
    try:
        across, down = (float(v) for v in found)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(v) and v > 0 for v in (across, down)):
        return None
    return (down, across) if swap else (across, down)


def jpeg_quality(path: Path) -> int:
    """The quality 1 to 100 whose luma table is nearest to a JPEG file's; 0 for other files."""
    try:
        with Image.open(path, formats=("JPEG",)) as found:
            table = found.quantization[0]  # type: ignore[attr-defined]
    except (OSError, LookupError, ValueError, Image.DecompressionBombError):
        return 0
    every = tables(torch.arange(1, 101))[0].flatten(1)
    return int((every - torch.tensor(table)).abs().sum(1).argmin()) + 1

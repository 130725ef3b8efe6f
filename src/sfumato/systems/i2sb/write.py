"""A picture into a file of the kind that its name asks for: whole, or not at all."""

from __future__ import annotations

import errno
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from PIL import Image
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError
from sfumato.files.atomic import probe, unwritable, write
from sfumato.systems.i2sb import deep
from sfumato.systems.i2sb.exif import for_tiff
from sfumato.systems.i2sb.picture import Picture


@final
@dataclass(frozen=True)
class _FileKind:
    """What a kind of file can hold besides 8-bit pixels."""

    name: str
    alpha: bool = False
    deep: bool = False
    about: bool = True
    """The colour profile and EXIF."""


_PNG = _FileKind("PNG", alpha=True, deep=True)
_WEBP = _FileKind("WEBP", alpha=True)
_JPEG = _FileKind("JPEG")
_TIFF = _FileKind("TIFF", alpha=True, deep=True)
_BMP = _FileKind("BMP", about=False)
_PNM = _FileKind("PPM", deep=True, about=False)
_KINDS: Final = {
    ".png": _PNG, ".webp": _WEBP, ".jpg": _JPEG, ".jpeg": _JPEG, ".tif": _TIFF, ".tiff": _TIFF,
    ".bmp": _BMP, ".ppm": _PNM, ".pgm": _PNM,
}  # fmt: skip
WRITTEN: Final = tuple(_KINDS)
"""The endings of files that can be written."""


def kind_of(path: Path) -> _FileKind:
    """What the ending of a name asks for.

    Raises:
        UsageError: an ending that is not written.
    """
    if path.suffix.lower() == ".gif":
        raise UsageError(f"{path.name}: GIF holds 256 colours; write .png instead")
    if path.suffix.lower() not in _KINDS:
        raise UsageError(
            f"{path.name}: expected a name that ends in {', '.join(WRITTEN)}, "
            f"got {path.suffix or 'no ending'!r}"
        )
    return _KINDS[path.suffix.lower()]


def check_kind(picture: Picture, path: Path) -> None:
    """Whether the file can hold the picture; ask before there is work to lose.

    Raises:
        UsageError: an ending that is not written, or alpha that the kind cannot keep.
    """
    kind = kind_of(path)
    if picture.alpha is not None and not kind.alpha and bool((picture.alpha < 1).any()):
        raise UsageError(
            f"{path.name}: {kind.name} keeps no transparency, and the picture has some; "
            "write .png, .webp or .tif"
        )


def write_picture(picture: Picture, path: Path | str, quality: int = 95) -> None:
    """Write to a hidden sibling, then put it in place by one rename; its folder is made.

    Kept where the kind of file can: depth, alpha, colour profile, EXIF, resolution. What cannot:

    * 16 bits in JPEG, WEBP, BMP and colour PPM become 8, with a warning.
    * Transparency in JPEG, BMP and PPM is an error; alpha that is 1 everywhere is left out.
    * BMP and PPM hold neither profile nor EXIF, colour TIFF of 16 bits is written without EXIF:
      a warning says so.
    * WEBP has no grey, which becomes RGB (a profile for grey is left out, with a warning), and no
      resolution; grey with alpha in a TIFF of 16 bits becomes RGB with alpha.

    Args:
        picture: what to write.
        path: its ending (`WRITTEN`) says the kind of file.
        quality: 1 to 100, of JPEG and WEBP; from 90 JPEG keeps colours at full resolution, at 100
            WEBP is lossless.

    Raises:
        UsageError: see `check_kind`, or a quality out of range.
        SfumatoError: the file cannot be written, and why.
    """
    path = Path(path)
    if not 1 <= quality <= 100:
        raise UsageError(f"expected a quality of 1 to 100, got {quality}")
    check_kind(picture, path)
    try:
        data, lost = _encode(picture, kind_of(path), quality)
    except (OSError, ValueError, RuntimeError) as error:
        raise SfumatoError(
            f"{path} cannot be written: {error} ({picture.size[1]}x{picture.size[0]} pixels)"
        ) from error
    if lost:
        warnings.warn(
            f"{path.name} does not keep {' and '.join(lost)}; .png does", UserWarning, stacklevel=2
        )
    write(path, data)


def check_place(path: Path) -> None:
    """Whether a file can be put there, before there is work to lose.

    Raises:
        SfumatoError: it cannot.
    """
    if path.is_dir():
        raise unwritable(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    probe(path)


def levels_of(picture: Picture, depth: int) -> np.ndarray:
    """uint8 or uint16 (H, W, C), alpha last."""
    top = 2**depth - 1
    parts: list[Tensor] = [picture.pixels.double().add(1).mul(top / 2)]
    if picture.alpha is not None:
        parts.append(picture.alpha.double().mul(top))
    dtype = np.uint8 if depth == 8 else np.uint16
    whole = [p.round().clamp(0, top).numpy().astype(dtype) for p in parts]
    return np.ascontiguousarray(np.concatenate(whole).transpose(1, 2, 0))


def _encode(picture: Picture, kind: _FileKind, quality: int) -> tuple[bytes, list[str]]:
    """The bytes of the file, and what of the picture is not in them."""
    grey = len(picture.pixels) == 1
    depth = picture.depth if kind.deep and (grey or kind is not _PNM) else 8
    levels = levels_of(picture, depth)
    if not kind.alpha:
        levels = levels[..., : len(picture.pixels)]
    icc, exif = (picture.icc, picture.exif) if kind.about else (None, None)
    if kind is _WEBP and grey and icc is not None and icc[16:20] == b"GRAY":
        icc = None
    simple = depth == 8 or levels.shape[2] == 1
    if kind is _TIFF and not simple:
        exif = None
    lost = [
        what
        for what, had, has in (
            ("16 bits", picture.depth == 16, depth == 16),
            ("the colour profile", picture.icc, icc),
            ("EXIF", picture.exif, exif),
        )
        if had and not has
    ]
    if simple:
        return _by_pillow(levels, kind, quality, icc, exif, picture.dpi), lost
    if kind is _PNG:
        return deep.write_png(levels, icc, exif, picture.dpi), lost
    if levels.shape[2] == 2:
        levels = levels[..., [0, 0, 0, 1]]
    return deep.write_tiff(levels, icc, picture.dpi), lost


def _by_pillow(
    levels: np.ndarray,
    kind: _FileKind,
    quality: int,
    icc: bytes | None,
    exif: bytes | None,
    dpi: tuple[float, float] | None,
) -> bytes:
    more: dict[str, Any] = {}
    if icc:
        more["icc_profile"] = icc
    if exif:
        more["exif"] = for_tiff(exif) if kind is _TIFF else exif
    if dpi:
        more["dpi"] = dpi
    match kind.name:
        case "JPEG":
            more |= {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
        case "WEBP":
            more |= {"lossless": True, "exact": True} if quality == 100 else {"quality": quality}
        case "TIFF":
            if not exif:  # what compresses cannot write EXIF's inner directories
                more["compression"] = "tiff_adobe_deflate"
    buffer = io.BytesIO()
    image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    image.save(buffer, kind.name, **more)
    return buffer.getvalue()

"""The proportions that a folder of pictures is read in."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median

from PIL import ExifTags

from sfumato.data.decode import BrokenImage, kinds_of, opened
from sfumato.data.listing import open_source, pictures
from sfumato.errors import UsageError

_MOST = 500
"""Pictures that are looked at."""


def width_of(path: Path | str, resolution: int, aspect: str, step: int) -> int:
    """The width, in pixels, of pictures of the height ``resolution``; 0 for a square.

    Args:
        path: the folder or zip file.
        resolution: the height.
        aspect: "square"; "native", the median of width over height of (at most 500 of) the
            pictures, each turned as its EXIF orientation says; or width:height, such as 4:3.
        step: the width is rounded to a multiple of it, and is at least one.

    Raises:
        UsageError: another word, or proportions beyond 8:1.
    """
    if aspect == "square":
        return 0
    if aspect == "native":
        ratio = _median(path)
    elif found := re.fullmatch(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", aspect):
        wide, high = float(found[1]), float(found[2])
        ratio = wide / high if high else 0.0
    else:
        raise UsageError(
            f"--aspect: expected square, native, or width:height such as 4:3, got {aspect!r}"
        )
    if not 1 / 8 <= ratio <= 8:
        raise UsageError(f"--aspect: expected 1:8 to 8:1, got {aspect} ({ratio:.3g})")
    width = max(step, round(resolution * ratio / step) * step)
    return 0 if width == resolution else width


def _median(path: Path | str) -> float:
    source = open_source(Path(path))
    found = []
    for entry in pictures(source.entries(), Path(path))[:_MOST]:
        try:
            with opened(source.read(entry.name), kinds=kinds_of(entry.name)) as picture:
                width, height = picture.size
                turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                found.append(height / width if turned else width / height)
        except (BrokenImage, OSError):
            continue  # said when it is read
    return median(found) if found else 1.0

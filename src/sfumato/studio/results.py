"""What was drawn, as a piece of the page: pictures and files inside it, so that none is kept."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.files import pictures

EMPTY = '<div class="sf-results"><p class="sf-empty">What you draw appears here.</p></div>'


def waiting(done: int, n: int, pixels: NDArray[np.uint8]) -> str:
    """The pictures so far (k, 3, R, R), places for the others, and a bar."""
    progress = "beginning" if not done else f"{done} of {n} done"
    return (
        '<div class="sf-results sf-waiting">'
        f'<div class="sf-said" role="status">drawing: {progress}</div>'
        f'<div class="sf-bar"><i style="width: {100 * done / n:.0f}%"></i></div>'
        f"{_grid([_picture(p) for p in pixels] + [_PLACE] * (n - done))}</div>"
    )


def finished(pixels: NDArray[np.uint8], about: Mapping[str, Any], summary: str) -> str:
    """All pictures, each a link to its file, and a sheet and an archive of all.

    Args:
        pixels: (n, 3, R, R) uint8.
        about: how they were made; written into every file.
        summary: a line about them.
    """
    alone = [
        pictures.encode(pictures.image(p), "PNG", json.dumps({**about, "picture": i}))
        for i, p in enumerate(pixels)
    ]
    sheet = pictures.encode(pictures.sheet(pixels), "PNG", json.dumps(about))
    name = f"seed-{about['seed']}"
    tiles = [
        f'<a href="{_url(data, "image/png")}" download="{name}-{i}.png" '
        f'title="save picture {i + 1}">{_image(data, i)}</a>'
        for i, data in enumerate(alone)
    ]
    return (
        f'<div class="sf-results"><div class="sf-said" role="status">{escape(summary)}</div>'
        f"{_grid(tiles)}"
        f'<p class="sf-files">'
        f'<a class="sf-file" href="{_url(sheet, "image/png")}" download="{name}.png">'
        "Download as one sheet</a>"
        f'<a class="sf-file" href="{_url(archive(alone, name, about), "application/zip")}" '
        f'download="{name}.zip">Download all (zip)</a></p>'
        '<p class="sf-hint">Press a picture to save it alone. Each file says inside how it was '
        "made.</p></div>"
    )


def archive(files: list[bytes], name: str, about: Mapping[str, Any]) -> bytes:
    """A zip of PNG files and a description; the same pictures give the same bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as out:
        for i, data in enumerate(files):
            out.writestr(zipfile.ZipInfo(f"{name}-{i}.png", _DATE), data)
        text = json.dumps(dict(about), indent=2, ensure_ascii=False)
        out.writestr(zipfile.ZipInfo(f"{name}.json", _DATE), text.encode())
    return made.getvalue()


_DATE = (1980, 1, 1, 0, 0, 0)
_PLACE = '<span class="sf-place"></span>'


def _url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _image(data: bytes, i: int) -> str:
    return f'<img src="{_url(data, "image/png")}" alt="picture {i + 1}">'


def _picture(pixels: NDArray[np.uint8]) -> str:
    return _image(pictures.encode(pictures.image(pixels)), 0)


def _grid(tiles: list[str]) -> str:
    return f'<div class="sf-grid sf-of-{min(len(tiles), 4)}">{"".join(tiles)}</div>'

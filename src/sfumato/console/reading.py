"""Images on the disk already: an .npz file, a folder or zip of pictures, or one picture."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import SfumatoError, UsageError

Axes = tuple[tuple[str, tuple[str, ...]], ...]


@final
@dataclass(frozen=True)
class Read:
    """What was found: images uint8 (N, C, H, W) or points float32 (N, d), and labels (N, A)."""

    x: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    axes: Axes = ()
    """What the labels mean; empty if nobody said."""

    def labels_on(self, axes: Axes) -> NDArray[np.int64] | None:
        """The labels as numbers on other axes, matched by name; None if there are none for all.

        A value that the other axis has not becomes "no label".
        """
        if not axes:
            return np.empty((len(self.x), 0), np.int64)
        if self.labels is None:
            return None
        if not self.axes:
            return self.labels if self.labels.shape[1] == len(axes) else None
        ours = {name: (a, values) for a, (name, values) in enumerate(self.axes)}
        if any(name not in ours for name, _ in axes):
            return None
        columns = []
        for name, values in axes:
            a, have = ours[name]
            number = {value: i for i, value in enumerate(values)}
            new = [number.get(value, len(values)) for value in have] + [len(values)]
            columns.append(np.array(new, np.int64)[self.labels[:, a]])
        return np.stack(columns, axis=1)


def read_images(path: Path, resolution: int = 0, channels: int = 3, image_width: int = 0) -> Read:
    """Images (or points) from an .npz of ``sfumato sample``, a folder or zip, or one picture.

    Args:
        path: what to read.
        resolution: what a folder's or picture's images are brought to; 0 keeps a picture's own.
        channels: 1 or 3, of a folder's or picture's images.
        image_width: of a folder's or picture's images that are not to be square.

    Raises:
        UsageError: nothing there, or arrays of another kind.
        SfumatoError: a file that cannot be read.
    """
    if path.suffix == ".npz":
        arrays = read_npz(path)
        for name in ("images", "points", "arr_0"):
            if name in arrays:
                labels = _labels(path, arrays)
                return Read(_checked(path, arrays[name]), labels, _axes(arrays))
        raise UsageError(
            f"{path}: expected an array 'images' or 'points', got {', '.join(arrays) or 'none'}"
        )
    if path.is_dir() or (path.suffix.lower() == ".zip" and path.is_file()):
        from sfumato.data import folder
        from sfumato.data.summary import announce

        if not resolution:
            raise UsageError(
                f"{path} is a folder or zip: say the --resolution its images should have"
            )
        data = folder(path, resolution, channels=1 if channels == 1 else 3, image_width=image_width)
        announce(data)
        axes = tuple((axis.name, axis.values) for axis in data.axes)
        return Read(np.asarray(data.images), data.labels, axes)
    if not path.exists():
        raise UsageError(f"there is no {path}")
    return Read(_picture(path, resolution, channels, image_width or resolution))


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file.

    Raises UsageError if there is none, SfumatoError if it is damaged. Pickles are not read.
    """
    if not path.is_file():
        raise UsageError(f"there is no {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SfumatoError(f"cannot read {path}: {error}") from None


def _checked(path: Path, x: NDArray[Any]) -> NDArray[Any]:
    if x.ndim == 4 and x.dtype == np.uint8 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))  # as many other programs write them
    if (x.ndim == 4 and x.dtype == np.uint8) or (x.ndim == 2 and x.dtype.kind == "f"):
        return x.astype(np.float32) if x.ndim == 2 else x
    raise UsageError(
        f"{path}: expected images uint8 (N, C, H, W) or points float (N, d), got {x.dtype} "
        f"{tuple(x.shape)}"
    )


def _labels(path: Path, arrays: dict[str, NDArray[Any]]) -> NDArray[np.int64] | None:
    labels = arrays.get("labels")
    if labels is None or labels.size == 0:
        return None
    if labels.dtype.kind not in "iu" or labels.ndim not in (1, 2):
        raise UsageError(
            f"{path}: expected integer labels (N,) or (N, A), got {labels.dtype} {labels.shape}"
        )
    return labels.reshape(len(labels), -1).astype(np.int64)


def _axes(arrays: dict[str, NDArray[Any]]) -> Axes:
    names = arrays.get("label_names", np.array([], np.str_)).tolist()
    if any(f"values_{name}" not in arrays for name in names):
        return ()
    return tuple((str(name), tuple(map(str, arrays[f"values_{name}"]))) for name in names)


def _picture(path: Path, height: int, channels: int, width: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            plain = ImageOps.exif_transpose(picture).convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError) as error:
        raise SfumatoError(f"cannot read the picture {path}: {error}") from None
    if height and plain.size != (width, height):
        plain = ImageOps.fit(plain, (width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(plain)
    return pixels[None, None] if channels == 1 else pixels.transpose(2, 0, 1)[None]

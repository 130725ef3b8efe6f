"""The data sets by the names they have on the command line, each loaded when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sfumato.errors import UsageError, unknown
from sfumato.system import DataEntry, DataRequest, data_sets

if TYPE_CHECKING:
    from sfumato.data import ImageSet, PointSet

SPLITS = ("train", "test")


def table() -> dict[str, DataEntry]:
    """The data sets by name; any folder or zip of images may stand in their place."""
    return data_sets()


def check(name: str, wish: DataRequest) -> None:
    """Refuse an unknown name or split before anything is loaded.

    Raises UsageError with the nearest names.
    """
    if wish.split not in SPLITS:
        raise unknown("split", wish.split, SPLITS)
    if name not in table() and not Path(name).exists():
        raise unknown("data set", name, table())


def load(name: str, wish: DataRequest) -> ImageSet | PointSet:
    """The data set of that name, or the images in that folder or zip.

    Raises UsageError for an unknown name, SfumatoError when the data is not there.
    """
    check(name, wish)
    data: Any
    if name in table():
        data = table()[name].load(wish)
    else:
        from sfumato.data import folder

        if not wish.resolution:
            raise UsageError(f"{name} is a folder: say the --resolution its images should have")
        channels: Literal[1, 3] = 1 if wish.channels == 1 else 3
        data = folder(Path(name), wish.resolution, channels=channels, skip_broken=wish.skip_broken)
    if wish.n and wish.n < len(data):
        data = data.subset(range(wish.n))
    loaded: ImageSet | PointSet = data
    return loaded

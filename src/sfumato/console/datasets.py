"""The data sets by the names they have on the command line, each loaded when it is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, final

from sfumato.errors import UsageError, unknown
from sfumato.system import DataEntry, DataRequest, data_sets

if TYPE_CHECKING:
    from sfumato.data import ImageSet, PointSet
    from sfumato.model.model import Model

SPLITS = ("train", "test")
FOLDER_SPLITS = ("train", "test", "validation", "all")


@final
@dataclass(frozen=True)
class FolderOptions:
    """How a folder or zip of images is read."""

    labels: str = "auto"
    """Of a folder: auto, none, folders (each is a class, also one called train), names (of files,
    without numbers), a label file's name, or columns of one, joined by commas."""
    held_out: float = 0.1
    """Share of a folder's images that is its part for test, where no folder says which."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """What becomes of images in a folder that are not square."""
    levels: Literal["full", "used"] = "full"
    """Of images of 16 bits: full makes 65,535 white, used the greatest value in the folder."""

    def arguments(self, of_run: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Of `sfumato.data.folder`: what is not given is as a run has it."""
        given = {k: v for k, v in asdict(self).items() if v != getattr(FolderOptions, k)}
        return {**asdict(self), **of_run, **given}


def table() -> dict[str, DataEntry]:
    """The data sets by name; any folder or zip of images may stand in their place."""
    return data_sets()


def check(name: str, wish: DataRequest) -> None:
    """Refuse an unknown name or split before anything is loaded.

    Raises UsageError with the nearest names.
    """
    splits = SPLITS if name in table() else FOLDER_SPLITS
    if wish.split not in splits:
        raise unknown("split", wish.split, splits)
    if name not in table() and not Path(name).exists():
        raise unknown("data set", name, table())


def of_model(
    name: str, model: Model, wish: DataRequest, options: FolderOptions
) -> tuple[str, DataRequest]:
    """The data a model is compared with, and the request for it.

    Args:
        name: a data set or folder; "" means what the model learned from. A run knows the path
            and how its pictures were read, and is never compared with a data set of that name.
        model: the model.
        wish: the part that is wanted.
        options: of folders; what is not given is as in the run, where it is the run's folder.

    Raises:
        UsageError: it is not known where the pictures are.
    """
    from sfumato.model.known_data import run_source

    source = run_source(model.folder) if model.folder is not None else None
    path = Path(source.pop("path")) if source else None
    if source is None or path is None or (name and Path(name).resolve() != path.resolve()):
        learned = model.description.data
        if not name and learned.endswith(("/", ".zip")):
            raise UsageError(
                f"the model learned from {learned}, a folder or zip of images; say where it is "
                "with --data"
            )
        return name or learned, wish._replace(folder=options.arguments())
    if not path.exists():
        raise UsageError(f"the run learned from {path}, which is not there; say --data")
    for key in ("resolution", "channels", "pictures"):
        source.pop(key, None)
    return str(path), wish._replace(folder=options.arguments(source))


def load(name: str, wish: DataRequest) -> ImageSet | PointSet:
    """The data set of that name, or the images in that folder or zip; says what was read.

    Raises UsageError for an unknown name, SfumatoError when the data is not there.
    """
    check(name, wish)
    data: Any
    if name in table():
        data = table()[name].load(wish)
    else:
        from sfumato.data import folder
        from sfumato.data.summary import announce

        if not wish.resolution:
            raise UsageError(f"{name} is a folder: say the --resolution its images should have")
        channels: Literal[1, 3] = 1 if wish.channels == 1 else 3
        options = {"split": wish.split, **FolderOptions().arguments(), **wish.folder}
        digest = options.pop("digest", None)
        data = folder(
            Path(name),
            wish.resolution,
            channels=channels,
            skip_broken=wish.skip_broken,
            progress=wish.progress,
            **options,
        )
        if digest not in (None, data.summary.digest):
            warnings.warn(f"the pictures in {name} changed since the run began", stacklevel=2)
        announce(data, quiet=not wish.progress)
    if wish.n and wish.n < len(data):
        data = data.subset(range(wish.n))
    loaded: ImageSet | PointSet = data
    return loaded

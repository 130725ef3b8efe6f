"""Sets of fields made once and kept in a folder: a memory map, the frame, checksums."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from sfumato.data.kept import seal, unseal, write_array
from sfumato.data.places import new_folder
from sfumato.data.sets import DataCard, Split
from sfumato.errors import SfumatoError
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity, size_of
from sfumato.systems.ddo.nn.harmonic import Domain


def cached_fields(
    folder: Path,
    card: DataCard,
    split: Split,
    frame: Frame,
    grid: tuple[int, ...],
    make: Callable[[], tuple[int, Iterable[np.ndarray]]],
    what: str,
    progress: bool,
) -> FieldSet:
    """The fields in a folder, which is made first, all of it or nothing, if it is not there.

    Args:
        folder: another process may make the same one at the same time.
        card: of the set; its size is filled in.
        split: for the card.
        frame, grid: of the fields.
        make: gives the number of fields and the fields, float32 (C, *grid) each.
        what: one phrase for the progress bar, after which the number of fields is shown.
        progress: show it.

    Returns:
        a set named as the card, whose values are a memory map; changes to them stay in memory.

    Raises:
        ValueError: another number of fields than ``make`` says.
        SfumatoError: a file is missing or was changed, or the folder cannot be written. Whatever
            ``make`` raises passes through.
    """
    if not folder.is_dir():
        n, fields = make()
        shape = (n, len(frame.quantities), *grid)
        with new_folder(folder) as work:
            shown = track(fields, what, total=n, disable=not progress, transient=True)
            write_array(work / "values.npy", shape, np.float32, shown)
            info: dict[str, Any] = {
                "domain": frame.domain.value,
                "axes": [asdict(axis) for axis in frame.axes],
                "quantities": [asdict(quantity) for quantity in frame.quantities],
            }
            seal(work, info)
    try:
        info = unseal(folder)
        values = np.load(folder / "values.npy", mmap_mode="c")
        kept = Frame(
            Domain(info["domain"]),
            tuple(Axis(**axis) for axis in info["axes"]),
            tuple(Quantity(**quantity) for quantity in info["quantities"]),
        )
        return FieldSet(card.name, values, kept, replace(card, size=size_of(values.shape, split)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SfumatoError(
            f"the fields in {folder} are damaged ({error}); delete that folder and they will be "
            "made again"
        ) from error

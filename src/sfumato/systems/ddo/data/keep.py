"""Fields made once and kept in a folder: a memory map, parameters, the frame, checksums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.progress import track

from sfumato.data.kept import seal, unseal
from sfumato.data.places import new_folder
from sfumato.data.sets import DataCard
from sfumato.errors import SfumatoError
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity
from sfumato.systems.ddo.nn.harmonic import Domain


def keep_fields(
    folder: Path,
    fields: Iterable[np.ndarray],
    shape: tuple[int, ...],
    frame: Frame,
    what: str,
    progress: bool,
    parameters: np.ndarray | None = None,
    parameter_names: tuple[Quantity, ...] = (),
) -> None:
    """Makes the folder, all of it or nothing.

    Args:
        folder: which it will be; another process may make the same one at the same time.
        fields: float32 (C, *grid) each, N of them.
        shape: (N, C, *grid).
        frame: axes, quantities and border.
        what: one phrase for the progress bar.
        progress: show it.
        parameters, parameter_names: as of `FieldSet`.

    Raises:
        ValueError: not as many fields as ``shape`` says.
        SfumatoError: the folder cannot be written. Whatever `fields` raises passes through.
    """
    with new_folder(folder) as work:
        written = np.lib.format.open_memmap(work / "values.npy", "w+", np.float32, shape)
        shown = track(fields, what, total=shape[0], disable=not progress, transient=True)
        for k, field in zip(range(shape[0]), shown, strict=True):
            written[k] = field
        written.flush()
        del written
        if parameters is not None:
            np.save(work / "parameters.npy", parameters)
        info = {
            "domain": frame.domain.value,
            "axes": [asdict(axis) for axis in frame.axes],
            "quantities": [asdict(quantity) for quantity in frame.quantities],
            "parameter_names": [asdict(name) for name in parameter_names],
        }
        seal(work, info)


def load_fields(folder: Path, name: str, card: DataCard) -> FieldSet:
    """What the folder holds, after comparing it with its checksums.

    The values are a memory map, to which changes stay in memory.

    Raises:
        SfumatoError: a file is missing or was changed.
    """
    try:
        info = unseal(folder)
        values = np.load(folder / "values.npy", mmap_mode="c")
        has = "parameters.npy" in info["sha256"]
        frame = Frame(
            Domain(info["domain"]),
            tuple(Axis(**axis) for axis in info["axes"]),
            tuple(Quantity(**quantity) for quantity in info["quantities"]),
        )
        return FieldSet(
            name,
            values,
            frame,
            card,
            np.load(folder / "parameters.npy") if has else None,
            tuple(Quantity(**one) for one in info["parameter_names"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SfumatoError(
            f"the fields in {folder} are damaged ({error}); delete that folder and they will be "
            "made again"
        ) from error

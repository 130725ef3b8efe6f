"""What commands that draw from prompts share: which models are meant, and opening them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.console.options import DeviceName
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.systems.ediffi.pipeline import Cascade, ImageRequest


USUAL, LARGER = "scenes", "scenes-64"
"""The model that is taken if none is asked for, and the one that enlarges its pictures."""


def chosen(model: str, enlarge: Sequence[str]) -> tuple[str, ...]:
    """The names that are meant: the shipped models where none is given.

    Raises:
        UsageError: no model is given, and the usual one is not there.
    """
    from sfumato.files import cards

    if model:
        return (model, *enlarge)
    there = cards.folders()
    if USUAL not in there:
        raise UsageError(f"{USUAL} is not shipped here: give the folder of a model by --model")
    return (USUAL, *(enlarge or [name for name in (LARGER,) if name in there]))


def folders(model: str, enlarge: Sequence[str]) -> list[Path]:
    """Those of a model and of the models that enlarge its pictures; torch is not imported.

    Raises:
        UsageError: no model, or one that there is not.
    """
    from sfumato import zoo

    return [zoo.find(name) for name in chosen(model, enlarge)]


def told(request: ImageRequest) -> Iterator[bytes]:
    """The pictures of a request, which its options only name."""
    for paint in request.paint:
        yield paint.where.numpy().tobytes()
    if request.style is not None:
        yield request.style.numpy().tobytes()


def opened(
    found: Sequence[Path], device: DeviceName, threads: int, *, download: bool, keep: int = 0
) -> Cascade:
    """The models and their encoders on a device, with so many CPU threads (0: PyTorch's choice).

    At most ``keep`` experts of a model are in memory at once; 0 keeps all.

    Raises:
        UsageError, MissingExtra, SfumatoError: see `ediffi.pipeline.open_cascade`.
    """
    import torch

    from sfumato.console.options import torch_device
    from sfumato.systems.ediffi.pipeline import open_cascade

    if threads:
        torch.set_num_threads(threads)
    return open_cascade([str(f) for f in found], torch_device(device), download, keep)

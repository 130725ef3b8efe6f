"""From files to models: every kind of model that there is, and how it is found and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final, overload

from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.files import hub
from sfumato.files.cards import ModelCard, find
from sfumato.model.codec import allowed_types, decode
from sfumato.model.description import ModelDescription
from sfumato.system import kinds, resolve
from sfumato.train import checkpoint as ck

if TYPE_CHECKING:
    from sfumato.model.model import Model

M = TypeVar("M", bound="Model")


def read_model(value: dict[str, Any]) -> ModelDescription:
    """A model's description from what `ModelDescription.to_json` made.

    Raises:
        UsageError: anything unknown, missing or impossible in it.
    """
    if not value:
        raise UsageError("the weights have no description: they were trained without `model=`")
    try:
        return decode(value, ModelDescription, allowed_types(value), "model")  # type: ignore[type-abstract]
    except UsageError:
        raise
    except IMPOSSIBLE as error:
        raise UsageError(f"impossible values: {error or type(error).__name__}") from error


IMPOSSIBLE = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)
"""What values that make no sense raise where they are used."""

_COUNTS = 100_000
"""Whole numbers up to here may stand in any description."""


def _largest(value: Any) -> int:
    """The largest whole number in a description."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return max(map(_largest, value), default=0)
    return abs(value) if isinstance(value, int) else 0


@final
@dataclass(frozen=True, eq=False)
class SavedModel:
    """A checked folder with a model: a checkpoint, or one that is shipped.

    Args:
        folder: of the files.
        files: their contents by name.
        described: what ``model.json`` says, apart from the version of its format.
        model: as which that is read.
    """

    folder: Path
    files: Mapping[str, bytes]
    described: Mapping[str, Any]
    model: ModelDescription

    def weights(self, ema: bool = True) -> str:
        """The name of the file with the weights; the averaged ones where there are two.

        Raises:
            UsageError: there is none, or only averaged ones and ``ema`` is False.
        """
        name = ck.MODEL
        if ema and ck.EMA in self.files:
            name = ck.EMA
        elif not ema and ck.EMA not in self.files:
            raise UsageError(f"{self.folder} holds only averaged weights; use ema=True")
        if name not in self.files:
            raise UsageError(f"{self.folder} has no {name}, so it is not a model folder")
        return name

    def build(self, ema: bool = True) -> Denoiser:
        """The denoiser with these weights, in evaluation mode on the CPU.

        Raises:
            UsageError: as `weights`.
            SfumatoError: they are another model's, or what they stand upon is missing.
        """
        name = self.weights(ema)
        data, where = self.files[name], str(self.folder / ck.DESCRIPTION)
        count = ck.numbers_in(data, str(self.folder / name))
        if (most := _largest(self.described)) > max(count, _COUNTS):
            raise SfumatoError(f"{where} has the number {most:,}, but there are {count:,} weights")
        try:
            with ck.described_size(count, where):
                denoiser = self.model.build()
        except SfumatoError:
            raise
        except IMPOSSIBLE as error:
            raise SfumatoError(f"{where}: {error or type(error).__name__}") from error
        self.model.load(denoiser, data, str(self.folder / name))
        return denoiser.eval()

    @property
    def averaged(self) -> bytes:
        """A checkpoint's averaged weights. Raises UsageError if it has none."""
        if ck.EMA not in self.files:
            raise UsageError(f"{self.folder} has no averaged weights")
        return self.files[ck.EMA]

    @property
    def step(self) -> int:
        """Of a checkpoint. Raises SfumatoError for a folder that is none."""
        return int(ck.parse_json(self.files, ck.STATE, self.folder)["step"])


def read_saved(folder: Path | str) -> SavedModel:
    """What is in a run folder's newest checkpoint, a checkpoint, or a model folder.

    Raises:
        SfumatoError: no such folder, damaged files, files of a newer sfumato, or a description
            that is not known.
    """
    found = ck.find_checkpoint(Path(folder))
    described = ck.parse_json(found.files, ck.DESCRIPTION, found.folder)
    try:
        model = read_model(described["model"])
    except KeyError as error:
        raise SfumatoError(f"{found.folder} is not a generative model: no {error} in it") from error
    except UsageError as error:  # what is wrong is the files, not how they were asked for
        raise SfumatoError(f"{found.folder / ck.DESCRIPTION}: {error}") from error
    return SavedModel(found.folder, found.files, described, model)


def load_model(folder: Path | str, ema: bool = True) -> tuple[Denoiser, ModelDescription]:
    """A trained denoiser, in evaluation mode on the CPU, and its description.

    Args:
        folder: a run folder (its newest checkpoint is taken), a checkpoint, or a model folder.
        ema: take the averaged weights; a model folder holds only these.

    Raises:
        SfumatoError: no such folder, damaged files, weights of another model, or files of a
            newer sfumato.
        UsageError: ``ema=False`` of a model folder.
    """
    saved = read_saved(folder)
    return saved.build(ema), saved.model


@overload
def load(source: Path | str, *, ema: bool = True, download: bool = False) -> Any: ...
@overload
def load(source: Path | str, kind: type[M], *, ema: bool = True, download: bool = False) -> M: ...
def load(source: Path | str, kind: Any = None, *, ema: bool = True, download: bool = False) -> Any:
    """A trained model, on the CPU, its checksums verified.

    What comes depends on the kind of model: a `Sampler` of images or points, a `Restorer`, a
    `TextToImage` or a `FieldSampler`.

    Args:
        source: the name of a shipped model; the folder of a model, a checkpoint, or a run (its
            newest checkpoint is taken); or ORG/NAME of a model that was fetched from the Hugging
            Face hub.
        kind: the class that is expected, so that type checkers know it.
        ema: take the averaged weights of a checkpoint.
        download: fetch ORG/NAME from the hub first.

    Raises:
        UsageError: ``source`` means nothing (with the nearest names), or another kind of model.
        SfumatoError: damaged files, files of a newer sfumato, or weights of another model.
    """
    name = str(source)
    folder = hub.download(name) if download and hub.is_hub_id(name) else find(name)
    card = ModelCard.read(folder) if (folder / "card.json").is_file() else None
    if card is not None and card.kind not in {known.card for known in kinds()}:
        raise UsageError(f"{name!r} is a {card.kind}, expected a generative model")
    saved = read_saved(folder)
    made: type[Model] = resolve(saved.model.opens)
    if kind is not None and not issubclass(made, kind):
        raise UsageError(
            f"{name!r} is {made.called}, expected {kind.called}: see sfumato "
            f"{saved.model.command} --help"
        )
    return made.open(saved, name=name, card=card, ema=ema)

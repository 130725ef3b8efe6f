"""A trained model that can be used: what `sfumato.load` returns."""

from __future__ import annotations

import hashlib
from abc import ABC
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from sfumato.denoise import Denoiser
from sfumato.files.cards import ModelCard
from sfumato.files.store import write_folder
from sfumato.model.description import ModelDescription
from sfumato.model.export import companions, pack_model
from sfumato.model.load import SavedModel, read_saved
from sfumato.process import Process


class Model(ABC):  # noqa: B024  (kinds have no verb in common)
    """A denoiser with its description; each kind of model adds what it is for.

    Args:
        denoiser: trained, or still in training.
        description: what it is.
        name: what messages and files call it.
        card: of a shipped model.
        folder: where its weights were read.

    Attributes:
        denoiser: in evaluation mode.
        description: as data; `ModelDescription.build` makes the denoiser again.
        card: what a person should know, if it was shipped with a card.
    """

    called: ClassVar[str] = "a model"
    """What messages call it."""

    def __init__(
        self,
        denoiser: Denoiser,
        description: ModelDescription,
        *,
        name: str = "",
        card: ModelCard | None = None,
        folder: Path | None = None,
    ) -> None:
        self.denoiser = denoiser
        self.description = description
        self.name = name
        self.card = card
        self.folder = folder

    @classmethod
    def open(
        cls, saved: SavedModel, *, name: str = "", card: ModelCard | None = None, ema: bool = True
    ) -> Self:
        """The model in a checked folder; see `sfumato.load`."""
        return cls(saved.build(ema), saved.model, name=name, card=card, folder=saved.folder)

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.denoiser.parameters())
        return f"{type(self).__name__}({self.name!r}, {size:,} parameters, on {self.device})"

    @property
    def process(self) -> Process:
        """How data becomes noise."""
        return self.denoiser.process

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU while there are none, as before experts are loaded."""
        return next(self.denoiser.parameters(), torch.empty(0)).device

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that depend on the values of all weights."""
        found = hashlib.blake2b(digest_size=8)
        for value in self.denoiser.state_dict().values():
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()

    def to(self, device: torch.device | str) -> Self:
        """Move the weights; returns the model."""
        self.denoiser.to(device)
        return self

    def save(
        self,
        folder: Path | str,
        card: Mapping[str, Any] | None = None,
        *,
        half: bool = False,
        replace: bool = False,
    ) -> Path:
        """Write a model folder, which `sfumato.load` and every command take in place of a name.

        Args:
            folder: to make: ``model.safetensors``, ``model.json``, ``card.json`` and
                ``SHA256SUMS``; of a private model also its ledger and promise.
            card: fields of `ModelCard`; those that are left out are the model's own.
            half: keep the weights in float16.
            replace: write over an older folder.

        Raises:
            UsageError: weights that overflow float16.
            SfumatoError: ``folder`` exists, or the disk refuses.
        """
        folder = Path(folder)
        own = {} if self.card is None else vars(self.card)
        known = {"name": folder.name, "system": "", "data": self.description.data, **own}
        about = {**known, **(card or {})}
        steps = int(about.pop("steps", 0))
        described, weights = self.description.shipped(self.denoiser.state_dict())
        files = pack_model(weights, {"model": described.to_json()}, about, steps, half)
        if self.folder is not None:
            files |= companions(read_saved(self.folder))
        return write_folder(folder, files, replace=replace)

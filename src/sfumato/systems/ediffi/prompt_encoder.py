"""Sentences and pictures to the prompts of a model: opening its encoders, and asking them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from sfumato.data.weights import sentence_encoder_folder
from sfumato.errors import SfumatoError, UsageError
from sfumato.files import cards
from sfumato.nn import Encoded, EncoderWidths, Prompt
from sfumato.systems.ediffi.model import EncoderConfig, Modality
from sfumato.systems.ediffi.text.encoders import (
    CachedTextEncoder,
    EncodedSentences,
    PictureEncoder,
    TextEncoder,
    Transformer,
)

MINILM = "minilm"
ROOM = 2**27
"""Bytes that each encoder of sentences remembers in, unless more is wanted."""


def place_of(source: str) -> str | Path:
    """Where an encoder is: a folder, or a name for the hub.

    Raises:
        SfumatoError: it has to be fetched first.
    """
    if source == MINILM:
        return sentence_encoder_folder()
    if source in cards.folders():
        return cards.find(source)
    return Path(source) if Path(source).is_dir() else source


def listener(name: str, download: bool = False) -> EncoderConfig:
    """A listener by its name, such as "sentence:minilm" or "picture:runs/clip".

    Raises:
        UsageError: another kind of name.
        MissingExtra, SfumatoError: it cannot be opened.
    """
    ear, _, source = name.partition(":")
    kinds = {e.value: e for e in Modality}
    if ear not in kinds or not source:
        raise UsageError(
            f"expected an encoder such as sentence:minilm or picture:FOLDER, got {name!r}"
        )
    opened = _open(kinds[ear], source, "cpu", download)
    return EncoderConfig(kinds[ear], source, opened.widths, opened.weights)


def _open(
    ear: Modality, source: str, device: torch.device | str, download: bool, room: int = ROOM
) -> TextEncoder | PictureEncoder:
    if ear is Modality.PICTURE:
        return PictureEncoder(place_of(source), device, download)
    encoder = Transformer(place_of(source), device=device, download=download)
    return CachedTextEncoder(encoder, room, torch.float32 if room <= ROOM else torch.float16)


@final
class PromptEncoder:
    """The opened encoders of a model.

    Args:
        listeners: in the model's order.
        device: where they run.
        download: ask the hub for those that are no folders.
        room: bytes in which each encoder remembers sentences; in float16 if more than `ROOM`.

    Raises:
        MissingExtra, UsageError, SfumatoError: one cannot be opened, or is not the one that the
            model was trained with.
    """

    def __init__(
        self,
        listeners: Sequence[EncoderConfig],
        device: torch.device | str = "cpu",
        download: bool = False,
        room: int = ROOM,
    ) -> None:
        self.listeners = tuple(listeners)
        self.device = torch.device(device)
        self.encoders = [_open(one.ear, one.source, device, download, room) for one in listeners]
        for one, encoder in zip(self.listeners, self.encoders, strict=True):
            if encoder.widths != one.widths:
                raise SfumatoError(
                    f"{one.source} says {encoder.widths}, but the model was trained with "
                    f"{one.widths}: it is another encoder"
                )
            if one.weights and encoder.weights != one.weights:
                raise SfumatoError(
                    f"{one.name} has other weights ({encoder.weights}) than when the model was "
                    f"trained ({one.weights}), so the model would hear what it does not know; give "
                    "it back, or let the model go on with it (sfumato train imagine --start)"
                )

    def sentences(self, said: Sequence[str]) -> list[EncodedSentences]:
        """What each encoder of sentences says, in order."""
        return [e.encode(said) for e in self.encoders if isinstance(e, TextEncoder)]

    def pictures(self, shown: Tensor) -> list[Encoded]:
        """What each encoder of pictures says of (B, 3, H, W) in [-1, 1], in order."""
        return [e.encode(shown) for e in self.encoders if isinstance(e, PictureEncoder)]

    def prompt(
        self, said: Sequence[str], shown: Tensor | Sequence[Encoded] | None = None
    ) -> Prompt:
        """A prompt of B sentences, and of B pictures if there are any.

        Args:
            said: sentences; an empty one says nothing.
            shown: pictures as examples of style, or what `pictures` said of them.
        """
        texts = iter(self.sentences(said))
        if shown is None:
            absent = [one.widths for one in self.listeners if one.ear is Modality.PICTURE]
            seen = iter([silence(widths, len(said)) for widths in absent])
        else:
            seen = iter(self.pictures(shown) if isinstance(shown, Tensor) else shown)
        found = [
            next(texts).encoded if one.ear is Modality.SENTENCE else next(seen)
            for one in self.listeners
        ]
        return Prompt(tuple(found)).to(self.device)


def silence(widths: EncoderWidths, n: int) -> Encoded:
    """What an encoder of pictures says of n pictures that there are not."""
    return Encoded(
        torch.zeros(n, 1, widths.tokens),
        torch.zeros(n, 1, dtype=torch.bool),
        torch.zeros(n, widths.pooled),
    )

"""Prompt encoders: sentences and pictures of style to the `Prompt` that a model attends to."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from sfumato.data.download import sentence_encoder_folder
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
CACHE_BYTES = 2**27
"""Size of the cache of each text encoder, unless another one is given."""


def place_of(source: str) -> str | Path:
    """The folder of an encoder by its `EncoderConfig.source`, or its name on the hub.

    Raises:
        SfumatoError: it has to be fetched first.
    """
    if source == MINILM:
        return sentence_encoder_folder()
    if source in cards.folders():
        return cards.find(source)
    return Path(source) if Path(source).is_dir() else source


def encoder_config(name: str, download: bool = False) -> EncoderConfig:
    """An encoder by its name, such as "sentence:minilm" or "picture:runs/clip", opened once.

    Raises:
        UsageError: not of the form sentence:SOURCE or picture:SOURCE.
        MissingExtra, SfumatoError: it cannot be opened.
    """
    modality, _, source = name.partition(":")
    kinds = {e.value: e for e in Modality}
    if modality not in kinds or not source:
        raise UsageError(
            f"expected an encoder such as sentence:minilm or picture:FOLDER, got {name!r}"
        )
    opened = _open(kinds[modality], source, "cpu", download)
    return EncoderConfig(kinds[modality], source, opened.widths, opened.weights)


def _open(
    modality: Modality,
    source: str,
    device: torch.device | str,
    download: bool,
    room: int = CACHE_BYTES,
) -> TextEncoder | PictureEncoder:
    if modality is Modality.PICTURE:
        return PictureEncoder(place_of(source), device, download)
    encoder = Transformer(place_of(source), device=device, download=download)
    return CachedTextEncoder(encoder, room, torch.float32 if room <= CACHE_BYTES else torch.float16)


@final
class PromptEncoder:
    """The encoders of a model, opened.

    Args:
        configs: their configurations, in the model's order.
        device: where they run.
        download: ask the hub for those that are no folders.
        room: bytes of each text encoder's cache; its entries are float16 above `CACHE_BYTES`.

    Raises:
        MissingExtra, UsageError, SfumatoError: one cannot be opened, or is not the one that the
            model was trained with.
    """

    def __init__(
        self,
        configs: Sequence[EncoderConfig],
        device: torch.device | str = "cpu",
        download: bool = False,
        room: int = CACHE_BYTES,
    ) -> None:
        self.configs = tuple(configs)
        self._told = False
        self.device = torch.device(device)
        self.encoders = [_open(one.modality, one.source, device, download, room) for one in configs]
        for one, encoder in zip(self.configs, self.encoders, strict=True):
            if encoder.widths != one.widths:
                raise SfumatoError(
                    f"{one.source} says {encoder.widths}, but the model was trained with "
                    f"{one.widths}: it is another encoder"
                )
            if one.weights and encoder.weights != one.weights:
                raise SfumatoError(
                    f"{one.name} has other weights ({encoder.weights}) than when the model was "
                    f"trained ({one.weights}), so the model does not know its embeddings; give "
                    "it back, or let the model go on with it (sfumato train imagine --start)"
                )

    def sentences(self, sentences: Sequence[str]) -> list[EncodedSentences]:
        """B sentences by each text encoder, in order."""
        return [e.encode(sentences) for e in self.encoders if isinstance(e, TextEncoder)]

    def pictures(self, pictures: Tensor) -> list[Encoded]:
        """Pictures (B, 3, H, W) in [-1, 1] by each picture encoder, in order."""
        return [e.encode(pictures) for e in self.encoders if isinstance(e, PictureEncoder)]

    def prompt(
        self, sentences: Sequence[str], pictures: Tensor | Sequence[Encoded] | None = None
    ) -> Prompt:
        """The prompt of B sentences, and of B pictures if there are any, on the device.

        Args:
            sentences: an empty one has no tokens.
            pictures: examples of style, (B, 3, H, W) in [-1, 1] or as `pictures` returns them.
        """
        encoded = self.sentences(sentences)
        self._say_cut(sentences, encoded)
        texts = iter(encoded)
        if pictures is None:
            absent = [one.widths for one in self.configs if one.modality is Modality.PICTURE]
            images = iter([masked(widths, len(sentences)) for widths in absent])
        else:
            images = iter(self.pictures(pictures) if isinstance(pictures, Tensor) else pictures)
        found = [
            next(texts).encoded if one.modality is Modality.SENTENCE else next(images)
            for one in self.configs
        ]
        return Prompt(tuple(found)).to(self.device)

    def _say_cut(self, sentences: Sequence[str], encoded: Sequence[EncodedSentences]) -> None:
        """Warn of sentences that are longer than an encoder reads; of many at once only once."""
        if len(sentences) > 1 and self._told:
            return
        for row, sentence in enumerate(sentences):
            ends = (max((end for _, end in one.offsets[row]), default=0) for one in encoded)
            rest = sentence.strip()[min(ends, default=len(sentence)) :]
            if not any(c.isalnum() for c in rest):
                continue
            self._told = True
            which = "the sentence is" if len(sentences) == 1 else "some sentences are"
            of = "" if len(sentences) == 1 else f" of {sentence[:60]!r}..."
            warnings.warn(
                f"{which} longer than the model reads: {rest.strip()!r}{of} is left out",
                UserWarning,
                stacklevel=3,
            )
            return


def masked(widths: EncoderWidths, n: int) -> Encoded:
    """The output of a picture encoder for n absent pictures: zeros, one masked token each."""
    return Encoded(
        torch.zeros(n, 1, widths.tokens),
        torch.zeros(n, 1, dtype=torch.bool),
        torch.zeros(n, widths.pooled),
    )

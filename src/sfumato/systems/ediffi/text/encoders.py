"""Text and image encoders of `transformers`: T5, CLIP, BERT.

Their output is an `Encoded`: one vector for each token, and a pooled one where the model has one.
Models come from a folder, or by name from the Hugging Face hub if downloads are allowed.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError, require
from sfumato.files.words import valid
from sfumato.nn import Encoded, EncoderWidths


@final
@dataclass(frozen=True, eq=False)
class EncodedSentences:
    """Encoded sentences, and the characters [from, to) of each of their tokens."""

    encoded: Encoded
    offsets: tuple[tuple[tuple[int, int], ...], ...]


class TextEncoder(ABC):
    """Sentences to vectors: widths are those of tokens and of the pooled vector."""

    widths: EncoderWidths
    name: str

    @property
    @abstractmethod
    def weights(self) -> str:
        """See `digest`."""

    @abstractmethod
    def encode(self, sentences: Sequence[str]) -> EncodedSentences:
        """B sentences, padded on the right to the longest; an empty one has no tokens."""


_KINDS = {
    "t5": ("T5EncoderModel", "none"),
    "clip": ("CLIPTextModelWithProjection", "projected"),
    "bert": ("BertModel", "mean"),
}
"""Of each family the class in transformers, and the vector of a whole sentence: "none", "mean" of
the tokens, or "projected" by the model."""


@final
class Transformer(TextEncoder):
    """A text encoder of the families T5, CLIP and BERT.

    The vectors of tokens are the last hidden state. The pooled vector is empty (T5), the projected
    embedding that is compared with pictures (CLIP), or the mean over the tokens (BERT, as sentence
    encoders are trained); the latter two have length √P, so that each entry is about 1.

    Args:
        source: a folder with weights, configuration and tokeniser, or a name on the hub.
        family: "t5", "clip" or "bert"; "" reads it from the configuration.
        length: at most so many tokens are read, the rest of a sentence is cut off.
        device: where it runs.
        download: ask the hub if the name is no folder.

    Raises:
        UsageError: no such folder, or a family that is not known.
        MissingExtra: transformers is not installed.
        SfumatoError: what is there cannot be read.
    """

    def __init__(
        self,
        source: str | Path,
        family: str = "",
        length: int = 77,
        device: torch.device | str = "cpu",
        download: bool = False,
    ) -> None:
        with _reading(source, download, "a text encoder") as (library, how):
            config = library.AutoConfig.from_pretrained(**how)
            family = family or _family(config.model_type)
            if family not in _KINDS:
                raise UsageError(f"expected a family of {', '.join(_KINDS)}, got {family!r}")
            name, self.pooled = _KINDS[family]
            self.tokenizer: Any = library.AutoTokenizer.from_pretrained(use_fast=True, **how)
            kind = getattr(library, name)
            self.model: Any = kind.from_pretrained(dtype=torch.float32, **how)
        if not self.tokenizer.is_fast:
            raise SfumatoError(
                f"{source} has no fast tokeniser (tokenizer.json), without which phrases cannot be "
                "found in sentences"
            )
        self.model.requires_grad_(requires_grad=False).eval().to(device)
        self.device = torch.device(device)
        self.name = f"{family}:{Path(str(source)).name}"
        self.length = min(length, _longest(self.model.config, length))
        self.widths = _widths(self.model.config, self.pooled)

    @cached_property
    def weights(self) -> str:
        """See `digest`."""
        return digest(self.model)

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> EncodedSentences:
        """All in one batch."""
        words = [valid(s, "the sentence").strip() for s in sentences]
        read = self.tokenizer(
            words, padding=True, truncation=True, max_length=self.length,
            return_offsets_mapping=True, return_tensors="pt",
        )  # fmt: skip
        offsets = read.pop("offset_mapping")
        read = {k: v.to(self.device) for k, v in read.items() if k != "token_type_ids"}
        out = self.model(**read)
        tokens, mask = out.last_hidden_state.float(), read["attention_mask"].bool()
        if self.pooled == "none":
            pooled = tokens.new_zeros(len(words), 0)
        elif self.pooled == "projected":
            pooled = _unit(out.text_embeds.float())
        else:
            pooled = _unit((tokens * mask[..., None]).sum(1))  # of the mean, whose length is lost
        silent = torch.tensor([not w for w in words], device=self.device)
        mask = mask & ~silent[:, None]
        places = tuple(tuple((int(a), int(b)) for a, b in row) for row in offsets.tolist())
        return EncodedSentences(Encoded(tokens, mask, pooled), places)


@final
class PictureEncoder:
    """The CLIP embedding of a picture, as one token and as the pooled vector.

    Args:
        source: a folder with a CLIP model, or a name on the hub.
        device, download: as of `Transformer`.

    Raises:
        UsageError, MissingExtra, SfumatoError: as `Transformer`.
    """

    def __init__(
        self, source: str | Path, device: torch.device | str = "cpu", download: bool = False
    ) -> None:
        with _reading(source, download, "a CLIP model") as (library, how):
            kind = library.AutoConfig.from_pretrained(**how)
            if not str(kind.model_type).startswith("clip"):
                raise UsageError(f"{source} is a {kind.model_type}, which sees no pictures")
            self.model: Any = library.CLIPVisionModelWithProjection.from_pretrained(
                dtype=torch.float32, **how
            )
        self.model.requires_grad_(requires_grad=False).eval().to(device)
        self.device = torch.device(device)
        self.name = f"clip-picture:{Path(str(source)).name}"
        width = int(self.model.config.projection_dim)
        self.widths = EncoderWidths(width, width)

    @cached_property
    def weights(self) -> str:
        """See `digest`."""
        return digest(self.model)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Encoded:
        """Pictures (B, 3, H, W) in [-1, 1], any size, scaled to the model's (bicubic, whole)."""
        values = picture_values(pictures.to(self.device), int(self.model.config.image_size))
        whole = _unit(self.model(pixel_values=values).image_embeds.float())
        mask = torch.ones(len(whole), 1, dtype=torch.bool, device=whole.device)
        return Encoded(whole[:, None], mask, whole)


def digest(model: torch.nn.Module) -> str:
    """16 hexadecimal digits of the SHA-256 of all parameters in float32, in the order of names.

    Half of a CLIP has its own: those of sentences do not depend on the weights for pictures.
    """
    found = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        found.update(f"{name} {tuple(weight.shape)}".encode())
        found.update(weight.detach().float().cpu().numpy().tobytes())
    return found.hexdigest()[:16]


_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def picture_values(pictures: Tensor, side: int) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] as CLIP models take them: (B, 3, side, side), scaled."""
    x = (pictures.float() + 1) / 2
    if tuple(x.shape[2:]) != (side, side):
        x = torch.nn.functional.interpolate(
            x, (side, side), mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 1)
    mean, deviation = (x.new_tensor(v)[:, None, None] for v in (_MEAN, _DEVIATION))
    return (x - mean) / deviation


@final
class CachedTextEncoder(TextEncoder):
    """An encoder with a cache of sentences on the CPU; the least recently used leave first.

    Args:
        encoder: asked for sentences that are not in the cache.
        room: bytes of the cache, at most.
        dtype: of its entries.
    """

    def __init__(
        self, encoder: TextEncoder, room: int = 2**27, dtype: torch.dtype = torch.float32
    ) -> None:
        self.encoder, self.room, self.dtype = encoder, room, dtype
        self.name, self.widths = encoder.name, encoder.widths
        self.kept: OrderedDict[str, _CacheEntry] = OrderedDict()
        self.held = 0

    @property
    def weights(self) -> str:
        """See `digest`."""
        return self.encoder.weights

    def encode(self, sentences: Sequence[str]) -> EncodedSentences:
        """See `TextEncoder`; float32."""
        new = [s for s in dict.fromkeys(sentences) if s not in self.kept]
        if new:
            made = self.encoder.encode(new)
            for i, s in enumerate(new):
                n = int(made.encoded.mask[i].sum())  # padding is on the right
                tokens, pooled = made.encoded.tokens[i, :n], made.encoded.pooled[i]
                self.kept[s] = _CacheEntry(
                    tokens.to("cpu", self.dtype, copy=True),  # not a view of the whole batch
                    pooled.to("cpu", self.dtype, copy=True),
                    made.offsets[i][:n],
                )
                self.held += self.kept[s].bytes
        rows = [self.kept[s] for s in sentences]
        for s in sentences:
            self.kept.move_to_end(s)
        while self.held > self.room and self.kept:
            self.held -= self.kept.popitem(last=False)[1].bytes
        longest = max(1, *(len(row.tokens) for row in rows))
        tokens = torch.zeros(len(rows), longest, self.widths.tokens)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            tokens[i, : len(row.tokens)] = row.tokens
            mask[i, : len(row.tokens)] = True
        pooled = torch.stack([row.pooled.float() for row in rows])  # autocast stacks no float16
        return EncodedSentences(Encoded(tokens, mask, pooled), tuple(row.offsets for row in rows))


class _CacheEntry(NamedTuple):
    """One sentence: tokens (L, D), pooled (P,)."""

    tokens: Tensor
    pooled: Tensor
    offsets: tuple[tuple[int, int], ...]

    @property
    def bytes(self) -> int:
        """Memory of the vectors."""
        return int(self.tokens.nbytes + self.pooled.nbytes)


@contextmanager
def quiet(library: Any) -> Iterator[None]:
    """Turns off transformers' progress bars and its warnings of weights that are not used."""
    log = library.utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()


@contextmanager
def _reading(source: str | Path, download: bool, what: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """transformers, made quiet, and the arguments of ``from_pretrained``.

    Raises:
        UsageError: no such folder, and the hub may not be asked.
        SfumatoError: what is there cannot be read.
    """
    library = require("transformers", "text")
    if not download and not Path(source).is_dir():
        raise UsageError(
            f"there is no folder {str(source)!r}; give one with weights and tokeniser, or allow "
            "the hub to be asked"
        )
    name = str(source)
    try:
        with quiet(library):
            yield library, {
                "pretrained_model_name_or_path": name, "local_files_only": not download
            }  # fmt: skip
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        raise SfumatoError(f"{name} cannot be read as {what}: {error}") from error


def _family(model_type: str) -> str:
    return {"clip_text_model": "clip", "mt5": "t5", "umt5": "t5"}.get(model_type, model_type)


def _longest(config: Any, length: int) -> int:
    """Positions that a model has; T5 has no limit."""
    text = getattr(config, "text_config", config)
    return int(getattr(text, "max_position_embeddings", length) or length)


def _widths(config: Any, pooled: str) -> EncoderWidths:
    text = getattr(config, "text_config", config)
    width = int(getattr(text, "hidden_size", 0) or config.d_model)
    if pooled == "none":
        return EncoderWidths(width)
    return EncoderWidths(width, int(config.projection_dim) if pooled == "projected" else width)


def _unit(x: Tensor) -> Tensor:
    """Scaled to length √P."""
    return x / x.norm(dim=1, keepdim=True).clamp_min(1e-12) * x.shape[1] ** 0.5

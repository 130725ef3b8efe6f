"""Captioned pictures as training data: prompts, examples of style, degraded small pictures."""

from __future__ import annotations

from typing import Final, NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from sfumato.data.degrade import Blur, BlurKernel, Chain, Noisy
from sfumato.data.sets import Indices
from sfumato.errors import UsageError
from sfumato.nn import Encoded, Prompt
from sfumato.seeds import Generators, rand
from sfumato.systems.ediffi.data import Captioned
from sfumato.systems.ediffi.model import Modality
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder

DEGRADATION: Final = Chain((Blur(BlurKernel.GAUSSIAN, 5, (0.1, 0.8)), Noisy((0.0, 0.15))))
"""Of the small pictures that a super-resolution stage is trained on, so that it can enlarge what
another model has drawn; in the place of BSRGAN's, which is for photographs."""


def downsampled(x: Tensor, side: int) -> Tensor:
    """Pictures (B, C, H, H) reduced to a side, at most H, by the mean over areas."""
    return x if x.shape[-1] == side else F.interpolate(x, (side, side), mode="area")


def upsampled(x: Tensor, side: int) -> Tensor:
    """Pictures (B, C, H, H) in [-1, 1] enlarged to a side, bicubic, clipped to [-1, 1]."""
    return F.interpolate(x, (side, side), mode="bicubic", align_corners=False).clamp(-1, 1)


class PictureBatch(NamedTuple):
    """Pictures x0 (B, 3, R, R) in [-1, 1], and their indices in the data set, int64 (B,)."""

    x0: Tensor
    indices: Tensor


@final
class PromptData:
    """Pictures of a captioned set and the prompts that a model is trained with.

    Args:
        data: captioned pictures.
        encoder: makes the prompts.
        hide: for each of its encoders, the probability of hiding its part of a prompt.
        quiet: no progress bar while the examples of style are encoded.

    Raises:
        UsageError: not a probability for each encoder.
    """

    def __init__(
        self,
        data: Captioned,
        encoder: PromptEncoder,
        hide: tuple[float, ...],
        *,
        quiet: bool = True,
    ) -> None:
        if len(hide) != len(encoder.configs):
            names = ", ".join(one.name for one in encoder.configs)
            raise UsageError(f"--hide: expected a number for each of {names}, got {hide}")
        self.data, self.encoder = data, encoder
        self.hide = torch.tensor(hide, dtype=torch.float64)
        self.styles: dict[str, np.ndarray] = {}
        if data.styles is not None:
            names_ = np.asarray(list(data.styles))
            self.styles = {name: np.flatnonzero(names_ == name) for name in np.unique(names_)}
        visual = any(one.modality is Modality.PICTURE for one in encoder.configs)
        self.encoded = self._encode_pictures(quiet) if visual else []

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Indices) -> PictureBatch:
        """The pictures at these indices (B,)."""
        index = torch.as_tensor(np.asarray(indices), dtype=torch.int64)
        return PictureBatch(self.data.batch(indices)[0], index)

    def _encode_pictures(self, quiet: bool) -> list[Encoded]:
        """All pictures by each picture encoder, on the CPU."""
        parts = []
        starts = range(0, len(self.data), 256)
        for start in track(starts, "examples of style", transient=True, disable=quiet):
            here = np.arange(start, min(start + 256, len(self.data)))
            parts.append(self.encoder.pictures(self.data.batch(here)[0]))
        return [
            Encoded(
                torch.cat([e.tokens.cpu() for e in column]),
                torch.cat([e.mask.cpu() for e in column]),
                torch.cat([e.pooled.cpu() for e in column]),
            )
            for column in zip(*parts, strict=True)
        ]

    def examples(self, index: np.ndarray, g: Generators) -> np.ndarray:
        """For each picture another one of its style; itself if there is none, or none is known."""
        if self.data.styles is None:
            return index
        u = rand((len(index), 1), g)[:, 0].tolist()
        found = []
        for i, v in zip(index.tolist(), u, strict=True):
            same = self.styles[self.data.styles[i]]
            others = same[same != i] if len(same) > 1 else same
            found.append(others[int(v * len(others))])
        return np.array(found)

    def prompt(self, index: Tensor, g: Generators, hidden: Tensor | None = None) -> Prompt:
        """A caption and an example of style for each picture.

        Args:
            index: (B,) of the pictures.
            g: decides caption, example, and which encoders are hidden.
            hidden: (B,) bool, where the whole prompt is hidden.
        """
        index = index.cpu()
        hidden = torch.zeros(len(index), dtype=torch.bool) if hidden is None else hidden.cpu()
        # Hidden prompts all have the caption of one picture, which the text encoder has cached.
        rows = index.masked_fill(hidden, len(self.data) - 1).numpy()
        captions = self.data.draw_captions(rows, g)
        examples = torch.as_tensor(self.examples(rows, g))
        styles = [Encoded(e.tokens[examples], e.mask[examples], e.pooled[examples])
                  for e in self.encoded]  # fmt: skip
        prompt = self.encoder.prompt(captions, styles or None)
        kept = rand((len(rows), len(self.hide)), g) >= self.hide
        return prompt.keeping(kept & ~hidden[:, None])

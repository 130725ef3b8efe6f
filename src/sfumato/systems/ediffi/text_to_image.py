"""A model of prompts as `sfumato.load` returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sfumato.errors import UsageError
from sfumato.model.load import load
from sfumato.model.model import Model
from sfumato.model.walk import Progress
from sfumato.systems.ediffi.model import PromptedModel
from sfumato.systems.ediffi.pipeline import Cascade, ImageRequest, Paint, Stage, imagine
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder


@final
class TextToImage(Model):
    """A model that draws what sentences say."""

    called = "a model that draws sentences"
    description: PromptedModel
    _encoder: PromptEncoder | None = None

    def encoder(self, download: bool = False) -> PromptEncoder:
        """Its encoders of prompts, opened when they are first asked for.

        Args:
            download: ask the Hugging Face hub for those that are not here.

        Raises:
            MissingExtra, SfumatoError: one cannot be opened.
        """
        if self._encoder is None or self._encoder.device != self.device:
            self._encoder = PromptEncoder(self.description.encoders, self.device, download)
        return self._encoder

    def cascade(self, enlarge: Sequence[TextToImage | str] = (), download: bool = False) -> Cascade:
        """This model and those that enlarge its pictures; encoders in common are opened once.

        Raises:
            UsageError: models that do not follow on each other.
        """
        models = [self]
        for one in enlarge:
            opened = one if isinstance(one, TextToImage) else load(one, TextToImage)
            models.append(opened.to(self.device))
        stages = []
        for one in models:
            if one.description.encoders == self.description.encoders:
                one._encoder = self.encoder(download)
            encoder = one.encoder(download)
            stages.append(Stage(one.denoiser, one.description, encoder, self.device))
        return Cascade(tuple(stages))

    def imagine(
        self,
        prompt: str,
        n: int = 1,
        *,
        seed: int = 0,
        enlarge: TextToImage | str | Sequence[TextToImage | str] = (),
        negative: str = "",
        paint: Mapping[str, Tensor] | Sequence[Paint] = (),
        strength: float = 0.5,
        style: Tensor | None = None,
        guidance: float = 3.0,
        style_guidance: float = 6.0,
        steps: int | None = None,
        batch: int = 16,
        device: torch.device | str | None = None,
        download: bool = False,
        progress: Progress | None = None,
    ) -> Tensor:
        """Draw n pictures of a sentence: float32 (n, 3, R, R) in [-1, 1] on the CPU.

        Args:
            prompt: a sentence.
            n: number of pictures.
            seed: picture i depends on it and on i alone.
            enlarge: the model that enlarges what this one has drawn, or several in order.
            negative: what is to be kept away from.
            paint: masks (H, H) in [0, 1] by the phrase of the sentence that is to be there.
            strength: of the paint; 0 leaves it out.
            style: (3, H, H) in [-1, 1], a picture whose style is wanted.
            guidance, style_guidance: scales of classifier-free guidance by the sentence and by
                the style; 1 is the plain conditional model.
            steps: of the first model; None takes what suits it.
            batch: most pictures computed together.
            device: to move the model to first.
            download: ask the Hugging Face hub for encoders that are not here.
            progress: told how many more pictures are done.

        Raises:
            UsageError: phrases that are not in the sentence, numbers outside their range, or a
                style for a model that sees no pictures.
            MissingExtra, SfumatoError: an encoder that cannot be opened, or values that are not
                finite.
        """
        if not prompt.strip():
            raise UsageError("expected a sentence, got nothing")
        if device is not None:
            self.to(device)
        more = [enlarge] if isinstance(enlarge, str | TextToImage) else enlarge
        cascade = self.cascade(more, download)
        if isinstance(paint, Mapping):
            paint = [Paint(phrase, where) for phrase, where in paint.items()]
        sized = tuple(Paint(p.phrase, _to_side(p.where, cascade.side), p.weight) for p in paint)
        request = ImageRequest(prompt, negative, sized, strength, style, guidance, style_guidance)
        drawn = imagine(cascade, request, seed, range(n), steps, batch=batch, progress=progress)
        return drawn.x.clamp(-1, 1)


def _to_side(where: Tensor, side: int) -> Tensor:
    if where.ndim != 2 or where.shape[0] != where.shape[1]:
        raise UsageError(f"expected paint on a square, (H, H), got {tuple(where.shape)}")
    return interpolate(where[None, None].float(), (side, side), mode="area")[0, 0]

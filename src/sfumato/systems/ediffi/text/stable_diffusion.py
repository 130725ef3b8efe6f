r"""Painting with words in Stable Diffusion, as `diffusers` has it.

.. math:: \mathrm{softmax}\!\left(\frac{Q K^\top + w A}{\sqrt d}\right) V,
          \qquad w = w' \log(1 + \sigma/\alpha)\, \max(Q K^\top)

(eDiff-I: Balaji et al. 2022, arXiv 2211.01324, section 5; `sfumato.PaintWithWords` is the same for
networks of ours). The processors that a pipeline has are kept: what is painted is given to them as
an additive mask, w A/√d, so that fused attention stays fused::

    with painted(pipeline, "a red apple on grass", {"red apple": mask}, strength=0.4):
        pipeline("a red apple on grass").images[0].save("apple.png")
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import SfumatoError, UsageError, require
from sfumato.systems.ediffi.paint import Stroke, attention_map
from sfumato.systems.ediffi.text.phrases import Offsets, tokens_of

LEAST_SIGNAL = 2.0**-24
"""The least α² of a schedule that ends in noise alone, as diffusers has it for Euler's method."""


@contextmanager
def painted(
    pipeline: Any, prompt: str, masks: Mapping[str, Tensor], strength: float
) -> Iterator[None]:
    """While it is entered, the pipeline draws phrases of a prompt where they are painted.

    Cross-attention has a bias towards the tokens of each phrase where its mask is, in the rows of
    the prompt alone: the rows of the negative prompt are left as they are, bit for bit. Afterwards,
    also after an exception, the pipeline is as before.

    Args:
        pipeline: a `StableDiffusionPipeline`, or the one for img2img or for inpainting.
        prompt: what the pipeline is going to be called with. Embeddings made beforehand are
            believed to be of it.
        masks: for each phrase of the prompt (``phrase #2`` and ``phrase #all`` as in `tokens_of`)
            the weights in [0, 1], (H, W) for all pictures or (B, H, W) for each, of any resolution
            and of the pictures' proportions.
        strength: w'; 0 changes nothing, bit for bit, and 0.4 is usual.

    Raises:
        UsageError: another kind of pipeline; a phrase that is not in the prompt, is in it several
            times, or was cut off; masks that do not fit; and, when the pipeline is called, another
            prompt or pictures of other proportions.
        SfumatoError: a tokeniser that does not say where its tokens are.
        MissingExtra: diffusers is not installed.
    """
    library = require("diffusers", "bench")
    layers = _layers(library, pipeline)
    if not strength >= 0 or not masks:
        raise UsageError(
            f"expected painted phrases and a strength >= 0, got {len(masks)} and {strength}"
        )
    sentence = tokenize(pipeline.tokenizer, prompt)
    painting = _Painting(pipeline, sentence, _strokes(sentence, masks), strength)
    with ExitStack() as undo:
        if strength > 0:
            for layer in layers:
                undo.callback(layer.set_processor, layer.processor)
                layer.set_processor(_Brush(layer.processor, painting))
            for module, hook in (
                (pipeline.text_encoder, painting.hear),
                (pipeline.unet, painting.begin),
            ):
                undo.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


@final
@dataclass(frozen=True)
class Sentence:
    """A prompt as the text encoder reads it: the numbers of its tokens, and their characters."""

    text: str
    ids: tuple[int, ...]
    offsets: Offsets


def tokenize(tokenizer: Any, prompt: str) -> Sentence:
    """A prompt, cut or filled up to what the text encoder reads (77 tokens).

    A tokeniser of CLIP without offsets (`CLIPTokenizer` before transformers 5) is asked for the
    tokens and a fast one, made from it, for their characters; both must agree.

    Raises:
        UsageError: no sentence.
        SfumatoError: no fast tokeniser can be made, or it reads other tokens.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise UsageError(f"expected a prompt in words, got {prompt!r}")
    how = {
        "padding": "max_length",
        "truncation": True,
        "max_length": tokenizer.model_max_length,
    }
    ids = tuple(tokenizer(prompt, **how)["input_ids"])
    made = _fast(tokenizer)(prompt, return_offsets_mapping=True, **how)
    if tuple(made["input_ids"]) != ids:
        raise SfumatoError(
            f"{type(tokenizer).__name__} and the fast tokeniser made from it read different tokens "
            f"in {prompt!r}; give the pipeline a CLIPTokenizerFast"
        )
    return Sentence(prompt, ids, tuple((int(a), int(b)) for a, b in made["offset_mapping"]))


def _fast(tokenizer: Any) -> Any:
    """A tokeniser with offsets: itself, or one made from the files of a slow one of CLIP."""
    if tokenizer.is_fast:
        return tokenizer
    library = require("transformers", "text")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        try:
            return library.CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # whatever a package raises for files of another kind
            raise SfumatoError(
                f"{type(tokenizer).__name__} does not say where its tokens are, and no fast "
                f"tokeniser can be made from it: {error}"
            ) from error


def noise_level(scheduler: Any, timestep: float | Tensor) -> float:
    """σ/α of what the network is asked about: EDM's σ, at most 14.6 for Stable Diffusion.

    Schedulers that have σs say which is the current one. For the others it is √((1 - ᾱ)/ᾱ), ᾱ
    being ``alphas_cumprod`` at the timestep, between whole timesteps with a logarithm that is
    linear; so also for the two whose second stage is at a σ of another list (KDPM2).

    Raises:
        UsageError: a scheduler of another process, such as flow matching.
    """
    library = require("diffusers", "bench")
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if alphas is None or scheduler.config.get("use_flow_sigmas"):
        raise UsageError(
            "expected a scheduler of Stable Diffusion's process (DDIM, Euler, DPM-Solver, ...), "
            f"got {type(scheduler).__name__}"
        )
    two_stages = library.KDPM2DiscreteScheduler, library.KDPM2AncestralDiscreteScheduler
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is None or isinstance(scheduler, two_stages):
        whole = int(timestep)
        near = alphas[whole : whole + 2].double().clamp_min(LEAST_SIGNAL)
        logs = (0.5 * ((1 - near) / near).log()).tolist()
        return math.exp(logs[0] + (float(timestep) - whole) * (logs[-1] - logs[0]))
    now = scheduler.step_index
    if now is None:  # before the first step
        now = scheduler.begin_index
    if now is None:
        now = scheduler.index_for_timestep(timestep)
    return float(sigmas[now])


def grid(queries: int, height: int, width: int) -> tuple[int, int]:
    """The (H, W) of so many pixels that a latent becomes when it is halved some times.

    A side of odd length is rounded up, as convolutions with stride 2 and padding 1 do.

    Raises:
        UsageError: halving does not lead to so many.
    """
    h, w = height, width
    while h * w > queries:
        h, w = (h + 1) // 2, (w + 1) // 2
    if h * w != queries:
        raise UsageError(
            f"expected attention at {height}x{width}, or that halved some times, got {queries} "
            "pixels"
        )
    return h, w


@final
class _Painting:
    """What is painted, and the step that the network is in, which hooks keep up to date."""

    def __init__(
        self, pipeline: Any, sentence: Sentence, strokes: list[Stroke], strength: float
    ) -> None:
        self.pipeline, self.sentence, self.strength = pipeline, sentence, strength
        # A column for each painted token: pooling those of all 77 would cost a hundred megabytes.
        self.columns = sorted({i for s in strokes for i in s.tokens})
        place = {token: i for i, token in enumerate(self.columns)}
        few = [Stroke(s.where, tuple(place[i] for i in s.tokens)) for s in strokes]
        batch = max(1 if s.where.ndim == 2 else len(s.where) for s in strokes)
        try:
            self.map = attention_map(few, len(place), batch)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.pooled: dict[tuple[int, int, torch.device], Tensor] = {}
        self.heard: Tensor | None = None
        self.rows, self.first, self.size, self.weight = 0, 0, (0, 0), 0.0

    def hear(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The text encoder is asked: for the prompt first, then for the negative one."""
        if self.heard is None:
            self.heard = args[0] if args else kwargs["input_ids"]

    def begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The network is asked: (sample, timestep, ...)."""
        if self.heard is not None:
            heard, self.heard = self.heard.tolist(), None
            if any(tuple(ids) != self.sentence.ids for ids in heard):
                raise UsageError(
                    f"what is painted is {self.sentence.text!r}, and the pipeline was called with "
                    "another prompt; or, if with prompt_embeds, give negative_prompt_embeds too"
                )
        sample = args[0] if args else kwargs["sample"]
        timestep = args[1] if len(args) > 1 else kwargs["timestep"]
        self.rows, self.size = len(sample), (sample.shape[-2], sample.shape[-1])
        guided = getattr(self.pipeline, "do_classifier_free_guidance", None)
        if guided is None:  # which rows are of the prompt?
            raise UsageError("call the painted pipeline, not its network")
        self.first = self.rows // 2 if guided else 0
        if len(self.map) not in (1, self.rows - self.first):
            raise UsageError(
                f"expected masks for {self.rows - self.first} pictures, got {len(self.map)}"
            )
        (h, w), (height, width) = self.size, self.map.shape[-2:]
        if abs(height * w - width * h) > max(height, width):  # more than one pixel of the latent
            raise UsageError(
                f"expected masks of the proportions of the latent {h}x{w}, got {height}x{width}"
            )
        level = noise_level(self.pipeline.scheduler, timestep)
        self.weight = self.strength * math.log1p(level)

    def painted(self, queries: int, tokens: int, device: torch.device) -> Tensor:
        """A at the resolution of so many queries, (1 or B, queries, tokens).

        Raises:
            UsageError: a number of queries or tokens that cannot be.
        """
        if tokens != len(self.sentence.ids):
            raise UsageError(
                f"expected embeddings of {len(self.sentence.ids)} tokens, got {tokens}"
            )
        h, w = grid(queries, *self.size)
        if (h, w, device) not in self.pooled:
            few = F.adaptive_avg_pool2d(self.map, (h, w)).flatten(2).transpose(1, 2).to(device)
            made = few.new_zeros(len(few), queries, tokens)
            made[:, :, self.columns] = few
            self.pooled[h, w, device] = made
        return self.pooled[h, w, device]


@final
class _Brush:
    """An attention processor: the former one, with a bias in the painted rows."""

    def __init__(self, former: Any, painting: _Painting) -> None:
        self.former, self.painting = former, painting

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """(B, Q, C) pixels and (B, L, D) tokens -> (B, Q, C)."""
        first = self.painting.first
        x, said = hidden_states[first:], encoder_hidden_states[first:]
        mask = None if attention_mask is None else attention_mask[first:]
        a = self.painting.painted(x.shape[1], said.shape[1], x.device)
        mask = _added(attn, x, said, self.painting.weight, a, mask)
        painted = self.former(attn, x, said, attention_mask=mask)
        if first == 0:
            return painted
        # All rows without a bias, as fewer rows, or a mask of zeros, may take another way through
        # the processor, whose last bits differ. Cross-attention is a small part of the cost.
        plain = self.former(
            attn, hidden_states, encoder_hidden_states, attention_mask=attention_mask
        )
        return torch.cat([plain[:first], painted])


def _added(
    attn: Any, x: Tensor, said: Tensor, weight: float, a: Tensor, mask: Tensor | None
) -> Tensor:
    """weight max(Q Kᵀ) A/√d of each sample for itself, and the mask that there is, (B, Q, L).

    As in `sfumato.nn.CrossAttention` the maximum is over heads, pixels and the tokens that the
    mask leaves, and at least 0.
    """
    kind = torch.promote_types(x.dtype, torch.float32)
    q = attn.to_q(x).unflatten(2, (attn.heads, -1)).transpose(1, 2).to(kind)
    k = attn.to_k(said).unflatten(2, (attn.heads, -1)).transpose(1, 2).to(kind)
    products = q @ k.transpose(-1, -2)
    if mask is not None:
        products = products.masked_fill(mask[:, None] < 0, -torch.inf)
    greatest = products.amax((1, 2, 3)).clamp_min(0)
    bias = a.to(kind) * (greatest[:, None, None] * (weight * attn.scale))
    return (bias if mask is None else bias + mask).to(x.dtype)


def _layers(library: Any, pipeline: Any) -> list[Any]:
    """The layers of cross-attention of a pipeline that can be painted."""
    kinds = (
        library.StableDiffusionPipeline,
        library.StableDiffusionImg2ImgPipeline,
        library.StableDiffusionInpaintPipeline,
    )
    if not isinstance(pipeline, kinds) or not isinstance(
        pipeline.unet, library.UNet2DConditionModel
    ):
        names = ", ".join(kind.__name__ for kind in kinds)
        unet = getattr(pipeline, "unet", None)
        raise UsageError(
            f"expected one of {names} with a UNet2DConditionModel, got {type(pipeline).__name__} "
            f"with {type(unet).__name__}"
        )
    attention = require("diffusers.models.attention_processor", "bench").Attention
    layers = [
        module
        for name, module in pipeline.unet.named_modules()
        if name.endswith("attn2") and isinstance(module, attention) and module.is_cross_attention
    ]
    if not layers:
        raise UsageError("the pipeline's network has no cross-attention, so nothing to paint")
    for layer in layers:
        if isinstance(layer.processor, _Brush):
            raise UsageError("the pipeline is painted already; give all phrases at once")
        strange = layer.group_norm, layer.spatial_norm, layer.norm_q, layer.norm_k, layer.norm_cross
        if isinstance(layer.processor, nn.Module) or any(norm is not None for norm in strange):
            raise UsageError(
                "expected cross-attention as in Stable Diffusion, without an IP-Adapter and norms "
                f"of its own, got {type(layer.processor).__name__}"
            )
    return layers


def _strokes(sentence: Sentence, masks: Mapping[str, Tensor]) -> list[Stroke]:
    made = []
    for phrase, mask in masks.items():
        tokens = tokens_of(sentence.text, phrase, sentence.offsets)
        if not isinstance(mask, Tensor) or mask.numel() == 0:
            raise UsageError(f"expected a tensor (H, W) as the mask of {phrase!r}, got {mask!r}")
        try:
            made.append(Stroke(mask.detach().cpu(), tokens))
        except ValueError as error:
            raise UsageError(f"the mask of {phrase!r}: {error}") from error
    return made

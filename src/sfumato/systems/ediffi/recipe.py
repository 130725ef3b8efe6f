"""Text to image with an ensemble of experts (eDiff-I: Balaji et al. 2022, arXiv 2211.01324).

A U-Net hears what several encoders say of a sentence, and of a picture that is an example of the
style, each of which is hidden at times on its own, and all at once one time in ten. It begins with
nothing, or enlarges the pictures of another one, which it sees degraded in training. From a trained
model an expert goes on with a part of the noise levels (``--start``, ``--expert``); see
`ediffi.experts`.

Here the example of style is another picture of the same style where the data knows styles, so that
it says who drew it and not what is in it; else, as published, the picture itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import track
from torch import Tensor

from sfumato.condition import Given, ImageCondition
from sfumato.data import to_uint8
from sfumato.data.degrade import Blur, BlurKernel, Chain, Noisy
from sfumato.data.sets import Indices
from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.files import pictures
from sfumato.guide import ClassifierFree
from sfumato.loss import LogNormal, TimeLaw, denoising_loss, edm_times
from sfumato.model.fit import fit
from sfumato.model.load import load_model
from sfumato.nn import ContextConfig, Encoded, Prompt, UNetConfig
from sfumato.sampling import sample
from sfumato.seeds import Generators, generator, generators, rand
from sfumato.solve import DEIS
from sfumato.systems.ediffi.data import (
    Captioned,
    Scenes,
    captioned_folder,
    joined_captioned,
    scenes,
)
from sfumato.systems.ediffi.experts import Node, Split
from sfumato.systems.ediffi.model import Modality, PromptedModel, sized
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder, encoder_config
from sfumato.times import karras
from sfumato.train import Loss, Microbatch, Sheet, TrainConfig

WORSE: Final = Chain((Blur(BlurKernel.GAUSSIAN, 5, (0.1, 0.8)), Noisy((0.0, 0.15))))
"""What small pictures suffer in training, so that those that another model made can be enlarged: a
random degradation in the place of BSRGAN's, which is for photographs."""


REMEMBERED: Final = 2_500_000_000
"""Bytes in which each encoder remembers sentences in training: for MiniLM about 190,000 of the
240,000 of 40,000 scenes."""


@final
@dataclass(frozen=True)
class Config:
    """A model that draws what a sentence says.

    Args:
        out: the run folder.
        path: a folder of pictures with captions instead of the scenes of emoji.
        resolution: side of the pictures it makes.
        low: side of the pictures it enlarges; 0 for a model that begins with nothing.
        n: pictures in memory; 0 for all.
        encoders: what it listens to: sentence:SOURCE or picture:SOURCE, where SOURCE is minilm, a
            folder such as that of `sfumato train clip`, or a name on the hub (with --download).
        hide: for each of them, how often it is hidden on its own.
        download: ask the Hugging Face hub for encoders that are no folders.
        context: width in which all encoders are heard.
        sigma_data: root mean square of the data; 0 measures it.
        log_noise: mean of ln σ in training where sigma_data is 1/2 (its deviation is 1.2). EDM's is
            -1.2; what a sentence says is decided at more noise than that.
        start: a trained run or model to go on from: its network, encoders, sizes and law of noise,
            and not those that are given here.
        split: nodes L.I of the tree of noise levels that have experts of their own, such as 3.7 3.0
            (the eighths of most and of least noise).
        expert: which part is trained: 0, 1, ... of the split; one more is all the rest. -1 trains
            on all noise levels.
        network: sizes of the U-Net, by default for 32 pixels; its inputs, outputs, resolution and
            context follow from the rest.
        train: how to train; label_dropout is how often nothing is said at all.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/imagine")
    path: Path | None = None
    resolution: int = 32
    low: int = 0
    n: int = 40_000
    encoders: tuple[str, ...] = (
        "sentence:minilm",
        "sentence:scenes-clip",
        "picture:scenes-clip",
    )
    hide: tuple[float, ...] = (0.1, 0.1, 0.3)
    download: bool = False
    context: int = 96
    sigma_data: float = 0.0
    log_noise: float = -0.5
    start: Path | None = None
    split: tuple[str, ...] = ()
    expert: int = -1
    network: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            3,
            3,
            channels=48,
            multipliers=(1, 2),
            blocks=(1, 2),
            attention=(8, 16),
            head_channels=48,
            resolution=32,
            patch=2,
            resample_blocks=False,
        )
    )
    train: TrainConfig = TrainConfig(steps=15_000, batch=32, optimizer="muon", lr=1e-3, warmup=300)
    resume: bool = False

    def __post_init__(self) -> None:
        if len(self.hide) != len(self.encoders) or not all(0 <= h <= 1 for h in self.hide):
            raise UsageError(
                f"--hide: expected a number in [0, 1] for each of the {len(self.encoders)} "
                f"encoders, got {self.hide}"
            )
        if not self.encoders:
            raise UsageError("--encoders: expected at least one, such as sentence:minilm")
        if self.n < 0:
            raise UsageError(f"--n: expected 0 (all) or more pictures, got {self.n}")
        if not self.sigma_data >= 0:
            raise UsageError(f"--sigma-data: expected 0 or more, got {self.sigma_data}")
        if not abs(self.log_noise) <= 5:
            raise UsageError(f"--log-noise: expected -5 to 5, got {self.log_noise}")
        if self.low and not 0 < self.low < self.resolution:
            raise UsageError(f"--low: expected less than {self.resolution}, got {self.low}")
        if self.expert < -1 or (self.expert < 0 and self.split):
            raise UsageError(f"--split needs --expert: 0, 1, ... of it; got {self.expert}")
        if self.expert >= 0 and (not self.split or self.start is None):
            raise UsageError("an expert needs --split, and --start: a model to go on from")
        part_of(self, LogNormal())  # say now what is wrong with it

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The split's."""
        return tuple(node_of(text) for text in self.split)


def node_of(text: str) -> Node:
    """A node from "3.7".

    Raises:
        UsageError: no such node.
    """
    level, _, index = text.partition(".")
    try:
        return Node(int(level), int(index))
    except ValueError as error:
        raise UsageError(
            f"--split: expected nodes LEVEL.INDEX such as 3.7, got {text!r}"
        ) from error


@final
class Numbered:
    """Pictures with their numbers as labels, by which their sentences are found."""

    def __init__(self, data: Captioned) -> None:
        self.data, self.name = data, data.name

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Pictures, and numbers (B, 1)."""
        numbers = torch.as_tensor(np.asarray(indices), dtype=torch.int64)
        return self.data.batch(indices)[0], numbers[:, None]


def imagine_data(config: Config, split: Literal["train", "test"] = "train") -> Captioned:
    """The scenes, half of them with their style, or a folder; not yet in memory.

    Twice as large as what is trained on where these are scenes, so that encoders of pictures see
    what they were trained on.

    Raises:
        MissingExtra, SfumatoError, UsageError: the data is not there.
    """
    if config.path is not None:
        return captioned_folder(config.path, config.resolution)
    side = max(64, config.resolution)
    return joined_captioned(
        scenes(Scenes(split, side)), scenes(Scenes(split, side, seed=1, style=True))
    )


def lowered(x: Tensor, side: int) -> Tensor:
    """Pictures (B, C, H, H) reduced to a side, at most H, by the mean over areas."""
    return x if x.shape[-1] == side else F.interpolate(x, (side, side), mode="area")


def enlarged(x: Tensor, side: int) -> Tensor:
    """Pictures (B, C, H, H) enlarged to a side, bicubic."""
    return F.interpolate(x, (side, side), mode="bicubic", align_corners=False).clamp(-1, 1)


def prompted_model(config: Config, data: Captioned, sigma_data: float) -> PromptedModel:
    """The model that a configuration describes, its encoders opened and measured."""
    listeners = tuple(encoder_config(name, config.download) for name in config.encoders)
    context = ContextConfig(tuple(one.widths for one in listeners), config.context)
    network = replace(sized(config.network, config.resolution, config.low), context=context)
    law = edm_times(sigma_data, config.log_noise)
    return PromptedModel(data.name, network, listeners, sigma_data, law, config.low)


@final
class Sayings:
    """The prompts of a data set's pictures, by their numbers.

    Args:
        data: captioned pictures.
        hearing: the encoders.
        hide: of each.
        quiet: no progress bar while pictures are listened to.

    Raises:
        UsageError: not a number for each encoder.
    """

    def __init__(
        self,
        data: Captioned,
        hearing: PromptEncoder,
        hide: tuple[float, ...],
        *,
        quiet: bool = True,
    ) -> None:
        if len(hide) != len(hearing.listeners):
            heard = ", ".join(one.name for one in hearing.listeners)
            raise UsageError(f"--hide: expected a number for each of {heard}, got {hide}")
        self.data, self.hearing = data, hearing
        self.hide = torch.tensor(hide, dtype=torch.float64)
        self.styles: dict[str, np.ndarray] = {}
        if data.styles is not None:
            names = np.asarray(list(data.styles))
            self.styles = {name: np.flatnonzero(names == name) for name in np.unique(names)}
        sees = any(one.ear is Modality.PICTURE for one in hearing.listeners)
        self.seen = self._pictures(quiet) if sees else []

    def _pictures(self, quiet: bool) -> list[Encoded]:
        """What encoders of pictures say of every picture, on the CPU."""
        parts = []
        starts = range(0, len(self.data), 256)
        for start in track(starts, "examples of style", transient=True, disable=quiet):
            here = np.arange(start, min(start + 256, len(self.data)))
            parts.append(self.hearing.pictures(self.data.batch(here)[0]))
        return [
            Encoded(
                torch.cat([e.tokens.cpu() for e in column]),
                torch.cat([e.mask.cpu() for e in column]),
                torch.cat([e.pooled.cpu() for e in column]),
            )
            for column in zip(*parts, strict=True)
        ]

    def examples(self, numbers: np.ndarray, g: Generators) -> np.ndarray:
        """For each picture another one of its style; itself if there is none, or none is known."""
        if self.data.styles is None:
            return numbers
        u = rand((len(numbers), 1), g)[:, 0].tolist()
        found = []
        for i, v in zip(numbers.tolist(), u, strict=True):
            same = self.styles[self.data.styles[i]]
            others = same[same != i] if len(same) > 1 else same
            found.append(others[int(v * len(others))])
        return np.array(found)

    def prompt(self, numbers: Tensor, g: Generators) -> Prompt:
        """A sentence and an example of style for each number (B,); nothing for the number N."""
        n = len(self.data)
        index = numbers.cpu().clamp(max=n - 1).numpy()
        said = self.data.draw_captions(index, g)
        rows = torch.as_tensor(self.examples(index, g))
        shown = [Encoded(e.tokens[rows], e.mask[rows], e.pooled[rows]) for e in self.seen]
        prompt = self.hearing.prompt(said, shown or None)
        kept = rand((len(index), len(self.hide)), g) >= self.hide
        return prompt.keeping(kept & (numbers.cpu() < n)[:, None])


def imagine_loss(model: PromptedModel, sayings: Sayings) -> Loss:
    """EDM's loss, given the prompt, and the worsened small picture where there is one."""
    side = model.network.resolution

    def loss(denoiser: Denoiser, part: Microbatch) -> Tensor:
        if part.cond is None:
            raise UsageError("the pictures have no numbers, by which sentences are found")
        with torch.no_grad(), torch.autocast(sayings.hearing.device.type, torch.bfloat16):
            prompt = sayings.prompt(part.cond[:, 0], part.generators)
        x0 = lowered(part.x0, side)
        prompt = prompt.to(x0.device)
        cond: Given = prompt
        if model.low:
            small = WORSE(lowered(x0, model.low), part.generators)
            cond = ImageCondition(enlarged(small, side), prompt)
        return denoising_loss(denoiser, x0, part.t, cond=cond, generator=part.generators)

    return loss


def imagine_sheet(
    model: PromptedModel, hearing: PromptEncoder, data: Captioned, guidance: float = 3.0
) -> Sheet:
    """Eight of the data's sentences, and four pictures for each, beside a real one."""
    index, copies = np.arange(min(8, len(data))), 4
    side = model.network.resolution
    said = [group[0] for group in (data.captions[int(i)] for i in index)]
    real = lowered(data.batch(index)[0], side)
    small = real.repeat_interleave(copies, 0)
    beside = enlarged(lowered(small, model.low), side) if model.low else None

    def draw(denoiser: Denoiser) -> Image.Image:
        device = next(denoiser.parameters()).device
        prompt = hearing.prompt([s for s in said for _ in range(copies)]).to(device)
        cond: Given = prompt if beside is None else ImageCondition(beside.to(device), prompt)
        process, seeds = denoiser.process, generators(0, range(len(small)))  # always the same
        x = process.prior_sample((len(small), *model.shape), seeds, device=device)
        made = sample(
            ClassifierFree(denoiser, guidance), DEIS(), karras(process, 18), x, cond=cond
        ).x
        made = made.float().cpu().unflatten(0, (len(index), copies))
        rows = torch.cat([real[:, None], made], 1).flatten(0, 1)
        return pictures.sheet(
            to_uint8(rows).numpy(), columns=2 * (copies + 1), scale=max(1, 96 // side)
        )

    return draw


def part_of(config: Config, law: LogNormal) -> TimeLaw:
    """The noise levels that are trained on.

    Raises:
        UsageError: nodes that overlap, or no such expert.
    """
    if config.expert < 0:
        return law
    nodes = config.nodes
    try:
        return Split(nodes).part(config.expert, law)
    except ValueError as error:
        raise UsageError(f"--split {' '.join(config.split)}: {error}") from error


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError, MissingExtra, SfumatoError: the data or an encoder is not there, or see
            `sfumato.train.train`.
    """
    denoiser: Denoiser | None = None
    model: PromptedModel | None = None
    wanted = config
    if config.start is not None:
        denoiser, found = load_model(config.start)
        if not isinstance(found, PromptedModel) or found.split:
            raise UsageError(f"{config.start} is not one network that draws what a prompt says")
        wanted = replace(config, resolution=found.network.resolution, low=found.low)
        heard = tuple(encoder_config(one.name, config.download) for one in found.listeners)
        model = replace(found, listeners=heard)  # with the weights that they have now
    else:
        sized(config.network, config.resolution, config.low)  # before anything is held
    data = imagine_data(wanted)
    quiet = config.train.quiet
    held = data.subset(_some(len(data), config.n, config.train.seed), quiet=quiet)
    if model is None:
        model = prompted_model(config, data, config.sigma_data or _scale(held, config))
    hearing = PromptEncoder(model.listeners, "cpu", config.download, REMEMBERED)
    sayings = Sayings(held, hearing, config.hide, quiet=quiet)
    return fit(
        "imagine", config, model, Numbered(held), part_of(config, model.law), config.train,
        config.out, config.resume,
        denoiser=denoiser,
        loss=imagine_loss(model, sayings),
        sheet=imagine_sheet(model, hearing, imagine_data(wanted, "test")),
        labels=(len(held),),
    )  # fmt: skip


def _scale(data: Captioned, config: Config) -> float:
    """Root mean square of at most 4096 pictures, as they are trained on; 3 digits."""
    x = lowered(data.batch(np.arange(min(4096, len(data))))[0], config.resolution)
    return float(f"{float(x.double().square().mean().sqrt()):.3g}")


def _some(total: int, n: int, seed: int) -> np.ndarray:
    """Numbers of at most n pictures, rising; all for 0."""
    order = torch.randperm(total, generator=generator(seed, "held")).numpy()
    return np.sort(order[: n or total])

"""Text to image with an ensemble of experts (eDiff-I: Balaji et al. 2022, arXiv 2211.01324).

A U-Net attends to a sentence by several encoders, and to a picture that is an example of the style.
Each encoder is hidden at times on its own, and all at once one time in ten. The network is a base
model, or a super-resolution stage that is given degraded small pictures in training. From a trained
model an expert goes on with a part of the noise levels (``--start``, ``--expert``); see
`ediffi.experts`.

Here the example of style is another picture of the same style where the data knows styles, so that
it gives the style and not the contents; else, as published, the picture itself.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sfumato.condition import Given, ImageCondition
from sfumato.data import to_uint8
from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.files import pictures
from sfumato.guide import ClassifierFree
from sfumato.loss import LogNormal, TimeLaw, denoising_loss, edm_times
from sfumato.model.fit import fit
from sfumato.model.load import load_model
from sfumato.nn import ContextConfig
from sfumato.sampling import sample
from sfumato.seeds import generator, generators
from sfumato.solve import DEIS
from sfumato.systems.ediffi.data import (
    Captioned,
    Scenes,
    captioned_folder,
    joined_captioned,
    scenes,
)
from sfumato.systems.ediffi.experts import Split
from sfumato.systems.ediffi.model import PromptedModel, sized
from sfumato.systems.ediffi.options import Config
from sfumato.systems.ediffi.prompt_data import (
    DEGRADATION,
    PromptData,
    downsampled,
    upsampled,
)
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder, encoder_config
from sfumato.times import karras
from sfumato.train import Loss, Microbatch, Sheet

CACHE: Final = 2_500_000_000
"""Bytes of each text encoder's cache in training: for MiniLM about 190,000 of the 240,000 sentences
of 40,000 scenes."""


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


def prompted_model(config: Config, data: Captioned, sigma_data: float) -> PromptedModel:
    """The model that a configuration describes; its encoders are opened for their widths."""
    encoders = tuple(encoder_config(name, config.download) for name in config.encoders)
    context = ContextConfig(tuple(one.widths for one in encoders), config.context)
    network = replace(sized(config.network, config.resolution, config.low), context=context)
    law = edm_times(sigma_data, config.log_noise)
    return PromptedModel(data.name, network, encoders, sigma_data, law, config.low)


def imagine_loss(model: PromptedModel, data: PromptData) -> Loss:
    """EDM's loss given the prompt, and in a super-resolution stage the degraded small picture.

    Its parts have a `PictureBatch`; their one column of ``hidden`` hides the whole prompt.
    """
    side = model.network.resolution

    def loss(denoiser: Denoiser, part: Microbatch) -> Tensor:
        hidden = None if part.hidden is None else part.hidden[:, 0]
        with torch.no_grad(), torch.autocast(data.encoder.device.type, torch.bfloat16):
            prompt = data.prompt(part.batch.indices, part.generators, hidden)
        x0 = downsampled(part.x0, side)
        prompt = prompt.to(x0.device)
        cond: Given = prompt
        if model.low:
            small = DEGRADATION(downsampled(x0, model.low), part.generators)
            cond = ImageCondition(upsampled(small, side), prompt)
        return denoising_loss(denoiser, x0, part.t, cond=cond, generator=part.generators)

    return loss


def imagine_sheet(
    model: PromptedModel, encoder: PromptEncoder, data: Captioned, guidance: float = 3.0
) -> Sheet:
    """Four pictures for each of the first eight captions, beside the real picture."""
    index, copies = np.arange(min(8, len(data))), 4
    side = model.network.resolution
    captions = [group[0] for group in (data.captions[int(i)] for i in index)]
    real = downsampled(data.batch(index)[0], side)
    small = real.repeat_interleave(copies, 0)
    image = upsampled(downsampled(small, model.low), side) if model.low else None

    def draw(denoiser: Denoiser) -> Image.Image:
        device = next(denoiser.parameters()).device
        prompt = encoder.prompt([s for s in captions for _ in range(copies)]).to(device)
        cond: Given = prompt if image is None else ImageCondition(image.to(device), prompt)
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
        encoders = tuple(encoder_config(one.name, config.download) for one in found.encoders)
        model = replace(found, encoders=encoders)  # with the weights that they have now
    else:
        sized(config.network, config.resolution, config.low)  # before anything is held
    data = imagine_data(wanted)
    quiet = config.train.quiet
    held = data.subset(_some(len(data), config.n, config.train.seed), quiet=quiet)
    if model is None:
        model = prompted_model(config, data, config.sigma_data or _scale(held, config))
    encoder = PromptEncoder(model.encoders, "cpu", config.download, CACHE)
    examples = PromptData(held, encoder, config.hide, quiet=quiet)
    return fit(
        "imagine", config, model, examples, part_of(config, model.law), config.train,
        config.out, config.resume,
        denoiser=denoiser,
        loss=imagine_loss(model, examples),
        sheet=imagine_sheet(model, encoder, imagine_data(wanted, "test")),
        labels=(),
        conditions=1,
    )  # fmt: skip


def _scale(data: Captioned, config: Config) -> float:
    """Root mean square of at most 4096 pictures, as they are trained on; 3 digits."""
    x = downsampled(data.batch(np.arange(min(4096, len(data))))[0], config.resolution)
    return float(f"{float(x.double().square().mean().sqrt()):.3g}")


def _some(total: int, n: int, seed: int) -> np.ndarray:
    """Indices of at most n of all pictures, rising; all of them for 0."""
    order = torch.randperm(total, generator=generator(seed, "held")).numpy()
    return np.sort(order[: n or total])

r"""A small dual encoder of pictures and sentences, trained by contrast (CLIP).

With unit vectors u_i of pictures and v_i of their sentences, and a scale s that is learned,

.. math:: L = -\frac12 \sum_i \left[\log \frac{e^{s u_i \cdot v_i}}{\sum_j e^{s u_i \cdot v_j}}
          + \log \frac{e^{s u_i \cdot v_i}}{\sum_j e^{s u_j \cdot v_i}}\right]

(Radford et al. 2021, arXiv 2103.00020, figure 3). Pictures whose sentence is word for word that
of another one are not told apart: such pairs are left out of the sums.

Sentences say little of who drew a picture, which is what models that take a picture as an example
of style need. Where the data knows the style k_i of each picture, a linear reading of u_i
has to predict it: with W, b learned and thrown away afterwards, D values of u_i, and a weight c,

.. math:: L_{style} = -c \sum_i \log \mathrm{softmax}(\sqrt{D} W u_i + b)_{k_i} .

A trained one can go on with the image tower and s alone. The text tower is then locked (as in LiT:
Zhai et al. 2022, arXiv 2111.07991, with the towers exchanged), so its embeddings of sentences stay
valid for models that were trained with them; those of pictures change.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.files.progress import Progress
from sfumato.seeds import generator
from sfumato.systems.ediffi.data import Captioned
from sfumato.systems.ediffi.text.dual import (
    DualConfig,
    dual_model,
    picture_vectors,
    sentence_vectors,
    sub_words,
    train_tokenizer,
)
from sfumato.train import Part, Player, Task, small, train

SHARPEST: Final = math.log(100)
"""The largest ln s."""


def contrastive_loss(pictures: Tensor, texts: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """(B,) with the mean L / B, of unit vectors (B, D); ``same`` (B, B), which sentences are word
    for word the same."""
    logits = scale * pictures @ texts.T
    others = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = logits.masked_fill(others, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    ways = [F.cross_entropy(x, target, reduction="none") for x in (logits, logits.T)]
    return (ways[0] + ways[1]) / 2


class _Pairs(NamedTuple):
    """Pictures (B, 3, R, R), sub-words and their mask (B, T), whose sentences are the same (B, B),
    and the pictures' numbers (B,)."""

    pictures: Tensor
    words: Tensor
    mask: Tensor
    same: Tensor
    numbers: Tensor


@final
class _Held:
    """Captioned pictures and their numbers, for the loop."""

    def __init__(self, data: Captioned) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, R, R) in [-1, 1], and numbers (B,)."""
        return self.data.batch(indices)[0], torch.from_numpy(indices)


@final
class _Both(torch.nn.Module):
    """What is trained: the model, and the reading of styles."""

    def __init__(self, model: Any, styles: Styles) -> None:
        super().__init__()
        self.model, self.styles = model, styles


@final
class _Contrast(Task):
    """The loss of the module's text. Pictures are told apart within a process's part of a batch."""

    distinct = True

    def __init__(self, held: Captioned, tokenizer: Any, weight: float) -> None:
        self.held, self.tokenizer, self.weight = held, tokenizer, weight

    def prepare(self, part: Part) -> _Pairs:
        """With a sentence for each picture."""
        pictures, index = part.batch
        captions = self.held.draw_captions(index.numpy(), part.generators)
        read = sub_words(self.tokenizer, captions)
        same = torch.tensor([[a == b for b in captions] for a in captions])
        return _Pairs(pictures, read["input_ids"], read["attention_mask"], same, index)

    def losses(self, module: _Both, part: _Pairs) -> Tensor:
        """(B,)."""
        model, kind = module.model, part.pictures.device.type
        with torch.no_grad():
            model.logit_scale.clamp_(max=SHARPEST)
        v = sentence_vectors(model, part.words, part.mask)
        u = picture_vectors(model, part.pictures, kind)
        with torch.autocast(kind, enabled=False):
            loss = contrastive_loss(u, v, model.logit_scale.exp(), part.same)
            return loss + self.weight * module.styles.loss(u, part.numbers)


def train_dual(
    data: Captioned,
    config: DualConfig,
    *,
    start: tuple[Any, Any] | None = None,
    device: str = "cpu",
    run: Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    quiet: bool = True,
) -> tuple[Any, Any]:
    """A trained `CLIPModel`, in evaluation mode, and its tokeniser.

    Args:
        start: a trained model and its tokeniser, whose side of pictures goes on; sizes are its own.
        run: a folder of checkpoints and a log; None keeps none.
        resume: go on with what is in it.
        progress: called every 50 steps.
        quiet: no progress bar while pictures are made.

    Raises:
        UsageError: fewer pictures than a batch, or ``run`` holds something and ``resume`` is false.
        SfumatoError: the loss is no longer finite.
    """
    n = min(config.hold or len(data), len(data))
    if n < config.batch:
        raise UsageError(f"expected as many pictures as a batch, {config.batch}, got {n}")
    order = torch.randperm(len(data), generator=generator(config.seed, "held"))[:n].numpy()
    held = data.subset(np.sort(order), quiet=quiet)
    if start is None:
        tokenizer = train_tokenizer((s for group in held.captions for s in group), config)
        model = dual_model(config, tokenizer)
    else:
        model, tokenizer = copy.deepcopy(start[0]).float().requires_grad_(), start[1]
        for locked in (model.text_model, model.text_projection):
            locked.requires_grad_(requires_grad=False)
    styles = Styles(held.styles if config.style else None, model.config.projection_dim, config)
    settings = small(
        device, steps=config.steps, batch=config.batch, lr=config.rate, betas=(0.9, 0.98),
        weight_decay=config.decay, warmup=max(1, config.steps // 20), clip=1.0, seed=config.seed,
        mixed_precision="bf16",
    )  # fmt: skip
    player = Player(_Both(model, styles), _Contrast(held, tokenizer, config.style))
    train(
        settings, player, _Held(held), run, model={"dual": asdict(config)}, resume=resume,
        progress=progress,
    )  # fmt: skip
    model.logit_scale.data.clamp_(max=SHARPEST)
    return model.requires_grad_().eval(), tokenizer


@final
class Styles(torch.nn.Module):
    """A linear reading of pictures' unit vectors, which tells whose style each one has.

    Args:
        names: the style of each picture; None if they are not known, and nothing is to be told.
        width: D, of the vectors.
        config: its seed draws the initial weights.
    """

    def __init__(self, names: Sequence[str] | None, width: int, config: DualConfig) -> None:
        super().__init__()
        self.names = sorted(set(names or ()))
        number = {name: k for k, name in enumerate(self.names)}
        self.right = torch.tensor([number[name] for name in names or ()], dtype=torch.int64)
        g = generator(config.seed, "styles")
        self.weight = torch.nn.Parameter(torch.randn(len(number), width, generator=g) / width**0.5)
        self.bias = torch.nn.Parameter(torch.zeros(len(number)))

    def loss(self, u: Tensor, index: Tensor) -> Tensor:
        """(B,) with the mean L_style / (c B), of unit vectors (B, D) of these pictures."""
        if len(self.names) < 2:
            return u.new_zeros(len(u))
        right = self.right[index.cpu()].to(u.device)
        logits = F.linear(u * u.shape[1] ** 0.5, self.weight, self.bias)
        return F.cross_entropy(logits, right, reduction="none")

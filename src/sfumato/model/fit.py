"""What all recipes share: measuring the data's scale, sample sheets, and starting the loop."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sfumato.data import DataCard, ImageSet, PointSet, to_uint8
from sfumato.data.summary import ReadSummary, announce
from sfumato.denoise import Denoiser
from sfumato.files import pictures
from sfumato.loss import TimeLaw
from sfumato.model.codec import encode
from sfumato.model.description import ModelDescription
from sfumato.model.load import read_model
from sfumato.model.sampler import Sampler
from sfumato.seeds import generator
from sfumato.train import (
    Data,
    Loss,
    Player,
    Sheet,
    Task,
    TrainConfig,
    diffusion,
    standard_loss,
    train,
)
from sfumato.train.checkpoint import at_most, read_about
from sfumato.train.rule import Descent, MakeRule
from sfumato.train.task import Losses


def root_mean_square(data: ImageSet | PointSet, n: int = 4096) -> float:
    """σ_d: root mean square of the data over n examples drawn by a fixed seed; 3 digits.

    About zero and not about the mean, because the preconditioning scales x itself:
    with this value the network's input and target have unit mean square.
    """
    count = min(n, len(data))
    index = torch.randperm(len(data), generator=generator(0, "scale"))[:count].numpy()
    rms = float(data.batch(index)[0].double().square().mean().sqrt())
    return float(f"{rms:.3g}")


def sheet_labels(
    labels: tuple[int, ...], n: int, data: ImageSet | PointSet, private: bool = False
) -> Tensor | None:
    """Labels of n examples for a sheet: running through one axis, or taken from the data.

    The labels of records are theirs as much as their pixels: ``private`` draws each axis on its
    own instead.
    """
    if not labels:
        return None
    if len(labels) == 1:
        return (torch.arange(n) % labels[0])[:, None]
    if private:
        g = generator(0, "sheet")
        return torch.stack([torch.randint(size, (n,), generator=g) for size in labels], 1)
    index = torch.randint(len(data), (n,), generator=generator(0, "sheet")).numpy()
    return data.batch(index)[1]


def draw_samples(
    denoiser: Denoiser, model: ModelDescription, cond: Tensor | None, n: int
) -> Tensor:
    """n samples with seeds 0..n-1 in few evaluations, returned on the CPU."""
    labels = np.empty((n, 0), np.int64) if cond is None else cond.numpy()
    x = Sampler(denoiser, model).preview().solve(range(n), labels).x
    return denoiser.process.to_data(x).float().cpu()


def image_sheet(model: ModelDescription, data: ImageSet, private: bool = False) -> Sheet:
    """Draws 10 columns of samples, one class per column if there is one label axis."""
    labels = model.labels
    rows, columns = 4, min(labels[0], 10) if len(labels) == 1 else 10
    if len(labels) == 1:
        cond: Tensor | None = (torch.arange(rows * columns) % columns)[:, None]
    else:
        cond = sheet_labels(labels, rows * columns, data, private)

    def draw(denoiser: Denoiser) -> Image.Image:
        x = draw_samples(denoiser, model, cond, rows * columns)
        return pictures.sheet(to_uint8(x).numpy(), columns=columns)

    return draw


def point_sheet(model: ModelDescription, data: PointSet) -> Sheet | None:
    """Draws 1,000 samples over 2,000 real points; only in the plane."""
    if model.shape != (2,):
        return None
    real = data.batch(np.arange(min(2000, len(data))))[0].numpy()
    cond = sheet_labels(model.labels, 1000, data)

    def draw(denoiser: Denoiser) -> Image.Image:
        return pictures.scatter(draw_samples(denoiser, model, cond, 1000).numpy(), behind=real)

    return draw


def _memory() -> int:
    """Bytes of memory of this machine, or a great many where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 50


def _say_changed(out: Path, now: Mapping[str, Any]) -> None:
    """Warn if a run's folder of pictures is another than the one it began with."""
    was = read_about(Path(out) / "config.json").get("source")
    if isinstance(was, dict) and was.get("digest") != now["digest"]:
        warnings.warn(
            f"the pictures in {now['path']} are not those that the run began with: "
            f"{was.get('pictures')} then (in {was.get('path')}), {now['pictures']} now",
            stacklevel=3,
        )


def fit(
    recipe: str,
    config: Any,
    model: ModelDescription,
    data: Data,
    law: TimeLaw | None,
    settings: TrainConfig,
    out: Path,
    resume: bool,
    *,
    denoiser: Denoiser | None = None,
    loss: Loss = standard_loss,
    task: Task | Losses | None = None,
    others: Sequence[Player] = (),
    frozen: Mapping[str, nn.Module] | None = None,
    rule: MakeRule = Descent,
    show: bool = True,
    sheet: Sheet | None = None,
    labels: tuple[int, ...] | None = None,
    conditions: int = 0,
) -> Path:
    """Build the model, train it, and return the run folder.

    ``config.json`` in the run folder keeps the recipe's name and its configuration;
    `sfumato.console.again` runs it again.

    Args:
        recipe: its name.
        config: the recipe's settings.
        model: what is trained.
        data: examples.
        law: of the times; None with a ``task``.
        settings: how to train.
        out: the run folder.
        resume: go on with the run in it.
        denoiser: one that was built already.
        loss: of each example.
        task: instead of ``law``, ``loss`` and ``labels``.
        others: players that move before it in every step.
        frozen: see `sfumato.train.train`.
        rule: how the gradient comes about.
        show: whether a sheet may show records of the data, or their labels.
        sheet: another picture than one of samples.
        labels: those that the data has for the model, if these are not all of its own.
        conditions: see `DiffusionTask`.

    Raises:
        UsageError, SfumatoError: see `sfumato.train.train`.
    """
    if denoiser is None:
        # in training a weight takes 20 bytes: itself, its gradient, two moments and its average
        fits = _memory() // 20
        with at_most(fits, f"the network has more than {fits:,} weights, which is what this "
                     "machine's memory can train; choose smaller sizes"):  # fmt: skip
            denoiser = model.build(settings.seed)
    if sheet is None and isinstance(data, ImageSet):
        sheet = image_sheet(model, data, not show)
    elif isinstance(data, PointSet):  # a scatter plot shows the data itself
        sheet = point_sheet(model, data) if show else None
    if task is not None:
        player = Player(denoiser, task)
    else:
        if law is None:
            raise ValueError("expected a law of the times, or a task")
        labels = model.labels if labels is None else labels
        player = diffusion(settings, denoiser, law, loss, labels, conditions)
    card: DataCard | None = getattr(data, "card", None)
    about_data = f"{card.name}, {card.size}" if card else f"{len(data):,} examples"
    if not show:  # how many records there are may be a secret, and so may their names be
        about_data = card.name if card else "examples"
    summary: ReadSummary | None = getattr(data, "summary", None)
    announce(data, settings.quiet)
    source: dict[str, Any] = {}
    if summary is not None:
        source = {"source": summary.record(secret=not show)}
        if resume and show:
            _say_changed(out, source["source"])

    def update(older: dict[str, Any]) -> dict[str, Any]:
        described = read_model(older).to_json()
        if (
            f"{described.get('data')}/" == model.data
            or f"{described.get('data')}.zip" == model.data
        ):
            described["data"] = model.data  # as older versions called a folder or zip file
        return described

    train(
        settings,
        [*others, player],
        data,
        out,
        model=model.to_json(),
        about={
            "recipe": recipe,
            "config": {**encode(config), "resume": False},
            "data": about_data,
            **source,
        },
        sheet=sheet,
        frozen=frozen,
        rule=rule,
        resume=resume,
        update=update,
    )
    return Path(out)

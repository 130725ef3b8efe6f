"""A small CLIP of our own: what says how well a picture fits a sentence, without any hub.

Contrast (Radford et al. 2021, arXiv 2103.00020) over captioned pictures: scenes of emoji, single
emoji of four vendors, avatars; or your own folder. See
`ediffi.text.dual_training`.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

from sfumato.errors import UsageError, require
from sfumato.files.progress import show
from sfumato.files.store import write_folder
from sfumato.model.codec import encode
from sfumato.seeds import generator
from sfumato.systems.ediffi.data import (
    Captioned,
    Scenes,
    captioned_avatars,
    captioned_emoji,
    captioned_folder,
    joined_captioned,
    scenes,
)
from sfumato.systems.ediffi.options import Clip
from sfumato.systems.ediffi.prompt_encoder import place_of
from sfumato.systems.ediffi.text.dual import (
    load_dual,
    picture_vectors,
    save_dual,
    vectors,
)
from sfumato.systems.ediffi.text.dual_training import train_dual
from sfumato.train import Stopped
from sfumato.train.checkpoint import pack_json

_AVATARS = {"train": 12_000, "test": 2_000}


def clip_data(split: Literal["train", "test"], side: int) -> Captioned:
    """Scenes with and without their style, emoji with and without theirs, and avatars.

    Raises:
        MissingExtra, SfumatoError: the data is not there.
    """
    return joined_captioned(
        scenes(Scenes(split, side)), scenes(Scenes(split, side, seed=1, style=True)),
        captioned_emoji(split, side), captioned_emoji(split, side, style=True),
        captioned_avatars(split, side, _AVATARS[split]), weights=(3, 3, 1, 1, 1),
    )  # fmt: skip


def run(config: Clip) -> Path:
    """Train; returns the folder, in which training.json tells how often it is right.

    That is measured on held-out pictures, or, with ``path``, on those it was trained on.

    Raises:
        UsageError: the folder holds something, there are fewer pictures than a batch, or what is
            to go on is no dual encoder.
        MissingExtra, SfumatoError: the data or transformers are not there.
    """
    require("transformers", "text")  # before anything is drawn
    out, start = config.out, None
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} already holds something; choose another folder")
    if config.start:
        start = load_dual(place_of(config.start))
    out.mkdir(parents=True, exist_ok=True)
    side = config.dual.side if start is None else int(start[0].config.vision_config.image_size)
    if config.path is None:
        data, test = clip_data("train", side), clip_data("test", side)
    else:
        data = test = captioned_folder(config.path, side)
    began = time.perf_counter()
    run = out.with_name(f"{out.name}-run")
    try:
        model, tokenizer = train_dual(
            data, config.dual, start=start, device=config.device, progress=show, quiet=False,
            run=run, resume=config.resume,
        )  # fmt: skip
    except Stopped as stopped:
        raise Stopped(
            f"stopped by a signal; the training is kept in {run}, and the same command with "
            "--resume goes on"
        ) from stopped
    about = {
        "config": encode(config),
        "data": asdict(data.card),
        "seconds": round(time.perf_counter() - began, 1),
        "threads": torch.get_num_threads(),
        "before": _before(config.start),
    }
    with tempfile.TemporaryDirectory(prefix="sfumato-") as scratch:
        save_dual(model.cpu(), tokenizer, Path(scratch))
        files = {file.name: file.read_bytes() for file in Path(scratch).iterdir()}
    write_folder(out, files | {"training.json": pack_json(about)}, replace=True)
    about["scores"] = _scores(model, tokenizer, data, test)
    return write_folder(out, files | {"training.json": pack_json(about)}, replace=True)


def _before(start: str) -> list[Any]:
    """The entries of earlier trainings in training.json, oldest first."""
    place = Path(place_of(start)) / "training.json" if start else Path()
    if not place.is_file():
        return []
    older = json.loads(place.read_text(encoding="utf-8"))
    mine = {name: older[name] for name in ("config", "seconds", "threads") if name in older}
    return [*older.get("before", []), mine]


def _scores(model: Any, tokenizer: Any, data: Captioned, test: Captioned) -> dict[str, Any]:
    """How often it is right, of held-out pictures unless ``test`` is ``data``."""
    scores: dict[str, Any] = {"pictures": "those of the training" if test is data else "held out"}
    for among in (10, 100):
        if len(test) >= among:
            n = min(len(test), 2000) // among * among
            sentence, picture = retrieval(model, tokenizer, test, n, among)
            scores[f"of {among}"] = {"sentence": sentence, "picture": picture, "n": n}
    if data.styles is not None and test.styles is not None:
        n = min(len(data), len(test), 2000)
        scores["style"] = {"style": style_accuracy(model, data, test, n), "n": n}
    return scores


@torch.no_grad()
def retrieval(
    model: Any, tokenizer: Any, data: Captioned, n: int, among: int, seed: int = 0
) -> tuple[float, float]:
    """How often the nearest of ``among`` is the right one: sentence of a picture, and picture.

    Sentences that are word for word the same count as one.

    Args:
        n: pictures in all; they are compared in groups of ``among``, of which there are n // among.

    Raises:
        UsageError: not two pictures to choose among, or fewer pictures than that.
    """
    if not 2 <= among <= min(n, len(data)):
        raise UsageError(f"expected 2 to {min(n, len(data))} pictures to choose among, got {among}")
    index = torch.randperm(len(data), generator=generator(seed, "asked"))[:n].numpy()
    right = torch.zeros(2)
    counted = 0
    device = str(next(model.parameters()).device)
    for start in range(0, len(index) - among + 1, among):
        here = index[start : start + among]
        captions = data.draw_captions(here, seed)
        u, v = vectors(model, tokenizer, data.batch(here)[0], captions, device)
        likeness = u @ v.T
        for axis in (1, 0):
            best = likeness.argmax(axis).tolist()
            right[1 - axis] += sum(captions[a] == captions[b] for a, b in enumerate(best))
        counted += among
    shares = right / counted
    return float(shares[0]), float(shares[1])


@torch.no_grad()
def style_accuracy(model: Any, train: Captioned, test: Captioned, n: int, seed: int = 0) -> float:
    """Accuracy of a linear probe for the style, by ridge regression on pictures' vectors.

    With rows x_i = (√D u_i, 1) of n training pictures and y_i the one-hot style of i, it is the W
    of least sum |x_i W - y_i|^2 + n |W|^2 / 100, and predicts the largest entry of x W.

    Args:
        train, test: pictures whose styles are known, n of each of which are taken (or all).

    Raises:
        UsageError: styles that are not known.
    """
    if train.styles is None or test.styles is None:
        raise UsageError("expected pictures whose styles are known")
    names = sorted({*train.styles, *test.styles})
    device = str(next(model.parameters()).device)
    rows, right = [], []
    for data in (train, test):
        index = torch.randperm(len(data), generator=generator(seed, "styles"))[:n].numpy()
        starts = range(0, len(index), 100)
        parts = [picture_vectors(model, data.batch(index[i : i + 100])[0], device) for i in starts]
        u = torch.cat(parts).double().cpu()
        rows.append(F.pad(u * u.shape[1] ** 0.5, (0, 1), value=1.0))
        right.append(torch.tensor([names.index((data.styles or ())[i]) for i in index.tolist()]))
    x, y = rows[0], F.one_hot(right[0], len(names)).double()
    gram = x.T @ x + len(x) / 100 * torch.eye(x.shape[1], dtype=x.dtype)
    predicted = (rows[1] @ torch.linalg.solve(gram, x.T @ y)).argmax(1)
    return float((predicted == right[1]).double().mean())

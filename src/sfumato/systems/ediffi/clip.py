"""A small CLIP of our own: what says how well a picture fits a sentence, without any hub.

Contrast (Radford et al. 2021, arXiv 2103.00020) over captioned pictures: scenes of emoji, single
emoji of four vendors, avatars; or your own folder. See `ediffi.text.dual`.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from dataclasses import field as default
from pathlib import Path
from typing import Any, Literal, final

import torch

from sfumato.errors import UsageError, require
from sfumato.files.progress import show
from sfumato.files.store import write_folder
from sfumato.model.codec import encode
from sfumato.systems.ediffi.data import (
    Captioned,
    Scenes,
    captioned_avatars,
    captioned_emoji,
    captioned_folder,
    joined_captioned,
    scenes,
)
from sfumato.systems.ediffi.prompt_encoder import place_of
from sfumato.systems.ediffi.text.dual import DualConfig, load_dual, save_dual, train_dual
from sfumato.systems.ediffi.text.dual_scores import retrieval, styles_read
from sfumato.train.checkpoint import pack_json

_AVATARS = {"train": 12_000, "test": 2_000}


@final
@dataclass(frozen=True)
class Config:
    """A dual encoder of pictures and sentences.

    Args:
        out: the folder it is written to, as transformers keep a CLIPModel.
        path: a folder of your own pictures with captions instead of the built-in sets.
        start: a trained dual encoder, by folder or name, whose side of pictures is trained further;
            it has its own sizes, and its text tower stays as it is.
        dual: sizes and training.
        device: cpu or cuda.
        resume: go on with the checkpoints in OUT-run, where the training keeps them and its log.
    """

    out: Path = Path("runs/clip")
    path: Path | None = None
    start: str = ""
    dual: DualConfig = default(default_factory=lambda: DualConfig(hold=60_000))
    device: str = "cpu"
    resume: bool = False

    def __post_init__(self) -> None:
        usual = DualConfig()
        given = [name for name in SIZES if getattr(self.dual, name) != getattr(usual, name)]
        if self.start and given:
            raise UsageError(
                f"--dual.{given[0].replace('_', '-')}: {self.start}, which is to go on, has its own"
            )


SIZES = (
    "side", "patch", "width", "heads", "picture_layers", "text_layers", "shared", "vocabulary",
    "length",
)  # fmt: skip
"""Options of `DualConfig` that a dual encoder given by ``start`` has already."""


def clip_data(split: Literal["train", "test"], side: int) -> Captioned:
    """Scenes with and without their style, emoji with and without theirs, and avatars.

    Raises:
        MissingExtra, SfumatoError: the data is not there.
    """
    return joined_captioned(
        scenes(Scenes(split, side)),
        scenes(Scenes(split, side, seed=1, style=True)),
        captioned_emoji(split, side),
        captioned_emoji(split, side, style=True),
        captioned_avatars(split, side, _AVATARS[split]),
        weights=(3, 3, 1, 1, 1),
    )


def run(config: Config) -> Path:
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
    model, tokenizer = train_dual(
        data, config.dual, start=start, device=config.device, progress=show, quiet=False,
        run=out.with_name(f"{out.name}-run"), resume=config.resume,
    )  # fmt: skip
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
        scores["style"] = {"style": styles_read(model, data, test, n), "n": n}
    return scores

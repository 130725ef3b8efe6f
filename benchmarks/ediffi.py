"""Text to image: does a picture show what its sentence says, where it was painted, in the style?

    python benchmarks/ediffi.py reader
    python benchmarks/ediffi.py text --model runs/imagine-base --enlarge runs/imagine-64
    python benchmarks/ediffi.py experts --single runs/imagine-base --model runs/imagine-experts
    python benchmarks/ediffi.py encoders --model runs/imagine-base
    python benchmarks/ediffi.py paint --model runs/imagine-base
    python benchmarks/ediffi.py style --model runs/imagine-base
    python benchmarks/ediffi.py sheet --model runs/imagine-base --enlarge runs/imagine-64

Pictures are judged by a reader of scenes that is trained for it (`reader`, about ten minutes on a
core) and knows no model. Sentences are those of test scenes, none of which is one of training: they
name pairs of things that are never together there, or things on grounds where they are never alone.
All draws of one call have the same noise. Errors are those of shares and means of so many pictures.

Each part writes `benchmarks/results/ediffi-PART.json`; `paint`, `style` and `sheet` draw
`docs/img/ediffi-PART.webp`, and `sheet` also `docs/img/ediffi-outside.webp`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console
from scene_reader.emoji import NAMES, scene_set, train_scene_reader
from scene_reader.reading import SceneReader, load_reader
from scene_reader.scores import boxed, exact_hits, object_hits, overlap, scores
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError
from sfumato.files.cards import find
from sfumato.files.progress import show
from sfumato.nn import best_dtype
from sfumato.systems.ediffi.data.layout import plan, sentences
from sfumato.systems.ediffi.model import Modality
from sfumato.systems.ediffi.pipeline import Cascade, open_cascade

sys.path.insert(0, str(Path(__file__).parent))
from ediffi_drawn import Prompts, draw
from ediffi_experts import cost, loss_rows, losses, memory, one_memory, weights_of
from ediffi_judged import Captions, Figures, Judge, captions, likeness_of, mean
from ediffi_placed import paint_rows, paintings, right_styles, shown, style_rows
from ediffi_shown import captioned_rows, paint_sheet, save, spread, style_sheet
from written import write

ROOT = Path(__file__).resolve().parents[1]
USUAL = {"reader": 2000, "text": 1000, "experts": 1000, "encoders": 500, "paint": 200, "style": 200}
"""Pictures of each part, unless said otherwise."""
OUTSIDE = ("a zebra riding a bicycle", "a wooden robot eating a pizza", "a castle in the fog")
"""Prompts with things that no sentence of training names, or that say what none says."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement.

    part: what is measured.
    model, enlarge: trained models by name or folder: the first one, and those that enlarge.
    single: the model that an ensemble of experts is compared with.
    reader: folder of the reader of scenes; `reader` makes it unless it is there.
    clip: folder of a CLIP for likeness; by default the one that the model sees pictures with.
    n: pictures; 0 for what is usual for the part.
    guidance: scales of guidance; `paint`, `style`, `encoders` and `sheet` take the last one.
    style_guidance: scales of that of a style.
    strengths: of paint.
    steps: of the first model; 0 for its usual number.
    seed: of all randomness.
    keep: measure the memory of one model in this process (used by experts).
    results, img: folders that are written to.
    """

    part: Annotated[
        Literal["reader", "text", "experts", "encoders", "paint", "style", "sheet"],
        tyro.conf.Positional,
    ]
    model: str = ""
    enlarge: tuple[str, ...] = ()
    single: str = ""
    reader: Path = ROOT / "runs" / "scene-reader"
    clip: str = ""
    n: int = 0
    guidance: tuple[float, ...] = (1.0, 3.0)
    style_guidance: tuple[float, ...] = (3.0, 6.0)
    strengths: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0)
    steps: int = 0
    seed: int = 0
    keep: int = -1
    results: Path = ROOT / "benchmarks" / "results"
    img: Path = ROOT / "docs" / "img"

    @property
    def count(self) -> int:
        """Pictures of this part."""
        return self.n or USUAL.get(self.part, 0)

    @property
    def walk(self) -> int | None:
        """Steps, or what is usual."""
        return self.steps or None


def opened(options: Options, name: str = "") -> Cascade:
    """The models. Raises UsageError for none, or for other kinds."""
    first = name or options.model
    if not first:
        raise UsageError("give the folder of a model by --model")
    return open_cascade([str(find(folder)) for folder in (first, *options.enlarge)])


def read_by(options: Options) -> SceneReader:
    """The trained reader. Raises SfumatoError if there is none."""
    if not options.reader.is_dir():
        raise SfumatoError(
            f"there is no reader in {options.reader}; run python benchmarks/ediffi.py reader"
        )
    return load_reader(options.reader)


def about(options: Options, cascade: Cascade) -> dict[str, Any]:
    """What the figures are of."""
    return {
        "models": [Path(name).name for name in (options.model, *options.enlarge)],
        "resolution": cascade.side,
        "params": [sum(p.numel() for p in weights_of(s.denoiser)) for s in cascade.stages],
        "encoders": [short(one.name) for one in cascade.stages[0].model.encoders],
        "precision": str(best_dtype("cpu")).removeprefix("torch."),
    }


def short(name: str) -> str:
    """An encoder's name without the folders that it is in: "sentence:clip"."""
    modality, _, source = name.partition(":")
    return f"{modality}:{Path(source).name}"


def reader(options: Options) -> dict[str, Any]:
    """What a reader finds in real test scenes: the ceiling of all other figures.

    ``overlap`` is of where a thing is found and where it is, ``overlap_box`` of the boxes around
    both; with ``_cell``, of these and the square that the thing was drawn in, as large as fits: no
    painted box can do better.
    """
    if not options.reader.is_dir():
        with torch.enable_grad():  # nothing else here needs gradients
            train_scene_reader(options.reader, progress=show)
    judge = read_by(options)
    told = captions(options.count, options.seed)
    known = scene_set(told.scenes, range(options.count), judge.resolution)
    pictures = told.pictures(judge.resolution)
    reading = judge.read(pictures)
    found = scores(reading, told.asked, judge.name)
    truth = torch.from_numpy(known.pixels).long()
    pixels, boxes, cells, boxed_cells, extra = [], [], [], [], 0
    for b, one in enumerate(told.asked):
        mine = [NAMES.thing(name) for name in one.things]
        extra += int(reading.found[b].sum()) - int(reading.found[b, mine].sum())
        made = told.scenes.plan(b)
        for thing, (left, top, side) in zip(made.things, made.cells, strict=True):
            t = NAMES.thing(thing.words)
            real, seen = truth[b] == t + 1, reading.where(b, t)
            cell = torch.zeros_like(seen)
            cell[top : top + side, left : left + side] = True
            pixels.append(overlap(seen, real))
            boxes.append(overlap(boxed(seen), boxed(real)))
            cells.append(overlap(seen, cell))
            boxed_cells.append(overlap(boxed(seen), cell))
    vendor = reading.vendor == torch.from_numpy(known.vendor)
    figures = {
        "n": options.count,
        "params": sum(p.numel() for p in judge.network.parameters()),
        "least": judge.least,
        **Figures(found).row(),
        "vendor": 100 * float(vendor.double().mean()),
        "pixels": 100 * float((reading.pixels == truth).double().mean()),
        **{
            name: mean(name, torch.tensor(values), judge.name).value
            for name, values in (
                ("overlap", pixels),
                ("overlap_box", boxes),
                ("overlap_cell", cells),
                ("overlap_box_cell", boxed_cells),
            )
        },
        "not_there_per_picture": extra / options.count,
    }
    Console().print(figures)
    return figures


def judged(
    options: Options, cascade: Cascade, told: Captions, judge: Judge, prompts: Prompts
) -> tuple[dict[str, Any], Tensor]:
    """A row of figures of one picture for each caption, and the pictures."""
    made = draw(cascade, prompts, options.seed, options.walk)
    row = {"guidance": prompts.guidance, "nfe": made.nfe, "n": len(told.said)}
    row |= judge.scores(made.x, told.said, told.asked).row()
    Console().print(row)
    return row, made.x


def text(options: Options) -> dict[str, Any]:
    """Captions of test scenes: what is in the pictures, and in the real ones."""
    cascade, told = opened(options), captions(options.count, options.seed)
    judge = Judge(read_by(options), likeness_of(cascade, options.clip), options.count)
    real = judge.scores(told.pictures(cascade.side), told.said, told.asked).row()
    rows = [
        judged(options, cascade, told, judge, Prompts(told.said, guidance=w))[0]
        for w in options.guidance
    ]
    return {**about(options, cascade), "real": real, "rows": rows}


def experts(options: Options) -> dict[str, Any]:
    """An ensemble of experts beside one model: pictures, loss by noise level, time, memory."""
    if not options.single:
        raise UsageError("give the model that the experts are compared with by --single")
    ensemble, single = opened(options), opened(options, options.single)
    told = captions(options.count, options.seed)
    judge = Judge(read_by(options), likeness_of(ensemble, options.clip), options.count)
    rows = []
    for w in options.guidance:
        prompts = Prompts(told.said, guidance=w)
        one, before = judged(options, single, told, judge, prompts)
        other, after = judged(options, ensemble, told, judge, prompts)
        gaps: dict[str, float | None] = {}
        for name, hits in (("object", object_hits), ("exact", exact_hits)):
            a, b = (hits(judge.read(x), told.asked).double() for x in (before, after))
            gap = mean(name, 100 * (b - a), judge.reader.name)
            gaps |= {name: gap.value, f"{name}_error": gap.error}
        rows.append({"guidance": w, "single": one, "experts": other, "difference": gaps})
    stages = single.stages[0], ensemble.stages[0]
    by_level = loss_rows(losses(stages, options.count, options.seed), stages[0].model.law)
    last = options.guidance[-1]
    names = {
        "single": (options.single, 0),
        "all experts": (options.model, 0),
        "one expert at a time": (options.model, 1),
    }
    return {
        **about(options, ensemble),
        "single": Path(options.single).name,
        "split": [f"{node.level}.{node.index}" for node in stages[1].model.split],
        "rows": rows,
        "losses": by_level,
        "cost": cost(single, ensemble, last, options.walk),
        "memory": memory(Path(__file__), names),
    }


def encoders(options: Options) -> dict[str, Any]:
    """Each encoder of sentences alone, all of them, and none."""
    cascade, told = opened(options), captions(options.count, options.seed)
    judge = Judge(read_by(options), likeness_of(cascade, options.clip), options.count)
    every = cascade.stages[0].model.encoders
    names = [one.name for one in every if one.modality is Modality.SENTENCE]
    rows = []
    for heard in ((), *((name,) for name in names), tuple(names)):
        prompts = Prompts(told.said, heard=heard, guidance=options.guidance[-1])
        row, _ = judged(options, cascade, told, judge, prompts)
        rows.append({"heard": [short(name) for name in heard], **row})
    return {**about(options, cascade), "rows": rows}


def paint(options: Options) -> dict[str, Any]:
    """Two things painted at their own places, by strengths of paint."""
    cascade, painting = opened(options), paintings(options.count, options.seed)
    rows, drawn = paint_rows(
        cascade,
        read_by(options),
        painting,
        options.strengths,
        options.guidance[-1],
        options.seed,
        options.walk,
    )
    Console().print(rows)
    save(paint_sheet(painting, drawn), options.img / "ediffi-paint.webp")
    return {**about(options, cascade), "guidance": options.guidance[-1], "rows": rows}


def style(options: Options) -> dict[str, Any]:
    """Single things in the style of pictures by each vendor."""
    cascade, asked = opened(options), shown(options.count, options.seed)
    rows, drawn = style_rows(
        cascade,
        read_by(options),
        asked,
        options.guidance[-1],
        options.style_guidance,
        options.seed,
        options.walk,
    )
    Console().print(rows)
    save(style_sheet(asked, drawn), options.img / "ediffi-style.webp")
    found = {"guidance": options.guidance[-1], "right": right_styles(rows), "rows": rows}
    return {**about(options, cascade), **found}


def sheet(options: Options) -> dict[str, Any]:
    """Four pictures of twelve prompts of pairs that training never has, and of other prompts."""
    cascade, copies = opened(options), 4
    plans = (plan(i, "test") for i in range(100))
    said = [sentences(p)[0] for p in plans if len(p.things) > 1][:12]
    for name, texts, blocks in (("sheet", said, 2), ("outside", list(OUTSIDE), 1)):
        every = [s for s in texts for _ in range(copies)]
        made = draw(
            cascade, Prompts(every, guidance=options.guidance[-1]), options.seed, options.walk
        )
        picture = captioned_rows(texts, spread(made.x, copies), blocks)
        save(picture, options.img / f"ediffi-{name}.webp")
    return {**about(options, cascade), "prompts": said, "outside": list(OUTSIDE)}


PARTS = {
    "reader": reader,
    "text": text,
    "experts": experts,
    "encoders": encoders,
    "paint": paint,
    "style": style,
    "sheet": sheet,
}


def main() -> None:
    """Measure and write."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    if options.keep >= 0:
        one_memory(options.model, options.keep, options.walk)
        return
    with torch.no_grad():
        try:
            results = PARTS[options.part](options)
        except SfumatoError as error:
            raise SystemExit(f"error: {error}") from error
    path = options.results / f"ediffi-{options.part}.json"
    write(path, options.seed, results)
    Console().print(f"wrote {path}")


if __name__ == "__main__":
    main()

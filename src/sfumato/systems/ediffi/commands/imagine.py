"""``sfumato imagine``: draw what a sentence says; paint its words, or show the style."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, final

import tyro

from sfumato.console.options import Device, DeviceName, at_least, parse
from sfumato.errors import UsageError, reason

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from sfumato.systems.ediffi.pipeline import Paint

_ABOUT = """Draw what a sentence says.

Picture i depends on the seed and on i alone. --paint puts a phrase of the sentence where a mask is
white; give it several times for several phrases. --style takes the style of a picture and leaves
what is in it.

examples:
  sfumato imagine "a red apple left of a blue book on grass" --n 8
  sfumato imagine "a fox and a bell on sand" --paint left.png:fox \\
      --paint right.png:bell
  sfumato imagine "an owl in a night sky" --style reference.png --out owls/
  sfumato imagine "a fox on snow" --negative "a red circle" --guidance 4
"""

Prompt = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SENTENCE")]


@final
@dataclass(frozen=True)
class ImagineConfig:
    """Options of ``sfumato imagine``."""

    prompt: Prompt
    """What the picture shows."""
    n: int = 4
    """How many pictures."""
    out: Path = Path("imagined.png")
    """.png or .webp for a sheet, .npz for arrays, anything else is a folder of PNG files."""
    model: str = ""
    """A shipped model, or the folder of a checkpoint or of a run (sfumato train imagine); by
    default scenes, enlarged by scenes-64."""
    enlarge: tuple[str, ...] = ()
    """Models that enlarge what the one before has drawn, in order; none for small pictures."""
    paint: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """MASK:PHRASE, a square picture that is white where the words of the sentence are to be;
    MASK:PHRASE:WEIGHT for another weight than 1."""
    strength: float = 0.5
    """How strongly paint pulls; 0 not at all."""
    style: Path | None = None
    """A picture whose style is wanted."""
    negative: str = ""
    """A negative prompt: what is to be kept away from."""
    guidance: float = 3.0
    """Scale of classifier-free guidance by the sentence; 1 is the plain conditional model."""
    style_guidance: float = 6.0
    """Scale of guidance by the style."""
    steps: int | None = None
    """How many steps of the first model; by default what suits it."""
    seed: int = 0
    """The seed of all randomness."""
    columns: int = 0
    """Columns of the sheet; 0 makes it about square."""
    device: Device = DeviceName.AUTO
    """Where the network runs; auto takes CUDA, then Apple's GPU, then the CPU."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch."""
    keep: int = 0
    """Experts of a model that are in memory at once, read again when asked again; 0 keeps all."""
    download: bool = False
    """Ask the Hugging Face hub for encoders that are not here."""
    force: bool = False
    """Overwrite the output even if this command did not make it."""
    quiet: bool = False
    """No progress bar and no report."""


def main(argv: list[str]) -> None:
    """Run ``sfumato imagine``."""
    run(parse(ImagineConfig, "imagine", argv, _ABOUT))


def run(config: ImagineConfig) -> None:
    """Draw and write.

    Raises UsageError for options that make no sense, SfumatoError for a model that cannot be
    loaded.
    """
    from sfumato.console import writers
    from sfumato.systems.ediffi.commands import prompted

    at_least("n", config.n, 1)
    at_least("columns", config.columns, 0)
    at_least("threads", config.threads, 0)
    at_least("keep", config.keep, 0)
    if config.steps is not None:
        at_least("steps", config.steps, 1)
    if not config.prompt.strip():
        raise UsageError("expected a sentence, got nothing")
    found = prompted.folders(config.model, config.enlarge)
    out = writers.output(config.out, config.columns or None)
    out.check(config.force)
    import numpy as np

    from sfumato.console.drawing import kept_batches
    from sfumato.console.progress import bar
    from sfumato.data import to_uint8
    from sfumato.files.words import many
    from sfumato.systems.ediffi.pipeline import BATCH, ImageRequest, imagine, strokes
    from sfumato.train.checkpoint import digest

    cascade = prompted.opened(
        found, config.device, config.threads, download=config.download, keep=config.keep
    )
    request = ImageRequest(
        config.prompt, config.negative,
        tuple(parse_paint(text, cascade.side) for text in config.paint), config.strength,
        None if config.style is None else read_style(config.style), config.guidance,
        config.style_guidance,
    )  # fmt: skip
    for stage in cascade.stages:  # say what is wrong with a phrase before there is work to lose
        strokes(request, stage.encoder)
    about = {
        "sfumato": "imagine",
        "prompt": config.prompt,
        "negative": config.negative,
        "model": list(prompted.chosen(config.model, config.enlarge)),
        "paint": list(config.paint),
        "seed": config.seed,
        "steps": config.steps,
        "guidance": config.guidance,
        "strength": config.strength,
        "style": None if config.style is None else str(config.style),
        "style_guidance": config.style_guidance,
    }
    masks = hashlib.sha256(b"".join(prompted.told(request))).hexdigest()
    weights = [digest(stage.denoiser) for stage in cascade.stages] if config.n > BATCH else []
    began = time.perf_counter()
    with kept_batches(config.out, {**about, "masks": masks, "weights": weights}) as keep:
        with bar("drawing", config.n, quiet=config.quiet) as advance:
            drawn = imagine(
                cascade, request, config.seed, range(config.n), config.steps, batch=BATCH,
                progress=advance, keep=keep,
            )  # fmt: skip
        spent = time.perf_counter() - began
        pixels = to_uint8(drawn.x).numpy()
        nothing = writers.Labelled(np.zeros((config.n, 0), np.int64))
        out.write([pixels], pixels.shape, nothing, about)
    if not config.quiet:
        print(
            f"{many(config.n, 'picture')} of {cascade.side}x{cascade.side}, "
            f"{many(drawn.nfe, 'network evaluation')} each, {spent:.1f} s\nwrote {config.out}"
        )


def parse_paint(text: str, side: int) -> Paint:
    """The paint of MASK:PHRASE or MASK:PHRASE:WEIGHT, its mask reduced to (side, side).

    Raises:
        UsageError: another form, or a mask that cannot be read or is not square.
    """
    import torch
    from torch.nn.functional import interpolate

    from sfumato.systems.ediffi.pipeline import Paint

    path, rest = _path_of(text)
    phrase, _, last = rest.rpartition(":")
    weight = 1.0
    try:
        weight, phrase = (float(last), phrase) if phrase else (1.0, last)
    except ValueError:  # a colon of the sentence
        phrase = rest
    if not phrase.strip() or not 0 <= weight < float("inf"):
        raise UsageError(
            f"--paint: expected MASK:PHRASE or MASK:PHRASE:WEIGHT, such as left.png:'red apple', "
            f"got {text!r}"
        )
    grey = torch.from_numpy(_pixels(Path(path), "--paint", "L").copy()).float() / 255
    if grey.shape[0] != grey.shape[1]:
        raise UsageError(
            f"--paint {path}: expected a square picture, got {grey.shape[1]}x{grey.shape[0]}"
        )
    where = interpolate(grey[None, None], (side, side), mode="area")[0, 0]
    if not bool(where.max() > 0):
        raise UsageError(f"--paint {path}: nothing is white in it, so nothing is painted")
    return Paint(phrase, where, weight)


def _path_of(text: str) -> tuple[str, str]:
    """The path before a colon and what follows: colons of C:\\ and of files' names are its own."""
    cuts = [i for i, c in enumerate(text) if c == ":"]
    if len(text) > 2 and text[0].isalpha() and text[1] == ":" and text[2] in "\\/":
        cuts = cuts[1:]
    first = cuts[0] if cuts else len(text)
    cut = next((i for i in cuts if Path(text[:i]).is_file()), first)
    return text[:cut], text[cut + 1 :]


def read_style(path: Path) -> Tensor:
    """The middle square of a picture, (3, H, H) in [-1, 1].

    Raises:
        UsageError: it cannot be read.
    """
    import torch

    from sfumato.data.decode import middle

    square = middle(_pixels(path, "--style", "RGB"))
    return torch.from_numpy(square.copy()).permute(2, 0, 1).float() / 127.5 - 1


def _pixels(path: Path, option: str, mode: str) -> np.ndarray:
    """A picture's pixels, upright, uint8 (H, W, 3) on white; or (H, W), of a mask, on black."""
    import numpy as np
    from PIL import ImageOps

    from sfumato.data.decode import BrokenImage, flat, opened

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{option} {path}: {reason(error)}") from error
    try:
        with opened(data) as found:
            found.load()
            picture = ImageOps.exif_transpose(found)
            pixels = np.asarray(flat(picture, mode))
            if mode == "L" and ("A" in picture.getbands() or "transparency" in picture.info):
                clear = 255 - np.asarray(picture.convert("RGBA"))[..., 3]
                pixels = pixels - np.minimum(pixels, clear)
            return pixels
    except BrokenImage as error:
        raise UsageError(f"{option} {path}: {error}") from error

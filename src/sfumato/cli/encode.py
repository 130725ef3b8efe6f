"""``sfumato encode``: data to latents along the probability-flow ODE, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from sfumato.console import datasets
from sfumato.console.how import SamplingOptions
from sfumato.console.options import Name, Source, at_least, parse
from sfumato.errors import UsageError
from sfumato.files.words import many
from sfumato.system import solvers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from sfumato.console.reading import Read
    from sfumato.model.sampler import Drawer, Sampler

_ABOUT = """Turn data into latents along the model's ODE, or latents back into data.

A latent is the state at t = 1 that the ODE leads to the data, so that `--decode` brings the data
back up to the error of the solver, which is printed: the root mean square over pixels in
[-1, 1], and as a peak signal-to-noise ratio. Labels are those of the data where they are known.

examples:
  sfumato encode fashion pictures.npz --out latents.npz
  sfumato encode fashion fashion-mnist --n 32 --steps 80 --out latents.npz
  sfumato encode fashion photo.png --label bag --out latents.npz
  sfumato encode fashion latents.npz --decode --out sheet.png
"""

_ODE = "encoding follows an ODE: take a solver without noise, eta and churn 0"


@final
@dataclass(frozen=True)
class EncodeConfig:
    """What to encode, or decode."""

    name: Name
    """A shipped model, or the folder of a checkpoint or of a run."""
    source: Source
    """An .npz, a picture, a folder of pictures or a data set; with --decode, latents."""
    out: Path = Path("latents.npz")
    """Where latents go, an .npz; with --decode, .png, .webp, .npz or a folder."""
    decode: bool = False
    """Lead latents back to data."""
    n: int = 64
    """At most so many."""
    steps: int = 40
    """How many steps between data and noise."""
    label: str = ""
    """The labels, if the data does not say: as for sfumato sample."""
    seed: int = 0
    """The seed of what is drawn: velocities, in phase space."""
    force: bool = False
    """Overwrite the output even if this command did not make it."""
    quiet: bool = False
    """No progress bar."""
    drawing: SamplingOptions = field(default_factory=lambda: SamplingOptions(solver="heun"))


def main(argv: list[str]) -> None:
    """Run ``sfumato encode``."""
    run(parse(EncodeConfig, "encode", argv, _ABOUT))


def run(config: EncodeConfig) -> None:
    """Encode or decode, and say how exact it was.

    Raises UsageError for options that make no sense, SfumatoError for files that cannot be read.
    """
    from sfumato import zoo
    from sfumato.console import writers

    at_least("n", config.n, 1)
    at_least("steps", config.steps, 2)
    how = config.drawing
    how.check()
    if how.eta or how.churn or (how.solver in solvers() and solvers()[how.solver].noisy):
        raise UsageError(_ODE)
    out = writers.output(config.out)
    if not config.decode and not isinstance(out, writers.Npz):
        raise UsageError(f"latents are written as .npz, got --out {config.out}")
    out.check(config.force)
    zoo.find(config.name)

    from sfumato.console.drawing import open_sampler

    model = open_sampler(config.name, how)
    drawer = how.prepare(model, config.steps, config.seed)
    if not drawer.plan.solver.deterministic:
        raise UsageError(_ODE)
    (_decode if config.decode else _encode)(config, model, drawer, out)
    print(f"wrote {config.out}")


def _encode(config: EncodeConfig, model: Sampler, drawer: Drawer, out: Any) -> None:
    import numpy as np

    from sfumato.console.writers import save_arrays

    read = _source(config, model)
    x = read.x[: config.n]
    found = read.labels_on(model.axes)
    labels = _given(config, model, len(x), None if found is None else found[: len(x)])
    data = _to_data(x, model)
    latents, back = [], []
    for indices in _batches(config, len(x), "encoding"):
        z = drawer.encode(data[indices.start : indices.stop], labels[indices], indices)
        latents.append(z.numpy())
        back.append(drawer.draw(indices, labels[indices], batch=len(z), start=z).x.numpy())
    error = np.concatenate(back) - data.numpy()
    rms = float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))
    scale = "pixels in [-1, 1]" if data.ndim == 4 else "coordinates"
    ratio = f", {20 * np.log10(2 / rms):.1f} dB" if data.ndim == 4 and rms > 0 else ""
    took = many(config.steps, "step")
    print(f"{len(x)} encoded in {took}; round trip: rms {rms:.2g} ({scale}){ratio}")
    about = {"sfumato": "latents", "model": config.name, "steps": config.steps, "rms": rms}
    arrays = {"latents": np.concatenate(latents), "labels": labels}
    save_arrays(out.path, {**arrays, "about": np.array(json.dumps(about))})


def _decode(config: EncodeConfig, model: Sampler, drawer: Drawer, out: Any) -> None:
    import numpy as np
    import torch

    from sfumato.console.drawing import pixels
    from sfumato.console.reading import read_npz
    from sfumato.model.labels import Labelled

    arrays = read_npz(Path(config.source))
    first, *rest = model.description.shape
    shape = (model.process.k * first, *rest)
    z = arrays.get("latents", np.empty(0))[: config.n]
    if z.dtype != np.float32 or z.shape[1:] != shape:
        raise UsageError(
            f"{config.source}: expected latents float32 (N, {', '.join(map(str, shape))}) of this "
            f"model, got {z.dtype} {z.shape}"
        )
    given = arrays.get("labels")
    labels = _given(config, model, len(z), None if given is None else given[: config.n])
    chunks = []
    for indices in _batches(config, len(z), "decoding"):
        start = torch.from_numpy(z[indices.start : indices.stop])
        chunks.append(
            pixels(drawer.draw(indices, labels[indices], batch=len(start), start=start).x)
        )
    about = {"sfumato": "decoded", "model": config.name, "steps": config.steps}
    shape = (len(z), *model.description.shape)
    out.write(chunks, shape, Labelled(labels, tuple(model.axes)), about)


def _to_data(x: NDArray[Any], model: Sampler) -> Tensor:
    """Images uint8 (N, C, H, W) as float32 in [-1, 1]; points float32 (N, d) as they are.

    Raises UsageError if they do not have the model's shape.
    """
    import numpy as np
    import torch

    if tuple(x.shape[1:]) != model.description.shape:
        raise UsageError(
            f"this model takes data of shape {model.description.shape}, got {tuple(x.shape[1:])}"
        )
    data = torch.from_numpy(np.ascontiguousarray(x)).float()
    return data / 127.5 - 1 if x.ndim == 4 else data


def _source(config: EncodeConfig, model: Sampler) -> Read:
    from sfumato.console.reading import Read, read_images
    from sfumato.data import ImageSet

    shape = model.description.shape
    channels, resolution, width = shape if len(shape) == 3 else (0, 0, 0)
    if config.source in datasets.table():
        wish = datasets.DataRequest("test", config.n, resolution, config.seed)
        data = datasets.load(config.source, wish)
        axes = tuple((axis.name, axis.values) for axis in data.axes)
        return Read(data.images if isinstance(data, ImageSet) else data.points, data.labels, axes)
    if not Path(config.source).exists():
        datasets.check(config.source, datasets.DataRequest())
    return read_images(Path(config.source), resolution, channels, width)


def _given(
    config: EncodeConfig, model: Sampler, n: int, found: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """The labels asked for, else those of the data, else none."""
    from sfumato.model.labels import ANY, labels

    if config.label or found is None:
        return labels(config.label or (ANY if model.axes else ""), model.axes, n).labels
    sizes = model.description.labels
    if found.shape != (n, len(sizes)) or (n and ((found < 0) | (found > sizes)).any()):
        raise UsageError(
            f"{config.source}: expected labels (N, {len(sizes)}) below {sizes}, got {found.shape}"
        )
    return found


def _batches(config: EncodeConfig, n: int, what: str) -> Any:
    from sfumato.console.progress import bar

    size = config.drawing.batch
    advance: Callable[[int], None]
    with bar(what, n, quiet=config.quiet) as advance:
        for start in range(0, n, size):
            indices = range(start, min(start + size, n))
            yield indices
            advance(len(indices))

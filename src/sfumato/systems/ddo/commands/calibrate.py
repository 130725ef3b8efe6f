"""``sfumato fields calibrate``: let a model's walk keep the power that it should have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from sfumato.console.options import Device, DeviceName, Name, at_least, parse
from sfumato.errors import UsageError
from sfumato.files.words import many
from sfumato.systems.ddo.commands.shared import FileOptions, load_field_model, real_fields

_ABOUT = """Measure where a model's walk loses power, and make a model that does not.

A network that does not foresee everything draws fields with too little power in short waves, even
where each of its estimates is right on average. Fields are drawn once, the power that is lacking is
measured wave by wave at each noise level against the data it was trained on, and kept with the
model: what it draws afterwards, in the usual way, has the spectrum of the data, at no cost. The
weights stay as they are.

examples:
  sfumato fields calibrate runs/vorticity --out models/vorticity
  sfumato fields evaluate models/vorticity --n 300
"""


@final
@dataclass(frozen=True)
class CalibrateConfig:
    """The model, and where to."""

    name: Name
    """A shipped model (see sfumato models), or the folder of a checkpoint or of a run."""
    out: Path = Path("calibrated")
    """The model folder to make."""
    n: int = 512
    """How many fields are drawn to measure by."""
    seed: int = 0
    """The seed of these fields."""
    data: str = ""
    """A known set of fields, or a file; by default what the model was trained on."""
    force: bool = False
    """Write over an older model folder."""
    quiet: bool = False
    """No progress bar and no report."""
    device: Device = DeviceName.AUTO
    """Where the network runs; auto takes CUDA, then Apple's GPU, then the CPU."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch."""
    file: FileOptions = field(default_factory=FileOptions)


def main(argv: list[str]) -> None:
    """Run ``sfumato fields calibrate``."""
    run(parse(CalibrateConfig, "fields calibrate", argv, _ABOUT))


def run(config: CalibrateConfig) -> None:
    """Measure and write.

    Raises UsageError for options that make no sense, SfumatoError for a model that cannot be
    loaded or written.
    """
    from sfumato import zoo
    from sfumato.console.options import model_folder

    at_least("n", config.n, 16)
    at_least("threads", config.threads, 0)
    model_folder(config.out, force=config.force)
    folder = zoo.find(config.name)
    from sfumato.console.progress import bar
    from sfumato.files.store import write_folder
    from sfumato.systems.ddo.calibration import measured_drift, with_drift
    from sfumato.systems.ddo.wiener import Wiener

    opened = load_field_model(config.name, config.device, config.threads)
    denoiser, model = opened.denoiser, replace(opened.description, drift=None)
    if not isinstance(denoiser, Wiener):
        raise UsageError(f"{config.name} has no Wiener filter, beside which a drift is kept")
    denoiser.drift = None  # measured afresh
    real, given = real_fields(config.name, model, config.data, "train", config.file, config.n)
    total = config.n * model.sampling.steps
    with bar("measuring", total, quiet=config.quiet) as advance:
        drift = measured_drift(denoiser, model, real, config.n, config.seed, given, advance)
    write_folder(config.out, with_drift(folder, drift), replace=config.force)
    if not config.quiet:
        print(
            f"measured on {many(config.n, 'field')} of {'x'.join(map(str, model.grid))} points; "
            f"the largest factor is {drift.most:.3f}\nwrote {config.out}"
        )

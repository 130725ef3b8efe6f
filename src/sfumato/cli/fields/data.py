"""``sfumato fields data``: list the known sets of fields, look at one, write it to a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import tyro

from sfumato.cli.options import at_least, parse
from sfumato.errors import UsageError

_ABOUT = """List the known sets of fields, look at one, or write it to a file.

Simulated sets are made once and kept. A file of your own may be given instead of a name: this shows
whether it can be read, and how.

examples:
  sfumato fields data
  sfumato fields data vorticity --out sheet.png
  sfumato fields data vorticity --split test --out vorticity.nc
  sfumato fields data rain.nc --out rain.png
"""


@final
@dataclass(frozen=True)
class DataConfig:
    """Which set, and what to do with it."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ""
    """A known set or a file; without it, the known ones are listed."""
    split: str = "train"
    """train or test."""
    out: Path | None = None
    """.png or .webp for a picture; .npz, .nc, .h5 or .zarr for values."""
    n: int = 0
    """At most so many fields are written; 0 for all, and 16 in a picture."""
    force: bool = False
    """Overwrite what exists."""


def main(argv: list[str]) -> None:
    """Run ``sfumato fields data``."""
    run(parse(DataConfig, "fields data", argv, _ABOUT))


def run(config: DataConfig) -> None:
    """List, show, write.

    Raises UsageError for a name that is not known, SfumatoError for data that is not there.
    """
    from sfumato.recipes.field_data import NAMED, load_fields

    at_least("n", config.n, 0)
    if config.split not in ("train", "test"):
        raise UsageError(f"--split must be train or test, got {config.split!r}")
    if not config.name:
        for name, known in NAMED.items():
            print(f"{name:<14}{known.summary}")
        return
    if config.out is not None and config.out.exists() and not config.force:
        raise UsageError(f"{config.out} exists; choose another name, or add --force")
    data = load_fields(config.name, "test" if config.split == "test" else "train")
    frame, size = data.frame, "x".join(map(str, data.grid))
    print(f"{data.name}: {len(data):,} fields of {size} points, {frame.domain.value}")
    for quantity, values in zip(frame.quantities, data.values.swapaxes(0, 1), strict=True):
        print(
            f"  {quantity.label}: mean {values.mean():.4g}, deviation {values.std():.4g}, "
            f"from {values.min():.4g} to {values.max():.4g}"
        )
    for axis in frame.axes:
        print(f"  along {axis.name}: {axis.start:g} to {axis.stop:g} {axis.units}".rstrip())
    card = data.card
    lines = (card.source, f"licence: {card.licence}", card.size, card.note)
    print("\n".join(f"  {line}" for line in lines if line))
    if config.out is None:
        return
    if config.out.suffix in (".png", ".webp"):
        from sfumato import field_pictures, pictures

        shown = data.values[: config.n or 16]
        label = frame.quantities[0].label
        sheet = field_pictures.field_sheet(shown, label=label, extent=frame.extent)
        pictures.save(sheet, config.out)
    else:
        from sfumato.data.fields.files import write_fields

        part = data.subset(range(min(config.n or len(data), len(data))))
        write_fields(config.out, part, overwrite=config.force)
    print(f"wrote {config.out}")

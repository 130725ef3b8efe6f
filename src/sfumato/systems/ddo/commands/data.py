"""``sfumato fields data``: list the known sets of fields, look at one, write it to a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, final

import tyro

from sfumato.console.options import at_least, parse
from sfumato.errors import UsageError
from sfumato.systems.ddo.commands.shared import PICTURES, FileOptions, check_out
from sfumato.systems.ddo.options import ENDINGS

if TYPE_CHECKING:
    from sfumato.systems.ddo.data.base import FieldSet

_ABOUT = """List the known sets of fields, look at one, or write it to a file.

Simulated sets are made once and kept. A file of your own may be given instead of a name: this shows
whether it can be read, and how.

examples:
  sfumato fields data
  sfumato fields data vorticity --out sheet.png
  sfumato fields data vorticity --split test --out vorticity.nc
  sfumato fields data rain.nc --sample-dim time --out rain.png
  sfumato fields data ocean.nc --variables sst --fill harmonic --out filled.nc
  sfumato fields data "era5/*.nc" --variables t2m                        several files, as one
  sfumato fields data old.h5 --group model/run1 --missing -9999 --fill mean
"""


@final
@dataclass(frozen=True)
class FieldDataConfig:
    """Which set, and what to do with it."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ""
    """A known set or a file; several files as a folder, a pattern in quotes, or with commas between
    them. Without it, the known sets are listed."""
    split: str = ""
    """train or test; by default train of a known set, and all of a file."""
    out: Path | None = None
    """.png or .webp for a picture; .npz, .nc, .h5 or .zarr for values."""
    n: int = 0
    """At most so many fields are written; 0 for all, and 16 in a picture."""
    force: bool = False
    """Overwrite what exists."""
    variables: tuple[str, ...] = ()
    """Of a file; all when empty."""
    domain: Literal["", "periodic", "reflecting"] = ""
    """Of a file: what is beyond the border; "" takes what the file says, or mirrors."""
    file: FileOptions = field(default_factory=FileOptions)


def main(argv: list[str]) -> None:
    """Run ``sfumato fields data``."""
    run(parse(FieldDataConfig, "fields data", argv, _ABOUT))


def run(config: FieldDataConfig) -> None:
    """List, show, write.

    Raises UsageError for a name that is not known, SfumatoError for data that is not there.
    """
    from sfumato.systems.ddo.datasets import NAMED

    at_least("n", config.n, 0)
    if config.split not in ("", "train", "test"):
        raise UsageError(f"--split must be train or test, got {config.split!r}")
    if not config.name:
        for name, summary in NAMED.items():
            print(f"{name:<14}{summary}")
        return
    check_out(config.out, "out", (*PICTURES, *ENDINGS), config.force)
    data = _load(config)
    _show(data)
    if config.name not in NAMED and not config.split:
        print(
            f"  in training, every tenth field ({len(data) // 10}) is kept for tests"
            if len(data) >= 10
            else "  too few fields to train on: at least 10 are needed"
        )
    if config.out is None:
        return
    if config.out.suffix.lower() in PICTURES:
        from sfumato.files import pictures
        from sfumato.systems.ddo.pictures import frame_sheet

        pictures.save(frame_sheet(data.values[: config.n or 16], data.frame), config.out)
    else:
        from sfumato.systems.ddo.data.files import write_fields

        part = data.subset(range(min(config.n or len(data), len(data))))
        write_fields(config.out, part, overwrite=config.force)
    print(f"wrote {config.out}")


def _load(config: FieldDataConfig) -> FieldSet:
    from dataclasses import replace

    from sfumato.systems.ddo.datasets import NAMED, load_fields, load_file

    how = replace(config.file.reading(config.variables), domain=config.domain)
    if config.name not in NAMED and not config.split:
        return load_file(config.name, how)
    return load_fields(config.name, "test" if config.split == "test" else "train", how=how)


def _show(data: FieldSet) -> None:
    """Print what the fields are."""
    from sfumato.systems.ddo.datasets import described

    card = data.card
    lines = (card.source, f"licence: {card.licence}", card.size, card.note)
    print("\n".join([*described(data), *(f"  {line}" for line in lines if line)]))

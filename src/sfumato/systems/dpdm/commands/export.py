"""``sfumato private export``: a labelled synthetic data set and its certificate."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, final

from sfumato.console.how import SamplingOptions
from sfumato.console.options import Name, at_least, choice, parse
from sfumato.errors import UsageError, noting
from sfumato.files.store import SUMS, sums
from sfumato.files.words import many
from sfumato.system import AUTO

CERTIFICATE, LEDGER = "certificate.json", "ledger.jsonl"

_ABOUT = """Draw a labelled synthetic data set from a privately trained model, with a certificate.

Drawing costs no privacy, however many samples are drawn and however they are chosen. Beside the
data come a certificate, which says what is promised and what is not, and the ledger it rests upon;
give all three to whoever has to approve the data.

Without --label all classes are equally frequent.

examples:
  sfumato private export runs/private --n 60000 --out synthetic.npz
  sfumato private export runs/private --n 10000 --sampler churn --out synthetic/
  sfumato private export fashion-private --label sneaker+bag --guidance 2 --out shoes.npz
"""


class SamplerName(Enum):
    """The paper's samplers by name."""

    AUTO = "auto"
    DDIM = "ddim"
    STOCHASTIC_DDIM = "stochastic-ddim"
    CHURN = "churn"


PRESETS: Mapping[SamplerName, tuple[dict[str, Any], int | None]] = {
    SamplerName.AUTO: ({}, None),
    SamplerName.DDIM: ({"solver": "ddim"}, 50),
    SamplerName.STOCHASTIC_DDIM: ({"solver": "euler-maruyama"}, 200),
    SamplerName.CHURN: (
        {"solver": "heun", "churn": 20.0, "churn_min": 0.05, "churn_max": 50.0},
        50,
    ),
}
"""What they set, and in how many steps unless told otherwise (the paper: 500 to 1,000)."""


@final
@dataclass(frozen=True)
class ExportConfig:
    """What to draw, and where to."""

    name: Name
    """The folder of a private run, or a shipped private model."""
    n: int = 10_000
    """How many samples."""
    out: Path = Path("synthetic.npz")
    """.npz for arrays, anything else is a folder of PNG files with labels.csv."""
    label: str = ""
    """A class by name or number, or axis=value,axis=value; values joined by + take turns."""
    sampler: Annotated[SamplerName, choice(SamplerName, "sampler")] = SamplerName.AUTO
    """auto takes what suits the model; the others are the paper's."""
    steps: int | None = None
    """How many steps from noise to data; by default what suits the sampler."""
    seed: int = 0
    """The seed of the samples; it need not be secret."""
    force: bool = False
    """Overwrite the output even if this command did not make it."""
    quiet: bool = False
    """No progress bar and no report."""
    drawing: SamplingOptions = field(default_factory=SamplingOptions)

    def how(self) -> tuple[SamplingOptions, int | None]:
        """The options of drawing, with the sampler's where it is named.

        Raises UsageError if both a sampler and a solver are.
        """
        settings, steps = PRESETS[self.sampler]
        if settings and self.drawing.solver != AUTO:
            raise UsageError("give --sampler or --solver, not both")
        return replace(self.drawing, **settings), self.steps if self.steps is not None else steps


def main(argv: list[str]) -> None:
    """Run ``sfumato private export``."""
    run(parse(ExportConfig, "private export", argv, _ABOUT))


def beside(out: Path, name: str) -> Path:
    """Where a file about the export goes: into its folder, or beside its file."""
    return out.with_name(f"{out.stem}.{name}") if out.suffix == ".npz" else out / name


def run(config: ExportConfig) -> None:
    """Draw, write, certify.

    Raises UsageError for options that make no sense or a model that was not trained privately,
    SfumatoError for damaged files.
    """
    from sfumato.console import writers
    from sfumato.files import cards
    from sfumato.files.atomic import write

    at_least("n", config.n, 1)
    if config.steps is not None:
        at_least("steps", config.steps, 1)
    how, steps = config.how()
    how.check()
    out = writers.output(config.out)
    if isinstance(out, writers.Sheet):
        raise UsageError(f"--out {config.out}: a data set is an .npz or a folder, not a picture")
    folder = cards.find(config.name)
    if config.out.is_dir() and not out.ours():
        raise UsageError(
            f"{config.out} holds something else, which the certificate must not cover; choose "
            "another --out"
        )
    out.check(config.force)

    from sfumato.systems.dpdm.certificate import make_certificate, read_promise, seal

    promise = read_promise(folder)

    from sfumato.console.drawing import prepare, processes, stream
    from sfumato.console.progress import bar

    drawer, wanted, about = prepare(config.name, how, config.n, steps, config.seed, config.label)
    first = processes(drawer.device).index == 0
    began = time.perf_counter()
    with bar("sampling", config.n, quiet=config.quiet or not first) as advance:
        drawn = stream(drawer, wanted, out, about, how.batch, advance)
    if not first:
        return
    certificate = beside(config.out, CERTIFICATE)
    with noting(lambda: f"{config.out} has no certificate yet; the same command begins again"):
        write(beside(config.out, LEDGER), promise.ledger.path.read_bytes())
        listed = listing(config.out)
        if config.out.suffix != ".npz":
            write(config.out / SUMS, listed)
            listed = sums({SUMS: listed})
        told = _origin(config.label, len(wanted.axes))
        export = {
            **about,
            "model": Path(config.name).name,
            "labels": told,
            "files": by_name(listed),
        }
        text = seal(make_certificate(promise, str(about["weights"]), export, told))
        write(certificate, text)
    if not config.quiet:
        spent = time.perf_counter() - began
        made = promise.ledger.mechanism
        print(f"{many(drawn.samples, 'image')} drawn in {spent:.0f} s; wrote {config.out}")
        print(
            f"certificate {certificate}: epsilon {promise.epsilon:.4g}, delta {promise.delta:g} "
            f"({promise.accountant.value}; {many(promise.ledger.steps, 'step')}, noise multiplier "
            f"{made.noise:g}, sampling rate {made.rate:.4g})"
        )
        print(f"check it with: sfumato private check {certificate}")


def _origin(label: str, axes: int) -> str:
    """Where the labels of the samples come from: never from the data."""
    if not axes:
        return "the model has none"
    if label:
        return "chosen by --label"
    if axes > 1:
        return "drawn evenly, each axis on its own"
    return "every class as often as every other"


def listing(out: Path) -> bytes:
    """Checksums of an export's data, in the format of sha256sum."""
    if out.is_file():
        return sums({out.name: out.read_bytes()})
    own = {CERTIFICATE, LEDGER, SUMS}
    data = (p for p in out.iterdir() if p.is_file() and p.name not in own)
    return sums({p.name: p.read_bytes() for p in data})


def by_name(listed: bytes) -> dict[str, str]:
    """The digests of a `listing` by file name."""
    rows = (line.split("  ", 1) for line in listed.decode().splitlines())
    return {name: digest for digest, name in rows}

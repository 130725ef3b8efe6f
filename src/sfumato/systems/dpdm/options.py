"""The options of the recipe; nothing here imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, final

from sfumato.errors import UsageError, unknown
from sfumato.nn import UNetConfig
from sfumato.system import training_set
from sfumato.train import TrainConfig

if TYPE_CHECKING:
    from sfumato.data import ImageSet

UNIFORM_PIXELS = math.sqrt(1 / 3)


class Accountant(Enum):
    """Who adds up the cost; both give an upper bound."""

    RDP = "rdp"
    PRV = "prv"


class Randomness(Enum):
    """The source of a run's randomness; the module's text explains the three."""

    FRESH = "fresh"
    SECURE = "secure"
    REPRODUCIBLE = "reproducible"

    @property
    def private(self) -> bool:
        """Whether nobody else can know it."""
        return self is not Randomness.REPRODUCIBLE


@final
@dataclass(frozen=True)
class PrivacyConfig:
    """What a run promises, (ε, δ)-differential privacy of records, and how it keeps it.

    Args:
        epsilon: ε, the budget; the run stops before a step that would cost more.
        delta: δ; must be well below one over the number of records.
        noise: noise multiplier s; 0 finds the smallest that keeps all steps within the budget.
        clip: C, the longest gradient that one record may contribute.
        multiplicity: K, draws of time and noise over which a record's gradient is averaged
            before it is clipped (Dockhorn et al. 2023, arXiv 2210.09929): costs computation,
            but no privacy.
        physical: draws that are computed together; bounds the memory, changes nothing else.
        accountant: who adds up the cost. prv is the tighter, rdp what the paper used.
        randomness: fresh; secure, a cryptographic generator; reproducible, which is not private.
        sampling: how batches are chosen; the accountants know Poisson sampling alone.
        population: number of records to name in public (q = batch/population) where the true
            number is a secret; at most the true one. 0 takes, and so publishes, the true one.
        watch_loss: keep losses in the log. They are computed from the data without noise, so
            that the log must then stay secret.

    Raises:
        UsageError: a value outside its range, or batches that are not Poisson-sampled.
    """

    epsilon: float = 10.0
    delta: float = 1e-5
    noise: float = 0.0
    clip: float = 1.0
    multiplicity: int = 8
    physical: int = 128
    accountant: Accountant = Accountant.PRV
    randomness: Randomness = Randomness.FRESH
    sampling: Literal["poisson", "shuffle"] = "poisson"
    population: int = 0
    watch_loss: bool = False

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and math.isfinite(self.epsilon)):
            raise UsageError(f"privacy.epsilon: expected a positive number, got {self.epsilon}")
        if not 0 < self.delta < 1:
            raise UsageError(f"privacy.delta: expected 0 < delta < 1, got {self.delta}")
        if not (self.clip > 0 and math.isfinite(self.clip)):
            raise UsageError(f"privacy.clip: expected a positive norm, got {self.clip}")
        if not (self.noise >= 0 and math.isfinite(self.noise)):
            raise UsageError(f"privacy.noise: expected at least 0, got {self.noise}")
        for name in ("multiplicity", "physical"):
            if getattr(self, name) < 1:
                raise UsageError(f"privacy.{name}: expected at least 1, got {getattr(self, name)}")
        if self.population < 0:
            raise UsageError(f"privacy.population: expected at least 0, got {self.population}")
        if self.sampling != "poisson":
            raise UsageError(
                f"privacy.sampling: {self.sampling!r} was asked for, but the cost is computed for "
                "Poisson sampling, where every record takes part in a step on its own with "
                "probability batch/records; for shuffled batches of fixed size the certificate "
                "would be wrong. Leave it at 'poisson'"
            )

    def records(self, actual: int) -> int:
        """The public number of records.

        Raises:
            UsageError: more than there are, or δ is not below one over it.
        """
        public = self.population or actual
        if public > actual:
            raise UsageError(
                f"privacy.population: {public:,} is more than the {actual:,} records there are; "
                "the sampling rate would be understated"
            )
        if self.delta >= 1 / actual:
            raise UsageError(
                f"privacy.delta: {self.delta:g} is not below 1/{actual:,} = {1 / actual:.2g}: a "
                "mechanism that publishes one record outright would pass; choose at most "
                f"{0.1 / actual:.0e}"
            )
        return public


class Parametrisation(Enum):
    """How data becomes noise, what the network predicts, and at which times it learns."""

    EDM = "edm"
    V = "v"
    VP = "vp"
    VE = "ve"


class PrivateImages(Enum):
    """What a private model may learn from."""

    FASHION = "fashion-mnist"
    DIGITS = "digits"
    IMAGES = "images"


@final
@dataclass(frozen=True)
class Config:
    """A differentially private, class-conditional model of images.

    Args:
        out: the run folder; ledger.jsonl in it counts what the training has cost.
        data: the records to protect, one image each.
        path: for images: the folder or zip; its part for training if it has parts.
        root: folder of a known data set's files; the usual places when None.
        resolution: for images: side in pixels.
        channels: for images: 3 for colour, 1 for grey.
        skip_broken: for images: go on without those that cannot be read.
        labels: for images: auto, none, folders, names, a label file's name, or columns
            of one.
        held_out: for images: share that is held out for test, where no folder says which.
        fit: what becomes of images that are not square: crop, pad or stretch.
        cache: for images: folder for decoded copies of the records, with their names, readable by
            their owner alone; that of all data when None.
        delete_cache: delete these copies when the training is done.
        levels: of images of 16 bits: full makes 65,535 white, used the greatest value there is,
            which is then a fact about the records that no noise hides.
        parametrisation: of the diffusion.
        sigma_data: root mean square that the preconditioning assumes: a constant. A value
            measured on the data would be a leak.
        network: sizes of the U-Net; channels, resolution and labels follow the data.
        privacy: what is promised.
        train: how to train; batch is the expected one, clip and accumulate play no part.
        resume: go on with the run in ``out``.
    """

    before: ClassVar[dict[str, float]] = {"held_out": 0.0}
    """What runs did whose ``config.json`` does not say."""
    out: Path = Path("runs/private")
    data: PrivateImages = PrivateImages.FASHION
    path: Path = Path()
    root: Path | None = None
    resolution: int = 28
    channels: Literal[1, 3] = 1
    skip_broken: bool = False
    labels: str = "auto"
    held_out: float = 0.1
    fit: Literal["crop", "pad", "stretch"] = "crop"
    levels: Literal["full", "used"] = "full"
    cache: Path | None = None
    delete_cache: bool = False
    parametrisation: Parametrisation = Parametrisation.EDM
    sigma_data: float = UNIFORM_PIXELS
    network: UNetConfig = UNetConfig(
        1,
        1,
        channels=16,
        multipliers=(1, 2),
        blocks=1,
        attention=(7,),
        head_channels=0,
        resample_blocks=False,
        patch=2,
    )
    privacy: PrivacyConfig = PrivacyConfig(multiplicity=2, physical=64)
    train: TrainConfig = TrainConfig(
        steps=600, batch=2048, lr=2e-3, warmup=20, ema_half_life=100_000, log_every=5,
        checkpoint_every=20, sheet_every=100,
    )  # fmt: skip
    resume: bool = False

    def load(self) -> ImageSet:
        """The records.

        Raises:
            UsageError: no path.
            SfumatoError: the data is not there or cannot be read.
        """
        if self.data is not PrivateImages.IMAGES:
            records: ImageSet = training_set(self.data.value, root=self.root)
            return records
        if self.path == Path():
            raise UsageError("which images? give the folder or zip with --path")
        from sfumato.data import folder

        return folder(
            self.path,
            self.resolution,
            channels=self.channels,
            skip_broken=self.skip_broken,
            split="train",
            held_out=self.held_out,
            labels=self.labels,
            root=self.cache,
            fit=self.fit,
            levels=self.levels,
        )


def _paper(epsilon: float, parametrisation: Parametrisation) -> Config:
    """The paper's setting for 28x28: 8 GPUs, 1.75 M parameters, 300 epochs, 32 draws."""
    steps = 300 * math.ceil(60_000 / 4096)
    return Config(
        out=Path(f"runs/fashion-paper-{epsilon:g}"),
        parametrisation=parametrisation,
        network=UNetConfig(
            1, 1, channels=32, multipliers=(1, 2, 2), blocks=2, attention=(7,), head_channels=0
        ),
        privacy=PrivacyConfig(
            epsilon=epsilon, multiplicity=32, physical=4096, accountant=Accountant.RDP
        ),
        train=TrainConfig(
            steps=steps,
            batch=4000,  # q = 1/⌈60,000/4,096⌉
            lr=3e-4,
            warmup=0,
            decay="constant",
            betas=(0.9, 0.999),
            ema_decay=0.999,
            checkpoint_every=100,
            sheet_every=500,
            log_every=10,
        ),
    )


def presets() -> dict[str, Config]:
    """The settings by name; `sfumato private train` says what they are about."""
    small = Config()
    return {
        "fashion": small,
        "digits": replace(
            small,
            out=Path("runs/private-digits"),
            data=PrivateImages.DIGITS,
            train=replace(small.train, batch=1024),
        ),
        "images": replace(
            small,
            out=Path("runs/private-images"),
            data=PrivateImages.IMAGES,
            resolution=32,
            channels=3,
            network=replace(small.network, resolution=32, attention=(8,)),
            train=replace(small.train, batch=512),
        ),
        "fashion-paper-0.2": _paper(0.2, Parametrisation.V),
        "fashion-paper-1": _paper(1.0, Parametrisation.EDM),
        "fashion-paper-10": _paper(10.0, Parametrisation.EDM),
    }


def preset(name: str) -> Config:
    """The settings of a name.

    Raises:
        UsageError: there is none; the nearest are suggested.
    """
    table = presets()
    if name not in table:
        raise unknown("private recipe", name, table)
    return table[name]

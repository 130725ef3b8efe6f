r"""Differentially private diffusion models (Dockhorn et al. 2023, arXiv 2210.09929).

Labelled images, a small U-Net, DP-SGD with noise multiplicity (`sfumato.systems.dpdm`). Nothing
here is measured from the data: σ_d is the constant √⅓, that of pixels uniform in [-1, 1].

The paper's four parametrisations, in the terms of this library (all with unit weight on what the
network predicts, which is the paper's λ(σ)):

==========  ==============================  ===========  =====================================
``edm``     σ = 80 t                        F (EDM)      ln σ ~ N(-1.2, 1.2²)
``v``       variance preserving, cosine     v            t uniform, log-SNR from 13 to -9
``vp``      variance preserving, linear β   ε            t uniform from 10⁻⁵
``ve``      σ up to 80                      ε            t uniform from 10⁻⁵
==========  ==============================  ===========  =====================================

The paper's ``ve`` feeds x unscaled into the network; here it is scaled to unit variance as
everywhere in this library. Its σ is that of `VE`, 0.002 (r^{2t} - 1)^½ with r = 40,000: ln σ is
uniform but for the share ln 2/(2 ln r) = 3.3 % of the times whose σ lies below 0.002 (down to
3 10⁻⁵ at t = 10⁻⁵). The paper's best best: edm for ε of 1 and more, v for ε = 0.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import ClassVar, Literal, final

from sfumato.data import ImageSet, folder
from sfumato.denoise import Prediction
from sfumato.errors import UsageError, unknown
from sfumato.files.atomic import remove
from sfumato.loss import LogNormal, TimeLaw, Uniform
from sfumato.model.description import ModelConfig, with_labels
from sfumato.model.fit import fit
from sfumato.nn import UNetConfig
from sfumato.process import Scheduled
from sfumato.schedule import EDM, VE, Schedule, VPCosine, VPLinear
from sfumato.system import training_set
from sfumato.systems.dpdm.accounting import Accountant
from sfumato.systems.dpdm.config import PrivacyConfig
from sfumato.systems.dpdm.descent import private
from sfumato.train import TrainConfig

UNIFORM_PIXELS = math.sqrt(1 / 3)


class Parametrisation(Enum):
    """How data becomes noise, what the network predicts, and at which times it learns."""

    EDM = "edm"
    V = "v"
    VP = "vp"
    VE = "ve"

    @property
    def schedule(self) -> Schedule:
        """α(t) and σ(t)."""
        made: dict[Parametrisation, Schedule] = {
            Parametrisation.EDM: EDM(),
            Parametrisation.V: VPCosine(),
            Parametrisation.VP: VPLinear(),
            Parametrisation.VE: VE(0.002, 80.0),
        }
        return made[self]

    @property
    def prediction(self) -> Prediction:
        """What the network predicts."""
        return {
            Parametrisation.EDM: Prediction.EDM,
            Parametrisation.V: Prediction.V,
        }.get(self, Prediction.EPSILON)

    @property
    def law(self) -> TimeLaw:
        """The law of the times."""
        if self is Parametrisation.EDM:
            return LogNormal(-1.2, 1.2)
        if self is Parametrisation.V:  # σ/α = tan(πt/2), log-SNR = -2 ln tan(πt/2)
            ends = [2 / math.pi * math.atan(math.exp(-snr / 2)) for snr in (13.0, -9.0)]
            return Uniform(start=ends[0], end=ends[1])
        return Uniform(start=1e-5)  # in VE's time, ln σ is linear but near 0


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


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError, SfumatoError: the data is not there, the promise cannot be kept, or see
            `sfumato.train.train`.
    """
    data = config.load()
    decoded = data.summary.cache if data.summary is not None else None
    if decoded is not None and not config.train.quiet:
        last = "are deleted at the end" if config.delete_cache else "stay there: --delete-cache"
        print(f"decoded copies of the records, with their names: {decoded}; they {last}")
    network = with_labels(config.network, data.axes, data.resolution, data.channels)
    chosen = config.parametrisation
    vp = chosen in (Parametrisation.V, Parametrisation.VP)
    model = ModelConfig(
        data=data.name,
        network=network,
        process=Scheduled(chosen.schedule),
        prediction=chosen.prediction,
        sigma_data=1.0 if vp else config.sigma_data,  # as published: c_in is 1 for VP states
        axes=data.axes,
    )
    done = fit(
        "private",
        config,
        model,
        data,
        chosen.law,
        config.train,
        config.out,
        config.resume,
        rule=private(config.privacy),
        show=False,
    )
    if decoded is not None and config.delete_cache:
        remove(decoded)
    return done

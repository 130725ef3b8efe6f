"""Functions as data: denoising diffusion operators (DDO, Lim et al. 2023, arXiv 2302.07400).

The noise is one continuous random field seen on the data's grid, rougher than the data; the network
is a neural operator; so a model that was trained at one resolution is sampled at any. The
denoiser is the Wiener filter for the data's spectrum and an operator for the rest, see
`ddo.wiener`; the loss is that of score matching in function space with the well-posed target,
in the Cameron-Martin norm of the noise unless L² is asked for.

The paper's own noise levels, steps and operator sizes are not known to us; these are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sfumato.condition import ImageCondition
from sfumato.data.sets import Indices
from sfumato.denoise import Denoiser, Prediction
from sfumato.errors import UsageError
from sfumato.loss import LogNormal, denoising_loss
from sfumato.model.fit import fit
from sfumato.seeds import Generators, rand
from sfumato.systems.ddo.data.base import FieldSet
from sfumato.systems.ddo.datasets import FieldFileOptions, load_fields
from sfumato.systems.ddo.kernel import Matern
from sfumato.systems.ddo.model import FieldModel, field_model
from sfumato.systems.ddo.nn.harmonic import Domain
from sfumato.systems.ddo.nn.operator import FNOConfig, UNOConfig
from sfumato.systems.ddo.pictures import frame_sheet
from sfumato.systems.ddo.sampling import draw_fields
from sfumato.systems.ddo.wiener import Wiener
from sfumato.train import Loss, Microbatch, Sheet, TrainConfig


class Norm(Enum):
    """In which norm the estimate's error is measured."""

    USUAL = "usual"
    L2 = "l2"
    CAMERON_MARTIN = "cameron-martin"


@final
@dataclass(frozen=True)
class Config:
    """A generative model of functions, to be sampled at any resolution.

    Args:
        out: the run folder.
        data: a known set of fields (see sfumato fields --help), or a file: npz, HDF5, NetCDF, zarr.
        variables: of a file; all when empty.
        domain: of a file: what is beyond the border; "" takes what the file says, or mirrors.
        fill: of a file: put the mean, or a harmonic function, where values are missing; "" refuses.
        sample_dim: of a file: the name of the axis that counts samples; "" looks for a usual one.
        given: quantities or parameters that are told to the network instead of drawn.
        grid: points along each axis that are trained on; the data's own when empty.
        n: fields to train on; 0 for all.
        operator: on a grid of its own, without aliasing (uno), or on the grid of the data (fno).
        uno, fno: sizes; channels in and out, axes and border follow from the data.
        noise: the Matérn field that is added; it must be rougher than the data.
        white: add white noise instead, which is not one field on all grids: for comparison.
        estimate: what the network is for: the rest of the Wiener filter, or a prediction as in
            diffusion of pictures (edm, v, x0, epsilon).
        blur: also blur on the way, by so much at t = 1 (about 0.25; mirrors, and v, x0 or edm).
        time_mean, time_std: of ln σ in training.
        norm: of the error: the usual one is the Cameron-Martin norm of the noise behind the
            Wiener filter, in which a wave counts once it begins to be decided, and L² of what is
            predicted otherwise; or one of the two (in L² behind the filter long waves are nearly
            all that counts).
        translate: move each example by a random vector (periodic data without preferred places);
            the network is then not told where it is.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/fields")
    data: str = "mixture"
    variables: tuple[str, ...] = ()
    domain: Literal["", "periodic", "reflecting"] = ""
    fill: Literal["", "mean", "harmonic"] = ""
    sample_dim: str = ""
    given: tuple[str, ...] = ()
    grid: tuple[int, ...] = ()
    n: int = 0
    operator: Literal["uno", "fno"] = "uno"
    uno: UNOConfig = field(default_factory=lambda: UNOConfig(1, 1, channels=24, coordinates=True))
    fno: FNOConfig = field(default_factory=lambda: FNOConfig(1, 1, coordinates=True))
    noise: Matern = Matern(0.1, 0.75)
    white: bool = False
    estimate: Literal["wiener", "edm", "v", "x0", "epsilon"] = "wiener"
    blur: float = 0.0
    time_mean: float = -0.5
    time_std: float = 2.0
    norm: Norm = Norm.USUAL
    translate: bool = False
    train: TrainConfig = TrainConfig(steps=8_000, batch=32, lr=1e-3, warmup=300)
    resume: bool = False

    def __post_init__(self) -> None:
        if self.n < 0:
            raise UsageError(f"--n: expected 0 (all) or more fields, got {self.n}")
        if self.grid and min(self.grid) < 4:
            raise UsageError(f"--grid: expected 4 or more points an axis, got {self.grid}")
        if not math.isfinite(self.time_mean):
            raise UsageError(f"--time-mean: expected a number, such as -1, got {self.time_mean}")
        if not 0 < self.time_std < math.inf:
            raise UsageError(f"--time-std: expected more than 0, such as 1.6, got {self.time_std}")
        if not 0 <= self.blur < math.inf:
            raise UsageError(f"--blur: expected 0 (none) or about 0.25, got {self.blur}")
        if self.white and self.estimate == "wiener":
            raise UsageError("white noise has no Wiener filter here: add --estimate edm")
        if self.blur and self.estimate in ("wiener", "epsilon"):
            raise UsageError("a blurring process needs --estimate v, x0 or edm")
        if self.blur and self.white:
            raise UsageError("a blurring process needs a field as noise: leave out --white")


@final
@dataclass(frozen=True, eq=False)
class Normalised:
    """What a model is trained on: normalised fields, then what is given, in one array."""

    name: str
    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor | None]:
        """(B, C + G, *grid) at these indices, and no labels."""
        return self.values[torch.as_tensor(np.asarray(indices))], None


def normalised(data: FieldSet, model: FieldModel) -> Normalised:
    """The fields that the model draws, and those that it is told, in their own scales."""
    x = model.normalised(data.select([q.name for q in model.frame.quantities]))
    given = data.select([q.name for q in model.given]) if model.given else None
    beside = model.condition(given)
    return Normalised(data.name, x if beside is None else beside.beside(x))


def translated(x: Tensor, g: Generators) -> Tensor:
    """Each field of x (B, ...) rolled by whole grid points, as many as its generator says."""
    dims = x.ndim - 2
    shift = rand((len(x), dims), g)
    axes = tuple(range(1, 1 + dims))
    sides = torch.tensor(x.shape[2:])
    steps = (shift * sides).long().tolist()
    return torch.stack([torch.roll(f, s, axes) for f, s in zip(x, steps, strict=True)])


def field_loss(model: FieldModel, norm: Norm = Norm.USUAL, translate: bool = False) -> Loss:
    r"""Score matching in function space, with the target x_0 (Lim et al. 2023, section 3).

    USUAL: the mean square of the network's own error. Behind the Wiener filter that is the
    Cameron-Martin norm of the noise, finite since x̂_0 - x_0 is as smooth as the data (see
    `ddo.wiener`); of another prediction its L², as an error in predicting the noise itself has
    no finite Cameron-Martin norm, which CAMERON_MARTIN asks for nevertheless. L2 behind the
    filter: of (x̂_0 - x_0)/c, with c the deviation of what the filter does not know.
    """
    channels = len(model.frame.quantities)

    def loss(denoiser: Denoiser, part: Microbatch) -> Tensor:
        values = translated(part.x0, part.generators) if translate else part.x0
        x0, image = model.state(values[:, :channels]), values[:, channels:]
        cond = ImageCondition(image) if image.shape[1] else None
        if norm is Norm.L2 and isinstance(denoiser, Wiener):
            x_t, _ = denoiser.process.perturb(x0, part.t, part.generators)
            error = (denoiser(x_t, part.t, cond) - x0) / denoiser.scales(part.t).size.to(x0)
            return error.square().flatten(1).mean(1)
        return denoising_loss(
            denoiser,
            x0,
            part.t,
            cond=cond,
            generator=part.generators,
            whiten=norm is Norm.CAMERON_MARTIN and not isinstance(denoiser, Wiener),
        )

    return loss


def field_sheet(model: FieldModel, data: FieldSet) -> Sheet:
    """Two rows of data and two of samples, on the grid that is trained on."""
    columns = 8
    shown = data.subset([i % len(data) for i in range(2 * columns)])  # of few, some twice
    real = shown.select([q.name for q in model.frame.quantities])
    given = shown.select([q.name for q in model.given]) if model.given else None

    def draw(denoiser: Denoiser) -> Image.Image:
        made = draw_fields(denoiser, model, model.grid, 0, range(2 * columns), given=given).x
        rows = ["data", "", "samples", ""]
        return frame_sheet(torch.cat([real, made]).numpy(), model.frame, columns, rows)

    return draw


def train_fields(config: Config, data: FieldSet) -> Path:
    """Train on any set of fields; returns the run folder.

    Raises:
        UsageError: a grid with other axes than the data's, or nothing to learn in a quantity.
        UsageError, SfumatoError: see `sfumato.train.train`.
    """
    if config.translate and data.frame.domain is not Domain.PERIODIC:
        raise UsageError("only periodic fields can be moved: leave out --translate")
    network = sized_for(config.uno if config.operator == "uno" else config.fno, data)
    network = replace(network, coordinates=network.coordinates and not config.translate)
    if config.n:
        data = data.subset(range(min(config.n, len(data))))
    _refuse_constants(data, config.given)
    if config.grid:
        _same_axes("grid", config.grid, data)
        data = data.at(config.grid)
    prediction = None if config.estimate == "wiener" else Prediction(config.estimate)
    noise = None if config.white else config.noise
    model = field_model(data, network, noise, config.given, prediction, config.blur)
    return fit(
        "fields", config, model, normalised(data, model),
        LogNormal(config.time_mean, config.time_std), config.train, config.out, config.resume,
        loss=field_loss(model, config.norm, config.translate),
        sheet=field_sheet(model, data),
        labels=(),
    )  # fmt: skip


def sized_for(network: UNOConfig | FNOConfig, data: FieldSet) -> UNOConfig | FNOConfig:
    """Sizes with as many axes as the data has.

    Raises:
        UsageError: a grid of the network with other axes, that was not left as it was.
    """
    dims = data.frame.dims
    if isinstance(network, FNOConfig):
        return replace(network, dims=dims)
    if network.grid == UNOConfig.grid:
        return replace(network, grid=network.grid[:1] * dims)
    _same_axes("uno.grid", network.grid, data)
    return network


def _same_axes(option: str, grid: tuple[int, ...], data: FieldSet) -> None:
    """Refuse a grid that has other axes than the data."""
    axes = [a.name for a in data.frame.axes]
    if len(grid) != len(axes):
        raise UsageError(
            f"--{option}: expected a grid with {len(axes)} axes ({', '.join(axes)}), such as "
            f"{' '.join(['32'] * len(axes))}, got {' '.join(map(str, grid))}"
        )


def _refuse_constants(data: FieldSet, given: Sequence[str]) -> None:
    """Refuse quantities, and parameters that are given, with one value in all fields."""
    names = [q.name for q in data.frame.quantities]
    columns = dict(zip(names, data.values.swapaxes(0, 1), strict=True))
    if data.parameters is not None:
        pairs = zip(data.parameter_names, data.parameters.T, strict=True)
        columns |= {q.name: column for q, column in pairs if q.name in given}
    for name, values in columns.items():
        if values.min() < values.max():
            continue
        what = f"{data.name}: {name!r} is {values.min():.4g} everywhere in the {len(data)} fields"
        if name in given:
            raise UsageError(f"{what}, which tells the network nothing: leave it out of --given")
        raise UsageError(
            f"{what} to train on, and there is nothing in it to learn: name others with --variables"
        )


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError, SfumatoError: no such data, or see `sfumato.train.train`.
    """
    how = FieldFileOptions(config.variables, config.domain, config.fill, config.sample_dim)
    return train_fields(config, load_fields(config.data, "train", config.grid, how))

"""Functions as data: denoising diffusion operators (DDO, Lim et al. 2023, arXiv 2302.07400).

The noise is one continuous random field seen on the data's grid, rougher than the data; the network
is a neural operator; so a model that was trained at one resolution is sampled at any. The
denoiser is the Wiener filter for the data's spectrum and an operator for the rest, see
`ddo.wiener`; the loss is that of score matching in function space with the well-posed target,
in the Cameron-Martin norm of the noise unless L² is asked for.

The paper's own noise levels, steps and operator sizes are not known to us; these are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

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
from sfumato.systems.ddo.datasets import NAMED, FieldFileOptions, described, load_fields
from sfumato.systems.ddo.model import FieldModel, field_model
from sfumato.systems.ddo.nn.harmonic import Domain
from sfumato.systems.ddo.nn.operator import FNOConfig, UNOConfig
from sfumato.systems.ddo.options import Config, Norm
from sfumato.systems.ddo.pictures import frame_sheet
from sfumato.systems.ddo.sampling import draw_fields
from sfumato.systems.ddo.wiener import Wiener
from sfumato.train import Loss, Microbatch, Sheet


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
    how = FieldFileOptions(
        config.variables, config.domain, config.fill, config.sample_dim, config.group,
        config.missing, config.regrid,
    )  # fmt: skip
    data = load_fields(config.data, "train", config.grid, how)
    if not config.train.quiet and config.data not in NAMED:
        print("\n".join(described(data)))
    return train_fields(config, data)

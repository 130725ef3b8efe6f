"""Measuring a model's drift on its own walk, and keeping it with the model; see `ddo.drift`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser, in_parts
from sfumato.errors import SfumatoError, UsageError
from sfumato.model.export import pack_model
from sfumato.model.load import read_saved
from sfumato.sampling import sample
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators, fold, generators
from sfumato.systems.ddo.drift import PowerCorrection, waves_of
from sfumato.systems.ddo.metrics.spectra import complete_shells, shell_powers, shell_products
from sfumato.systems.ddo.model import FieldModel
from sfumato.systems.ddo.nn.harmonic import filtered, resample
from sfumato.systems.ddo.nn.operator import UNOConfig
from sfumato.systems.ddo.sampling import POINTS, FieldSolver, field_walk
from sfumato.systems.ddo.wiener import Wiener
from sfumato.train import checkpoint as ck

_SURE = 2.0
"""Standard errors below which a factor is taken for chance."""


@final
class _Watched(Denoiser):
    """Measures the factors as it is asked, level by level, and adds what they say at once."""

    def __init__(self, inner: Wiener, wanted: Tensor, advance: Callable[[int], None]) -> None:
        super().__init__()
        self.inner, self.wanted, self.advance = inner, wanted, advance
        self.process = inner.process
        self.levels: list[float] = []
        self.factors: list[tuple[tuple[float, ...], ...]] = []

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """The estimate with this level's factors."""
        grid = tuple(x_t.shape[2:])
        size = max(1, POINTS // math.prod(grid))
        parts = []
        for first in in_parts(range(0, len(x_t), size)):
            rows = torch.arange(first, min(first + size, len(x_t)))
            parts.append(self.inner(x_t[rows], t, cond.rows(rows)))
            self.advance(len(rows))
        x0 = torch.cat(parts)
        if not bool(x0.isfinite().all()):
            raise SfumatoError("the model's estimates are not finite, so there is no drift of it")
        q = self.process.marginal(as_time(t).reshape(-1)[:1])
        alpha = float(q.A[0, 0, 0])
        self.levels.append(0.5 * math.log(float(q.cov[0, 0, 0])) - math.log(alpha))
        factors = self._measured(x_t, x0, alpha)
        self.factors.append(tuple(tuple(float(f"{v:.4g}") for v in c) for c in factors.tolist()))
        here = PowerCorrection((0.0,), (self.factors[-1],))
        noise = self.inner.noise
        multiplier = here.on(torch.zeros(1), waves_of(noise, grid))
        return x0 + filtered(x_t, multiplier, noise.domain, noise.dims)

    def _measured(self, x_t: Tensor, x0: Tensor, alpha: float) -> Tensor:
        """(C, waves): see `ddo.drift`; drawn to 0 as far as chance may have made them.

        a (1 - (2 s/a)²), or 0 where that is negative, s the standard error over the samples.
        """
        noise, waves = self.inner.noise, self.wanted.shape[1]
        x, y = x_t.cpu(), x0.cpu()
        power = shell_powers(x, noise.domain, noise.extent)[..., :waves].mean(0).clamp_min(1e-300)
        said = shell_products(x, y, noise.domain, noise.extent)[..., :waves]
        lacking = alpha * self.wanted - said
        a = lacking.mean(0) / power
        s = lacking.std(0) / (power * math.sqrt(len(x)))
        kept = (1 - (_SURE * s / a).square()).clamp_min(0).nan_to_num(0.0)
        return a * kept + 0.0  # and no -0


def measured_drift(
    denoiser: Wiener,
    model: FieldModel,
    real: Tensor,
    n: int,
    seed: int,
    given: Tensor | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> PowerCorrection:
    """The drift of a model on the walk that it is drawn with unless told otherwise.

    Level by level, with the factors of the levels before in place, on the grid of training; in
    waves that this grid, the network's own and that of the data all have.

    Args:
        denoiser, model: without a drift.
        real: (N, C, *grid) in their units, the data whose power is wanted, on any grid.
        n: fields that are drawn.
        seed: of them.
        given: (n, G, *grid'), what the model is told of each field, on any grid.
        advance: is told of evaluations that are done: n for each step.

    Raises:
        UsageError: a model without a Wiener filter, fewer than 16 fields, or not as many given.
        SfumatoError: estimates that are not finite.
    """
    if model.prediction is not None or not isinstance(denoiser, Wiener) or denoiser.drift:
        raise UsageError("expected a model of a Wiener filter and a network, without a drift")
    if n < 16:
        raise UsageError(f"expected at least 16 fields to measure by, got {n}")
    if given is not None and len(given) != n:
        raise UsageError(f"expected what is given of each of {n} fields, got {len(given)}")
    frame = model.frame
    own = model.network.grid if isinstance(model.network, UNOConfig) else model.grid
    all_have = [min(sides) for sides in zip(own, model.grid, real.shape[2:], strict=True)]
    waves = complete_shells(all_have, frame.domain, frame.extent)
    data = model.normalised(resample(real, model.grid, frame.domain))
    wanted = shell_powers(data, frame.domain, frame.extent).mean(0)[:, :waves]
    watched = _Watched(denoiser, wanted, advance)
    walk = field_walk(FieldSolver(model.sampling.solver), denoiser.process, model.sampling.steps)
    device = next(denoiser.parameters()).device
    random = generators(fold(seed, "drift"), range(n))
    x = denoiser.process.prior_sample(
        (n, *model.shape), random, t=float(walk.times[0]), device=device
    )
    if given is not None:
        given = resample(given.to(device), model.grid, frame.domain)
    sample(watched, walk.solver, walk.times, x, cond=model.condition(given), generator=random)
    order = sorted(range(len(watched.levels)), key=watched.levels.__getitem__)
    return PowerCorrection(
        tuple(float(f"{watched.levels[i]:.6g}") for i in order),
        tuple(watched.factors[i] for i in order),
    )


def with_drift(folder: Path | str, drift: PowerCorrection | None) -> dict[str, bytes]:
    """The files of a model folder that has this drift; the weights, and the card but for its
    scores, which another walk made, as in ``folder``.

    Raises:
        UsageError: another kind of model.
        SfumatoError: it cannot be read.
    """
    kept = read_saved(folder)
    if not isinstance(kept.model, FieldModel):
        raise UsageError(f"{folder} is no model of fields")
    told = {**kept.described, "model": replace(kept.model, drift=drift).to_json()}
    if "card.json" in kept.files:
        files = {**kept.files, ck.DESCRIPTION: ck.pack_json(told)}
        card = json.loads(files["card.json"])
        if card.pop("scores", None):  # of another walk
            text = json.dumps({**card, "scores": {}}, indent=2, ensure_ascii=False) + "\n"
            files["card.json"] = text.encode()
        return files
    card = {
        "name": Path(folder).absolute().name,
        "system": "DDO",
        "kind": "field model",
        "data": kept.model.data,
    }
    weights = load_tensors(kept.files[kept.weights()])
    return pack_model(weights, told, card, kept.step, half=False)

"""A model as the tour shows it: loaded, timed, and easy to draw from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato import zoo
from sfumato.console import datasets
from sfumato.data import to_uint8
from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError
from sfumato.model.description import ModelConfig
from sfumato.model.sampler import Drawer, Sampler
from sfumato.sampling import Solution
from sfumato.seeds import generator

_BATCH = 64


@final
@dataclass
class Shown:
    """A generative model of the zoo on its device.

    Args:
        model: what is drawn from.
        card: what its card says.
        seed: of everything that is drawn from it.
        rate: network evaluations per second, measured.
    """

    model: Sampler
    card: zoo.ModelCard
    seed: int
    rate: float = 0.0
    _real: tuple[Tensor, NDArray[np.int64] | None] | None = field(default=None, repr=False)

    @property
    def denoiser(self) -> Denoiser:
        """The model's."""
        return self.model.denoiser

    @property
    def config(self) -> ModelConfig:
        """How the model is built."""
        return cast(ModelConfig, self.model.description)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.model.device

    @property
    def images(self) -> bool:
        """Whether it draws images (points otherwise)."""
        return len(self.config.shape) == 3

    @property
    def axes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Names and values of its label axes."""
        return self.model.axes

    def time(self) -> None:
        """Measure ``rate``, on one batch after a first, slower one."""
        self.walk(range(_BATCH), self.labels(_BATCH), steps=1)
        began = time.perf_counter()
        self.walk(range(_BATCH), self.labels(_BATCH), steps=2)
        self.rate = 2 * _BATCH / (time.perf_counter() - began)

    def labels(self, n: int, **fixed: int) -> NDArray[np.int64]:
        """Labels (n, A): one axis takes turns, several are drawn; ``fixed`` by axis name."""
        columns = []
        for name, values in self.axes:
            if name in fixed:
                columns.append(np.full(n, fixed[name]))
            elif len(self.axes) == 1:
                columns.append(np.arange(n) % len(values))
            else:
                random = generator(self.seed, "tour", name)
                columns.append(torch.randint(len(values), (n,), generator=random).numpy())
        return np.stack(columns, 1).astype(np.int64) if columns else np.empty((n, 0), np.int64)

    def cond(self, labels: NDArray[np.int64]) -> Tensor | None:
        """Labels as the network takes them."""
        return torch.from_numpy(labels).to(self.device) if self.axes else None

    def drawer(
        self, steps: int, solver: str = "dpmpp2m", guidance: float = 1.0,
        denoiser: Denoiser | None = None,
    ) -> Drawer:  # fmt: skip
        """What draws from it, or from another denoiser in its place."""
        made = self.model.prepare(seed=self.seed, steps=steps, solver=solver, guidance=guidance)
        return made if denoiser is None else replace(made, denoiser=denoiser)

    def walk(
        self,
        indices: Sequence[int],
        labels: NDArray[np.int64],
        *,
        steps: int,
        solver: str = "dpmpp2m",
        denoiser: Denoiser | None = None,
        start: Tensor | None = None,
        save_path: bool = False,
    ) -> Solution:
        """Walk samples from noise (or ``start``) to data."""
        drawer = self.drawer(steps, solver, denoiser=denoiser)
        return drawer.solve(indices, labels, start=start, save_path=save_path)

    def draw(
        self,
        indices: Sequence[int],
        labels: NDArray[np.int64],
        *,
        steps: int,
        solver: str = "dpmpp2m",
        guidance: float = 1.0,
    ) -> tuple[NDArray[Any], int]:
        """Samples as pixels or points, drawn in batches, and the evaluations of each."""
        drawn = self.drawer(steps, solver, guidance).draw(indices, labels, batch=_BATCH)
        return self.pixels(drawn.x), drawn.nfe

    def pixels(self, x: Tensor) -> NDArray[Any]:
        """Data as uint8 pixels (or as float32 points)."""
        x = torch.nan_to_num(x.float().cpu())
        return to_uint8(x).numpy() if self.images else x.numpy()

    def real(self, n: int) -> tuple[Tensor, NDArray[np.int64] | None] | None:
        """Real examples in [-1, 1] and their labels, or None if the data is not there."""
        if self._real is None or len(self._real[0]) < n:
            resolution = self.config.shape[-1] if self.images else 0
            try:
                wish = datasets.DataRequest("test", n, resolution, progress=False)
                data = datasets.load(self.config.data, wish)
            except SfumatoError:
                return None
            x, labels = data.batch(range(min(n, len(data))))
            if tuple(x.shape[1:]) != self.config.shape:
                return None
            self._real = (x, None if labels is None else labels.numpy())
        x, found = self._real
        return x[:n], None if found is None else found[:n]

    def examples(self, n: int) -> tuple[Tensor, NDArray[np.int64], bool]:
        """Real examples with labels, or samples where the data is not there; and which it is."""
        real = self.real(max(n, 64))
        if real is not None and (real[1] is None) == (not self.axes):
            labels = np.empty((n, 0), np.int64) if real[1] is None else real[1][:n]
            if labels.shape[1] == len(self.axes):
                return real[0][:n].to(self.device), labels, True
        labels = self.labels(n)
        solution = self.walk(range(n), labels, steps=18)
        return self.denoiser.process.to_data(solution.x), labels, False

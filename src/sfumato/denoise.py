r"""Denoisers estimate E[x_0 | x_t]; what their network predicts is only preconditioning.

Every prediction F is an affine function of (x_0, ε) where x_t = α x_0 + σ ε, so

.. math:: \hat x_0 = c_{skip}\, x_t + c_{out}\, F(c_{in}\, x_t,\ level(t)),

and the loss is taken on F itself, against its value for the true (x_0, ε). With
s² = α² σ_d² + σ²:

===============  ====================  =====================  =========================
predicts         c_skip                c_out                  F of (x_0, ε)
===============  ====================  =====================  =========================
EPSILON          1/α                   -σ/α                   ε
SCORE            1/α                   σ/α                    -ε  (σ times the score)
X0               0                     1                      x_0
V                α/(α² + σ²)           -σ/(α² + σ²)           α ε - σ x_0
FLOW             (σ̇/σ) σ/D             -σ/D, D = σ̇ α - σ α̇    α̇ x_0 + σ̇ ε
EDM              α σ_d²/s²             σ σ_d/s                (σ x_0/σ_d - α σ_d ε)/s
===============  ====================  =====================  =========================

ε: Ho et al. 2020. v: Salimans & Ho 2022. EDM: Karras et al. 2022, table 1, whose loss weight
λ(σ) c_out² = 1 is exactly the unit weight on F. In phase space VELOCITY_NOISE predicts ε_v of
u = M x_0 + L ε (Dockhorn et al. 2022, eq. 8): score_v = -ℓ F, ℓ = 1/L₂₂, and x̂_0 solves
[Σ⁻¹(u - M x̂_0)]_v = ℓ F. "Mixed" adds the score of a standard normal: -v/Σ_vv - ℓ F.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, TypeVar, final

import torch
from torch import Tensor, nn

from sfumato.condition import NOTHING, Condition, Given
from sfumato.process import Process, matrix, mix
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators


class Prediction(Enum):
    """What a network predicts; the module's text has the equations."""

    EPSILON = "epsilon"
    V = "v"
    X0 = "x0"
    EDM = "edm"
    SCORE = "score"
    FLOW = "flow"
    VELOCITY_NOISE = "velocity-noise"


@dataclass
class Spent:
    """Network evaluations so far."""

    evaluations: int = 0


_SPENT: ContextVar[Spent | None] = ContextVar("spent", default=None)


@contextmanager
def counted() -> Iterator[Spent]:
    """Counts the network evaluations inside, in this thread; an outer count does not see them."""
    spent = Spent()
    token = _SPENT.set(spent)
    try:
        yield spent
    finally:
        _SPENT.reset(token)


def spend(evaluations: int) -> None:
    """Add to the count of the enclosing `counted`, if there is one."""
    if (spent := _SPENT.get()) is not None:
        spent.evaluations += evaluations


@contextmanager
def evaluation() -> Iterator[None]:
    """What is done inside counts as one evaluation, unless it counted some itself."""
    spent = _SPENT.get()
    before = spent.evaluations if spent is not None else 0
    yield
    if spent is not None and spent.evaluations == before:
        spent.evaluations += 1


T = TypeVar("T")


def in_parts(parts: Iterable[T]) -> Iterator[T]:
    """Go through the parts of one batch, which count together as the dearest of them."""
    spent = _SPENT.get()
    if spent is None:
        yield from parts
        return
    start, most = spent.evaluations, 0
    for part in parts:
        yield part
        most, spent.evaluations = max(most, spent.evaluations - start), start
    spent.evaluations = start + most


class Denoiser(nn.Module, ABC):
    """Estimates x_0 from x_t: a mean, or a draw."""

    process: Process
    draws: ClassVar[bool] = False
    """Whether the estimate is a draw of x_0 given x_t, and not a mean."""

    def __call__(
        self, x_t: Tensor, t: Time, cond: Given = None, generator: Generators = None
    ) -> Tensor:
        """`forward`, counted: a call that asks no other denoiser is one network evaluation.

        Labels (integers), an embedding (floating) or a prompt become a `Condition` here.
        """
        with evaluation():
            made: Tensor = super().__call__(x_t, t, Condition.of(cond), generator)
        return made

    @abstractmethod
    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """x̂_0 (B, C, ...) from the state x_t (B, kC, ...) at time t, () or (B,).

        ``generator`` is for a denoiser whose estimate is a draw; one that returns a mean
        ignores it.
        """

    def residual(
        self, x_t: Tensor, t: Time, x0: Tensor, eps: Tensor, cond: Condition = NOTHING
    ) -> Tensor:
        """The error whose square is the loss; by default x̂_0 - x_0."""
        return self(x_t, t, cond) - x0


@final
class Preconditioned(Denoiser):
    """A network and what it predicts.

    Args:
        network: called as ``network(scaled state (B, kC, ...), level (B,), cond)``, returns
            something shaped like data, (B, C, ...). The picture of a condition is joined to the
            state on axis 1, so that the network then takes kC + C' channels.
        process: the process whose states come in.
        predicts: what the network's output means.
        sigma_data: σ_d, standard deviation of the data; scales the input, and EDM's output.
        mixed: phase space only: the network corrects the score of a normal velocity.
        scale_input: whether the state is divided by √(α² σ_d² + σ²), so that the network sees unit
            variance; False for networks of others that were trained on x_t itself, such as the
            ε-networks of DDPM and diffusers (which also want a time, see docs/core.md).

    Raises:
        ValueError: the prediction does not fit the number of blocks of the process.
    """

    def __init__(
        self,
        network: nn.Module,
        process: Process,
        predicts: Prediction = Prediction.EDM,
        sigma_data: float = 0.5,
        mixed: bool = False,
        scale_input: bool = True,
    ) -> None:
        super().__init__()
        if (predicts is Prediction.VELOCITY_NOISE) != (process.k == 2) and (
            predicts is not Prediction.X0
        ):
            raise ValueError(
                f"{predicts.value!r} does not fit {process!r}: with position and velocity "
                "predict velocity-noise or x0, otherwise anything else"
            )
        if not sigma_data > 0:
            raise ValueError(f"expected sigma_data > 0, got {sigma_data}")
        if mixed and predicts is not Prediction.VELOCITY_NOISE:
            raise ValueError(f"mixed needs velocity-noise, got {predicts.value!r}")
        self.network = network
        self.process = process
        self.predicts = predicts
        self.sigma_data = sigma_data
        self.mixed = mixed
        self.scale_input = scale_input

    def coefficients(self, t: Time) -> tuple[Tensor, Tensor, Tensor]:
        """(c_in (..., k, k) diagonal; (c_skip, c_out) (..., 1, k + 1); target (..., 1, 1 + k)).

        The target's ends are (x_0, ε); all in the precision of t.
        """
        q = self.process.marginal(t)
        scale = (
            q.cov.diagonal(dim1=-2, dim2=-1) + (q.A[..., 0] * self.sigma_data).square()
        ).rsqrt()
        if not self.scale_input:
            scale = torch.ones_like(scale)
        c_in = torch.diag_embed(scale)
        one = torch.ones_like(q.A[..., 0, 0])
        zero = torch.zeros_like(one)
        if self.predicts is Prediction.X0:
            blocks = [zero] * self.process.k
            return c_in, matrix([[*blocks, one]]), matrix([[one, *blocks]])
        if self.predicts is Prediction.VELOCITY_NOISE:
            return c_in, *self._phase(t)
        alpha, sigma = q.A[..., 0, 0], q.root()[..., 0, 0]
        match self.predicts:
            case Prediction.EPSILON:
                rows = [1 / alpha, -sigma / alpha], [zero, one]
            case Prediction.SCORE:
                rows = [1 / alpha, sigma / alpha], [zero, -one]
            case Prediction.V:
                power = alpha.square() + sigma.square()
                rows = [alpha / power, -sigma / power], [-sigma, alpha]
            case Prediction.FLOW:
                w, a_dot = self.process.flow(t)[..., 0, :].unbind(-1)
                d = w * alpha - a_dot
                rows = [w / d, -1 / d], [a_dot, w * sigma]
            case _:
                sd = self.sigma_data
                s = (alpha.square() * sd**2 + sigma.square()).sqrt()
                rows = (
                    [alpha * sd**2 / s.square(), sigma * sd / s],
                    [sigma / (s * sd), -alpha * sd / s],
                )
        return c_in, matrix([rows[0]]), matrix([rows[1]])

    def _phase(self, t: Time) -> tuple[Tensor, Tensor]:
        q = self.process.marginal(t)
        root = q.root()
        xx, xv, vv = q.cov[..., 0, 0], q.cov[..., 0, 1], q.cov[..., 1, 1]
        mx, mv = q.A[..., 0, 0], q.A[..., 1, 0]
        l11, l21, l22 = root[..., 0, 0], root[..., 1, 0], root[..., 1, 1]
        # [Σ⁻¹]_v = (-Σ_xv, Σ_xx)/det and score_v = -F/L₂₂ (- v/Σ_vv), det = (L₁₁ L₂₂)²
        det = (l11 * l22).square()
        divisor = xx * mv - xv * mx
        free = xx - det / vv if self.mixed else xx
        skip = [-xv / divisor, free / divisor, -l11.square() * l22 / divisor]
        zero, one = torch.zeros_like(xx), torch.ones_like(xx)
        if not self.mixed:
            return matrix([skip]), matrix([[zero, zero, one]])
        share = l22 / vv  # 1/(ℓ Σ_vv); v = M_v x_0 + L₂₁ ε_x + L₂₂ ε_v
        target = [-share * mv, -share * l21, 1 - share * l22]
        return matrix([skip]), matrix([target])

    def scaled(self, x_t: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """What the network is called with: c_in x_t in its own type, and the level (B,)."""
        time = as_time(t)
        c_in = self.coefficients(time)[0]
        level = self.process.noise_level(time).to(device=x_t.device, dtype=torch.float32)
        weight = next(self.network.parameters(), x_t)
        return mix(c_in, x_t).to(weight.dtype), level.expand(x_t.shape[0])

    def predict(self, x_t: Tensor, t: Time, cond: Condition = NOTHING) -> Tensor:
        """The network's own output F, in the type of x_t."""
        x, level = self.scaled(x_t, t)
        return self.network(cond.beside(x), level, cond.told).to(x_t.dtype)

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """x̂_0 = c_skip x_t + c_out F.

        Raises:
            ValueError: the prediction does not tell x_0 at t, as ε where α = 0.
        """
        if self.predicts in (Prediction.EPSILON, Prediction.SCORE):
            signal = self.process.marginal(t).A[..., 0, 0]
            if not bool((signal > 0).all()):
                raise ValueError(
                    f"{self.predicts.value!r} does not tell x_0 where α = 0 (t = 1 of this "
                    "process): start below it, or predict v, flow, edm or x0"
                )
        return mix(self.coefficients(t)[1], x_t, self.predict(x_t, t, cond))

    def residual(
        self, x_t: Tensor, t: Time, x0: Tensor, eps: Tensor, cond: Condition = NOTHING
    ) -> Tensor:
        """F minus its value for the true x_0 and ε."""
        return self.predict(x_t, t, cond) - mix(self.coefficients(t)[2], x0, eps)

"""Training models of functions: losses, times, what moves, resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.condition import NOTHING, Condition, ImageCondition
from sfumato.data import DataCard
from sfumato.denoise import Prediction
from sfumato.errors import UsageError
from sfumato.model.load import load_model
from sfumato.schedule import Time
from sfumato.systems.ddo import recipe as fields
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity
from sfumato.systems.ddo.model import FieldModel, field_model
from sfumato.systems.ddo.nn.harmonic import Domain as Box
from sfumato.systems.ddo.nn.operator import FNOConfig
from sfumato.systems.ddo.sampling import FieldSolver, draw_fields, field_walk
from sfumato.train import Loss, Microbatch
from small_fields import SMALL, gaussian_set, training, weather


def test_training_beats_the_filter_alone(tmp_path: Path) -> None:
    """Two-valued fields, far from Gaussian: a third of the Wiener filter's error goes."""
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], (400, 1, 1, 1))
    bump = np.cos(2 * np.pi * np.arange(16) / 16)[None, None, :, None]
    values = (sign * (1 + 0.5 * bump) * np.ones((1, 1, 1, 16))).astype(np.float32)
    values += 0.1 * gaussian_set(400, scale=1.0, mean=0.0).values
    frame = Frame(Box.PERIODIC, (Axis("x"), Axis("y")), (Quantity("u"),))
    data = FieldSet("signs", values, frame, DataCard("s", "", "", ""))
    config = fields.Config(
        out=tmp_path / "run", uno=SMALL, norm=fields.Norm.L2, train=training(400)
    )
    made = fields.train_fields(config, data)
    denoiser, model = load_model(made)
    assert isinstance(model, FieldModel) and isinstance(denoiser, sf.Wiener)
    normal = fields.normalised(data, model).values[:200]
    t = torch.full((200,), 1.0 / 80, dtype=torch.float64)
    with torch.no_grad():
        x_t, _ = denoiser.process.perturb(normal, t, sf.generator(1))
        error, linear = (f(x_t, t) - normal for f in (denoiser, denoiser.linear))
    assert float(error.square().mean()) < 0.7 * float(linear.square().mean())
    drawn = draw_fields(denoiser, model, (32, 32), 0, range(64)).x
    means = drawn.mean((1, 2, 3))
    assert float((means.abs() - 1).abs().mean()) < 0.25  # either value, and nothing between
    assert 0.25 < float((means > 0).double().mean()) < 0.75


@pytest.mark.parametrize("estimate", ["edm", "v", "x0", "epsilon", "wiener"])
def test_every_estimate_trains(tmp_path: Path, estimate: str) -> None:
    config = fields.Config(
        out=tmp_path / "run", uno=SMALL, train=training(6), estimate=estimate,  # type: ignore[arg-type]
        norm=fields.Norm.CAMERON_MARTIN, translate=True,
    )  # fmt: skip
    denoiser, model = load_model(fields.train_fields(config, gaussian_set(40)))
    assert isinstance(model, FieldModel)
    want = None if estimate == "wiener" else Prediction(estimate)
    assert model.prediction is want


def test_a_blurring_model_is_sampled_on_any_grid(tmp_path: Path) -> None:
    config = fields.Config(
        out=tmp_path / "run", uno=SMALL, train=training(150), estimate="v", blur=0.25
    )
    data = gaussian_set(300, domain=Box.REFLECTING)
    denoiser, model = load_model(fields.train_fields(config, data))
    assert isinstance(model, FieldModel) and isinstance(denoiser.process.noise, sf.Modes)
    with pytest.raises(UsageError, match="take dpmpp2m where there is blur"):
        field_walk(FieldSolver.DEIS, denoiser.process, 5)
    for n in (16, 24):
        drawn = draw_fields(denoiser, model, (n, n), 0, range(40)).x
        assert float(drawn.mean()) == pytest.approx(5, abs=1.2)
        assert float(drawn.std()) == pytest.approx(3, rel=0.4)


def test_a_run_can_be_resumed_and_an_fno_trained(tmp_path: Path) -> None:
    config = fields.Config(
        out=tmp_path / "run", operator="fno", fno=FNOConfig(1, 1, channels=8, layers=2, modes=3),
        train=training(4), grid=(12, 12), n=20,
    )  # fmt: skip
    made = fields.train_fields(config, gaussian_set(40))
    _, model = load_model(made)
    assert isinstance(model, FieldModel) and model.grid == (12, 12)
    assert isinstance(model.network, FNOConfig) and model.network.dims == 2


def test_moving_examples_is_a_translation() -> None:
    x = torch.randn(3, 2, 8, 6)
    got = fields.translated(x, sf.generators(0, range(3)))
    for a, b in zip(got, x, strict=True):
        shifts = [
            (i, j) for i in range(8) for j in range(6) if torch.equal(b.roll((i, j), (1, 2)), a)
        ]
        assert len(shifts) == 1
    many = fields.translated(torch.arange(8.0).expand(400, 1, 8), sf.generators(0, range(400)))
    counts = torch.bincount(many[:, 0, 0].long(), minlength=8)
    assert int(counts.min()) > 25  # every shift, about as often (50 expected)


class Witness(sf.Denoiser):
    """Keeps what it is asked about, and answers with given errors."""

    def __init__(self, process: sf.Process, error: torch.Tensor) -> None:
        super().__init__()
        self.process, self.error = process, error
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x_t: torch.Tensor, *_: object) -> torch.Tensor:
        return x_t

    def residual(
        self,
        x_t: torch.Tensor,
        t: Time,
        x0: torch.Tensor,
        eps: torch.Tensor,
        cond: Condition = NOTHING,
    ) -> torch.Tensor:
        self.x0, self.cond = x0, cond
        return self.weight * self.error


def witnessed(
    loss: Loss, model: FieldModel, values: torch.Tensor, error: torch.Tensor
) -> tuple[torch.Tensor, Witness]:
    """A loss of examples (B, C + G, ...), each with its own generator, under given errors."""
    witness = Witness(model.process, error)
    t = torch.linspace(0.001, 0.1, len(values), dtype=torch.float64)
    return loss(witness, Microbatch(values, t, None, sf.generators(0, range(len(values))))), witness


def told_to_train(config: fields.Config, data: FieldSet, monkeypatch: pytest.MonkeyPatch) -> Loss:
    """The loss that a training with this configuration is told to use."""
    found: list[Loss] = []

    def fit(*_: object, loss: Loss, **__: object) -> Path:
        found.append(loss)
        return config.out

    with monkeypatch.context() as patch:
        patch.setattr(fields, "fit", fit)
        fields.train_fields(config, data)
    return found[0]


@pytest.mark.parametrize("translate", [False, True])
def test_what_is_given_moves_with_what_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, translate: bool
) -> None:
    """Given fields that are functions of the drawn ones at each point stay so."""
    data = weather(20)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["h"])
    config = fields.Config(tmp_path, uno=SMALL, given=("h",), translate=translate)
    x = torch.randn(16, 2, 8, 16, generator=sf.generator(0))
    values = torch.cat([x, 2 * x[:, 1:] + 1], 1)
    for loss in (
        fields.field_loss(model, translate=translate),
        told_to_train(config, data, monkeypatch),
    ):
        _, saw = witnessed(loss, model, values, torch.zeros_like(x))
        assert saw.cond.image is not None
        assert torch.equal(saw.cond.image, 2 * saw.x0[:, 1:] + 1)
        same = [torch.equal(a, b) for a, b in zip(saw.x0, x, strict=True)]
        assert sum(same) <= 2 if translate else all(same)  # 1 in 128 is moved by nothing


@pytest.mark.parametrize("norm", fields.Norm)
def test_the_norm_of_the_error_is_the_one_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, norm: fields.Norm
) -> None:
    """|e|²/n, or eᵀC⁻¹e/n with the noise's covariance as a dense matrix, over both channels."""
    data = weather(20)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["h"])
    noise = model.process.noise
    assert isinstance(noise, sf.GaussianField)
    e = torch.randn(3, 2, 8, 16, dtype=torch.float64, generator=sf.generator(1))
    row = torch.fft.fftn(noise.power((8, 16))).real  # covariance with the first point
    shifts = [(i, j) for i in range(8) for j in range(16)]
    dense = torch.stack([row.roll(by, (0, 1)).flatten() for by in shifts])
    whitened = norm is fields.Norm.CAMERON_MARTIN
    inverse = torch.linalg.inv(dense) if whitened else torch.eye(128, dtype=e.dtype)
    want = torch.einsum("bcp,pq,bcq->b", e.flatten(2), inverse, e.flatten(2)) / 256
    values = torch.zeros(3, 3, 8, 16)
    config = fields.Config(tmp_path, uno=SMALL, given=("h",), norm=norm)
    for loss in (fields.field_loss(model, norm), told_to_train(config, data, monkeypatch)):
        torch.testing.assert_close(witnessed(loss, model, values, e)[0].detach(), want)


def test_the_error_is_the_denoisers_own_unless_asked_otherwise() -> None:
    model = field_model(weather(20), SMALL, sf.Matern(0.1, 0.75))
    e = torch.randn(2, 3, 8, 16, generator=sf.generator(1))
    got, _ = witnessed(fields.field_loss(model), model, torch.zeros(2, 3, 8, 16), e)
    torch.testing.assert_close(got.detach(), e.square().mean((1, 2, 3)))
    denoiser, t = model.build(0), torch.tensor([0.01, 0.1], dtype=torch.float64)
    x_t, eps = denoiser.process.perturb(e, t, sf.generators(0, range(2)))
    own = denoiser.residual(x_t, t, e, eps).square().mean((1, 2, 3))
    got = fields.field_loss(model)(denoiser, Microbatch(e, t, None, sf.generators(0, range(2))))
    torch.testing.assert_close(got, own)


@pytest.mark.parametrize("norm", fields.Norm)
def test_behind_the_filter_the_norm_is_of_the_estimate_itself(norm: fields.Norm) -> None:
    """(x̂_0 - x_0)/√Σr of what the denoiser says; or whitened by the noise, over √ΣP/α²."""
    model = field_model(weather(100), SMALL, sf.Matern(0.1, 0.75), ["h"])
    denoiser = model.build(0)
    assert isinstance(denoiser, sf.Wiener)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.03 * torch.randn(p.shape, generator=sf.generator(1)))
    x0, beside = torch.randn(3, 3, *model.grid, generator=sf.generator(0)).split([2, 1], 1)
    t = torch.tensor([1e-3, 1e-2, 0.1], dtype=torch.float64)
    part = Microbatch(torch.cat([x0, beside], 1), t, None, sf.generators(0, range(3)))
    x_t, _ = denoiser.process.perturb(x0, t, sf.generators(0, range(3)))
    at = denoiser.spectra(t, model.grid)
    error = denoiser(x_t, t, ImageCondition(beside)) - x0
    if norm is fields.Norm.L2:
        error = error / at.unexplained.sum((2, 3), keepdim=True).sqrt()
    else:
        sigma = 80 * t.reshape(-1, 1, 1, 1)
        error = denoiser.noise.whiten(error) * 128**0.5 / sigma  # of modes, not of points
        error = error / at.decided.sum((2, 3), keepdim=True).sqrt()
    got = fields.field_loss(model, norm)(denoiser, part)
    torch.testing.assert_close(got, error.float().square().mean((1, 2, 3)), rtol=1e-4, atol=0)


def test_the_times_that_are_trained_have_the_law_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ln σ of 8,000 examples: mean and deviation, within 5 of their errors, and no skewness."""
    seen: list[torch.Tensor] = []

    def cheap(*_: object) -> Loss:
        def loss(denoiser: sf.Denoiser, part: Microbatch) -> torch.Tensor:
            q = denoiser.process.marginal(part.t)
            seen.append(0.5 * (q.cov / q.A.square()).log().flatten())
            return torch.stack([p.sum() for p in denoiser.parameters()]).sum().expand(len(part.t))

        return loss

    monkeypatch.setattr(fields, "field_loss", cheap)
    settings = replace(training(2), batch=4000)
    config = fields.Config(
        tmp_path / "run", uno=SMALL, train=settings, time_mean=-0.7, time_std=0.4
    )
    fields.train_fields(config, weather(20))
    z = (torch.cat(seen) + 0.7) / 0.4
    n = len(z)
    assert n == 8000
    assert abs(float(z.mean())) < 5 / n**0.5
    assert abs(float(z.std()) - 1) < 5 / (2 * n) ** 0.5
    assert abs(float(z.pow(3).mean())) < 5 * (15 / n) ** 0.5


@pytest.mark.parametrize(
    ("coordinates", "translate"), [(True, True), (True, False), (False, False)]
)
def test_a_model_of_moved_examples_does_not_know_where_it_is(
    tmp_path: Path, coordinates: bool, translate: bool
) -> None:
    """What was saved moves with its argument, unless it may be told places."""
    network = replace(SMALL, coordinates=coordinates)
    config = fields.Config(
        tmp_path / "run", uno=network, train=training(1), translate=translate
    )  # fmt: skip
    denoiser, model = load_model(fields.train_fields(config, gaussian_set(40)))
    assert isinstance(model, FieldModel)
    knows = coordinates and not translate
    assert model.network.coordinates is knows
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
        x = torch.randn(1, 1, 16, 16, generator=g)
        by, axes = (4, 8), (2, 3)
        gap = denoiser(x.roll(by, axes), 0.02) - denoiser(x, 0.02).roll(by, axes)
    assert float(gap.abs().max()) > 1e-2 if knows else float(gap.abs().max()) < 1e-4

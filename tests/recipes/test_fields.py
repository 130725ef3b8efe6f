"""Models of functions: measured spectra, what is remembered, training, and sampling on any grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.data import Card
from sfumato.data.fields.base import Axis, Domain, FieldSet, Frame, Quantity
from sfumato.data.fields.observations import read_observations
from sfumato.denoise import Prediction
from sfumato.errors import SfumatoError, UsageError
from sfumato.nn import FNOConfig, UNOConfig
from sfumato.nn.harmonic import Domain as Box
from sfumato.nn.harmonic import evaluate, resample
from sfumato.recipes import fields
from sfumato.recipes.field_data import NAMED, Reading, load_fields
from sfumato.recipes.field_law import measured_law
from sfumato.recipes.field_model import FieldModel, field_model, told_values
from sfumato.recipes.field_sampling import FieldSolver, draw_fields, field_walk, observed
from sfumato.recipes.load import load_model, read_model
from sfumato.train import TrainConfig

SMALL = UNOConfig(1, 1, (16, 16), channels=8, multipliers=(1, 2), modes=4)


def gaussian_set(
    n: int, side: int = 16, domain: Domain = Box.PERIODIC, scale: float = 3.0, mean: float = 5.0
) -> FieldSet:
    """Gaussian fields in units: a quantity of mean 5 and deviation 3, and a parameter."""
    law = sf.GaussianField(sf.SquaredExponential(0.15), 2, domain)
    x = law.sample(torch.zeros(n, 1, side, side), sf.generators(0, range(n)))
    frame = Frame(domain, (Axis("y", 0, 2, "km"), Axis("x", 0, 2, "km")), (Quantity("T", "K"),))
    p = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    values = (scale * x + mean).numpy()
    return FieldSet("gaussian", values, frame, Card("g", "", "", ""), p, (Quantity("depth", "m"),))


def training(steps: int) -> TrainConfig:
    return TrainConfig(
        steps=steps, batch=16, warmup=10, lr=2e-3, log_every=5, sheet_every=0, tensorboard=False,
        quiet=True, cpu=True, ema_half_life=300,
    )  # fmt: skip


LAWS = [
    sf.GaussianField(sf.Matern(0.15, 1.5), 1),
    sf.GaussianField(sf.Matern(0.15, 1.5), 2),
    sf.GaussianField(sf.Matern(0.15, 1.5), 1, Box.REFLECTING),
    sf.GaussianField(sf.Matern(0.15, 1.5), 2, Box.REFLECTING),
    sf.GaussianField(sf.Laplacian(2.5), 2),  # whose mean is 0, as vorticity's
    sf.GaussianField(sf.Laplacian(2.5), 2, Box.REFLECTING),
    sf.GaussianField(sf.Matern(2.0, 1.0), 2, extent=(20.0, 10.0)),
    sf.GaussianField(sf.Matern(0.02, 1.0), 2, Box.REFLECTING, (0.1, 0.3)),
]


@pytest.mark.parametrize("law", LAWS, ids=range(len(LAWS)))
def test_the_measured_law_is_the_one_drawn_from(law: sf.GaussianField) -> None:
    """4,000 fields of a known spectrum: the powers of all waves up to the 5th, to 10 %."""
    dims = law.dims
    side = 64 if dims == 1 else 32
    x = law.sample(torch.zeros(4000, 1, *[side] * dims), sf.generator(0))[:, 0]
    extent = law.extent or (1.0,) * dims
    axes = tuple(Axis(name, 0.0, w) for name, w in zip("xyz", extent, strict=False))
    found = measured_law(x, Frame(law.domain, axes, (Quantity("u"),)))
    at = (slice(0, 6),) * dims
    want, got = law.power([side] * dims)[at], found.power([side] * dims)[at]
    torch.testing.assert_close(got, want, rtol=0.1, atol=1e-6)
    assert found.mean_varies == law.mean_varies
    # the filter's error is uncorrelated with what it saw, at every noise level
    process = sf.Scheduled(sf.EDM(), sf.GaussianField(sf.Matern(0.1, 0.75), dims, law.domain))
    if law.extent:
        return
    linear = sf.Wiener(None, process, found, (side,) * dims)
    x0 = x[:500, None].double()
    for sigma in (0.1, 1.0):
        eps = process.noise.sample(x0, sf.generator(1))
        x_t = x0 + sigma * eps
        left = linear(x_t, torch.tensor(sigma / 80, dtype=torch.float64)) - x0
        assert abs(float((left * x_t).mean())) < 0.03
    # carried on beyond the grid as it fell: within a factor of 2 at twice the waves
    beyond = (side + 8, *[0] * (dims - 1))
    ratio = found.power([4 * side] * dims)[beyond] / law.power([4 * side] * dims)[beyond]
    assert 0.5 < float(ratio) < 2


def test_the_law_of_constants_has_no_waves() -> None:
    """Fields whose mean varies, and nothing else: mode 0 has nearly all the power."""
    frame = Frame(Box.PERIODIC, (Axis("x"),), (Quantity("u"),))
    x = torch.randn(500, 1) + 1e-3 * torch.randn(500, 32)
    power = measured_law(x, frame).power((32,))
    assert float(power[0]) > 0.99


def test_a_model_remembers_units_scales_and_laws() -> None:
    data = gaussian_set(200)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["depth"])
    assert model.network.in_channels == 3 and model.network.out_channels == 1
    assert model.scales[0].mean == pytest.approx(5, abs=0.5)
    assert model.scales[0].deviation == pytest.approx(3, rel=0.1)
    assert model.frame.axes[0].units == "km" and model.given == (Quantity("depth", "m"),)
    again = read_model(model.to_json())
    assert again == model and isinstance(again, FieldModel)
    x = torch.from_numpy(data.values)
    z = model.normalised(x)
    assert float(z.mean()) == pytest.approx(0, abs=1e-4)
    torch.testing.assert_close(model.in_units(z), x, atol=1e-4, rtol=1e-5)


def test_parameters_become_constant_fields() -> None:
    data = gaussian_set(5)
    told = told_values(data, ["depth", "T"])
    assert told.shape == (5, 2, 16, 16)
    assert torch.equal(told[:, 0, 3, 4], torch.linspace(0, 1, 5))
    assert torch.equal(told[:, 1], torch.from_numpy(data.values[:, 0]))


def test_training_beats_the_filter_alone(tmp_path: Path) -> None:
    """Two-valued fields, far from Gaussian: the loss falls below the Wiener filter's own, 1."""
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], (400, 1, 1, 1))
    bump = np.cos(2 * np.pi * np.arange(16) / 16)[None, None, :, None]
    values = (sign * (1 + 0.5 * bump) * np.ones((1, 1, 1, 16))).astype(np.float32)
    values += 0.1 * gaussian_set(400, scale=1.0, mean=0.0).values
    frame = Frame(Box.PERIODIC, (Axis("x"), Axis("y")), (Quantity("u"),))
    data = FieldSet("signs", values, frame, Card("s", "", "", ""))
    config = fields.Config(out=tmp_path / "run", uno=SMALL, train=training(250))
    made = fields.train_fields(config, data)
    denoiser, model = load_model(made)
    assert isinstance(model, FieldModel) and isinstance(denoiser, sf.Wiener)
    normal = fields.normalised(data, model).values[:200]
    t = torch.full((200,), 1.0 / 80, dtype=torch.float64)
    with torch.no_grad():
        loss = sf.denoising_loss(denoiser, normal, t, generator=sf.generator(1)).mean()
    assert float(loss) < 0.7
    drawn = draw_fields(denoiser, model, (32, 32), 0, range(64)).values
    means = drawn.mean((1, 2, 3))
    assert float((means.abs() - 1).abs().mean()) < 0.25  # either value, and nothing between
    assert 0.25 < float((means > 0).double().mean()) < 0.75


def built(domain: Domain = Box.PERIODIC, **changes: object) -> tuple[sf.Denoiser, FieldModel]:
    data = gaussian_set(200, domain=domain)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), **changes)  # type: ignore[arg-type]
    denoiser = model.build(0)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.03 * torch.randn(p.shape, generator=g))
    return denoiser.eval(), model


@pytest.mark.parametrize("domain", Domain)
@pytest.mark.parametrize("solver", FieldSolver)
def test_a_seed_is_a_field_at_every_resolution(domain: Domain, solver: FieldSolver) -> None:
    """On 24, 36 and 72 points: the same long waves, but for what folds onto them."""
    denoiser, model = built(domain)
    walk = field_walk(solver, denoiser.process, 12, 5)
    drawn = [draw_fields(denoiser, model, (n, n), 7, range(2), walk).values for n in (24, 36, 72)]
    scale = model.scales[0].deviation
    for x, limit in zip(drawn, (0.1, 0.06), strict=False):
        seen = resample(drawn[2], (7, 7), domain) - resample(x, (7, 7), domain)
        assert float(seen.square().mean().sqrt()) < limit * scale
    other = draw_fields(denoiser, model, (24, 24), 8, range(2), walk).values
    assert float((other - drawn[0]).square().mean().sqrt()) > 0.5 * scale


def test_a_field_does_not_depend_on_its_company() -> None:
    denoiser, model = built()
    alone = draw_fields(denoiser, model, (16, 16), 3, [5]).values
    together = draw_fields(denoiser, model, (16, 16), 3, range(4, 7)).values
    torch.testing.assert_close(alone[0], together[1], atol=1e-4, rtol=1e-4)


def test_what_is_told_comes_from_any_grid() -> None:
    denoiser, model = built(given=["depth"])
    coarse = torch.full((2, 1, 4, 4), 0.3)
    a = draw_fields(denoiser, model, (16, 16), 0, range(2), given=coarse).values
    b = draw_fields(denoiser, model, (16, 16), 0, range(2), given=coarse[..., :1, :1].expand(
        2, 1, 16, 16)).values  # fmt: skip
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    c = draw_fields(denoiser, model, (16, 16), 0, range(2), given=coarse + 1).values
    assert float((a - c).abs().max()) > 1e-2
    with pytest.raises(ValueError, match=r"is told 1 quantities \(depth \[m\]\), got 0"):
        draw_fields(denoiser, model, (16, 16), 0, range(2))


def test_a_blurring_model_is_told_functions() -> None:
    """What the operator sees of a constant parameter is a constant, on every grid."""
    denoiser, model = built(
        Box.REFLECTING, given=["depth"], prediction=Prediction.V, blur=0.25
    )  # fmt: skip
    assert isinstance(denoiser, sf.Preconditioned)
    seen: list[torch.Tensor] = []
    denoiser.network.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    scale = model.given_scales[0]
    for n in (16, 24):
        draw_fields(denoiser, model, (n, n), 0, [0], given=torch.full((1, 1, 4, 4), 0.9))
        want = torch.full((n, n), (0.9 - scale.mean) / scale.deviation)
        torch.testing.assert_close(seen[-1][0, 1], want, atol=1e-4, rtol=1e-4)


def test_what_is_told_is_told_of_each_field() -> None:
    """Over more fields than are drawn at once, each sees its own; and there are as many."""
    denoiser, model = built(given=["depth"])
    told = torch.linspace(-1, 2, 3).reshape(3, 1, 1, 1).expand(3, 1, 16, 16)
    walk = field_walk(FieldSolver.DDIM, denoiser.process, 2)
    whole = draw_fields(denoiser, model, (256, 256), 0, range(3), walk, given=told).values
    last = draw_fields(denoiser, model, (256, 256), 0, [2], walk, given=told[2:]).values
    torch.testing.assert_close(whole[2], last[0], atol=1e-3, rtol=1e-3)
    with pytest.raises(UsageError, match="each of 3 fields, got 1"):
        draw_fields(denoiser, model, (16, 16), 0, range(3), given=told[:1])


def test_a_sheet_of_few_fields() -> None:
    data = gaussian_set(12)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["depth"])
    assert fields.field_sheet(model, data)(model.build().eval()).size[0] > 0


def test_observations_are_met_in_units(tmp_path: Path) -> None:
    denoiser, model = built(Box.REFLECTING)
    assert isinstance(denoiser, sf.Wiener)
    path = tmp_path / "wells.csv"
    path.write_text("station,x,y,T\na,0.5,1.0,9.0\nb,1.9,0.2,2.0\nc,1.0,1.0,\n")
    seen = read_observations(path, model.frame)
    assert seen.points.tolist() == [[0.5, 0.25], [0.1, 0.95]] and seen.quantity == "T"
    guided = observed(denoiser, model, seen, 0.05)
    drawn = draw_fields(guided, model, (24, 24), 0, range(3)).values
    at = evaluate(drawn[:, 0].double(), torch.from_numpy(seen.points), Box.REFLECTING)
    assert float((at - torch.tensor([9.0, 2.0])).abs().max()) < 0.6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,T\n1,2\n", "expected columns y, x and one of T"),
        ("y,x,T\n1,2,hot\n", "line 2: expected numbers"),
        ("y,x,T\n1,1,nan\n", "finite"),
        ("y,x,T\n1,5,2\n", "1 of 1 points lie outside the box, y from 0 to 2"),
        ("y,x,T\n1,1,\n", "no observation of T"),
        ("", "no rows"),
    ],
)
def test_bad_observations_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "o.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_observations(path, gaussian_set(2, domain=Box.REFLECTING).frame)
    with pytest.raises(UsageError, match="cannot read"):
        read_observations(tmp_path / "none.csv", gaussian_set(2).frame)


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
        drawn = draw_fields(denoiser, model, (n, n), 0, range(40)).values
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
    got = fields.moved(x, sf.generators(0, range(3)))
    for a, b in zip(got, x, strict=True):
        shifts = [
            (i, j) for i in range(8) for j in range(6) if torch.equal(b.roll((i, j), (1, 2)), a)
        ]
        assert len(shifts) == 1
    many = fields.moved(torch.arange(8.0).expand(400, 1, 8), sf.generators(0, range(400)))
    counts = torch.bincount(many[:, 0, 0].long(), minlength=8)
    assert int(counts.min()) > 25  # every shift, about as often (50 expected)


def test_known_sets_have_names_and_files_a_split(tmp_path: Path) -> None:
    mixture = load_fields("mixture", "test", (16,))
    assert mixture.grid == (16, 16) and len(NAMED) == 6
    with pytest.raises(UsageError, match="data set or file"):
        load_fields("mixtur")
    from sfumato.data.fields.files import write_fields

    path = tmp_path / "own.npz"
    data = gaussian_set(30)
    write_fields(path, data)
    train, test = (load_fields(str(path), split) for split in ("train", "test"))
    assert len(train) == 27 and len(test) == 3
    np.testing.assert_array_equal(test.values, data.values[9::10])
    one = load_fields(str(path), "train", how=Reading(domain="reflecting"))
    assert one.frame.domain is Box.REFLECTING
    small = tmp_path / "few.npz"
    write_fields(small, data.subset(range(4)))
    with pytest.raises(UsageError, match="holds 4 fields; expected at least 10"):
        load_fields(str(small))


def test_misfits_are_refused(tmp_path: Path) -> None:
    data = gaussian_set(40)
    with pytest.raises(UsageError, match="no speed; it has T, depth"):
        field_model(data, SMALL, sf.Matern(), ["speed"])
    with pytest.raises(UsageError, match="nothing is left to draw"):
        field_model(data, SMALL, sf.Matern(), ["T"])
    with pytest.raises(UsageError, match="white noise has no Wiener"):
        fields.Config(white=True)
    with pytest.raises(UsageError, match="needs --estimate"):
        fields.Config(blur=0.2)
    with pytest.raises(UsageError, match="leave out --white"):
        fields.Config(blur=0.2, white=True, estimate="v")
    with pytest.raises(UsageError, match="not white noise"):
        mirrored = gaussian_set(40, domain=Box.REFLECTING)
        field_model(mirrored, SMALL, None, (), Prediction.V, 0.2)
    with pytest.raises(UsageError, match="only periodic fields"):
        fields.train_fields(
            fields.Config(out=tmp_path / "run", translate=True),
            gaussian_set(20, domain=Box.REFLECTING),
        )
    with pytest.raises(UsageError, match="box with mirrors"):
        field_model(data, SMALL, sf.Matern(), (), Prediction.V, 0.2)
    denoiser, model = built()
    for grid in ((16,), (3, 16), (16, 16, 16)):
        with pytest.raises(UsageError, match="2 numbers of points of at least 4"):
            draw_fields(denoiser, model, grid, 0, [0])
    with pytest.raises(UsageError, match="at least 2 noise levels"):
        field_walk(FieldSolver.LANGEVIN, denoiser.process, 1)
    with pytest.raises(UsageError, match="with 1 axes"):
        line = Frame(Box.PERIODIC, (Axis("x"),), (Quantity("u"),))
        values = np.zeros((12, 1, 16), np.float32)
        fields.fitted(UNOConfig(1, 1, (16, 32)), FieldSet("l", values, line, Card("l", "", "", "")))
    with torch.no_grad():
        next(denoiser.parameters()).fill_(float("nan"))
    with pytest.raises(SfumatoError, match="not finite"):
        draw_fields(denoiser, model, (16, 16), 0, [0])

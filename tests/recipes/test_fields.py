"""Models of functions: measured spectra, what is remembered, training, and sampling on any grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sfumato as sf
from kernels import closed_form
from sfumato.data import Card
from sfumato.data.fields.base import Axis, Domain, FieldSet, Frame, Quantity
from sfumato.data.fields.observations import Seen, read_observations
from sfumato.denoise import Beside, Cond, Prediction
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
from sfumato.schedule import Time
from sfumato.train import Loss, Part, TrainConfig

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


LAW_OF = {"T": sf.SquaredExponential(0.15), "q": sf.Matern(0.1, 1.5)}


def weather(n: int = 200, side: int = 16) -> FieldSet:
    """Quantities and parameters with means and deviations of their own, on a box of 1 by 2 km."""
    frame = Frame(
        Box.PERIODIC,
        (Axis("y", 0, 1, "km"), Axis("x", 0, 2, "km")),
        (Quantity("h", "m"), Quantity("T", "K"), Quantity("q", "1")),
    )
    values = np.empty((n, 3, side // 2, side), np.float32)
    kernels = [sf.Matern(0.2, 1.5), *LAW_OF.values()]
    for c, (kernel, scale, mean) in enumerate(zip(kernels, (50, 3, 0.02), (300, 5, -0.1))):
        law = sf.GaussianField(kernel, 2, extent=(0.5, 1.0))
        x = law.sample(torch.zeros(n, 1, side // 2, side), sf.generators(c, range(n)))
        values[:, c] = mean + scale * x[:, 0].numpy()
    p = np.stack([np.linspace(0, 1, n), np.linspace(1990, 2020, n)], 1).astype(np.float32)
    names = (Quantity("depth", "m"), Quantity("year"))
    return FieldSet("weather", values, frame, Card("w", "", "", ""), p, names)


def columns(data: FieldSet, *names: str) -> torch.Tensor:
    """Quantities and constant fields of parameters by their names, in float64."""
    have = {q.name: data.values[:, c] for c, q in enumerate(data.frame.quantities)}
    assert data.parameters is not None
    for p, q in enumerate(data.parameter_names):
        have[q.name] = np.broadcast_to(data.parameters[:, p, None, None], data.values[:, 0].shape)
    return torch.from_numpy(np.stack([have[name] for name in names], 1).astype(np.float64))


def standard(x: torch.Tensor) -> torch.Tensor:
    """Each column of fields (N, C, ...) to mean 0 and deviation 1."""
    flat = x.transpose(0, 1).flatten(1)
    over = (-1, *[1] * (x.ndim - 2))
    return (x - flat.mean(1).reshape(over)) / flat.std(1).reshape(over)


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
    assert (found.own_power([side] * dims).flatten()[0] > 0) == (
        law.own_power([side] * dims).flatten()[0] > 0
    )
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


@pytest.mark.parametrize("share", [0.0, 1e-6, 1e-2, 1.0])
def test_a_mean_that_varies_little_is_measured_in_smooth_fields(share: float) -> None:
    """From none at all to as much as the longest wave has; waves fall to 1e-12 of it."""
    count, side = 2000, 32
    g = sf.generator(0)
    x = sf.GaussianField(sf.SquaredExponential(0.15), 1).sample(torch.zeros(count, 1, side), g)[
        :, 0
    ]
    x = x - x.mean(1, keepdim=True)
    wave = float(torch.fft.fft(x.double(), norm="forward")[:, 1].abs().square().mean())
    x = x + (share * wave) ** 0.5 * torch.randn(count, 1, generator=g)
    found = measured_law(x, Frame(Box.PERIODIC, (Axis("x"),), (Quantity("u"),)))
    power = found.own_power((side,))
    assert float(power[0] / power[1]) == pytest.approx(share, rel=5 * (2 / count) ** 0.5, abs=0)


def test_a_mean_that_varies_less_than_the_shortest_wave_is_measured() -> None:
    """More than what folds onto it, 4e-4 of the longest wave's power, and less than 5e-3."""
    waves = [0.5, *torch.logspace(0, 3, 100).tolist()]
    kernel, share = sf.Matern(0.1, 1.5), 2e-3
    table = kernel.density(torch.tensor(waves, dtype=torch.float64), 1).tolist()
    law = sf.GaussianField(sf.Measured(tuple(waves), tuple(table), share * table[1]), 1)
    x = law.sample(torch.zeros(8000, 1, 16), sf.generator(0))[:, 0]
    found = measured_law(x, Frame(Box.PERIODIC, (Axis("x"),), (Quantity("u"),)))
    power = found.own_power((16,))
    assert float(power[0] / power[1]) == pytest.approx(share, rel=0.15)
    assert float(power[7] / power[1]) > 2 * share


def test_a_model_remembers_units_scales_and_laws() -> None:
    data = gaussian_set(200)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["depth"])
    assert model.network.in_channels == 4 and model.network.out_channels == 1
    assert model.scales[0].mean == pytest.approx(5, abs=0.5)
    assert model.scales[0].deviation == pytest.approx(3, rel=0.1)
    assert model.frame.axes[0].units == "km" and model.given == (Quantity("depth", "m"),)
    again = read_model(model.to_json())
    assert again == model and isinstance(again, FieldModel)
    x = torch.from_numpy(data.values)
    z = model.normalised(x)
    assert float(z.mean()) == pytest.approx(0, abs=1e-4)
    torch.testing.assert_close(model.in_units(z), x, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("drawn", "given"),
    [(("T", "q"), ("year", "h")), (("h", "T"), ("q", "depth")), (("q",), ("T", "year", "h"))],
)
def test_each_quantity_has_its_own_scale(drawn: tuple[str, ...], given: tuple[str, ...]) -> None:
    """Whatever comes first in the set: drawn in the set's order, told in the order asked for."""
    data = weather(100)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), given)
    assert tuple(q.name for q in model.frame.quantities) == drawn
    assert tuple(q.name for q in model.given) == given
    x, told = columns(data, *drawn), columns(data, *given)
    want, beside = standard(x), standard(told)
    close = {"atol": 1e-3, "rtol": 1e-4}  # scales are kept with 6 digits
    torch.testing.assert_close(model.normalised(x), want, **close)
    torch.testing.assert_close(model.normalised(model.in_units(want)), want, atol=1e-9, rtol=0)
    for c in range(len(drawn)):
        part = model.in_units(want)[:, c]
        assert float((part - x[:, c]).abs().max() / x[:, c].std()) < 1e-3
    seen = model.told(told)
    assert seen is not None
    torch.testing.assert_close(seen.image, beside, **close)
    trained = fields.normalised(data, model).values.double()
    torch.testing.assert_close(trained, torch.cat([want, beside], 1), **close)


def test_each_quantity_has_its_own_law() -> None:
    """That of normalised fields: powers of the mean and of long waves, within 4 of their errors."""
    data = weather(400)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["h"])
    at = ([0, 0, 1, 1, 0], [0, 1, 0, 2, 3])
    found = []
    for quantity, law in zip(model.frame.quantities, model.spectra, strict=True):
        want = sf.GaussianField(LAW_OF[quantity.name], 2, extent=(0.5, 1.0)).power((8, 16))
        found.append(law.power((8, 16)))
        torch.testing.assert_close(found[-1][at], want[at], rtol=0.3, atol=0)
    assert float((found[0] / found[1])[0, 5]) < 0.1


def test_the_noise_of_a_model_has_the_lengths_of_its_box() -> None:
    """Along 1 km and along 2 km: at one distance the same correlation, the kernel's own."""
    kernel = sf.Matern(0.03, 1.5)  # of the longest axis
    noise = field_model(weather(20), SMALL, kernel, ["h"]).process.noise
    assert isinstance(noise, sf.GaussianField)
    row = torch.fft.fftn(noise.power((32, 64))).real
    want = closed_form(kernel, torch.arange(5, dtype=torch.float64) / 64, 2)
    for along in (row[:5, 0], row[0, :5]):
        torch.testing.assert_close(along, want, atol=1e-4, rtol=0)


def test_parameters_become_constant_fields() -> None:
    data = gaussian_set(5)
    told = told_values(data, ["depth", "T"])
    assert told.shape == (5, 2, 16, 16)
    assert torch.equal(told[:, 0, 3, 4], torch.linspace(0, 1, 5))
    assert torch.equal(told[:, 1], torch.from_numpy(data.values[:, 0]))


def test_training_beats_the_filter_alone(tmp_path: Path) -> None:
    """Two-valued fields, far from Gaussian: a third of the Wiener filter's error goes."""
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], (400, 1, 1, 1))
    bump = np.cos(2 * np.pi * np.arange(16) / 16)[None, None, :, None]
    values = (sign * (1 + 0.5 * bump) * np.ones((1, 1, 1, 16))).astype(np.float32)
    values += 0.1 * gaussian_set(400, scale=1.0, mean=0.0).values
    frame = Frame(Box.PERIODIC, (Axis("x"), Axis("y")), (Quantity("u"),))
    data = FieldSet("signs", values, frame, Card("s", "", "", ""))
    config = fields.Config(
        out=tmp_path / "run", uno=SMALL, norm=fields.Norm.L2, train=training(250)
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


def test_a_sheet_shows_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows of the data's own values, of the quantities that the model draws, by their names."""
    data, shown = weather(20), []

    def keep(values: np.ndarray, *_: object) -> Image.Image:
        shown.append(values)
        return Image.new("L", (1, 1))

    monkeypatch.setattr(fields, "sheet_of", keep)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["h"])
    fields.field_sheet(model, data)(model.build().eval())
    assert shown[0].shape == (32, 2, 8, 16)
    np.testing.assert_array_equal(shown[0][:16], data.values[:16, 1:])
    drawn = torch.from_numpy(shown[0][16:]).double()
    got, want = drawn.mean((0, 2, 3)), columns(data, "T", "q").mean((0, 2, 3))
    scale = columns(data, "T", "q").transpose(0, 1).flatten(1).std(1)
    assert float(((got - want) / scale).abs().max()) < 1


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


@pytest.mark.parametrize(("c", "name", "noise"), [(0, "T", 1.5), (1, "q", 0.01)])
@pytest.mark.parametrize("exact", [False, True])
def test_an_observation_weighs_as_much_as_its_error_lets_it(
    c: int, name: str, noise: float, exact: bool
) -> None:
    """s²r/(s²r + τ²) of what is amiss, r the filter's error there; without τ, s/1000 is taken."""
    data = weather(100)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["h"])
    denoiser, given = model.build(0), columns(data, "h")[:1]
    scale = float(columns(data, name).std())
    value = float(columns(data, name).mean()) + scale
    seen = Seen(np.array([[2 / 8, 13 / 16]]), np.array([value]), name)
    noise, t = (0.0, 1e-3 / 80) if exact else (noise, 0.5 / 80)
    guided = observed(denoiser, model, seen, noise)
    x = torch.randn(1, 2, 8, 16, dtype=torch.float64, generator=sf.generator(0))
    told, point = model.told(given), torch.from_numpy(seen.points)
    with torch.no_grad():
        before, after = (
            evaluate(model.in_units(net(x, t, told)), point, Box.PERIODIC)[0]
            for net in (denoiser, guided)
        )
    assert isinstance(denoiser.process.noise, sf.GaussianField)
    k, noisy = model.spectra[c].power((8, 16)), denoiser.process.noise.power((8, 16))
    noisy = noisy * (80 * t) ** 2
    error = scale**2 * float((k * noisy / (k + noisy)).sum())  # at every grid point
    tau = scale / 1000 if exact else noise
    weight = error / (error + tau**2)
    assert 0.1 < weight < 0.9
    assert float(after[c] - before[c]) == pytest.approx(
        weight * (value - float(before[c])), rel=1e-4
    )
    assert float(after[1 - c]) == float(before[1 - c])


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


class Witness(sf.Denoiser):
    """Keeps what it is asked about, and answers with given errors."""

    evaluations = 1

    def __init__(self, process: sf.Process, error: torch.Tensor) -> None:
        super().__init__()
        self.process, self.error = process, error
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x_t: torch.Tensor, *_: object) -> torch.Tensor:
        return x_t

    def residual(
        self, x_t: torch.Tensor, t: Time, x0: torch.Tensor, eps: torch.Tensor, cond: Cond = None
    ) -> torch.Tensor:
        self.x0, self.cond = x0, cond
        return self.weight * self.error


def witnessed(
    loss: Loss, model: FieldModel, values: torch.Tensor, error: torch.Tensor
) -> tuple[torch.Tensor, Witness]:
    """A loss of examples (B, C + G, ...), each with its own generator, under given errors."""
    witness = Witness(model.process.build(), error)
    t = torch.linspace(0.001, 0.1, len(values), dtype=torch.float64)
    return loss(witness, Part(values, t, None, sf.generators(0, range(len(values))))), witness


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
        assert isinstance(saw.cond, Beside)
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
    got = fields.field_loss(model)(denoiser, Part(e, t, None, sf.generators(0, range(2))))
    torch.testing.assert_close(got, own)


@pytest.mark.parametrize("norm", [fields.Norm.L2, fields.Norm.CAMERON_MARTIN])
def test_other_norms_are_of_the_estimate_itself(norm: fields.Norm) -> None:
    """(x̂_0 - x_0)/√Σr of what the denoiser says, plain or whitened by the noise."""
    model = field_model(weather(100), SMALL, sf.Matern(0.1, 0.75), ["h"])
    denoiser = model.build(0)
    assert isinstance(denoiser, sf.Wiener)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.03 * torch.randn(p.shape, generator=sf.generator(1)))
    x0, beside = torch.randn(3, 3, *model.grid, generator=sf.generator(0)).split([2, 1], 1)
    t = torch.tensor([1e-3, 1e-2, 0.1], dtype=torch.float64)
    part = Part(torch.cat([x0, beside], 1), t, None, sf.generators(0, range(3)))
    x_t, _ = denoiser.process.perturb(x0, t, sf.generators(0, range(3)))
    r = denoiser.spectra(t, model.grid).unexplained.sum((2, 3), keepdim=True)
    error = ((denoiser(x_t, t, Beside(beside)) - x0) / r.sqrt()).float()
    if norm is fields.Norm.CAMERON_MARTIN:
        error = denoiser.noise.whiten(error)
    got = fields.field_loss(model, norm)(denoiser, part)
    torch.testing.assert_close(got, error.square().mean((1, 2, 3)), rtol=1e-4, atol=0)


def test_the_times_that_are_trained_have_the_law_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ln σ of 8,000 examples: mean and deviation, within 5 of their errors, and no skewness."""
    seen: list[torch.Tensor] = []

    def cheap(*_: object) -> Loss:
        def loss(denoiser: sf.Denoiser, part: Part) -> torch.Tensor:
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

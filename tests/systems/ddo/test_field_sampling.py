"""Functions drawn on any grid, told something, observed at points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sfumato as sf
from sfumato.denoise import Prediction
from sfumato.errors import UsageError
from sfumato.systems.ddo import recipe as fields
from sfumato.systems.ddo.data.base import Axis, Domain, Frame, Quantity
from sfumato.systems.ddo.data.observations import Observations, read_observations
from sfumato.systems.ddo.model import field_model
from sfumato.systems.ddo.nn.harmonic import Domain as Box
from sfumato.systems.ddo.nn.harmonic import evaluate, resample
from sfumato.systems.ddo.sampling import (
    FieldSolver,
    draw_fields,
    field_walk,
    grid_of_longest,
    observed,
)
from small_fields import SMALL, built, columns, gaussian_set, weather


@pytest.mark.parametrize("domain", Domain)
@pytest.mark.parametrize("solver", FieldSolver)
def test_a_seed_is_a_field_at_every_resolution(domain: Domain, solver: FieldSolver) -> None:
    """On 24, 36 and 72 points: the same long waves, but for what folds onto them."""
    denoiser, model = built(domain)
    walk = field_walk(solver, denoiser.process, 12, 5)
    drawn = [draw_fields(denoiser, model, (n, n), 7, range(2), walk).x for n in (24, 36, 72)]
    scale = model.scales[0].deviation
    for x, limit in zip(drawn, (0.1, 0.06), strict=False):
        seen = resample(drawn[2], (7, 7), domain) - resample(x, (7, 7), domain)
        assert float(seen.square().mean().sqrt()) < limit * scale
    other = draw_fields(denoiser, model, (24, 24), 8, range(2), walk).x
    assert float((other - drawn[0]).square().mean().sqrt()) > 0.5 * scale


def test_a_field_does_not_depend_on_its_company() -> None:
    denoiser, model = built()
    alone = draw_fields(denoiser, model, (16, 16), 3, [5]).x
    together = draw_fields(denoiser, model, (16, 16), 3, range(4, 7)).x
    torch.testing.assert_close(alone[0], together[1], atol=1e-4, rtol=1e-4)


def test_what_is_told_comes_from_any_grid() -> None:
    denoiser, model = built(given=["depth"])
    coarse = torch.full((2, 1, 4, 4), 0.3)
    a = draw_fields(denoiser, model, (16, 16), 0, range(2), given=coarse).x
    b = draw_fields(denoiser, model, (16, 16), 0, range(2), given=coarse[..., :1, :1].expand(
        2, 1, 16, 16)).x  # fmt: skip
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    c = draw_fields(denoiser, model, (16, 16), 0, range(2), given=coarse + 1).x
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
    whole = draw_fields(denoiser, model, (256, 256), 0, range(3), walk, given=told).x
    last = draw_fields(denoiser, model, (256, 256), 0, [2], walk, given=told[2:]).x
    torch.testing.assert_close(whole[2], last[0], atol=1e-3, rtol=1e-3)
    with pytest.raises(UsageError, match="each of 3 fields, got 1"):
        draw_fields(denoiser, model, (16, 16), 0, range(3), given=told[:1])


def test_a_sheet_shows_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows of the data's own values, of the quantities that the model draws, by their names."""
    data, shown = weather(20), []

    def keep(values: np.ndarray, *_: object) -> Image.Image:
        shown.append(values)
        return Image.new("L", (1, 1))

    monkeypatch.setattr(fields, "frame_sheet", keep)
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
    (seen,) = read_observations(path, model.frame)
    assert seen.points.tolist() == [[0.5, 0.25], [0.1, 0.95]] and seen.quantity == "T"
    guided = observed(denoiser, model, seen, 0.05)
    drawn = draw_fields(guided, model, (24, 24), 0, range(3)).x
    at = evaluate(drawn[:, 0].double(), torch.from_numpy(seen.points), Box.REFLECTING)
    assert float((at - torch.tensor([9.0, 2.0])).abs().max()) < 0.6


def test_observations_of_several_quantities_in_any_spelling(tmp_path: Path) -> None:
    data = weather(100)
    frame = replace(data.frame, quantities=data.frame.quantities[1:])
    path = tmp_path / "o.csv"
    for text in (
        "X,Y, t [K] ,Q\n0.5,0.25,6,0.01\n1.5,0.75,,0.03\n",
        "x;y;T;q\n0,5;0,25;6;0,01\n1,5;0,75;;0,03\n",
    ):
        path.write_text(text, encoding="utf-16")
        warm, moist = read_observations(path, frame)
        assert (warm.quantity, warm.values.tolist(), warm.lines) == ("T", [6], (2,))
        assert (moist.quantity, moist.values.tolist(), moist.lines) == ("q", [0.01, 0.03], (2, 3))
        assert moist.points.tolist() == [[0.25, 0.25], [0.75, 0.75]]
    path.write_text("x,y,T,t\n0,0,1,2\n")
    assert read_observations(path, frame)[0].values.tolist() == [1]
    path.write_text("x,y,t [K],T (K)\n0,0,1,2\n")
    with pytest.raises(UsageError, match=r"2 columns are called T \(t \[K\], T \(K\)\)"):
        read_observations(path, frame)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["h"])
    denoiser = model.build(0)
    assert isinstance(denoiser, sf.Wiener)
    guided = observed(denoiser, model, (warm, moist))
    given = columns(data, "h")[:2].float()
    drawn = draw_fields(guided, model, (16, 32), 0, range(2), given=given).x.double()
    for c, one in enumerate((warm, moist)):
        at = evaluate(drawn[:, c], torch.from_numpy(one.points), Box.PERIODIC)
        off = (at - torch.from_numpy(one.values)) / model.scales[c].deviation
        assert float(off.abs().max()) < 0.05


def test_longitudes_of_observations_go_round_the_globe(tmp_path: Path) -> None:
    axes = (Axis("lat", 40, 60, "degrees_north"), Axis("lon", 350, 370, "degrees_east"))
    frame = Frame(Box.REFLECTING, axes, (Quantity("T", "K"),))
    (tmp_path / "o.csv").write_text("Lat,LON,T\n50,5,1\n50,-5,2\n50,355,3\n")
    (seen,) = read_observations(tmp_path / "o.csv", frame)
    assert seen.points[:, 1].tolist() == [0.75, 0.25, 0.25]
    (tmp_path / "o.csv").write_text("lat,lon,T\n50,15,1\n")
    with pytest.raises(UsageError, match="1 of 1 points lie outside the box"):
        read_observations(tmp_path / "o.csv", frame)


def test_two_values_at_one_place_are_refused_unless_errors_explain_them(tmp_path: Path) -> None:
    denoiser, model = built(Box.REFLECTING)
    assert isinstance(denoiser, sf.Wiener)
    path = tmp_path / "o.csv"
    path.write_text("x,y,T\n1,1,9\n0.5,1,4\n1.0,1.00,12\n0.5,1,4\n")
    seen = read_observations(path, model.frame)
    with pytest.raises(UsageError, match=r"o.csv: T is both 9 and 12 at one place \(lines 2 and 4"):
        observed(denoiser, model, seen, 0.1)
    with pytest.raises(UsageError, match=r"error \(noise\) of about 2.12"):
        observed(denoiser, model, seen)
    guided = observed(denoiser, model, seen, 2.12)
    assert bool(draw_fields(guided, model, (8, 8), 0, [0]).x.isfinite().all())


def test_one_number_keeps_the_aspect_of_the_grid() -> None:
    assert grid_of_longest(128, (16, 32)) == (64, 128)
    assert grid_of_longest(20, (16, 16)) == (20, 20)
    assert grid_of_longest(50, (9, 13)) == (35, 50)


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
    seen = Observations(np.array([[2 / 8, 13 / 16]]), np.array([value]), name)
    noise, t = (0.0, 1e-3 / 80) if exact else (noise, 0.5 / 80)
    guided = observed(denoiser, model, seen, noise)
    x = torch.randn(1, 2, 8, 16, dtype=torch.float64, generator=sf.generator(0))
    told, point = model.condition(given), torch.from_numpy(seen.points)
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

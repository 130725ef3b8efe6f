"""A model's own walk, measured and mended: closed forms for estimates that are wrong by a line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from rainfall import fill
from sfumato.cli import main
from sfumato.data import Card
from sfumato.data.fields.base import Axis, Domain, FieldSet, Frame, Quantity
from sfumato.errors import UsageError
from sfumato.metrics.fields import shell_powers
from sfumato.nn import UNOConfig
from sfumato.recipes.field_data import load_fields
from sfumato.recipes.field_drift import measured_drift, with_drift
from sfumato.recipes.field_model import FieldModel, field_model
from sfumato.recipes.field_sampling import draw_fields
from sfumato.recipes.load import load_model, read_model
from sfumato.wiener import Wiener
from small_fields import built, gaussian_set

SIDE = 16


class Shy(nn.Module):
    """Takes off a share of what is known, whatever the level: F = -share P W^{-1/2} x_t."""

    def __init__(self, share: float, channels: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share))
        self.channels = channels

    def forward(self, x: Tensor, level: Tensor, cond: object = None) -> Tensor:
        return -self.share * x[:, self.channels : 2 * self.channels]


def shy(domain: Domain, share: float, channels: int = 1) -> tuple[Wiener, FieldModel, Tensor]:
    """A model whose estimate is linear and too small, of fields with a known law."""
    names = tuple(Quantity(f"q{c}") for c in range(channels))
    frame = Frame(domain, (Axis("y", 0, 1), Axis("x", 0, 1)), names)
    laws = [sf.GaussianField(sf.Matern(0.2 + 0.1 * c, 1.5), 2, domain) for c in range(channels)]
    x = torch.cat(
        [law.sample(torch.zeros(400, 1, SIDE, SIDE), sf.generators(c, range(400)))
         for c, law in enumerate(laws)], 1,
    )  # fmt: skip
    data = FieldSet("linear", x.numpy(), frame, Card("l", "", "", ""))
    small = UNOConfig(1, 1, (SIDE, SIDE), channels=4, multipliers=(1,), modes=2)
    model = field_model(data, small, sf.Matern(0.05, 0.75))
    w = Wiener(Shy(share, channels), model.process.build(), model.spectra, model.grid)
    return w.eval(), model, x


def power_of(
    denoiser: sf.Denoiser, model: FieldModel, real: Tensor, n: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Of each shell, over that of the data: (C, shells), and its standard error."""
    x = model.normalised(draw_fields(denoiser, model, model.grid, seed, range(n)).values)
    got = shell_powers(x, model.frame.domain)
    want = shell_powers(model.normalised(real), model.frame.domain).mean(0)
    return got.mean(0) / want, got.std(0) / n**0.5 / want


@pytest.mark.parametrize("domain", Domain)
def test_a_walk_gets_its_power_back(domain: Domain) -> None:
    """An estimate that is a fifth too shy loses a third of the power; measured, it is right.

    Other seeds than those that were measured with; two channels with laws of their own.
    """
    denoiser, model, real = shy(domain, 0.2, channels=2)
    waves = slice(1, 7)
    before, _ = power_of(denoiser, model, real, 200, 3)
    assert float(before[:, waves].max()) < 0.75
    drift = measured_drift(denoiser, model, real, 600, 0)
    assert drift.channels == 2 and len(drift.levels) == 20
    mended = Wiener(denoiser.network, denoiser.process, model.spectra, model.grid, drift)
    after, error = power_of(mended, model, real, 600, 4)
    off = (after - 1)[:, waves].abs()
    assert bool((off < 0.03 + 4 * error[:, waves]).all()), after


def test_the_factors_are_those_of_the_closed_form() -> None:
    """Where the estimate is G x - b x in a mode, its factor is b, up to the 20 steps' own error."""
    denoiser, model, real = shy(Domain.PERIODIC, 0.2)
    drift = measured_drift(denoiser, model, real, 4000, 0)
    for level, factors in zip(drift.levels, drift.factors, strict=True):
        if not -3 < level < 1:
            continue
        t = sf.times.schedule_of(denoiser.process).time(torch.tensor(-2 * level).double())
        here, scales = denoiser.spectra(t, model.grid), denoiser.scales(t)
        root = scales.out * (here.unexplained / scales.most).sqrt()
        bias = 0.2 * root * scales.known * here.share * here.whitening  # (1, 1, *grid)
        for k in (1, 2, 4):  # along an axis; a shell is nearly of one factor
            want = float(bias[0, 0, 0, k])
            assert factors[0][k] == pytest.approx(want, rel=0.2, abs=0.015), (level, k)


def test_an_exact_estimate_is_left_alone() -> None:
    """Nothing but chance, which is taken for chance: less than 2 standard errors nearly always."""
    denoiser, model, real = shy(Domain.PERIODIC, 0.0)
    drift = measured_drift(denoiser, model, real, 300, 0)
    factors = torch.tensor(drift.factors)
    assert float((factors == 0).double().mean()) > 0.85
    assert float(factors.abs().max()) < 0.05


def test_only_waves_of_the_network_are_mended() -> None:
    denoiser, model = built()
    real = torch.from_numpy(gaussian_set(200).values)
    assert isinstance(denoiser, Wiener)
    drift = measured_drift(denoiser, model, real, 16, 0)
    assert {len(c) for level in drift.factors for c in level} == {8}  # complete shells of 16 points
    steps = []
    again = measured_drift(denoiser, model, real, 16, 0, advance=steps.append)
    assert again == drift and sum(steps) == 16 * 20
    assert measured_drift(denoiser, model, real, 16, 1) != drift


def test_models_that_cannot_be_measured() -> None:
    denoiser, model = built()
    real = torch.from_numpy(gaussian_set(200).values)
    assert isinstance(denoiser, Wiener)
    with pytest.raises(UsageError, match="at least 16 fields"):
        measured_drift(denoiser, model, real, 15, 0)
    denoiser.drift = measured_drift(denoiser, model, real, 16, 0)
    with pytest.raises(UsageError, match="without a drift"):
        measured_drift(denoiser, model, real, 16, 0)
    with pytest.raises(UsageError, match="drift of 1 channels"):
        replace(model, drift=measured_drift(*shy(Domain.PERIODIC, 0.1, 2), 16, 0))


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFUMATO_ZOO", str(fill(tmp_path / "zoo")))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "zoo"


def test_the_command_keeps_weights_and_card(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fields", "calibrate", "tiny-rain", "--n", "64", "--data", str(zoo / "rain.npz")]
    assert main([*words, "--out", "steady"]) == 0
    said = capsys.readouterr().out
    assert "measured on 64 fields of 16x16 points" in said and "wrote steady" in said
    old, new = zoo / "tiny-rain", Path("steady")
    for name in ("model.safetensors", "card.json"):
        assert (old / name).read_bytes() == (new / name).read_bytes()
    (a, before), (b, after) = load_model(old), load_model(new)
    assert isinstance(a, Wiener) and isinstance(b, Wiener)
    assert isinstance(before, FieldModel) and isinstance(after, FieldModel)
    real = torch.from_numpy(load_fields(str(zoo / "rain.npz"), "train").values)
    assert a.drift is None and b.drift == after.drift == measured_drift(a, before, real, 64, 0)
    assert replace(after, drift=None) == before
    assert read_model(json.loads(json.dumps(after.to_json()))) == after
    x = draw_fields(a, before, (16, 16), 0, range(2)).values
    assert not torch.equal(x, draw_fields(b, after, (16, 16), 0, range(2)).values)
    assert main([*words, "--out", "steady"]) == 2
    assert "--force writes over a model folder" in capsys.readouterr().err
    words[2] = "steady"
    assert (
        main([*words, "--out", "steady", "--force", "--quiet"]) == 0
        and capsys.readouterr().out == ""
    )
    assert load_model(new)[1] == after  # measured afresh, not upon itself
    files = with_drift(new, None)
    assert json.loads(files["model.json"])["model"] == before.to_json()


def test_what_a_model_is_told_is_told_while_it_is_measured(
    zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fields", "calibrate", "tiny-told", "--n", "16", "--out", "steady", "--quiet"]
    source = str(zoo / "rain.npz")
    assert main([*words, "--data", source]) == 0
    denoiser, model = load_model(zoo / "tiny-told")
    assert isinstance(denoiser, Wiener) and isinstance(model, FieldModel)
    data = load_fields(source, "train")
    real = torch.from_numpy(data.values)
    assert data.parameters is not None
    heights = torch.from_numpy(data.parameters[:16]).reshape(16, 1, 1, 1).expand(16, 1, 16, 16)
    _, found = load_model(Path("steady"))
    assert isinstance(found, FieldModel)
    assert found.drift == measured_drift(denoiser, model, real, 16, 0, heights)
    assert main([*words[:-1], "--force", "--quiet"]) == 2
    assert "learned from 'rain', a file that is not here" in capsys.readouterr().err
    assert main(["fields", "calibrate", "tiny-rain", "--n", "3"]) == 2
    assert "n must be at least 16" in capsys.readouterr().err

"""A model's own walk, measured and mended: closed forms for estimates that are wrong by a line."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from rainfall import fill
from sfumato.cli import main
from sfumato.data import DataCard
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.cards import ModelCard
from sfumato.files.store import write_folder
from sfumato.model.load import load_model, read_model
from sfumato.systems.ddo import calibration as field_drift
from sfumato.systems.ddo.calibration import measured_drift, with_drift
from sfumato.systems.ddo.data.base import Axis, Domain, FieldSet, Frame, Quantity
from sfumato.systems.ddo.datasets import load_fields
from sfumato.systems.ddo.drift import PowerCorrection
from sfumato.systems.ddo.metrics.spectra import complete_shells, shell_powers
from sfumato.systems.ddo.model import FieldModel, field_model
from sfumato.systems.ddo.nn.harmonic import resample
from sfumato.systems.ddo.nn.operator import FNOConfig, UNOConfig
from sfumato.systems.ddo.sampling import draw_fields
from sfumato.systems.ddo.wiener import Wiener
from sfumato.train import checkpoint as ck
from small_fields import SMALL, built, gaussian_set

SIDE = 16


class Shy(nn.Module):
    """Takes off a share of what is known, whatever the level: F = -share P W^{-1/2} x_t."""

    def __init__(self, share: float, channels: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share))
        self.channels = channels

    def forward(self, x: Tensor, level: Tensor, cond: object = None) -> Tensor:
        return -self.share * x[:, self.channels : 2 * self.channels]


def shy(
    domain: Domain,
    share: float,
    channels: int = 1,
    grid: tuple[int, ...] = (SIDE, SIDE),
    sides: tuple[float, ...] = (1.0, 1.0),
) -> tuple[Wiener, FieldModel, Tensor]:
    """A model whose estimate is linear and too small, of fields with a known law."""
    names = tuple(Quantity(f"q{c}") for c in range(channels))
    axes = tuple(Axis(name, 0, side) for name, side in zip("zyx", sides, strict=False))
    frame = Frame(domain, axes, names)
    kernels = [sf.Matern(0.2 + 0.1 * c, 1.5) for c in range(channels)]
    laws = [sf.GaussianField(kernel, len(grid), domain, frame.extent) for kernel in kernels]
    x = torch.cat(
        [law.sample(torch.zeros(400, 1, *grid), sf.generators(c, range(400)))
         for c, law in enumerate(laws)], 1,
    )  # fmt: skip
    data = FieldSet("linear", x.numpy(), frame, DataCard("l", "", "", ""))
    small = UNOConfig(1, 1, grid, channels=4, multipliers=(1,), modes=2)
    model = field_model(data, small, sf.Matern(0.05, 0.75))
    w = Wiener(Shy(share, channels), model.process, model.spectra, model.grid)
    return w.eval(), model, x


def power_of(
    denoiser: sf.Denoiser, model: FieldModel, real: Tensor, n: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Of each shell, over that of the data: (C, shells), and its standard error."""
    x = model.normalised(draw_fields(denoiser, model, model.grid, seed, range(n)).x)
    box = model.frame.domain, model.frame.extent
    got, want = shell_powers(x, *box), shell_powers(model.normalised(real), *box).mean(0)
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


@pytest.mark.parametrize(
    ("domain", "grid", "sides"),
    [
        (Domain.REFLECTING, (32,), (1.0,)),
        (Domain.PERIODIC, (8, 16), (1.0, 2.0)),
        (Domain.REFLECTING, (16, 8), (6.0, 3.0)),
        (Domain.PERIODIC, (8, 8, 8), (1.0, 1.0, 1.0)),
    ],
    ids=["line", "oblong", "mirrored oblong", "cube"],
)
def test_on_other_boxes_too(
    domain: Domain, grid: tuple[int, ...], sides: tuple[float, ...]
) -> None:
    """In one and three dimensions, and in shells that are counted along the longest side."""
    denoiser, model, real = shy(domain, 0.2, 1, grid, sides)
    waves = slice(1, 4)
    before, _ = power_of(denoiser, model, real, 200, 3)
    assert float(before[:, waves].max()) < 0.8
    denoiser.drift = measured_drift(denoiser, model, real, 600, 0)
    assert len(denoiser.drift.factors[0][0]) == complete_shells(grid, domain, model.frame.extent)
    after, error = power_of(denoiser, model, real, 200, 4)
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


def test_the_factors_belong_to_the_state_whatever_its_scale() -> None:
    """Where the signal shrinks, x_t is α times as large, so that each factor is 1/α times."""
    denoiser, model, real = shy(Domain.PERIODIC, 0.2, channels=2)
    shrunk = replace(model, process=replace(model.process, schedule=sf.VPLinear()))
    other = Wiener(denoiser.network, shrunk.process, model.spectra, model.grid)
    a = measured_drift(denoiser, model, real, 64, 0)
    b = measured_drift(other, shrunk, real, 64, 0)
    assert b.levels == pytest.approx(a.levels, abs=1e-4)
    alpha = (1 + (2 * torch.tensor(a.levels)).exp()).rsqrt()[:, None, None]
    want, got = torch.tensor(a.factors), torch.tensor(b.factors)
    assert float(want.max()) > 0.05
    torch.testing.assert_close(got * alpha, want, rtol=0.1, atol=5e-3)


def test_an_exact_estimate_is_left_alone() -> None:
    """Nothing but chance, which is taken for chance: less than 2 standard errors nearly always."""
    denoiser, model, real = shy(Domain.PERIODIC, 0.0)
    drift = measured_drift(denoiser, model, real, 300, 0)
    factors = torch.tensor(drift.factors)
    assert float((factors == 0).double().mean()) > 0.85
    assert float(factors.abs().max()) < 0.05


def waves_in(drift: PowerCorrection) -> int:
    """Of each channel at each level."""
    (n,) = {len(c) for level in drift.factors for c in level}
    return n


def test_only_waves_of_the_network_are_mended() -> None:
    denoiser, model = built()
    real = torch.from_numpy(gaussian_set(200).values)
    assert isinstance(denoiser, Wiener)
    drift = measured_drift(denoiser, model, real, 16, 0)
    assert waves_in(drift) == 8  # complete shells of 16 points
    steps = []
    again = measured_drift(denoiser, model, real, 16, 0, advance=steps.append)
    assert again == drift and sum(steps) == 16 * 20
    assert measured_drift(denoiser, model, real, 16, 1) != drift
    narrow = replace(model, network=replace(SMALL, grid=(8, 8), in_channels=3))
    assert waves_in(measured_drift(narrow.build().eval(), narrow, real, 16, 0)) == 4
    everywhere = replace(model, network=FNOConfig(3, 1, 2, channels=4, layers=1, modes=2))
    assert waves_in(measured_drift(everywhere.build().eval(), everywhere, real, 16, 0)) == 8


def test_data_on_another_grid() -> None:
    """More waves are cut off; what data on a coarser grid lack is not taken for a lack of power."""
    denoiser, model = built()
    real = torch.from_numpy(gaussian_set(200).values)
    assert isinstance(denoiser, Wiener)
    here = measured_drift(denoiser, model, real, 16, 0)
    fine, coarse = (resample(real, (n, n), Domain.PERIODIC) for n in (24, 10))
    for found, n in (fine, 8), (coarse, 5):
        there = measured_drift(denoiser, model, found, 16, 0)
        assert waves_in(there) == n
        a, b = (torch.tensor(d.factors)[0, :, :n] for d in (here, there))
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)


def test_fields_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many together as there is room for; each is told what is its own."""
    denoiser, model = built(given=["depth"])
    real = torch.from_numpy(gaussian_set(200).values)
    assert isinstance(denoiser, Wiener)
    depth = torch.linspace(0, 1, 16).reshape(16, 1, 1, 1).expand(16, 1, 16, 16)
    steps: list[int] = []
    whole = measured_drift(denoiser, model, real, 16, 0, depth)
    monkeypatch.setattr(field_drift, "POINTS", 5 * 256)
    parts = measured_drift(denoiser, model, real, 16, 0, depth, steps.append)
    assert steps[:4] == [5, 5, 5, 1]
    a, b = (torch.tensor(d.factors) for d in (whole, parts))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_what_is_told_may_lie_on_another_grid() -> None:
    denoiser, model = built(given=["depth"])
    real = torch.from_numpy(gaussian_set(200).values)
    assert isinstance(denoiser, Wiener)
    depth = torch.linspace(0, 1, 16).reshape(16, 1, 1, 1)
    here, there = (
        measured_drift(denoiser, model, real, 16, 0, depth.expand(16, 1, n, n)) for n in (16, 24)
    )
    a, b = (torch.tensor(d.factors) for d in (here, there))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    with pytest.raises(UsageError, match="each of 17 fields, got 16"):
        measured_drift(denoiser, model, real, 17, 0, depth.expand(16, 1, 16, 16))
    with pytest.raises(ValueError, match="told 1 quantities"):
        measured_drift(denoiser, model, real, 16, 0)


def test_models_that_cannot_be_measured() -> None:
    denoiser, model = built()
    real = torch.from_numpy(gaussian_set(200).values)
    assert isinstance(denoiser, Wiener)
    with pytest.raises(UsageError, match="at least 16 fields"):
        measured_drift(denoiser, model, real, 15, 0)
    with torch.no_grad():
        broken = copy.deepcopy(denoiser)
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(SfumatoError, match="not finite"):
        measured_drift(broken, model, real, 16, 0)
    denoiser.drift = measured_drift(denoiser, model, real, 16, 0)
    with pytest.raises(UsageError, match="without a drift"):
        measured_drift(denoiser, model, real, 16, 0)
    with pytest.raises(UsageError, match="drift of 1 channels"):
        replace(model, drift=measured_drift(*shy(Domain.PERIODIC, 0.1, 2), 16, 0))
    _, other = built(prediction=sf.Prediction.EDM)
    with pytest.raises(UsageError, match="beside the Wiener filter alone"):
        replace(other, drift=PowerCorrection((0.0,), (((1.0,),),)))


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
    x = draw_fields(a, before, (16, 16), 0, range(2)).x
    assert not torch.equal(x, draw_fields(b, after, (16, 16), 0, range(2)).x)
    assert main([*words, "--out", "steady"]) == 2
    assert "--force writes over a model folder" in capsys.readouterr().err
    words[2] = "steady"
    assert (
        main([*words, "--out", "steady", "--force", "--quiet"]) == 0
        and capsys.readouterr().out == ""
    )
    assert load_model(new)[1] == after  # measured afresh, not upon itself
    card = json.loads((new / "card.json").read_text())
    scored = {**card, "scores": {"worst spectrum error": "0.5"}}
    files = {p.name: p.read_bytes() for p in new.iterdir() if p.name != "SHA256SUMS"}
    write_folder(new, {**files, "card.json": json.dumps(scored).encode()}, replace=True)
    kept = json.loads(with_drift(new, None)["card.json"])
    assert kept == {**card, "scores": {}}  # scores of another walk are not kept
    files = with_drift(new, None)
    assert json.loads(files["model.json"])["model"] == before.to_json()


def test_of_a_run_the_averaged_weights_are_kept(tmp_path: Path) -> None:
    denoiser, model = built()
    raw, ema = ({k: w + add for k, w in denoiser.state_dict().items()} for add in (0.0, 1.0))
    files = {
        "model.safetensors": ck.pack_tensors(raw),
        "ema.safetensors": ck.pack_tensors(ema),
        "optimizer.safetensors": b"moments",
        "model.json": ck.pack_json({"model": model.to_json()}),
        "state.json": ck.pack_json({"step": 3}),
    }
    write_folder(tmp_path / "run" / "checkpoints" / "step-00000003", files)
    drift = PowerCorrection((0.0,), (((0.0, 0.25),),))
    made = with_drift(tmp_path / "run", drift)
    assert made["model.safetensors"] == ck.pack_tensors(ema)
    found, known = load_model(write_folder(tmp_path / "made", made))
    assert known == replace(model, drift=drift)
    assert isinstance(found, Wiener) and found.drift == drift
    card = ModelCard.read(tmp_path / "made")
    assert (card.name, card.data, card.kind) == ("run", "gaussian", "field model")
    assert card.params == sum(w.numel() for w in ema.values())


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

"""A head trained beside a model, kept with it in a run, and shipped without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import sfumato as sf
from sfumato.console.again import read_run
from sfumato.errors import SfumatoError, UsageError
from sfumato.model.export import export
from sfumato.model.load import load_model
from sfumato.systems.edm import points
from sfumato.systems.genie import recipe as genie
from sfumato.systems.genie.model import DerivativeModel
from sfumato.systems.genie.taylor import Taylor
from sfumato.train import TrainConfig

QUICK = TrainConfig(
    steps=3, batch=8, sheet_every=0, checkpoint_every=2, tensorboard=False, quiet=True, cpu=True
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of points, and a head for it."""
    folder = tmp_path_factory.mktemp("runs")
    base = points.run(points.Points(out=folder / "base", n=200, width=8, blocks=1, train=QUICK))
    head = genie.run(genie.Config(out=folder / "head", model=str(base), width=4, train=QUICK))
    return base, head


def walk(denoiser: sf.Denoiser) -> torch.Tensor:
    times = sf.times.karras(denoiser.process, 4)
    return sf.sample(
        denoiser, Taylor(), times, denoiser.process.prior_sample((3, 2), sf.generator(0))
    ).x


def test_a_run_holds_everything(runs: tuple[Path, Path]) -> None:
    base, head = runs
    denoiser, model = load_model(head)
    assert isinstance(model, DerivativeModel)
    backbone, _ = load_model(base)
    for name, value in backbone.state_dict().items():
        assert torch.equal(denoiser.backbone.state_dict()[name], value)
    assert walk(denoiser).isfinite().all()
    assert read_run(head)[0].run is genie.run


def test_a_shipped_head_finds_its_backbone(runs: tuple[Path, Path], tmp_path: Path) -> None:
    made = export(runs[1], tmp_path / "head", {"name": "head"})
    whole, small = (load_model(f)[0] for f in (runs[1], made))
    assert torch.equal(walk(whole), walk(small))
    size = (made / "model.safetensors").stat().st_size
    assert size < 0.5 * max(f.stat().st_size for f in runs[1].rglob("ema.safetensors"))
    told = json.loads((made / "model.json").read_text())["model"]
    assert told["whole"] is False
    assert told["base"]["name"] == str(runs[0])


def test_a_head_of_other_weights_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    made = export(runs[1], tmp_path / "head", {"name": "head"})
    base, _ = runs
    moved = base.rename(base.with_name("moved"))
    try:
        with pytest.raises(SfumatoError, match="is not here"):
            load_model(made)
        points.run(points.Points(out=base, n=200, width=8, blocks=1, train=TrainConfig(
            steps=1, batch=8, sheet_every=0, tensorboard=False, quiet=True, cpu=True
        )))  # fmt: skip
        with pytest.raises(SfumatoError, match="distilled from other weights.*train genie"):
            load_model(made)
    finally:
        base.rename(base.with_name("other"))
        moved.rename(base)


def test_a_run_is_resumed_to_the_same_weights(runs: tuple[Path, Path], tmp_path: Path) -> None:
    short = TrainConfig(
        steps=2, batch=8, sheet_every=0, decay="constant", checkpoint_every=2,
        tensorboard=False, quiet=True, cpu=True,
    )  # fmt: skip
    config = {"model": str(runs[0]), "width": 4}
    whole = genie.run(
        genie.Config(out=tmp_path / "a", train=TrainConfig(**{**vars(short), "steps": 4}), **config)
    )
    genie.run(genie.Config(out=tmp_path / "b", train=short, **config))
    again = genie.run(genie.Config(
        out=tmp_path / "b", train=TrainConfig(**{**vars(short), "steps": 4}), resume=True, **config
    ))  # fmt: skip
    one, two = (load_model(f)[0].state_dict() for f in (whole, again))
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_models_that_take_no_head(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a DerivativeModel"):
        genie.run(genie.Config(out=tmp_path / "a", model=str(runs[1]), train=QUICK))
    damped = points.run(points.Points(
        out=tmp_path / "damped", n=50, width=8, blocks=1, kind="DAMPED", train=QUICK
    ))  # fmt: skip
    with pytest.raises(UsageError, match="needs a scheduled process"):
        genie.run(genie.Config(out=tmp_path / "b", model=str(damped), train=QUICK))
    with pytest.raises(UsageError, match="unknown model"):
        genie.run(genie.Config(out=tmp_path / "c", model="fashoin", train=QUICK))

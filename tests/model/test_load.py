"""A model in one line: `load`, `Sampler`, saving, and models from the hub."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.data import LabelAxis
from sfumato.errors import SfumatoError, UsageError
from sfumato.files import hub
from sfumato.model.description import ModelConfig
from sfumato.model.sampler import Sampler
from sfumato.nn import MLPConfig, UNetConfig
from sfumato.seeds import generators

CLASSES = LabelAxis("class", ("Bag", "Sandal", "Sneaker"))
GREY = ModelConfig(
    "fashion-mnist",
    UNetConfig(1, 1, channels=8, multipliers=(1, 2), blocks=1, attention=(4,), head_channels=0,
               resolution=8, labels=(3,)),
    axes=(CLASSES,),
)  # fmt: skip
POINTS = ModelConfig("25-gaussians", MLPConfig(width=16, blocks=1))


def made(description: ModelConfig) -> Sampler:
    """A model with random weights, none of them zero."""
    denoiser = description.build()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=random))
    return Sampler(denoiser.eval(), description, name="made")


@pytest.fixture
def grey() -> Sampler:
    return made(GREY)


def test_a_sample_is_the_walk_written_out(grey: Sampler) -> None:
    """The one line against the lines of the README."""
    x = grey.sample(3, ["Sneaker", "bag", 1], seed=5, steps=4)
    seeds = generators(5, range(3))
    noise = grey.process.prior_sample((3, 1, 8, 8), seeds)
    times = sf.times.karras(grey.process, 4)
    cond = torch.tensor([[2], [0], [1]])
    done = sf.sample(grey.denoiser, sf.DPMSolverPP(), times, noise, cond=cond)
    assert torch.equal(x, done.x.clamp(-1, 1)) and x.dtype == torch.float32
    solution = grey.solve(3, [2, 0, 1], seed=5, steps=4, save_path=True)
    assert torch.equal(solution.x, done.x) and solution.nfe == 4 and len(solution.path) == 5


def test_a_sample_depends_on_the_seed_and_its_number(grey: Sampler) -> None:
    whole = grey.sample(5, 2, seed=1, steps=3, solver="ancestral")
    told: list[int] = []
    parts = grey.sample(5, 2, seed=1, steps=3, solver="ancestral", batch=2, progress=told.append)
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-5)
    assert told == [2, 2, 1]
    fewer = grey.sample(2, 2, seed=1, steps=3, solver="ancestral")
    torch.testing.assert_close(whole[:2], fewer, rtol=0, atol=1e-5)
    assert (whole - grey.sample(5, 2, seed=2, steps=3, solver="ancestral")).abs().max() > 0.01


def test_options_reach_the_walk(grey: Sampler) -> None:
    plain = grey.solve(2, "Bag", steps=3)
    guided = grey.solve(2, "Bag", steps=3, guidance=2.0)
    assert (plain.nfe, guided.nfe) == (3, 6) and not torch.equal(plain.x, guided.x)
    assert grey.solve(2, "Bag", steps=3, solver="heun", grid="uniform").nfe == 5
    noisy = [grey.sample(2, "Bag", steps=3, solver="ddim", eta=e) for e in (0.0, 1.0)]
    assert not torch.equal(*noisy)
    ours = grey.sample(2, "Bag", steps=3, solver=sf.DDIM())
    assert torch.equal(ours, grey.sample(2, "Bag", steps=3, solver="ddim"))
    seen: list[float] = []
    grey.sample(2, steps=3, callback=lambda i, t, x: seen.append(t))
    assert len(seen) == 3 and seen[-1] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "Sneeker"}, "did you mean 'Sneaker'"),
        ({"solver": "huen"}, "did you mean 'heun'"),
        ({"grid": "karas"}, "did you mean 'karras'"),
        ({"n": 0}, "at least 1 sample, got 0"),
        ({"steps": 0}, "expected 1 to 100,000 steps, got 0"),
        ({"solver": "heun", "eta": 0.5}, "takes no eta"),
    ],
)
def test_mistakes_are_explained(grey: Sampler, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        grey.sample(**{"n": 2, **options})


def test_a_model_without_labels() -> None:
    points = made(POINTS)
    assert points.sample(7, steps=2).shape == (7, 2)
    with pytest.raises(UsageError, match="without labels"):
        points.sample(7, 1)
    with pytest.raises(UsageError, match="needs a model with labels"):
        points.sample(7, guidance=2.0)


@pytest.mark.parametrize("description", [GREY, POINTS], ids=["grey", "points"])
def test_data_comes_back_from_its_latent(description: ModelConfig) -> None:
    model = made(description)
    x0 = torch.rand(3, *description.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    latents = model.encode(x0, steps=40, batch=2)
    assert latents.shape == (3, model.process.k * description.shape[0], *description.shape[1:])
    back = model.decode(latents, steps=40, batch=2)
    assert (back - x0).abs().max() < 0.1
    with pytest.raises(UsageError, match="takes data of shape"):
        model.encode(x0[:, :1, ..., :1] if x0.ndim == 4 else x0[:, :1])
    with pytest.raises(ValueError, match="draws noise"):
        model.encode(x0, solver="ancestral")


def test_what_is_saved_is_loaded(grey: Sampler, tmp_path: Path) -> None:
    folder = grey.save(tmp_path / "mine", {"licence": "CC0", "note": "for a test"})
    again = sf.load(folder)
    assert isinstance(again, Sampler) and again.description == GREY
    assert again.digest == grey.digest
    assert torch.equal(again.sample(2, seed=3, steps=2), grey.sample(2, seed=3, steps=2))
    assert again.card is not None and again.card.licence == "CC0" and again.card.name == "mine"
    assert again.card.params == sum(p.numel() for p in grey.denoiser.parameters())
    with pytest.raises(SfumatoError, match="exists"):
        again.save(folder)
    with torch.no_grad():
        next(again.denoiser.parameters()).add_(1)
    again.save(folder, replace=True)
    changed = sf.load(folder, Sampler)
    assert changed.digest == again.digest != grey.digest
    assert changed.card is not None and changed.card.note == "for a test"
    half = sf.load(grey.save(tmp_path / "half", half=True))
    assert 0 < (half.sample(1, 0, steps=2) - grey.sample(1, 0, steps=2)).abs().max() < 0.05


def test_a_name_that_means_nothing() -> None:
    with pytest.raises(UsageError, match="did you mean"):
        sf.load("fashon")
    with pytest.raises(UsageError, match="'fashion-classifier' is a classifier, expected"):
        sf.load("fashion-classifier")
    from sfumato.systems.i2sb.restorer import Restorer

    with pytest.raises(UsageError, match="'fashion' is a generative model, expected a model that"):
        sf.load("fashion", Restorer)


def test_one_line_for_the_shipped_model() -> None:
    x = sf.load("fashion").sample(3, labels="Sneaker", seed=0, steps=6)
    assert x.shape == (3, 1, 28, 28) and x.min() >= -1 and x.max() <= 1
    assert 0.1 < (x > 0).float().mean() < 0.6  # shoes on black


@pytest.fixture
def repository(grey: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for the hub's client: one repository, which it puts into a cache."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    origin, cache = grey.save(tmp_path / "origin"), tmp_path / "cache"
    fetched: list[str] = []

    def snapshot_download(name: str, allow_patterns: object, local_files_only: bool = False) -> str:
        if not local_files_only:
            if name != "someone/grey":
                response = type("Response", (), {"headers": {}, "request": None})()
                raise RepositoryNotFoundError("404", response=response)
            fetched.append(name)
            shutil.copytree(origin, cache, dirs_exist_ok=True)
        if name != "someone/grey" or not cache.exists():
            raise LocalEntryNotFoundError("not in the cache")
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return fetched


def test_the_hub_is_asked_only_when_told(grey: Sampler, repository: list[str]) -> None:
    with pytest.raises(UsageError, match="sfumato models someone/grey --download"):
        sf.load("someone/grey")
    assert repository == []
    model = sf.load("someone/grey", download=True)
    assert repository == ["someone/grey"] and model.digest == grey.digest
    assert sf.load("someone/grey").digest == grey.digest and len(repository) == 1  # from the cache
    assert sf.download("someone/grey").is_dir() and len(repository) == 2
    with pytest.raises(SfumatoError, match="could not fetch no/such"):
        sf.download("no/such")
    with pytest.raises(UsageError, match="ORG/NAME"):
        sf.download("grey")


def test_a_folder_goes_before_the_hub(
    grey: Sampler, repository: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grey.save(Path("someone/grey"))
    assert hub.is_hub_id("someone/grey")
    assert np.isfinite(sf.load("someone/grey").sample(1, steps=1).numpy()).all()
    assert repository == []

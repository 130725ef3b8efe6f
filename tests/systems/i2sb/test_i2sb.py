"""The restoration recipe: what it trains on, what it remembers, and that it learns to restore."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import sfumato as sf
from sfumato.data import DataCard, ImageSet
from sfumato.data.degrade import (
    TASKS,
    Bicubic,
    FromFunction,
    Given,
    Noisy,
    Problem,
    Task,
    posed,
    tasks_named,
)
from sfumato.errors import SfumatoError, UsageError
from sfumato.loss import Either, OneOf, Uniform
from sfumato.metrics import psnr
from sfumato.model.load import load_model, read_model
from sfumato.nn import UNetConfig
from sfumato.schedule import SymmetricBrownian
from sfumato.seeds import generators
from sfumato.systems.i2sb import recipe as i2sb
from sfumato.systems.i2sb.model import Method, RestorationModel
from sfumato.systems.i2sb.pairs import pairs_of
from sfumato.systems.i2sb.restorer import BLIND, Restorer
from sfumato.systems.i2sb.restoring import restoration_loss, restore
from sfumato.train import Microbatch, TrainConfig

TINY = UNetConfig(
    3, 3, channels=16, multipliers=(1, 2), blocks=1, attention=(), head_channels=0, resolution=16,
    resample_blocks=False,
)  # fmt: skip


def discs(n: int, side: int = 16) -> ImageSet:
    """Coloured discs on coloured grounds: simple enough to be learned in seconds."""
    g = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    images = np.empty((n, 3, side, side), np.uint8)
    for i in range(n):
        ground, colour = g.integers(0, 256, (2, 3, 1, 1))
        cy, cx, r = g.uniform(4, side - 4), g.uniform(4, side - 4), g.uniform(3, 6)
        images[i] = np.where((y - cy) ** 2 + (x - cx) ** 2 < r * r, colour, ground)
    return ImageSet("discs", images, None, (), DataCard("discs", "here", "none", "small"))


def config(out: Path, steps: int = 5, **settings: object) -> i2sb.Config:
    train = TrainConfig(
        steps=steps, batch=16, lr=2e-3, warmup=10, sheet_every=0, checkpoint_every=10_000,
        tensorboard=False, quiet=True, ema_half_life=500, cpu=True,
    )  # fmt: skip
    return i2sb.Config(out=out, network=TINY, resolution=16, train=train, **settings)


@pytest.mark.parametrize("method", ["bridge", "diffusion", "regression"])
def test_each_method_learns_to_denoise(method: str, tmp_path: Path) -> None:
    """300 steps: discs under noise of .5 come out nearer to the truth by 2 dB or more."""
    tasks = (Task("denoise", Noisy((0.5, 0.5))),)
    made = i2sb.train_restoration(config(tmp_path / "run", 300, method=method), discs(500), tasks)
    denoiser, model = load_model(made)
    assert isinstance(model, RestorationModel) and model.method is Method(method)
    truth = discs(532).batch(np.arange(500, 532))[0]
    problem = posed(tasks[0], truth, generators(1, range(32)))
    found = restore(denoiser, model, problem, 6, generators(2, range(32)))
    assert found.nfe == (1 if method == "regression" else 6)
    better = psnr(found.x.clamp(-1, 1), truth).mean() - psnr(problem.x1.clamp(-1, 1), truth).mean()
    assert float(better) > 2


def test_each_method_learns_at_its_own_times() -> None:
    g = torch.Generator().manual_seed(0)
    process = sf.Bridge()
    assert i2sb.times_of(Method.REGRESSION).draw(process, 50, g).eq(1).all()
    for method in (Method.BRIDGE, Method.DIFFUSION):
        t = i2sb.times_of(method).draw(process, 5000, g)
        assert float(t.min()) >= 1e-3 and float(t.mean()) == pytest.approx(0.5005, abs=0.02)


def test_a_bridge_may_dwell_at_one() -> None:
    g, process = torch.Generator().manual_seed(0), sf.Bridge()
    t = i2sb.times_of(Method.BRIDGE, 0.4).draw(process, 20_000, g)
    assert float(t.eq(1).double().mean()) == pytest.approx(0.4, abs=0.015)  # 4 standard errors
    rest = t[t < 1]
    assert float(rest.mean()) == pytest.approx(0.5005, abs=0.012)
    assert float(i2sb.times_of(Method.REGRESSION, 0.4).draw(process, 9, g).min()) == 1
    for share in (-0.1, 1.1):
        with pytest.raises(UsageError, match="at_one"):
            i2sb.Config(at_one=share)
        with pytest.raises(ValueError, match="share"):
            Either(OneOf((1.0,)), Uniform(), share)


@pytest.mark.parametrize("beta_max", [0.3, 1.0])
def test_the_greatest_beta_is_less_than_beta_max(beta_max: float) -> None:
    """β = d(σ²)/dt begins and ends at .1 and is ((√.1 + √beta_max)/2)² in the middle, its peak."""
    schedule = SymmetricBrownian(beta_max=beta_max)
    t = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    beta = schedule.sigma(t).square().diff() / t.diff()
    peak = ((0.1**0.5 + beta_max**0.5) / 2) ** 2
    assert float(beta.max()) == pytest.approx(peak, rel=1e-4)
    assert int(beta.argmax()) in (9_999, 10_000)
    assert beta[[0, -1]].tolist() == pytest.approx([0.1, 0.1], rel=1e-3)
    if beta_max == 0.3:
        assert peak == pytest.approx(0.1866, abs=5e-5)


def test_a_model_file_remembers_tasks_and_process(tmp_path: Path) -> None:
    settings = config(tmp_path / "run", tasks=("sr4x", "inpaint"), beta_max=1.0, deterministic=True)
    tasks = tasks_named(settings.tasks)
    model = i2sb.restoration_model(settings, "discs", tasks, 3, 0.5)
    assert model.masked and model.labels == (2,) and model.network.in_channels == 3 + 3 + 1
    again = read_model(model.to_json())
    assert again == model
    assert isinstance(again, RestorationModel) and again.tasks[0].degradation == Bicubic(4)
    process = again.build().process
    assert isinstance(process, sf.Bridge) and process.deterministic
    assert float(process.inner.marginal(1.0).cov) == pytest.approx(0.2469, abs=1e-3)


def test_a_function_is_remembered_by_its_name(tmp_path: Path) -> None:
    task = Task("faded", FromFunction("faded", lambda x, g: 0.5 * x))
    made = i2sb.train_restoration(config(tmp_path / "run"), discs(40), (task,))
    _, model = load_model(made)
    assert isinstance(model, RestorationModel)
    assert model.tasks == (Task("faded", Given("faded")),)


def test_misfits_are_refused(tmp_path: Path) -> None:
    good = i2sb.restoration_model(config(tmp_path), "discs", tasks_named(["jpeg"]), 3, 0.5)
    with pytest.raises(UsageError, match="takes 6 channels, expected 3"):
        replace(good, conditional=False)
    with pytest.raises(UsageError, match="at least one task"):
        replace(good, tasks=())
    with pytest.raises(UsageError, match="does not fit a diffusion"):
        replace(good, method=Method.DIFFUSION)
    with pytest.raises(UsageError, match="labels"):
        replace(good, told=False)
    with pytest.raises(UsageError, match=r"unknown task 'deblurr'.*deblur"):
        tasks_named(["deblurr"])
    with pytest.raises(UsageError, match="two kinds of data"):
        config(tmp_path, path=Path("a"), pairs=Path("b"))


class Known(sf.Denoiser):
    """Remembers the residual's arguments; predicts nothing."""

    def __init__(self, process: sf.Process) -> None:
        super().__init__()
        self.process = process
        self.seen: list[tuple[Tensor, object]] = []

    def forward(self, x_t, t, cond=None, generator=None):
        return torch.zeros_like(x_t)

    def residual(self, x_t, t, x0, eps, cond=None):
        self.seen.append((x_t, cond))
        return torch.ones_like(x0)


def test_the_loss_is_masked_and_hides_the_task_as_often_as_asked(tmp_path: Path) -> None:
    settings = config(tmp_path, tasks=("inpaint", "denoise"))
    tasks = tasks_named(settings.tasks)
    model = i2sb.restoration_model(settings, "discs", tasks, 3, 0.5)
    process = sf.Bridge()
    n = 600
    x0 = discs(n, 32).batch(np.arange(n))[0]
    g = generators(3, range(n))
    known = Known(process)
    losses = restoration_loss(model, tasks, 0.3)(
        known, Microbatch(x0, torch.full((n,), 0.5), None, g)
    )
    ((_, cond),) = known.seen
    labels = cond.labels[:, 0]
    hidden = labels == 2
    assert float(hidden.float().mean()) == pytest.approx(0.3, abs=5 * (0.21 / n) ** 0.5)
    shown = cond.image[:, 3:].mean((1, 2, 3))  # the share that is known
    torch.testing.assert_close(losses, 1 - shown)
    assert bool((shown[labels == 1] == 0).all())
    assert bool(((shown[labels == 0] > 0.59) & (shown[labels == 0] < 0.91)).all())
    hole = cond.image[:, 3:] < 0.5
    assert bool(
        (cond.image[:, :3].masked_select(hole & (labels == 0)[:, None, None, None]) == 0).all()
    )


def tiny_restorer(tmp_path: Path, *names: str, **settings: object) -> Restorer:
    made = config(tmp_path, tasks=names, **settings)
    model = i2sb.restoration_model(made, "discs", tasks_named(names), 3, 0.5)
    denoiser = model.build()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():  # the output starts at zero, which would hide everything
        for p in denoiser.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=g))
    return Restorer(denoiser, model).tiled(overlap=0)


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (16, 16), (33, 50)])
def test_pictures_of_any_size_and_one_seed_each(size: tuple[int, int], tmp_path: Path) -> None:
    restorer = tiny_restorer(tmp_path, "sr4x", "denoise", "colourise")
    assert restorer.tasks == ("sr4x", "denoise", "colourise", BLIND)
    picture = torch.rand(3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    told: list[tuple[int, int]] = []

    def note(done: int, of: int) -> None:
        told.append((done, of))

    for task, scale in (("denoise", 1), ("sr4x", 4), (BLIND, 1), ("colourise", 1)):
        told.clear()
        both = restorer(picture, task, seeds=(3, 4), steps=2, progress=note)
        assert both.shape == (2, 3, scale * size[0], scale * size[1])
        assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
        (alone,) = restorer(picture, task, seeds=(4,), steps=2)
        torch.testing.assert_close(both[1], alone)
        assert not torch.equal(both[0], both[1])


def test_what_a_mask_leaves_out_comes_back_exactly(tmp_path: Path) -> None:
    restorer = tiny_restorer(tmp_path, "inpaint", told=False)
    picture = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.zeros(1, 20, 30)
    mask[:, 4:9, 10:29] = 1
    (made,) = restorer(picture, "inpaint", mask=mask, steps=3)
    torch.testing.assert_close(made[:, mask[0] == 0], picture[:, mask[0] == 0])
    assert float((made - picture)[:, mask[0] == 1].abs().mean()) > 0.1
    other = torch.where(mask > 0, -picture, picture)  # what lies in the hole is not seen
    torch.testing.assert_close(restorer(other, "inpaint", mask=mask, steps=3)[0], made)
    with pytest.raises(UsageError, match="needs a mask"):
        restorer(picture, "inpaint")
    with pytest.raises(ValueError, match=r"expected a mask \(1, 20, 30\), got \(1, 20, 31\)"):
        restorer(picture, "inpaint", mask=torch.zeros(1, 20, 31))


def test_a_restorer_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    restorer = tiny_restorer(tmp_path, "denoise")
    picture = torch.zeros(3, 16, 16)
    with pytest.raises(UsageError, match=r"unknown task of this model 'denoize'.*denoise"):
        restorer(picture, "denoize")
    with pytest.raises(UsageError, match="takes no mask"):
        restorer(picture, "denoise", mask=torch.zeros(1, 16, 16))
    with pytest.raises(ValueError, match=r"expected a picture \(3, H, W\)"):
        restorer(torch.zeros(1, 16, 16), "denoise")
    with pytest.raises(UsageError, match="overlap"):
        restorer.tiled(overlap=7)


def test_one_evaluation_of_the_bridge_is_its_estimate_at_the_bad_picture(tmp_path: Path) -> None:
    restorer = tiny_restorer(tmp_path, "denoise")
    x1 = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    number = torch.zeros(2, dtype=torch.int64)
    problem = Problem(x1, x1, x1, torch.zeros(2, 1, 16, 16), number)
    cond = restorer.description.cond(problem, number[:, None])
    with torch.no_grad():
        want = restorer.denoiser(x1, 1.0, cond)
    found = restore(restorer.denoiser, restorer.description, problem, 1, generators(0, range(2)))
    torch.testing.assert_close(found.x, want)


def write(folder: Path, name: str, pixels: np.ndarray) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / name)


def test_pairs_are_cut_at_the_same_places(tmp_path: Path) -> None:
    images, noise = discs(3, 48).images, np.random.default_rng(1)
    for i, image in enumerate(images):
        image = np.where(image > 127, image, noise.integers(0, 256, image.shape, np.uint8))
        write(tmp_path, f"good/a{i}.png", image)
        write(tmp_path, f"bad/a{i}.png" if i else "bad/a0.bmp", 255 - image)
    data = pairs_of(tmp_path, 16, 50)
    x, labels = data.batch(np.arange(50))
    assert x.shape == (50, 6, 16, 16) and labels is None
    torch.testing.assert_close(x[:, 3:], -x[:, :3])
    assert len({a.numpy().tobytes() for a in x}) > 30
    made = i2sb.train_restoration(config(tmp_path / "run"), data, (Task("pairs", Given()),))
    assert isinstance(load_model(made)[1], RestorationModel)


def test_smaller_partners_are_repeated(tmp_path: Path) -> None:
    image = discs(1, 48).images[0]
    write(tmp_path, "good/a.png", image)
    write(tmp_path, "bad/a.png", image[:, ::4, ::4])
    (both,) = pairs_of(tmp_path, 48, 1).batch([0])[0]
    fine = both[3:].reshape(3, 12, 4, 12, 4)
    assert bool((fine == fine[:, :, :1, :, :1]).all())


@pytest.mark.parametrize(
    ("good", "bad", "error", "words"),
    [
        ({"a": 48}, {"b": 48}, UsageError, "these have none: a, b"),
        ({"a": 48}, {}, UsageError, "no pictures in a folder called bad"),
        ({"a": 48}, {"a": 47}, SfumatoError, "a: the good picture has 48x48 pixels and the bad"),
        ({"a": 8}, {"a": 8}, SfumatoError, "too small for crops of 16"),
    ],
)
def test_pairs_that_do_not_fit(
    good: dict[str, int], bad: dict[str, int], error: type, words: str, tmp_path: Path
) -> None:
    for half, sizes in (("good", good), ("bad", bad)):
        for name, size in sizes.items():
            write(tmp_path, f"{half}/{name}.png", np.zeros((3, size, size), np.uint8))
    with pytest.raises(error, match=words):
        pairs_of(tmp_path, 16, 5)


def test_every_named_task_can_be_posed() -> None:
    x = discs(4, 64).batch(np.arange(4))[0]
    for task in TASKS.values():
        problem = posed(task, x, generators(0, range(4)))
        changed = (problem.x1 - x).abs().mean((1, 2, 3))
        assert bool((changed > 1e-4).all()), task.name
        torch.testing.assert_close(
            problem.x1.masked_select(problem.known > 0), x.masked_select(problem.known > 0)
        )

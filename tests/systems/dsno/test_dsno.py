"""The recipe in small: trajectories of a tiny model, an operator trained on them, sampled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.console.again import read_run
from sfumato.data import LabelAxis
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.lock import contents
from sfumato.files.store import write_folder
from sfumato.metrics import LabelledClassifier, save_classifier
from sfumato.metrics.distance import Absolute, Distance, Perceptual, Squared
from sfumato.model.description import ModelConfig
from sfumato.model.load import load_model, read_model
from sfumato.nn import Classifier, ClassifierConfig, UNetConfig
from sfumato.seeds import generators
from sfumato.systems.dsno import command
from sfumato.systems.dsno import recipe as dsno
from sfumato.systems.dsno.data import TrajectorySet
from sfumato.systems.dsno.model import OperatorModel, take_over
from sfumato.train import Part, TrainConfig, checkpoint_folders
from sfumato.train.checkpoint import digest, pack_json, pack_tensors

CLASSES = LabelAxis("class", ("a", "b", "c"))
SIZES = LabelAxis("size", ("small", "large"))
QUICK = TrainConfig(
    steps=4, batch=8, warmup=1, label_dropout=0.0, log_every=2, sheet_every=2, checkpoint_every=2,
    levels=1, cpu=True, quiet=True, tensorboard=False,
)  # fmt: skip


def random(module: torch.nn.Module, scale: float = 0.05) -> None:
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn(p.shape, generator=g))


def teacher_model(*axes: LabelAxis) -> ModelConfig:
    network = UNetConfig(
        1, 1, channels=8, multipliers=(1, 2), blocks=1, attention=(4,), head_channels=0,
        resolution=8, labels=tuple(len(a.values) for a in axes),
    )  # fmt: skip
    return ModelConfig("toy", network, axes=axes)


def write_model(folder: Path, model: ModelConfig, seed: int = 0) -> Path:
    denoiser = model.build(seed)
    random(denoiser)
    card = {"name": folder.name, "system": "EDM", "data": "toy"}
    files = {
        "model.safetensors": pack_tensors(denoiser.state_dict()),
        "model.json": pack_json({"model": model.to_json()}),
        "card.json": json.dumps(card).encode(),
    }
    return write_folder(folder, files)


def trajectories(line: str) -> None:
    command.main(line.split())


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A teacher, a classifier of its images, and a set of trajectories, made by the command."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "teacher", teacher_model(CLASSES))
    torch.manual_seed(0)
    network = Classifier(ClassifierConfig(1, (3,), channels=4, multipliers=(1, 2)))
    judge = LabelledClassifier(network, "judge", (LabelAxis("class", ("a", "b", "c")),), 8)
    save_classifier(judge, tmp_path / "judge", {})
    trajectories("teacher --n 24 --steps 6 --times 4 --shard 10 --batch 10 --out set --quiet")
    return tmp_path


def config(**changes: object) -> dsno.Config:
    base = dsno.Config(
        out=Path("run"), model="teacher", trajectories=Path("set"), features="judge", train=QUICK
    )
    return replace(base, **changes)


def part(data: TrajectorySet, n: int = 6) -> Part:
    return Part(data.batch(range(n)), None, generators(0, range(n)), 0)


def operator(frames: int, start: float = 1.0) -> tuple[sf.TrajectoryOperator, TrajectorySet]:
    teacher, theirs = load_model("teacher")
    data = TrajectorySet("set", teacher.process, weights=digest(teacher))
    model = OperatorModel(
        "toy", theirs.network, dsno.kept(data.times, frames), start=start, axes=theirs.axes
    )
    made = model.build(0)
    take_over(made, teacher)
    return made, data


def test_from_trajectories_to_samples(workshop, capsys):
    run = dsno.run(config())
    kept = sorted(path.name for path in contents(run))
    assert kept == ["checkpoints", "config.json", "log.jsonl", "sheets"]
    made, model = load_model(run)
    assert isinstance(made, sf.TrajectoryOperator) and isinstance(model, OperatorModel)
    assert model.teacher == "teacher" and model.shape == (1, 8, 8) and model.labels == (3,)
    assert read_model(model.to_json()) == model
    assert model.sampling.times == (1.0, 0.0) and len(model.times) == 4
    recipe, ran = read_run(run)
    assert ran == config() and recipe.run is dsno.run
    x, cond = (
        made.process.prior_sample((3, 1, 8, 8), generators(0, range(3))),
        torch.tensor([[0], [1], [2]]),
    )
    drawn = sf.sample(made, sf.solve.DDIM(), torch.tensor(model.sampling.times), x, cond=cond)
    assert drawn.nfe == 1
    with torch.no_grad():
        assert torch.allclose(made.path(x, cond=cond)[:, -1], drawn.x, atol=1e-5)
        assert made.path(x, sf.times.angular(made.process, 8), cond).shape == (3, 9, 1, 8, 8)
    from sfumato.cli import main

    assert main(["sample", "run", "--n", "3", "--out", "sheet.png"]) == 0
    assert "1 network evaluation each" in capsys.readouterr().out
    assert main(["sample", "run", "--n", "3", "--steps", "4", "--out", "other.png"]) == 2


def test_a_run_goes_on_where_it_stopped(workshop):
    dsno.run(config(out=Path("two"), train=replace(QUICK, decay="constant", steps=2)))
    whole = config(out=Path("one"), train=replace(QUICK, decay="constant"))
    dsno.run(whole)
    dsno.run(replace(whole, out=Path("two"), resume=True))
    a, b = (checkpoint_folders(Path(p))[-1] for p in ("one", "two"))
    for name in ("model.safetensors", "ema.safetensors", "optimizer.safetensors"):
        assert (a / name).read_bytes() == (b / name).read_bytes()


def test_the_loss_is_its_formula(workshop):
    made, data = operator(4)
    random(made)
    times = torch.tensor(data.times[1:], dtype=torch.float64)
    ratio = 1 / (80 * times)
    w = ratio.clamp(1, 10)
    weights = dsno.time_weights(made.process, times, 10.0)
    assert torch.allclose(weights, w / w.sum()) and weights[-1] > weights[0]
    states, labels = data.batch(range(6))
    with torch.no_grad():
        got = dsno.trajectory_loss(data.times, (4,), Absolute(), 10.0)(made, part(data))
        gap = made.path(states[:, 0], times, labels) - states[:, 1:]
        gap = gap / (1 - times).float().reshape(1, -1, 1, 1, 1)  # of estimates, not of states
        want = (gap.abs().mean((2, 3, 4)) * weights.float()).sum(1)
    assert torch.allclose(got, want, rtol=1e-4)


def test_one_frame_is_plain_distillation(workshop):
    """T = 1: the temporal convolution is one more layer, and the loss is that of the end alone."""
    made, data = operator(1)
    states, labels = data.batch(range(6))
    loss = dsno.trajectory_loss(data.times, (1,), Squared(), 10.0)
    teacher, _ = load_model("teacher")
    with torch.no_grad():
        end = teacher(states[:, 0], 1.0, labels)
        want = (end - states[:, -1]).square().flatten(1).mean(1)
        assert torch.allclose(loss(made, part(data)), want, rtol=1e-4)


@pytest.mark.parametrize("axes", [(), (CLASSES,), (CLASSES, SIZES)], ids=len)
def test_it_begins_with_the_teachers_weights(workshop, axes):
    """Every frame of every label, to float32's precision; one evaluation for two."""
    teacher = load_model(write_model(Path("other"), teacher_model(*axes)))[0]
    theirs = teacher_model(*axes)
    process = teacher.process
    x = process.prior_sample((4, 1, 8, 8), generators(0, range(4)))
    cond = torch.tensor([[0, 1], [2, 0], [1, 1], [3, 2]])[:, : len(axes)] if axes else None
    grid = tuple(sf.times.angular(process, 4)[1:].tolist())
    one = OperatorModel("toy", theirs.network, grid, axes=theirs.axes).build()
    take_over(one, teacher)
    with torch.no_grad():
        guess = teacher(x, 1.0, cond)
        for t, frame in zip(grid, one.path(x, cond=cond).unbind(1), strict=True):
            step = sf.process.mix(process.transport(1.0, t), x, guess)
            assert torch.allclose(frame, step, rtol=1e-5, atol=1e-4)
    two = OperatorModel("toy", theirs.network, grid, start=grid[0], axes=theirs.axes).build()
    take_over(two, teacher)
    for label in ([], [2], [3])[bool(axes) : 1 + 2 * bool(axes)]:
        labels = torch.tensor([label * len(axes[:1]) + [2] * len(axes[1:])]) if axes else None
        with torch.no_grad():
            mean = two.means(1, labels)
            noise = process.prior_sample((8, 1, 8, 8), torch.Generator().manual_seed(0))
            rows = None if labels is None else labels.expand(8, -1)
            assert torch.allclose(mean[0], teacher(noise, 1.0, rows).mean(0), atol=1e-5)


def test_distances_are_their_formulas(workshop):
    a, b = torch.randn(3, 1, 8, 8, requires_grad=True), torch.randn(3, 1, 8, 8)
    assert torch.allclose(Absolute()(a, b), (a - b).abs().mean((1, 2, 3)))
    assert torch.allclose(Squared()(a, b), (a - b).square().mean((1, 2, 3)))
    perceptual = dsno.make_distance(config(pixels=0.5))
    assert isinstance(perceptual, Perceptual)
    got = perceptual(a, b)
    want = 0.5 * (a - b).abs().mean((1, 2, 3))
    for p, q in zip(perceptual.network.layers(a), perceptual.network.layers(b), strict=True):
        p, q = (y / y.norm(dim=1, keepdim=True).clamp_min(1e-12) for y in (p, q))
        want = want + (p - q).square().sum(1).mean((1, 2))
    assert torch.allclose(got, want, rtol=1e-4)
    got.sum().backward()
    assert a.grad.abs().min() > 0
    assert all(p.grad is None for p in perceptual.network.parameters())
    assert float(perceptual(b, b).abs().max()) == 0
    assert isinstance(dsno.make_distance(config(distance="l2")), Squared)
    distance: Distance = dsno.make_distance(config(distance="l1"))
    assert isinstance(distance, Absolute)
    with pytest.raises(UsageError, match="judge was trained on images of shape"):
        perceptual(torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9))


def test_frames_take_turns(workshop):
    made, data = operator(4)
    seen = []
    made.backbone.network.register_forward_pre_hook(lambda m, args: seen.append(len(args[2])))
    loss = dsno.trajectory_loss(data.times, (1, 2, 4), Absolute(), 10.0)
    batch = part(data, 2)
    for step in range(30):
        loss(made, batch._replace(generators=generators(step, range(2))))
    assert set(seen) == {1, 2, 4} and min(np.bincount(seen)[[1, 2, 4]]) > 4


def test_what_does_not_fit_is_refused(workshop):
    with pytest.raises(UsageError, match="frames: 3 do not divide the 4 times"):
        dsno.run(config(frames=(3,)))
    with pytest.raises(UsageError, match="a trajectory belongs to its label"):
        config(train=replace(QUICK, label_dropout=0.1))
    for wrong, said in (
        ({"frames": ()}, "frames: expected"),
        ({"start": 0.0}, "start: expected"),
        ({"cap": 0.5}, "cap: expected"),
    ):
        with pytest.raises(UsageError, match=said):
            config(**wrong)
    write_model(Path("stranger"), teacher_model(CLASSES), seed=5)
    with pytest.raises(SfumatoError, match="trajectories of another model: 'teacher'"):
        dsno.run(config(model="stranger"))
    with pytest.raises(SfumatoError, match="not a classifier"):
        dsno.run(config(features="teacher"))
    run = dsno.run(config())
    with pytest.raises(UsageError, match="expected a denoiser of images, but 'run' is not one"):
        dsno.run(config(model=str(run), out=Path("again")))
    (Path("set") / "shard-00001" / "states.npy").write_bytes(b"")
    with pytest.raises(SfumatoError, match=r"shard-00001: states.npy"):
        dsno.run(config(out=Path("more")))


def test_the_command_refuses_what_makes_no_sense(workshop):
    with pytest.raises(UsageError, match="--n must be at least 1"):
        trajectories("teacher --n 0 --out x")
    with pytest.raises(UsageError, match="Ancestral draws noise"):
        trajectories("teacher --n 2 --times 2 --solver ancestral --out x --quiet")
    with pytest.raises(UsageError, match="another trajectory set"):
        trajectories("teacher --n 24 --steps 7 --times 4 --out set --quiet")
    run = dsno.run(config())
    with pytest.raises(UsageError, match="not a denoiser with a probability flow"):
        command.main([str(run), "--n", "2", "--out", "x"])
    trajectories("teacher --n 3 --steps 6 --guidance 2 --times 2 --out guided --quiet")
    with pytest.raises(SystemExit):
        trajectories("teacher --solver best")

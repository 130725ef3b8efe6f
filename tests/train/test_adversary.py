"""Two players in one loop: each moves alone, and a resumed run is the uninterrupted one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sfumato.errors import SfumatoError, UsageError
from sfumato.loss import OneOf
from sfumato.model.load import load_model
from sfumato.nn import MLPConfig
from sfumato.systems.ddgan.critic import Critic, CriticConfig
from sfumato.systems.ddgan.implicit import (
    Bound,
    ImplicitDenoiser,
    discriminator_loss,
    generator_loss,
)
from sfumato.systems.ddgan.model import ImplicitModel
from sfumato.train import (
    DiffusionTask,
    Microbatch,
    Player,
    TrainConfig,
    diffusion,
    read_log,
    train,
)

AXES = (3,)


def game(
    toy, out: Path, settings: TrainConfig, resume: bool = False, width: int = 16, poison: int = -1
) -> Path:
    axis = toy.AXIS
    model = ImplicitModel(
        data="three",
        network=MLPConfig(width=16, blocks=1, labels=AXES, latent=2),
        bound=Bound.NONE,
        axes=(axis,),
    )
    generator = model.build(settings.seed)
    torch.manual_seed(0)
    judge = Critic(CriticConfig(2, width, 2, labels=AXES))

    def loss(denoiser: ImplicitDenoiser, part: Microbatch) -> Tensor:
        assert not any(p.requires_grad for p in judge.parameters())
        return generator_loss(
            denoiser, judge, part.x0, part.t, cond=part.cond, generator=part.generators
        )

    def theirs(module: nn.Module, part: Microbatch) -> Tensor:
        assert not any(p.requires_grad for p in generator.parameters())
        penalty = 0.1 if part.step % 3 == 0 else 0.0
        found = discriminator_loss(
            generator, module, part.x0, part.t,
            penalty=penalty, cond=part.cond, generator=part.generators,
        )  # fmt: skip
        return found * float("nan") if part.step == poison else found

    law = OneOf(tuple(generator.times[:-1].tolist()))
    game = DiffusionTask(generator.process, law, theirs, AXES, settings.label_dropout)
    return train(
        settings,
        [
            Player(judge, game, "adversary", ratio=2.0),
            diffusion(settings, generator, law, loss, AXES),
        ],
        toy.three_points(),
        out,
        model=model.to_json(),
        resume=resume,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def history(run: Path) -> list[dict]:
    timing = ("images_per_s", "time_left_s")
    return [{k: v for k, v in line.items() if k not in timing} for line in read_log(run)]


@pytest.fixture
def settings(toy) -> TrainConfig:
    return replace(toy.SETTINGS, steps=20, betas=(0.5, 0.9), clip=0.0)


def test_resume_is_bit_for_bit_with_two_players(toy, settings, tmp_path):
    whole = game(toy, tmp_path / "a", settings)
    game(toy, tmp_path / "b", settings)
    for step in (15, 20):
        shutil.rmtree(tmp_path / "b" / "checkpoints" / f"step-{step:08d}")
    again = game(toy, tmp_path / "b", settings, resume=True)
    assert contents(whole) == contents(again)
    assert {"adversary.safetensors", "adversary-optimizer.safetensors"} < set(contents(whole))
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert all(0.5 < line["adversary_loss"] < 3 for line in history(tmp_path / "a"))


def test_only_the_generator_is_averaged_and_loads_as_a_model(toy, settings, tmp_path):
    game(toy, tmp_path / "a", replace(settings, steps=5))
    denoiser, model = load_model(tmp_path / "a")
    assert isinstance(denoiser, ImplicitDenoiser) and isinstance(model, ImplicitModel)
    assert model.shape == (2,) and model.sampling.steps == 4
    assert denoiser(torch.zeros(3, 2), 1.0, torch.zeros(3, dtype=torch.int64)).shape == (3, 2)


def test_accumulation_changes_only_the_order_of_a_sum(toy, settings, tmp_path):
    from safetensors.torch import load_file

    one = game(toy, tmp_path / "a", replace(settings, steps=3))
    two = game(toy, tmp_path / "b", replace(settings, steps=3, accumulate=2))
    for name in ("model.safetensors", "adversary.safetensors"):
        a, b = load_file(one / name), load_file(two / name)
        for key, value in a.items():
            # Adam divides by the gradient's size: rounding shows where a gradient is tiny
            assert (value - b[key]).abs().mean() < 1e-4, key


def test_draws_of_the_second_player_are_its_own(toy, settings):
    from sfumato.process import Scheduled
    from sfumato.schedule import VPLinear
    from sfumato.train import Draws

    process = Scheduled(VPLinear())
    task = DiffusionTask(process, OneOf((0.25, 0.5, 0.75, 1.0)), labels=AXES)
    draws = Draws(settings, toy.three_points())
    (mine,), (theirs,), (again,) = (
        draws.parts(task, 3, *player) for player in ((), ("adversary",), ("adversary",))
    )
    assert torch.equal(mine.x0, theirs.x0)
    assert not torch.equal(mine.t, theirs.t)
    assert torch.equal(theirs.t, again.t)
    a, b, c = (torch.randn(3, generator=p.generators[0]) for p in (mine, theirs, again))
    assert not torch.equal(a, b) and torch.equal(b, c)


def test_what_does_not_fit_is_refused(toy, settings, tmp_path):
    short = replace(settings, steps=5)
    game(toy, tmp_path / "a", short)
    with pytest.raises(SfumatoError, match=r"adversary.safetensors holds the weights of another"):
        game(toy, tmp_path / "a", short, resume=True, width=32)
    with pytest.raises(SfumatoError, match="adversary's loss is not finite at step 3"):
        game(toy, tmp_path / "b", short, poison=2)
    folder = tmp_path / "a" / "checkpoints" / "step-00000005"
    from sfumato.files.store import read_folder, write_folder

    files = {k: v for k, v in read_folder(folder).items() if not k.startswith("adversary")}
    shutil.rmtree(folder)
    write_folder(folder, files)
    with pytest.raises(UsageError, match="was trained without the player 'adversary'"):
        game(toy, tmp_path / "a", short, resume=True)
    module = Critic(CriticConfig())
    with pytest.raises(UsageError, match="expected a positive ratio of learning rates, got 0"):
        Player(module, lambda *_: torch.zeros(1), "adversary", ratio=0.0)
    with pytest.raises(UsageError, match="a word not in use, got 'levels'"):
        Player(module, lambda *_: torch.zeros(1), "levels")
    with pytest.raises(UsageError, match="one of them 'model': \\['judge'\\]"):
        train(
            short, Player(module, lambda *_: torch.zeros(1), "judge"), toy.three_points(),
            tmp_path / "c",
        )  # fmt: skip

"""Weights cut among two processes: the same training, the same checkpoints, killed and resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sfumato.errors import UsageError
from sfumato.train import Player, read_log, train

SCRIPT = Path(__file__).parent / "toy_run.py"


@pytest.mark.slow
def test_two_processes_with_slices_equal_one(toy, tmp_path) -> None:
    """Killed at step 12 of 20 and resumed: losses, weights, averages and moments to 1e-5."""
    one = toy.toy_train(tmp_path / "one", replace(toy.SETTINGS, steps=20))
    out = tmp_path / "two"
    toy.two_processes(SCRIPT, out, 20, "shard-killed", status=1)
    assert [p.name for p in sorted((out / "checkpoints").glob("step*"))][-1] <= "step-00000010"
    toy.two_processes(SCRIPT, out, 20, "shard")
    two = out / "checkpoints" / one.name
    for name in ("model.safetensors", "ema.safetensors", "optimizer.safetensors"):
        a, b = load_file(one / name), load_file(two / name)
        assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}, name
        apart = max(float((a[k] - b[k]).abs().max()) for k in a)
        print(f"{name}: {apart:.1e}")
        assert apart <= 1e-5
    a, b = read_log(tmp_path / "one"), read_log(out)
    assert [x["step"] for x in a] == [x["step"] for x in b]
    assert max(abs(x["loss"] - y["loss"]) for x, y in zip(a, b, strict=True)) < 1e-5
    assert max(abs(x["grad_norm"] / y["grad_norm"] - 1) for x, y in zip(a, b, strict=True)) < 1e-4
    again = toy.toy_train(out, replace(toy.SETTINGS, steps=25), resume=True)  # in one process
    assert again.name == "step-00000025"


def test_one_process_has_whole_weights(toy, tmp_path) -> None:
    settings = replace(toy.SETTINGS, steps=3)
    a = toy.toy_train(tmp_path / "a", settings)
    b = toy.toy_train(tmp_path / "b", replace(settings, shard=True))
    for name in ("model.safetensors", "ema.safetensors", "optimizer.safetensors"):
        assert (a / name).read_bytes() == (b / name).read_bytes()


def test_another_frozen_module_is_refused_by_name(toy, tmp_path) -> None:
    """Frozen modules are held still, named by digest, and no part of a checkpoint."""
    settings = replace(toy.SETTINGS, steps=2)

    def run(scale: float, resume: bool) -> Path:
        torch.manual_seed(0)
        net, eye = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        with torch.no_grad():
            eye.weight.mul_(scale)

        def loss(module, part):
            return (eye(module(part.batch[0])) - part.batch[0]).square().mean(1)

        return train(
            settings, Player(net, loss), toy.three_points(), tmp_path / "run",
            frozen={"eye": eye}, resume=resume,
        )  # fmt: skip

    saved = run(1.0, False)
    assert set(load_file(saved / "model.safetensors")) == {"weight", "bias"}
    run(1.0, True)
    with pytest.raises(UsageError, match="another frozen module 'eye': [0-9a-f]{12} there"):
        run(2.0, True)

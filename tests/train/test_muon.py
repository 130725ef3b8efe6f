"""Muon beside exact polar factors, torch's own for matrices, and AdamW for all else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sfumato.errors import UsageError
from sfumato.files.store import read_folder
from sfumato.train import TrainConfig
from sfumato.train import checkpoint as ck
from sfumato.train.muon import LEAST, Muon, matrices, orthogonal


@pytest.mark.parametrize("shape", [(3, 24, 96), (2, 96, 24), (1, 40, 40)])
def test_orthogonal_keeps_directions_and_levels_their_strengths(shape):
    """U S'V^T of G = U S V^T: the same singular vectors, all values near 1."""
    g = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, s, vt = torch.linalg.svd(g, full_matrices=False)
    turned = u.mT @ orthogonal(g) @ vt.mT
    values = turned.diagonal(dim1=-2, dim2=-1)
    assert (turned - torch.diag_embed(values)).abs().max() < 1e-4
    seen = values[s > 0.02 * s.norm(dim=1, keepdim=True)]
    assert seen.min() > 0.6 and seen.max() < 1.25
    assert torch.allclose(orthogonal(1e-4 * g), orthogonal(g), atol=1e-5)
    assert torch.equal(orthogonal(torch.zeros_like(g)), torch.zeros_like(g))


def test_each_value_goes_through_the_quintic_five_times():
    s = torch.tensor([1.0, 0.5, 0.1, 0.01, 0.0])
    want = s / s.norm()
    for _ in range(5):
        want = 3.4445 * want - 4.7750 * want**3 + 2.0315 * want**5
    assert torch.allclose(orthogonal(torch.diag(s)[None])[0], torch.diag(want), atol=1e-6)


def steps(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, gradients: list[Tensor]):
    for g in gradients:
        parameter.grad = g.clone().reshape(parameter.shape)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("shape", [(24, 96), (96, 24)])
def test_matrices_move_as_with_torch(shape):
    """torch.optim.Muon rounds to bfloat16 in between."""
    g = torch.Generator().manual_seed(2)
    gradients = [torch.randn(shape, generator=g) for _ in range(5)]
    mine, theirs = (nn.Parameter(torch.zeros(shape)) for _ in range(2))
    steps(mine, Muon([mine], lr=0.01, weight_decay=0.1, matrices=[mine]), gradients)
    peer = torch.optim.Muon(
        [theirs], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    steps(theirs, peer, gradients)
    assert (mine - theirs).norm() < 0.02 * theirs.norm()
    # about as far as Adam, whose numbers move by the learning rate
    once = nn.Parameter(torch.zeros(shape))
    steps(once, Muon([once], lr=0.01, matrices=[once]), gradients[:1])
    assert 0.15 * 0.01 < once.square().mean().sqrt() < 0.25 * 0.01


def test_a_convolution_is_a_matrix_of_its_kernels():
    g = torch.Generator().manual_seed(3)
    gradients = [torch.randn(24, 216, generator=g) for _ in range(3)]
    kernel, matrix = nn.Parameter(torch.zeros(24, 24, 3, 3)), nn.Parameter(torch.zeros(24, 216))
    steps(kernel, Muon([kernel], lr=0.01, matrices=[kernel]), gradients)
    steps(matrix, Muon([matrix], lr=0.01, matrices=[matrix]), gradients)
    assert torch.allclose(kernel.flatten(1), matrix, atol=1e-6)


def test_all_else_is_adamw():
    shapes = [(40, 64), (64, 3, 2, 2), (200,), ()]
    g = torch.Generator().manual_seed(4)
    gradients = [[1e-3 * torch.randn(s, generator=g) for s in shapes] for _ in range(4)]
    mine, theirs = ([nn.Parameter(torch.ones(s)) for s in shapes] for _ in range(2))
    how = {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.1}
    optimizers = Muon(mine, **how, matrices=()), torch.optim.AdamW(theirs, **how)
    for step in gradients:
        for some, optimizer in zip((mine, theirs), optimizers, strict=True):
            for p, grad in zip(some, step, strict=True):
                p.grad = grad.clone()
            optimizer.step()
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(mine, theirs, strict=True))


def test_matrices_are_the_weights_of_layers_that_are_wide_enough():
    """Not tables, biases, norms, or weights that a module keeps itself."""

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(
                [nn.Linear(32, 32), nn.Conv2d(4, 16, 2), nn.Conv2d(3, LEAST - 1, 3)]
            )
            self.more = nn.ModuleList([nn.Embedding(64, 64), nn.GroupNorm(2, 32), nn.Linear(64, 3)])
            self.spectral = nn.Parameter(torch.ones(32, 32))

    made = Whole()
    assert matrices(made) == {made.layers[0].weight, made.layers[1].weight}


def test_each_takes_its_own_step_at_the_rate_of_the_group():
    """Two of a shape, one later, a convolution kept channels-last, a vector: as each alone."""
    g = torch.Generator().manual_seed(5)
    shapes = [(24, 32), (24, 32), (24, 16, 3, 3), (40,)]
    mine = [nn.Parameter(torch.randn(s, generator=g)) for s in shapes]
    mine[2].data = mine[2].data.to(memory_format=torch.channels_last)
    alone = [nn.Parameter(p.detach().clone().contiguous()) for p in mine]
    together = Muon(mine, lr=1.0, weight_decay=0.1, matrices=mine[:3])
    together.param_groups[0]["lr"] = 0.01  # as a schedule does
    single = [Muon([p], lr=0.01, weight_decay=0.1, matrices=alone[:3]) for p in alone]
    for step in range(3):
        for i, (p, q, one) in enumerate(zip(mine, alone, single, strict=True)):
            if i == 1 and step == 0:
                continue
            q.grad = torch.randn(q.shape, generator=g)
            p.grad = torch.empty_like(p).copy_(q.grad)
            one.step()
        together.step()
    for p, q in zip(mine, alone, strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=0)


def test_matrices_decay():
    p = nn.Parameter(torch.ones(32, 32))
    p.grad = torch.zeros(32, 32)
    Muon([p], lr=0.1, weight_decay=0.5, matrices=[p]).step()
    torch.testing.assert_close(p, torch.full((32, 32), 0.95))


def test_a_parameter_without_gradient_stays():
    p, q = nn.Parameter(torch.ones(32, 32)), nn.Parameter(torch.ones(4))
    optimizer = Muon([p, q], lr=0.1, weight_decay=0.5, matrices=[p])
    optimizer.step()
    assert torch.equal(p, torch.ones(32, 32)) and torch.equal(q, torch.ones(4))
    with pytest.raises(ValueError, match="expected no closure"):
        optimizer.step(lambda: 0.0)


def test_counts_of_steps_go_back_to_where_the_fused_kernel_wants_them():
    p = nn.Parameter(torch.ones(4))
    p.grad = torch.ones(4)
    optimizer = Muon([p], lr=0.1, fused=True, matrices=())
    optimizer.step()
    saved = ck.pack_tensors(ck.optimizer_tensors(optimizer, ["a"]))
    there = nn.Parameter(torch.ones(4, device="meta"))
    again = Muon([there], lr=0.1, fused=True, matrices=())
    ck.restore_optimizer(again, {"a": there}, saved)
    assert again.state[there]["step"].device.type == "meta"


@pytest.mark.parametrize(("first", "then"), [("adam", "muon"), ("muon", "adam")])
def test_a_resumed_run_keeps_its_optimizer(toy, tmp_path: Path, first: str, then: str):
    toy.toy_train(tmp_path / "a", replace(toy.SETTINGS, optimizer=first, steps=5))
    with pytest.raises(UsageError, match=f"trained with optimizer {first}, got {then}"):
        toy.toy_train(tmp_path / "a", replace(toy.SETTINGS, optimizer=then), resume=True)


def test_a_run_with_muon_goes_on_bit_for_bit(toy, tmp_path):
    config = replace(toy.SETTINGS, optimizer="muon")
    whole = toy.toy_train(tmp_path / "a", config)
    toy.toy_train(tmp_path / "b", config)
    for step in (25, 30):
        shutil.rmtree(tmp_path / "b" / "checkpoints" / f"step-{step:08d}")
    again = toy.toy_train(tmp_path / "b", config, resume=True)
    assert dict(read_folder(whole)) == dict(read_folder(again))
    adam = toy.toy_train(tmp_path / "c")
    assert read_folder(adam)["model.safetensors"] != read_folder(whole)["model.safetensors"]


def test_another_optimizer_is_refused():
    with pytest.raises(UsageError, match=r"train\.optimizer: expected adam or muon, got 'sgd'"):
        TrainConfig(optimizer="sgd")  # type: ignore[arg-type]

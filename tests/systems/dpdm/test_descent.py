"""One private step: what a record can do to it, and what the noise is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy import stats
from torch import Tensor

from sfumato.data import DataCard, PointSet
from sfumato.loss import denoising_loss
from sfumato.systems.dpdm.descent import PrivateDescent, add_clipped
from sfumato.systems.dpdm.ledger import NAME, Ledger
from sfumato.systems.dpdm.randomness import Randomness, RandomSource
from sfumato.train import DiffusionTask, Draws, TrainConfig, standard_loss


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def descent(runs, accelerator, tmp_path, data=None, batch=40, loss=standard_loss, **privacy):
    """A rule on the toy model with disturbed weights, its ledger begun."""
    model = runs.toy.toy_model()
    denoiser = model.build(0)
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g))
    config = TrainConfig(steps=50, batch=batch, label_dropout=0.2, cpu=True)
    settings = replace(runs.PRIVACY, epsilon=1e5, **{"noise": 1.0, **privacy})
    data = data or runs.toy.three_points()
    task = DiffusionTask(denoiser.process, runs.toy.LAW, loss, model.labels, 0.2)
    draws = Draws(config, data)
    rule = PrivateDescent(config, settings, draws, accelerator, denoiser, task, model.to_json())
    rule.most = 10**9
    rule.ledger = Ledger.create(tmp_path / NAME, rule.mechanism(settings.noise))
    return rule


def clipped_sum(rule: PrivateDescent, records: np.ndarray, step: int = 0) -> Tensor:
    total = [torch.zeros_like(p) for p in rule.parameters]
    for part in rule.pieces(records, step):
        rule.add_clipped(part, total)
    return torch.cat([t.flatten() for t in total])


def gradient(rule: PrivateDescent, records: np.ndarray, step: int = 0) -> Tensor:
    rule.gradient(records, step, False)
    return torch.cat([p.grad.flatten() for p in rule.parameters])


@pytest.mark.parametrize("multiplicity", [1, 4, 16])
@pytest.mark.parametrize("clip", [0.01, 1e4])
def test_a_record_moves_the_sum_by_at_most_the_clip(
    runs, accelerator, tmp_path, multiplicity, clip
) -> None:
    """‖sum with - sum without‖ <= C; it is C where gradients are longer, whatever K is."""
    rule = descent(runs, accelerator, tmp_path, multiplicity=multiplicity, clip=clip)
    rule.parameters = list(rule.parameters)
    records = np.array([3, 14, 15, 92, 65])
    for i in range(len(records)):
        without = np.delete(records, i)
        moved = float((clipped_sum(rule, records) - clipped_sum(rule, without)).double().norm())
        assert moved <= clip * (1 + 1e-5)
        if clip == 0.01:
            assert moved > clip * 0.99
        else:
            alone = float(clipped_sum(rule, records[i : i + 1]).norm())
            assert moved == pytest.approx(alone, rel=1e-3) and moved < clip


@pytest.mark.parametrize("multiplicity", [1, 4, 9])
def test_memory_bounds_change_nothing(runs, accelerator, tmp_path, multiplicity) -> None:
    records = np.arange(11)
    sums = []
    for physical in (1, 3, 8, 1000):
        folder = tmp_path / str(physical)
        rule = descent(
            runs, accelerator, folder, multiplicity=multiplicity, physical=physical, clip=0.3
        )
        sums.append(clipped_sum(rule, records))
        largest = max(len(p.x0) for p in rule.pieces(records, 0))
        assert largest <= max(physical, multiplicity)
    for other in sums[1:]:
        assert float((other - sums[0]).norm() / sums[0].norm()) < 1e-5


@pytest.mark.parametrize("multiplicity", [1, 4])
def test_without_noise_and_clipping_it_is_the_plain_gradient(
    runs, accelerator, tmp_path, multiplicity, monkeypatch
) -> None:
    """Σ_i ∇ (1/K) Σ_k ℓ_ik over the *expected* batch, by one ordinary backward pass."""
    monkeypatch.setattr(
        RandomSource, "normal", lambda s, n, like: [torch.zeros_like(p) for p in like]
    )
    rule = descent(runs, accelerator, tmp_path, multiplicity=multiplicity, clip=1e9, physical=1000)
    records = rule.parts(7)
    assert 0 < len(records) != 40  # not the realised batch
    got = gradient(rule, records, 7)
    part = rule.part(records, 7)
    whole = denoising_loss(
        rule.denoiser, part.x0, part.t, cond=part.cond, generator=part.generators
    )
    want = torch.autograd.grad(whole.sum() / multiplicity / 40, rule.parameters)
    want = torch.cat([g.flatten() for g in want])
    assert float((got - want).norm() / want.norm()) < 1e-5


@pytest.mark.parametrize("kind", list(Randomness))
def test_the_noise_is_normal_with_the_standard_deviation_promised(
    runs, accelerator, tmp_path, kind
) -> None:
    """An empty batch is a step of noise alone: N(0, (sC/B)²) in every coordinate."""
    rule = descent(runs, accelerator, tmp_path, noise=2.5, clip=0.4, randomness=kind)
    empty = np.empty(0, dtype=np.int64)
    steps = 40
    z = torch.cat([gradient(rule, empty, step) for step in range(steps)]).double().numpy()
    z = z / (2.5 * 0.4 / 40)
    n = len(z)
    assert n > 50_000
    assert abs(z.std() - 1) < 5.5 / math.sqrt(2 * n)
    assert abs(z.mean()) < 5.5 / math.sqrt(n)
    assert abs(stats.kurtosis(z)) < 6 * math.sqrt(24 / n)
    assert stats.kstest(z, "norm").pvalue > 1e-7
    rows = z.reshape(steps, -1)
    correlation = np.corrcoef(rows)[np.triu_indices(steps, 1)]
    assert np.abs(correlation).max() < 7 / math.sqrt(rows.shape[1])  # fresh in every step
    assert rule.ledger.steps == steps


def test_who_takes_part_is_a_poisson_sample() -> None:
    """Bounds that truly random numbers pass but for one time in ten million."""
    n, rate, steps = 2_000, 0.03, 3_000
    for kind in Randomness:
        source = RandomSource(kind, 1)
        sizes, pairs, hits = [], 0, np.zeros(n)
        before: set[int] = set()
        for step in range(steps):
            chosen = source.chosen(step, n, rate)
            sizes.append(len(chosen))
            hits[chosen] += 1
            now = set(chosen.tolist())
            pairs += len(now & before)
            before = now
        mean, variance = n * rate, n * rate * (1 - rate)
        assert abs(np.mean(sizes) - mean) < 5.5 * math.sqrt(variance / steps)
        assert abs(np.var(sizes) / variance - 1) < 6 * math.sqrt(2 / steps)
        expected = (steps - 1) * n * rate**2
        assert abs(pairs - expected) < 5.5 * math.sqrt(expected * (1 + 4 * rate))
        spread = ((hits - steps * rate) ** 2).sum() / (steps * rate * (1 - rate))
        assert abs(spread - n) < 6 * math.sqrt(2 * n)  # chi-square: no record is favoured


def test_secrets_are_secret_and_seeds_are_not() -> None:
    like = [torch.zeros(5)]
    for kind in Randomness:
        a, b = RandomSource(kind, 3), RandomSource(kind, 3)
        same = torch.equal(a.normal(0, like)[0], b.normal(0, like)[0])
        assert same == (kind is Randomness.REPRODUCIBLE)
        same = np.array_equal(a.chosen(0, 500, 0.5), b.chosen(0, 500, 0.5))
        assert same == (kind is Randomness.REPRODUCIBLE)
        states = [s.record(0, 1).get_state() for s in (a, b)]
        assert torch.equal(*states) == (kind is Randomness.REPRODUCIBLE)
        assert kind.private == (kind is not Randomness.REPRODUCIBLE)


def test_a_records_draws_are_its_own(runs, accelerator, tmp_path) -> None:
    """Times and noise follow the record, not its place in the batch; fresh in every step."""
    rule = descent(runs, accelerator, tmp_path, multiplicity=4)
    few, many = rule.part(np.array([8, 30]), 0), rule.part(np.array([2, 8, 21, 30]), 0)
    assert torch.equal(few.t[:4], many.t[4:8]) and torch.equal(few.t[4:], many.t[12:])
    assert len(set(few.t.tolist())) == 8
    assert not torch.equal(few.t, rule.part(np.array([8, 30]), 1).t)
    noise = [torch.randn(3, generator=p.generators[k]) for p, k in ((few, 0), (many, 4))]
    assert torch.equal(*noise)


def test_a_label_hides_once_for_all_draws(runs, accelerator, tmp_path) -> None:
    rule = descent(runs, accelerator, tmp_path, multiplicity=5)
    hidden = []
    for step in range(40):
        cond = rule.part(np.arange(100), step).cond.reshape(100, 5)
        assert bool((cond == cond[:, :1]).all())
        hidden.append(float((cond[:, 0] == 3).double().mean()))
    assert abs(np.mean(hidden) - 0.2) < 4 * math.sqrt(0.16 / 4000)


def test_a_gradient_that_is_not_finite_counts_as_nothing(runs, accelerator, tmp_path) -> None:
    points = runs.toy.three_points()
    x = points.batch(np.arange(100))[0].numpy().copy()
    x[[5, 50]] = np.nan, np.inf
    spoiled = PointSet(
        "three", x, points.labels, points.axes, DataCard("three", "made", "none", "")
    )
    rule = descent(runs, accelerator, tmp_path / "a", spoiled, clip=0.3)
    sound = np.array([1, 7, 33])
    with_bad = clipped_sum(rule, np.array([1, 5, 7, 33, 50]))
    assert bool(with_bad.isfinite().all())
    assert float((with_bad - clipped_sum(rule, sound)).norm()) < 1e-5
    assert float(clipped_sum(rule, np.array([5, 50])).norm()) == 0


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 1, 3, 2), (0, 3, 1, 2), (0, 2, 3, 1)])
def test_clipping_does_not_depend_on_the_layout_in_memory(order) -> None:
    g = torch.randn(5, 3, 4, 2)
    strided = g.permute(order).contiguous().permute(*(order.index(i) for i in range(4)))
    total = [torch.zeros(3, 4, 2), torch.zeros(2)]
    flat = torch.randn(5, 2)
    factor = add_clipped([strided, flat], 1.0, total)
    norms = (g.flatten(1).square().sum(1) + flat.square().sum(1)).sqrt()
    want = (1 / norms).clamp(max=1)
    assert torch.allclose(factor, want, rtol=1e-5)
    assert torch.allclose(total[0], (want[:, None, None, None] * g).sum(0), atol=1e-6)
    assert torch.allclose(total[1], (want[:, None] * flat).sum(0), atol=1e-6)


def test_the_ledger_is_written_before_the_noise_is_drawn(
    runs, accelerator, tmp_path, monkeypatch
) -> None:
    rule = descent(runs, accelerator, tmp_path)

    def broken(self, step, like):
        assert Ledger.read(tmp_path / NAME).steps == 1
        raise RuntimeError("the power fails now")

    monkeypatch.setattr(RandomSource, "normal", broken)
    with pytest.raises(RuntimeError, match="power"):
        rule.gradient(np.array([1, 2]), 0, False)
    assert Ledger.read(tmp_path / NAME).steps == 1
    assert all(p.grad is None for p in rule.parameters)

"""How far one record moves what is released, for whole data sets and for any gradients."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from sfumato.data import DataCard, PointSet
from sfumato.denoise import Preconditioned
from sfumato.errors import UsageError
from sfumato.process import Scheduled
from sfumato.schedule import EDM
from sfumato.systems.dpdm.descent import PrivateDescent, add_clipped
from sfumato.systems.dpdm.ledger import NAME, Ledger
from sfumato.systems.dpdm.randomness import Randomness, RandomSource
from sfumato.train import DiffusionTask, Draws, TrainConfig


@settings(max_examples=150, deadline=None)
@given(
    records=st.integers(1, 7),
    shapes=st.lists(
        st.sampled_from([(1,), (7,), (3, 4), (2, 3, 2, 2), (5, 1, 3, 3)]), min_size=1, max_size=5
    ),
    exponents=st.lists(st.integers(-30, 30), min_size=7, max_size=7),
    clip=st.sampled_from([1e-3, 0.3, 1.0, 50.0]),
    spoiled=st.sampled_from([0.0, math.nan, math.inf]),
    seed=st.integers(0, 10**6),
)
def test_no_gradient_contributes_more_than_the_clip(
    records, shapes, exponents, clip, spoiled, seed
) -> None:
    """Σ g_i min(1, C/‖g_i‖), of norm <= C (1 + 1e-6) each, for lengths from 1e-30 to 1e30."""
    g = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.tensor(exponents[:records], dtype=torch.float64)
    made = [
        (torch.randn(records, *s, generator=g).double() * scale.view(-1, *[1] * len(s))).float()
        for s in shapes
    ]
    if spoiled != 0.0:
        made[-1].flatten(1)[0, -1] = spoiled

    def total(rows: slice) -> Tensor:
        sums = [torch.zeros(s) for s in shapes]
        add_clipped([m[rows] for m in made], clip, sums)
        return torch.cat([s.flatten() for s in sums]).double()

    whole = torch.zeros_like(total(slice(0, 1)))
    for i in range(records):
        alone = total(slice(i, i + 1))
        mine = torch.cat([m[i].flatten() for m in made]).double()
        norm, length = float(mine.norm()), float(alone.norm())
        assert length <= clip * (1 + 1e-6)
        if not math.isfinite(norm):
            assert length == 0
        elif norm < 1e15:  # longer ones may overflow, and then count as nothing
            want = mine * min(1.0, clip / (norm + 1e-6))
            assert float((alone - want).norm()) <= 1e-5 * float(want.norm()) + 1e-37
        whole += alone
    assert float((total(slice(0, records)) - whole).norm()) <= 1e-5 * clip * records


def points(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)


def rule(
    runs, tmp_path, x: np.ndarray, network: nn.Module | None = None, rank=0, world=1, **privacy
) -> PrivateDescent:
    """A private rule for these points, 100 of them in public; without labels but for the toy's."""
    labels = (np.arange(len(x)) % 3)[:, None]
    data = PointSet("p", x, labels, (runs.toy.AXIS,), DataCard("p", "made", "none", ""))
    model = runs.toy.toy_model()
    denoiser = model.build(0) if network is None else Preconditioned(network, Scheduled(EDM()))
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g))
    config = TrainConfig(steps=50, batch=20, label_dropout=0.3, cpu=True)
    promised = replace(
        runs.PRIVACY, **{"epsilon": 1e5, "noise": 1.0, "population": 100, "physical": 40, **privacy}
    )
    task = DiffusionTask(
        denoiser.process,
        runs.toy.LAW,
        labels=model.labels if network is None else (),
        label_dropout=config.label_dropout,
    )
    draws = Draws(config, data, rank, world)
    made = PrivateDescent(
        config, promised, draws, Accelerator(cpu=True), denoiser, task, model.to_json()
    )
    (tmp_path / NAME).unlink(missing_ok=True)
    made.ledger = Ledger.create(tmp_path / NAME, made.mechanism(promised.noise))
    made.most = 10**9
    return made


def released(made: PrivateDescent, step: int) -> Tensor:
    """What a step gives to the optimizer, times the batch, and so in units of the clip."""
    torch.manual_seed(step)
    made.gradient(made.parts(step), step, False)
    return torch.cat([p.grad.flatten() for p in made.parameters]).double() * made.config.batch


@pytest.mark.parametrize("multiplicity", [1, 4, 16])
@pytest.mark.parametrize("clip", [0.01, 3.0])
def test_neighbouring_data_sets(runs, tmp_path, multiplicity: int, clip: float) -> None:
    """A record is added: with the same randomness every step moves by at most C, noise and all."""
    small = rule(runs, tmp_path, points(100), multiplicity=multiplicity, clip=clip)
    large = rule(runs, tmp_path, points(101), multiplicity=multiplicity, clip=clip)
    hit = []
    for step in range(8):
        a, b = small.parts(step), large.parts(step)
        assert np.array_equal(b[b < 100], a)  # all others as before
        before = released(small, step)
        moved = float((before - released(large, step)).norm())
        hit.append(100 in b)
        if hit[-1]:
            assert moved <= clip * (1 + 1e-6) + 1e-6 * float(before.norm())
            assert moved > 0.99 * clip or clip == 3.0
        else:
            assert moved == 0
    assert any(hit) and not all(hit)


@pytest.mark.parametrize("multiplicity", [1, 4])
def test_an_exchanged_record_is_one_removed_and_one_added(runs, tmp_path, multiplicity) -> None:
    x = points(100)
    y = x.copy()
    y[17] = 40.0, -30.0
    a, b = (rule(runs, tmp_path, z, multiplicity=multiplicity, clip=0.01) for z in (x, y))
    moved = [float((released(a, s) - released(b, s)).norm()) for s in range(8)]
    hit = [17 in a.parts(s) for s in range(8)]
    assert any(hit) and all((m > 0) == h for m, h in zip(moved, hit))
    assert 0.01 < max(moved) <= 0.02 * (1 + 1e-4)


class Net(nn.Module):
    """Small networks on points, which tell the records apart in other ways."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.first, self.second, self.last = nn.Linear(2, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.first(x)
        if self.what == "dropout":
            h = self.dropout(h)
        if self.what == "dropped path":  # seldom: a few examples may all be kept
            h = h * (torch.rand(len(h), 1) < 0.9) / 0.9
        if self.what == "records second":
            h = torch.stack([h, h * 2, h * h, h + 1, h.sin(), h.cos()]).tanh()
            h = self.second(h).sum(0)
        return self.last(h)


@pytest.mark.parametrize("what", ["plain", "dropout", "dropped path", "records second"])
def test_other_networks_are_bounded_or_refused(runs, tmp_path, what: str) -> None:
    """Remove any record from a batch of six, or exchange it: <= C and <= 2C, or never begun."""
    torch.manual_seed(0)
    network = Net(what)
    try:
        made = rule(runs, tmp_path, points(100), network, clip=0.01, multiplicity=2, physical=64)
    except UsageError:
        return

    def clipped_sum(records: list[int]) -> Tensor:
        sums = [torch.zeros_like(p) for p in made.parameters]
        made.draws.seed_dropout(0)
        for part in made.pieces(np.array(records), 0):
            made.add_clipped(part, sums)
        return torch.cat([s.flatten() for s in sums]).double()

    everyone = list(range(6))
    whole = clipped_sum(everyone)
    for i in everyone:
        without = clipped_sum([r for r in everyone if r != i])
        assert float((whole - without).norm()) <= 0.01 * (1 + 1e-4)
        kept = made.draws.data.points[i].copy()
        made.draws.data.points[i] *= -50
        assert float((whole - clipped_sum(everyone)).norm()) <= 0.02 * (1 + 1e-4)
        made.draws.data.points[i] = kept


@pytest.mark.parametrize("kind", list(Randomness))
def test_every_record_is_in_one_process_at_the_rate_promised(runs, tmp_path, kind) -> None:
    """Processes have secrets of their own; still nobody is in two, and all are in at rate q."""
    x = points(100)
    two = [rule(runs, tmp_path, x, rank=r, world=2, randomness=kind) for r in (0, 1)]
    one = rule(runs, tmp_path, x, randomness=kind)
    hits, steps = np.zeros(100), 400
    for step in range(steps):
        a, b = (set(r.parts(step).tolist()) for r in two)
        assert not a & b
        if kind is Randomness.REPRODUCIBLE:
            assert a | b == set(one.parts(step).tolist())
        hits[list(a | b)] += 1
    rate = 20 / 100
    chi = ((hits - steps * rate) ** 2).sum() / (steps * rate * (1 - rate))
    assert abs(chi - 100) < 6 * math.sqrt(200)
    assert abs(hits.mean() - steps * rate) < 5.5 * math.sqrt(steps * rate * (1 - rate) / 100)


@pytest.mark.parametrize("kind", list(Randomness))
def test_a_million_numbers_of_the_noise(kind: Randomness) -> None:
    """Moments, distribution, tails and neighbours of N(0, 1), over tensors of one step and two."""
    source = RandomSource(kind, 5)
    like = [torch.zeros(300, 1000), torch.zeros(7), torch.zeros(200, 1000)]
    pieces = [source.normal(step, like) for step in (0, 1)]
    assert [z.shape for z in pieces[0]] == [p.shape for p in like]
    z = np.concatenate([p.flatten().double().numpy() for step in pieces for p in step])
    n = len(z)
    assert n > 10**6
    assert abs(z.mean()) < 5.5 / math.sqrt(n)
    assert abs((z**2).mean() - 1) < 5.5 * math.sqrt(2 / n)
    assert abs(stats.skew(z)) < 5.5 * math.sqrt(6 / n)
    assert abs(stats.kurtosis(z)) < 5.5 * math.sqrt(24 / n)
    assert stats.kstest(z, "norm").pvalue > 1e-7
    for edge in (3.0, 4.0):
        expected = 2 * stats.norm.sf(edge) * n
        assert abs((np.abs(z) > edge).sum() - expected) < 6 * math.sqrt(expected)
    for lag in (1, 2, 7, 1000, n // 2, 300_000):
        assert abs((z[lag:] * z[:-lag]).mean()) < 5.5 / math.sqrt(n - lag)
    assert len(np.unique(z)) > 0.9 * n  # a few coincide in float32


def test_the_log_of_losses_changes_no_gradient(runs, tmp_path) -> None:
    watched, silent = (rule(runs, tmp_path, points(100), watch_loss=w) for w in (True, False))
    assert torch.equal(released(watched, 3), released(silent, 3))
    assert watched.gradient(watched.parts(3), 3, False).losses is not None
    outcome = silent.gradient(silent.parts(3), 3, False)
    assert outcome.losses is None and outcome.drawn is None

"""Experts by noise level: quantiles, routing, one network in every slot, who is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.condition import Condition
from sfumato.denoise import Denoiser
from sfumato.loss import Between, LogNormal
from sfumato.systems.ediffi.experts import Experts, Node, Route, Split

F64 = torch.float64
LAW = LogNormal(-1.2, 1.2)
PUBLISHED = Split((Node(9, 511), Node(3, 0)))


def test_the_published_boundaries() -> None:
    """E^3_0 ends at .0757 and E^9_511 begins at 9.61, by the normal law's inverse."""
    route = PUBLISHED.route(LAW)
    normal = NormalDist(-1.2, 1.2)
    want = (math.exp(normal.inv_cdf(1 / 8)), math.exp(normal.inv_cdf(511 / 512)))
    assert route.edges == pytest.approx(want, rel=1e-9)
    assert route.edges == pytest.approx((0.0757, 9.61), rel=1e-2)
    assert route.experts == (1, 2, 0) and PUBLISHED.experts == 3


@pytest.mark.parametrize("level", [1, 3, 6])
def test_the_nodes_of_a_level_tile_the_law_equally(level: int) -> None:
    split = Split(tuple(Node(level, i) for i in range(2**level)))
    assert [p[:2] for p in split.pieces] == [
        (i / 2**level, (i + 1) / 2**level) for i in range(2**level)
    ]
    assert split.experts == 2**level  # no complement
    process = sf.Scheduled(sf.EDM())
    times = LAW.draw(process, 40_000, sf.generator(0))
    counts = torch.bincount(torch.tensor([split.route(LAW)(80 * float(t)) for t in times]))
    share = counts / len(times)
    assert float((share - 0.5**level).abs().max()) < 5 * (0.5**level / 40_000) ** 0.5


def test_the_experts_laws_make_up_the_whole() -> None:
    """Mixed by their shares, the three laws are the one: Kolmogorov's distance of 60,000 draws."""
    process = sf.Scheduled(sf.EDM())
    route = PUBLISHED.route(LAW)
    parts = []
    for i in range(3):
        part = PUBLISHED.part(i, LAW)
        drawn = part.draw(process, round(60_000 * part.share), sf.generator(1, i))
        assert {route(80 * float(t)) for t in drawn[:500]} == {i}
        parts.append(drawn)
    z = (torch.cat(parts) * 80).log().sub(-1.2).div(1.2).sort().values
    normal = torch.special.ndtr(z)
    steps = torch.arange(1, len(z) + 1) / len(z)
    assert float((normal - steps).abs().max()) < 1.63 / len(z) ** 0.5  # 1 % level
    assert sum(PUBLISHED.part(i, LAW).share for i in range(3)) == pytest.approx(1)


def test_a_node_s_path() -> None:
    assert Node(3, 5).path == (Node(0, 0), Node(1, 1), Node(2, 2), Node(3, 5))
    low, high = Node(3, 5).range
    for above in Node(3, 5).path:
        assert above.range[0] <= low and high <= above.range[1]


def test_an_edge_belongs_above_it() -> None:
    route = Route((0.5, 2.0), (0, 1, 2))
    assert [route(r) for r in (0.0, 0.4999, 0.5, 1.9, 2.0, math.inf)] == [0, 0, 1, 1, 2, 2]


class Constant(Denoiser):
    """Returns its number, and remembers what it was asked."""

    def __init__(self, process: sf.Process, value: float) -> None:
        super().__init__()
        self.process, self.value = process, value
        self.weight = nn.Parameter(torch.zeros(1))
        self.asked: list[Tensor] = []

    def forward(self, x_t, t, cond=None, generator=None):  # type: ignore[no-untyped-def]
        self.asked.append(torch.as_tensor(t))
        return torch.full_like(x_t, self.value)


def test_the_25_steps_of_the_paper_are_shared_9_11_5() -> None:
    process = sf.Scheduled(sf.EDM())
    experts = [Constant(process, float(i)) for i in range(3)]
    mixed = Experts(experts, PUBLISHED.route(LAW), process)
    times = sf.times.karras(process, 25)
    sf.sample(mixed, sf.solve.DDIM(), times, torch.zeros(1, 1, 2, 2))
    assert [len(e.asked) for e in experts] == [9, 5, 11]  # high, low, between


def test_a_second_stage_asks_at_its_own_noise_level() -> None:
    """A Heun step over an edge: the corrector is the other expert's."""
    process = sf.Scheduled(sf.EDM())
    experts = [Constant(process, float(i)) for i in range(2)]
    mixed = Experts(experts, Route((1.0,), (0, 1)), process)
    times = torch.tensor([2.0 / 80, 0.5 / 80], dtype=F64)
    sf.sample(mixed, sf.solve.Heun(), times, torch.zeros(1, 1, 2, 2))
    assert [float(80 * t) for t in experts[1].asked] == pytest.approx([2.0])
    assert [float(80 * t) for t in experts[0].asked] == pytest.approx([0.5])


def network() -> sf.Denoiser:
    torch.manual_seed(0)
    config = sf.nn.UNetConfig(
        1, 1, channels=16, multipliers=(1,), attention=(), resolution=8, labels=(3,)
    )
    net = sf.nn.UNet(config).double()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(std=0.2)
    return sf.Preconditioned(net, sf.Scheduled(sf.EDM())).eval()


def test_one_network_in_every_slot_is_that_network_bit_for_bit() -> None:
    alone = network()
    mixed = Experts([alone, alone, alone], PUBLISHED.route(LAW), alone.process)
    cond = torch.tensor([0, 2])
    drawn = []
    for denoiser in (alone, mixed):
        x = denoiser.process.prior_sample((2, 1, 8, 8), sf.generators(0, range(2)), dtype=F64)
        times = sf.times.karras(denoiser.process, 8)
        made = sf.sample(denoiser, sf.solve.Heun(), times, x, cond=cond)
        drawn.append((made.x, made.nfe))
    assert torch.equal(drawn[0][0], drawn[1][0]) and drawn[0][1] == drawn[1][1]


def test_times_that_differ_between_samples() -> None:
    """Estimates and residuals, in the order of the batch, with each sample's own label."""
    alone = network()
    mixed = Experts([alone, alone, alone], PUBLISHED.route(LAW), alone.process)
    t = torch.tensor([12.0, 0.01, 0.5, 0.02, 20.0], dtype=F64) / 80
    x = torch.randn(5, 1, 8, 8, dtype=F64, generator=sf.generator(3))
    cond = torch.tensor([0, 1, 2, 1, 0])
    torch.testing.assert_close(mixed(x, t, cond), alone(x, t, cond))
    eps = x.flip(0)
    told = Condition.of(cond)
    torch.testing.assert_close(
        mixed.residual(x, t, 0.3 * x, eps, told), alone.residual(x, t, 0.3 * x, eps, told)
    )
    assert mixed.indices(t) == [0, 1, 2, 1, 0]
    with pytest.raises(ValueError, match="one generator for each sample"):
        mixed(x, t, cond, sf.generator(0))


def loader(made: list[int], i: int) -> Callable[[], Denoiser]:
    def load() -> Denoiser:
        made.append(i)
        return Constant(sf.Scheduled(sf.EDM()), float(i))

    return load


@pytest.mark.parametrize(("keep", "loads"), [(0, [2, 1, 0]), (1, [2, 1, 0, 2]), (2, [2, 1, 0, 2])])
def test_experts_are_loaded_when_they_are_asked(keep: int, loads: list[int]) -> None:
    process, made = sf.Scheduled(sf.EDM()), list[int]()
    mixed = Experts(
        [loader(made, i) for i in range(3)], Route((0.1, 1.0), (0, 1, 2)), process, keep
    )
    assert made == []
    x = torch.zeros(1, 1, 2, 2)
    for sigma in (5.0, 3.0, 0.5, 0.05, 5.0):
        mixed(x, sigma / 80)
        assert not keep or len(mixed.loaded) <= keep
    assert made == loads


def test_misfits_are_named() -> None:
    process = sf.Scheduled(sf.EDM())
    one = Constant(process, 0.0)
    with pytest.raises(ValueError, match="at least 2 experts"):
        Experts([one], Route((1.0,), (0, 1)), process)
    with pytest.raises(ValueError, match="expected experts of"):
        Experts([one], Route((), (0,)), sf.Scheduled(sf.VPCosine()))
    with pytest.raises(ValueError, match="do not overlap"):
        Split((Node(1, 0), Node(2, 1)))
    with pytest.raises(ValueError, match="edges that rise"):
        Route((1.0, 0.5), (0, 1, 2))
    with pytest.raises(ValueError, match="0 <= i < 2"):
        Node(2, 4)
    with pytest.raises(ValueError, match="ranges apart"):
        Between(LAW, ((0.0, 0.5), (0.4, 1.0)))
    with pytest.raises(ValueError, match="an expert below 3"):
        PUBLISHED.part(3, LAW)

"""The trajectory operator begins as its teacher, and learns flows that are known exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.errors import UsageError
from sfumato.solve import DDIM, DPMSolverPP
from sfumato.systems.dsno.operator import Means, TrajectoryOperator
from toy_trajectories import error, learn, toy

PROCESSES = [
    sf.Scheduled(sf.EDM(80.0)),
    sf.Scheduled(sf.VPCosine()),
    sf.Scheduled(sf.VPLinear()),
    sf.Scheduled(sf.RectifiedFlow()),
]


class Blind(nn.Module):
    """A network over frames that treats all alike: that of the teacher."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(
        self, x: Tensor, level: Tensor, positions: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        y = self.inner(x, level, cond)
        return y[:, None].expand(len(y), len(positions), *y.shape[1:])


class Small(nn.Module):
    """A network like any, x (B, 2), level, cond -> (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        c = torch.zeros(len(x)) if cond is None else cond[:, 0].float()
        return self.layers(torch.cat([x, level[:, None], c[:, None]], 1))


def known_means() -> Means:
    means = Means((2,), (3,))
    with torch.no_grad():
        means.table.copy_(torch.arange(10.0).reshape(5, 2) / 10)
    return means


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_at_first_every_frame_is_the_teachers_step(process):
    teacher = sf.Preconditioned(Small(), process, sf.Prediction.EDM, sigma_data=0.7)
    blind = sf.Preconditioned(Blind(teacher.network), process, sf.Prediction.EDM, sigma_data=0.7)
    times = sf.times.angular(process, 4, 0.7)[1:]
    x, cond = (
        process.prior_sample((5, 2), torch.Generator().manual_seed(0)),
        torch.tensor([[0, 1, 2, 1, 0]]).T,
    )
    one = TrajectoryOperator(blind, times)
    guess = teacher(x, 1.0, cond)
    for t, frame in zip(times, one.path(x, times, cond).unbind(1), strict=True):
        step = sf.process.mix(process.transport(1.0, t), x, guess)
        assert torch.allclose(frame, step, rtol=1e-5, atol=1e-5)
    assert torch.allclose(one(x, 1.0, cond), guess, rtol=1e-5, atol=1e-5)

    class Mean(sf.Denoiser):
        """The teacher, but its answer at t = 1 is the mean of the class."""

        def __init__(self) -> None:
            super().__init__()
            self.process = process

        def forward(self, x_t, t, cond=None, generator=None):
            return means(len(x_t), cond.labels) if float(t) == 1 else teacher(x_t, t, cond)

    means, start = known_means(), float(sf.times.at_angle(process, torch.tensor(0.75), 0.7))
    two = TrajectoryOperator(blind, times, start, means)
    grid = torch.tensor([1.0, start, 0.0], dtype=torch.float64)
    want = sf.sample(Mean(), DDIM(), grid, x, cond=cond)
    assert want.nfe == 2 and torch.allclose(two(x, 1.0, cond), want.x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_states_and_estimates_are_two_ways_to_say_the_same(process):
    exact = toy(process)
    times = sf.times.angular(process, 6, 0.8)[1:]
    x = process.prior_sample((7, 2), torch.Generator().manual_seed(0), dtype=torch.float64)
    states = exact.double().flow(x, times)
    operator = TrajectoryOperator(sf.Preconditioned(Blind(Small()), process), times)
    phi, c = operator.weights(times, x)
    assert torch.allclose(phi * x[:, None] + c * operator.targets(x, states, times), states)
    # of the scale of the data, whatever that of x_1 is
    assert 0.2 < operator.targets(x, states, times).std() < 2
    # at t = 0 the estimate is the sample, and the state at t = 1 is x_1 whatever the network says
    assert torch.allclose(operator.targets(x, states, times)[:, -1], states[:, -1])
    path = operator.path(x.float(), [1.0, 0.5, 0.0])
    assert torch.equal(path[:, 0], x.float())


@pytest.mark.parametrize("start", [1.0, 0.4])
def test_it_learns_the_flow_of_gaussian_data(start):
    """Against the closed form at the times it learned, and at twice as many: 1 % and 8 % of the
    scale of the state (root mean square)."""
    exact = toy(sf.Scheduled(sf.VPCosine()))
    operator = learn(exact, start, steps=250)
    assert error(operator, exact, 4) < 0.01
    assert error(operator, exact, 8) < 0.08
    # one evaluation draws from the data
    x = exact.process.prior_sample((4000, 2), torch.Generator().manual_seed(2))
    drawn = sf.sample(operator, DDIM(), torch.tensor([1.0, 0.0]), x)
    assert drawn.nfe == 1
    assert torch.allclose(drawn.x.mean(0), exact.mean, atol=0.05)
    assert torch.allclose(drawn.x.std(0), exact.spread, atol=0.05)


def test_the_means_are_a_table_of_labels():
    means = Means((2,), (2, 3))
    with torch.no_grad():
        means.table.copy_(10.0 ** torch.arange(8)[:, None].expand(8, 2))
    rows = means(3, torch.tensor([[0, 2], [2, 3], [1, 0]]))[:, 0]
    assert rows.tolist() == [1 + 1e1 + 1e6, 1 + 1e3 + 1e7, 1 + 1e2 + 1e4]
    assert means(1)[0, 0] == 1 + 1e3 + 1e7  # no labels
    assert Means((2,))(4, torch.randn(4, 5)).shape == (
        4,
        2,
    )  # without axes conditions do not matter
    for wrong in (torch.tensor([[0, 4]]), torch.tensor([[-1, 0]]), torch.tensor([[0]])):
        with pytest.raises(ValueError, match=r"expected labels \(1, 2\) from 0 to \(2, 3\)"):
            means(1, wrong)


def test_what_makes_no_sense_is_refused():
    process = sf.Scheduled(sf.EDM())
    backbone = sf.Preconditioned(Blind(Small()), process)
    operator = TrajectoryOperator(backbone, [0.02, 0.0])
    x = process.prior_sample((2, 2))
    with pytest.raises(UsageError, match=r"answers at t = 1 alone, got t = 0.5: sample it in one"):
        operator(x, 0.5)
    with pytest.raises(UsageError, match="answers at t = 1 alone"):
        sf.sample(operator, DPMSolverPP(), sf.times.karras(process, 4), x)
    for times, said in (
        ([0.5, 0.5, 0.0], "strictly falling"),
        ([1.5, 0.0], r"times in \[0, 1\], got 1.5 to 0.0"),
        ([0.5, -0.1], r"times in \[0, 1\], got 0.5 to -0.1"),
        ([], "times in a row"),
    ):
        with pytest.raises(UsageError, match=said):
            operator.path(x, times)
    with pytest.raises(UsageError, match="last time to be 0, got 0.1"):
        TrajectoryOperator(backbone, [0.5, 0.1])
    with pytest.raises(UsageError, match=r"start in \(0, 1\], got 0"):
        TrajectoryOperator(backbone, [0.0], 0.0)
    with pytest.raises(UsageError, match="needs the means"):
        TrajectoryOperator(backbone, [0.0], 0.5)
    phase = sf.Preconditioned(Blind(Small()), sf.CriticallyDamped(), sf.Prediction.VELOCITY_NOISE)
    with pytest.raises(UsageError, match="needs a scheduled process, got CriticallyDamped"):
        TrajectoryOperator(phase, [0.0])

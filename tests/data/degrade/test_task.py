"""Problems: tasks each as likely, what is known, what stands beside, where noise begins."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest
from torch import Tensor

from sfumato.data import degrade as d
from sfumato.data.degrade import TASKS, Problem, Task, begin, pose, posed, tasks_named
from sfumato.errors import UsageError
from sfumato.model.codec import decode, encode
from sfumato.seeds import generators, rand

F64 = torch.float64
SOME = tuple(TASKS[name] for name in ("sr4x-pool", "denoise", "colourise", "inpaint", "jpeg"))
each = pytest.mark.parametrize("name", TASKS)


def pictures(n: int, size: int = 16, channels: int = 3) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return 2 * torch.rand(n, channels, size, size, generator=g, dtype=F64) - 1


def check(problem: Problem) -> None:
    """What every problem owes."""
    known = problem.known.expand_as(problem.x0) > 0
    assert set(problem.known.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(problem.x1[known], problem.x0[known])
    assert problem.task.dtype is torch.int64
    assert problem.known.dtype is problem.x1.dtype is problem.beside.dtype is problem.x0.dtype


@each
def test_every_named_task_poses_problems(name: str) -> None:
    task, x0 = TASKS[name], pictures(3)
    assert task.name == name
    problem = posed(task, x0, generators(0, range(3)))
    check(problem)
    assert torch.equal(problem.x0, x0)
    bad = task.degradation.degrade(x0, generators(0, range(3)))
    if bad.known is None:
        assert float(problem.known.max()) == 0
        assert torch.equal(problem.beside, bad.x1)
    else:
        assert torch.equal(problem.known, bad.known)
        assert torch.equal(problem.beside, torch.where(bad.known > 0, x0, 0 * x0))
    assert torch.equal(problem.x1, bad.x1) == (task.noise == 0)
    assert task.noise == (1.0 if name == "colourise" else 0.0)
    read = decode(json.loads(json.dumps(encode(task))), Task, d.KINDS)
    assert read == task


def test_a_picture_of_a_mixture_depends_on_its_own_generator() -> None:
    x0 = pictures(20)
    whole = pose(SOME, x0, generators(0, range(20)))
    check(whole)
    assert len(set(whole.task.tolist())) == len(SOME)
    for rows in ([0], [7], [19, 3, 11]):
        part = pose(SOME, x0[rows], generators(0, rows))
        assert torch.equal(part.task, whole.task[rows])
        for mine, theirs in zip(part, whole, strict=True):
            torch.testing.assert_close(mine, theirs[rows], rtol=0, atol=1e-12)
    again = pose(SOME, x0, generators(0, range(20)))
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    other = pose(SOME, x0, generators(1, range(20)))
    assert other.task.tolist() != whole.task.tolist()


def test_a_mixture_is_each_picture_posed_by_its_task() -> None:
    x0 = pictures(12)
    whole = pose(SOME, x0, generators(0, range(12)))
    for i in range(12):
        g = generators(0, [i])
        number = int(rand((1, 1), g)[0, 0] * len(SOME))
        alone = posed(SOME[number], x0[i : i + 1], g)
        assert int(whole.task[i]) == number
        for field in ("x0", "x1", "beside", "known"):
            got, want = getattr(whole, field)[i : i + 1], getattr(alone, field)
            torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kinds", [1, 3, 7])
def test_tasks_are_each_as_likely(kinds: int) -> None:
    """2,000 draws; every picture carries the mark of the task whose number it has."""
    tasks = [
        Task(f"{k}", d.FromFunction(f"{k}", lambda x, _, k=k: torch.full_like(x, k)))  # type: ignore[misc]
        for k in range(kinds)
    ]
    problem = pose(tasks, torch.zeros(2000, 1, 1, 1), generators(0, range(2000)))
    assert torch.equal(problem.x1[:, 0, 0, 0].long(), problem.task)
    counts = np.bincount(problem.task.numpy(), minlength=kinds)
    assert len(counts) == kinds
    if kinds > 1:
        assert chisquare(counts).pvalue > 0.01


def test_noise_where_the_walk_begins_is_not_beside() -> None:
    """Colourisation: x1 = A x0 + N(0, I), beside = A x0."""
    x0 = pictures(40)
    problem = posed(TASKS["colourise"], x0, generators(0, range(40)))
    torch.testing.assert_close(problem.beside, d.Grey()(x0), rtol=0, atol=0)
    z = (problem.x1 - problem.beside).flatten()
    assert kstest(z.numpy(), "norm").pvalue > 0.01
    half = posed(Task("half", d.Grey(), noise=0.5), x0, generators(0, range(40)))
    torch.testing.assert_close(half.x1 - half.beside, 0.5 * (problem.x1 - problem.beside))
    planes = z.reshape(40, 3, -1)
    assert abs(float((planes[:, 0] * planes[:, 1]).mean())) < 4 / planes[:, 0].numel() ** 0.5


def test_what_is_known_stays_known_under_noise_of_the_start() -> None:
    x0 = pictures(8)
    problem = posed(Task("both", d.CentreMask(), noise=1.0), x0, generators(0, range(8)))
    check(problem)
    hole = problem.known.expand_as(x0) == 0
    assert float(problem.x1[hole].var()) == pytest.approx(2, rel=0.2)  # noise upon noise
    assert float(problem.beside[hole].abs().max()) == 0


def test_a_hole_is_noise_to_the_walk_and_nothing_beside() -> None:
    x0 = pictures(8) + 3
    problem = posed(Task("centre", d.CentreMask()), x0, generators(0, range(8)))
    check(problem)
    assert float(problem.beside[:, :, 4:12, 4:12].abs().max()) == 0
    assert torch.equal(problem.beside[:, :, :4], x0[:, :, :4])
    middle = problem.x1[:, :, 4:12, 4:12]
    assert kstest(middle.flatten().numpy(), "norm").pvalue > 0.01
    assert float(problem.known.mean()) == 0.75


def test_beginning_without_the_good_picture() -> None:
    x1 = pictures(3)
    plain = begin(Task("p", d.Given()), x1, None, None)
    assert torch.equal(plain.x0, x1)
    assert torch.equal(plain.x1, x1)
    assert torch.equal(plain.beside, x1)
    assert float(plain.known.max()) == 0
    assert plain.task.tolist() == [0, 0, 0]
    g = torch.Generator().manual_seed(0)
    before = g.get_state()
    begin(Task("p", d.Given()), x1, None, g)
    assert torch.equal(g.get_state(), before)  # no noise asked for, none drawn
    known = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    known[..., :5] = False
    held = begin(Task("p", d.Given()), x1, known, None)  # one mask for all
    assert held.known.shape == (3, 1, 16, 16)
    assert torch.equal(held.x1, x1)
    assert torch.equal(held.beside, torch.where(known, x1, 0.0))
    noisy = begin(Task("p", d.Given(), noise=0.1), x1, None, generators(0, range(3)))
    alone = begin(Task("p", d.Given(), noise=0.1), x1[2:], None, generators(0, [2]))
    assert torch.equal(noisy.x1[2:], alone.x1)
    for bad in (x1[0], (100 * x1).long()):
        with pytest.raises(ValueError, match="expected float pictures"):
            begin(Task("p", d.Given()), bad, None, None)


def test_pairs_are_taken_apart() -> None:
    good, bad = pictures(4), pictures(4).flip(0)
    pairs = torch.cat([good, bad], 1)
    problem = posed(Task("pairs", d.Given()), pairs, generators(0, range(4)))
    for got, want in ((problem.x0, good), (problem.x1, bad), (problem.beside, bad)):
        assert torch.equal(got, want)
    assert float(problem.known.max()) == 0
    noisy = posed(Task("pairs", d.Given(), noise=0.5), pairs, generators(0, range(4)))
    assert torch.equal(noisy.x0, good)
    assert torch.equal(noisy.beside, bad)
    assert float((noisy.x1 - bad).std()) == pytest.approx(0.5, rel=0.05)
    for wrong in (pairs[:, :5], pairs[0]):
        with pytest.raises(ValueError, match=r"expected pairs \(B, 2 C, H, W\), got \("):
            posed(Task("pairs", d.Given()), wrong, None)


def test_gradients_flow_through_a_problem() -> None:
    """d beside / d x0 of pooling by 2: a quarter of the weights of the four pixels, everywhere."""
    x0 = pictures(2).requires_grad_()
    problem = pose([Task("half", d.Pooled(2))], x0, generators(0, range(2)))
    w = pictures(4)[2:]
    (grad,) = torch.autograd.grad((problem.beside * w).sum(), x0)
    torch.testing.assert_close(grad, d.Pooled(2)(w), rtol=0, atol=1e-12)


def test_names() -> None:
    assert [t.name for t in tasks_named(["jpeg", "sr4x"])] == ["jpeg", "sr4x"]
    for wrong, near in (("jpg", "jpeg"), ("colorize", "colourise"), ("deblurr", "deblur")):
        with pytest.raises(UsageError, match=f"unknown task '{wrong}'; did you mean .*'{near}'"):
            tasks_named([wrong])
    every = re.escape(", ".join(sorted(TASKS)))
    with pytest.raises(UsageError, match=f"unknown task 'zzz'; there are: {every}"):
        tasks_named(["zzz"])
    with pytest.raises(UsageError, match="one or more different tasks, got none"):
        tasks_named([])
    with pytest.raises(UsageError, match="one or more different tasks, got jpeg, jpeg"):
        tasks_named(["jpeg", "jpeg"])


def test_problems_that_cannot_be_posed() -> None:
    x0 = pictures(2)
    with pytest.raises(ValueError, match="at least one task, got none"):
        pose([], x0, generators(0, range(2)))
    with pytest.raises(ValueError, match="one generator per sample, 2 of them, got 3"):
        pose(SOME, x0, generators(0, range(3)))
    with pytest.raises(ValueError, match="a height and width that 4 divides"):
        pose([TASKS["sr4x"]], x0[..., :15], generators(0, range(2)))
    with pytest.raises(ValueError, match="expected float pictures"):
        pose([TASKS["sr4x"]], (100 * x0).long(), generators(0, range(2)))

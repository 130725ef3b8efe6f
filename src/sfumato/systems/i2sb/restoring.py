"""What restoration shares: the loss, the walk back, and sheets of before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sfumato.data import ImageSet, to_uint8
from sfumato.data.degrade import Problem, Task, pose, posed
from sfumato.denoise import Denoiser
from sfumato.files import pictures
from sfumato.guide import Inpaint
from sfumato.loss import denoising_loss
from sfumato.process import Scheduled
from sfumato.sampling import Solution, Solver, sample
from sfumato.seeds import Generators, generators, rand
from sfumato.solve import Ancestral, DPMSolverPP
from sfumato.systems.i2sb.model import Method, RestorationModel
from sfumato.times import karras, uniform
from sfumato.train import Loss, Microbatch, Sheet

Tasks = Sequence[Task]
Walk = Callable[[Denoiser, int], tuple[Solver, Tensor]]
"""A solver and its times for a denoiser and a number of steps."""


def restoration_loss(model: RestorationModel, tasks: Tasks, hide: float) -> Loss:
    r"""The loss of a part: each example is degraded by a task of its own, and the task hidden.

    .. math:: \lVert m \circ (F_\theta(x_t, x_1, t, c) - F) \rVert^2,

    with F what the network is to predict and m = 1, or 1 - known where the model is masked
    (I²SB, section 4.3: prediction and label are masked).

    Args:
        model: what is trained.
        tasks: the degradations, in the order of the model's tasks.
        hide: probability with which the network is not told the task.
    """

    def loss(denoiser: Denoiser, part: Microbatch) -> Tensor:
        g = part.generators
        with torch.no_grad(), torch.autocast(part.x0.device.type, enabled=False):
            problem = pose(tasks, part.x0, g)  # in full precision, whatever the network's
        x0 = problem.x0
        unseen = rand((len(x0), 1), g).to(x0.device) < hide
        label = torch.where(unseen, len(tasks), problem.task[:, None])
        return denoising_loss(
            denoiser,
            x0,
            part.t,
            x1=None if model.method is Method.DIFFUSION else problem.x1,
            cond=model.cond(problem, label),
            generator=g,
            weight=1 - problem.known if model.masked else None,
        )

    return loss


def usual_walk(denoiser: Denoiser, steps: int) -> tuple[Solver, Tensor]:
    """A bridge's ancestral steps over uniform times; from noise, two-step exponential ones."""
    process = denoiser.process
    if isinstance(process, Scheduled):
        return DPMSolverPP(), karras(process, steps)
    return Ancestral(), uniform(steps)


def restore(
    denoiser: Denoiser,
    model: RestorationModel,
    problem: Problem,
    steps: int,
    generator: Generators = None,
    *,
    told: bool = True,
    walk: Walk = usual_walk,
    wrap: Callable[[Denoiser], Denoiser] = lambda d: d,
    callback: Callable[[int, float, Tensor], None] | None = None,
    guess: tuple[Tensor, float] | None = None,
) -> Solution:
    """Draw x_0 given x_1 by the model's method.

    A masked model's known part is put into every estimate of x_0. For a bridge this is the
    published overwriting of the known region by x_1 + noise of the bridge's own deviation: with
    x̂_0 = x_1 there, the walk stays on the bridge between the two.

    Args:
        denoiser: what ``model.build`` made, trained.
        problem: the bad pictures; their number of the task among the model's.
        steps: of the walk; a regression has one.
        generator: one, or one per picture.
        told: whether the network is told the tasks.
        walk: another solver and other times.
        wrap: put around the denoiser, e.g. tiles.
        callback: called after each step.
        guess: of a bridge, an x_0 and a time: the walk begins on the bridge to that guess at that
            time, instead of at x_1, over uniform times.
    """
    labels = (
        problem.task[:, None] if told else torch.full_like(problem.task[:, None], len(model.tasks))
    )
    cond = model.cond(problem, labels)
    solver, times = walk(denoiser, 1 if model.method is Method.REGRESSION else steps)
    if model.method is Method.DIFFUSION:
        x = denoiser.process.prior_sample(problem.x1.shape, generator, t=float(times[0]))
        x = x.to(problem.x1)
    elif guess is None:
        x = problem.x1
    else:
        times = uniform(len(times) - 1, start=guess[1])
        x, _ = denoiser.process.perturb(guess[0], guess[1], generator, problem.x1)
    walked = wrap(denoiser)
    if model.masked:
        walked = Inpaint(walked, problem.beside, problem.known)
    return sample(walked, solver, times, x, cond=cond, generator=generator, callback=callback)


def restoration_sheet(model: RestorationModel, tasks: Tasks, data: ImageSet, steps: int) -> Sheet:
    """Three rows (good, bad, restored) for each of the tasks, on examples of the data."""
    columns = 10
    examples = data.batch(np.arange(columns))[0]
    problems = [
        posed(task, examples, generators(i, range(columns)), i) for i, task in enumerate(tasks)
    ]

    def draw(denoiser: Denoiser) -> Image.Image:
        device = next(denoiser.parameters()).device
        rows, names = [], []
        for i, (task, problem) in enumerate(zip(tasks, problems, strict=True)):
            here = Problem(*(a.to(device) for a in problem))
            g = generators(1000 + i, range(columns))
            made = restore(denoiser, model, here, steps, g).x.float().cpu()
            rows += [problem.x0, problem.x1, made]
            names += ["", task.name, ""]
        return pictures.sheet(to_uint8(torch.cat(rows)).numpy(), columns=columns, row_labels=names)

    return draw

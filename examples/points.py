"""Train a small network on points in the plane, sample it two ways, and draw a picture.

python examples/points.py            a few seconds on one core; writes points.png
"""

from __future__ import annotations

import torch

import sfumato as sf
from sfumato.data import points
from sfumato.files import pictures
from sfumato.metrics import sliced_wasserstein
from sfumato.nn import MLP, MLPConfig


def main(steps: int = 600, batch: int = 256) -> None:
    """Train, sample, compare with fresh data."""
    data = points("swiss-roll", 10_000, seed=0)
    process = sf.Scheduled(sf.RectifiedFlow())
    torch.manual_seed(0)  # the first weights
    network = MLP(MLPConfig(width=96, blocks=2))
    denoiser = sf.Preconditioned(network, process, predicts=sf.Prediction.FLOW)
    optimizer = torch.optim.Adam(denoiser.parameters(), 2e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    law = sf.Uniform(1e-4)

    for step in range(steps):
        draw = sf.generator(0, "train", step)
        x0, _ = data.batch(torch.randint(len(data), (batch,), generator=draw).numpy())
        t = law.draw(process, batch, draw)
        loss = sf.denoising_loss(denoiser, x0, t, generator=draw).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()

    fresh, _ = points("swiss-roll", 2_000, seed=1).batch(range(2_000))
    seeds = sf.generators(0, range(2_000))
    start = process.prior_sample((2_000, 2), seeds)
    for name, solver, n in (
        ("straight lines, 20 Euler steps", sf.solve.Euler(), 20),
        ("second order, 10 Heun steps", sf.solve.Heun(), 10),
    ):
        solution = sf.sample(denoiser.eval(), solver, sf.times.uniform(n), start)
        print(f"{name}: {solution.nfe} evaluations, {sliced_wasserstein(fresh, solution.x)}")
    pictures.save(pictures.scatter(solution.x.numpy()), "points.png")
    print("wrote points.png")


if __name__ == "__main__":
    main()

"""Audit the private training: how well can canaries that took part be told from those that did not?

    python benchmarks/dpdm_audit.py                 writes benchmarks/results/dpdm-audit.json

Points in many dimensions, far from each other, so that a model can learn each by heart. Half of
them, by a coin each, take part in a training at a small epsilon, and once more with the noise
switched off while everything else, the claimed epsilon included, stays as it was. The attack
knows the final weights and each canary; its score is how much better the trained model denoises
the canary than the untrained one. The lower bound on epsilon at 95 % confidence must be below the
claim for the private run, and well above it for the other.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from sfumato.data import DataCard, PointSet
from sfumato.denoise import Denoiser
from sfumato.loss import LogNormal, denoising_loss
from sfumato.model.description import ModelConfig
from sfumato.nn import MLPConfig
from sfumato.seeds import generator
from sfumato.systems.dpdm.accounting import Accountant
from sfumato.systems.dpdm.audit import epsilon_lower_bound, guesses_from_scores
from sfumato.systems.dpdm.descent import private
from sfumato.systems.dpdm.options import PrivacyConfig
from sfumato.systems.dpdm.randomness import RandomSource
from sfumato.train import TrainConfig, diffusion, train

sys.path.insert(0, str(Path(__file__).parent))
from written import write

OUT = Path(__file__).parent / "results" / "dpdm-audit.json"
LAW = LogNormal(-0.5, 1.0)


@dataclass(frozen=True)
class Audit:
    """The settings of an audit."""

    canaries: int = 400
    dimensions: int = 64
    guesses: int = 200
    epsilon: float = 1.0
    steps: int = 300
    batch: int = 100
    multiplicity: int = 4
    seed: int = 0


def canaries(audit: Audit) -> tuple[torch.Tensor, np.ndarray]:
    """All canaries (m, d), and which of them take part."""
    g = generator(audit.seed, "canaries")
    x = torch.randn(audit.canaries, audit.dimensions, generator=g)
    return x, (torch.rand(audit.canaries, generator=g) < 0.5).numpy()


def losses(denoiser: Denoiser, x: torch.Tensor, draws: int = 64) -> torch.Tensor:
    """Mean loss of every point over the same draws of time and noise."""
    g = generator(0, "attack")
    total = torch.zeros(len(x))
    with torch.no_grad():
        for _ in range(draws):
            t = LAW.draw(denoiser.process, 1, g).expand(len(x))
            total += denoising_loss(denoiser, x, t, generator=g)
    return total / draws


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Switch the noise off: what a careless implementation might do."""
    with mock.patch.object(
        RandomSource, "normal", lambda self, step, like: [torch.zeros_like(p) for p in like]
    ):
        yield


def attack(audit: Audit, noise: bool) -> dict[str, Any]:
    """Train on the canaries that take part, guess, and bound epsilon from below."""
    x, took_part = canaries(audit)
    points = x[torch.from_numpy(took_part)].numpy()
    data = PointSet("canaries", points, None, (), DataCard("canaries", "made", "", ""))
    d = audit.dimensions
    model = ModelConfig("canaries", MLPConfig(d, d, width=128, blocks=2), sigma_data=1.0)
    denoiser = model.build(audit.seed)
    before = losses(denoiser, x)
    settings = TrainConfig(
        steps=audit.steps, batch=min(audit.batch, int(took_part.sum())), lr=3e-3, warmup=10,
        sheet_every=0, checkpoint_every=audit.steps, cpu=True, tensorboard=False, quiet=True,
    )  # fmt: skip
    privacy = PrivacyConfig(
        epsilon=audit.epsilon, delta=1e-5, multiplicity=audit.multiplicity, physical=400,
        accountant=Accountant.PRV,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if not noise:
            stack.enter_context(silence())
        player = diffusion(settings, denoiser, LAW)
        train(settings, player, data, Path(folder) / "run", rule=private(privacy))
    gain = before - losses(denoiser.eval(), x)
    right = guesses_from_scores(gain, took_part, audit.guesses)
    bound = epsilon_lower_bound(audit.canaries, audit.guesses, right, privacy.delta)
    return {
        "noise": noise,
        "claimed": audit.epsilon,
        "right": right,
        "guesses": audit.guesses,
        "lower_bound": round(bound, 4),
    }


def main() -> None:
    """Run both, for several epsilons, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    rows = []
    for epsilon in asked.epsilons:
        for noise in (True, False):
            row = attack(replace(Audit(), epsilon=epsilon, seed=asked.seed), noise)
            print(row, flush=True)
            rows.append(row)
    write(asked.out, asked.seed, rows, settings=asdict(Audit()))
    print(f"wrote {asked.out}")


if __name__ == "__main__":
    main()

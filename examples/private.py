"""What a promise of privacy costs: the same training with epsilon 1, epsilon 8, and without.

python examples/private.py            about half a minute on one core; writes private.png
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import sfumato as sf
from sfumato.data import points
from sfumato.files import pictures
from sfumato.metrics import sliced_wasserstein
from sfumato.model.description import ModelConfig
from sfumato.nn import MLPConfig
from sfumato.systems.dpdm.accounting import Accountant
from sfumato.systems.dpdm.certificate import read_promise
from sfumato.systems.dpdm.descent import private
from sfumato.systems.dpdm.options import PrivacyConfig
from sfumato.train import TrainConfig, diffusion, train
from sfumato.train.rule import Descent, MakeRule


def main(steps: int = 60) -> None:
    """Train three times, and compare what each draws with fresh data."""
    data = points("swiss-roll", 5_000, seed=0)
    fresh, _ = points("swiss-roll", 1_000, seed=1).batch(range(1_000))
    settings = TrainConfig(
        steps=steps, batch=500, lr=1e-2, warmup=5, sheet_every=0, checkpoint_every=steps,
        cpu=True, quiet=True, tensorboard=False,
    )  # fmt: skip
    for epsilon in (1.0, 8.0, None):
        rule: MakeRule = Descent
        if epsilon is not None:
            # delta is below one over the number of records, or it would promise nothing
            rule = private(
                PrivacyConfig(
                    epsilon=epsilon,
                    delta=1e-5,
                    multiplicity=4,
                    physical=2_000,
                    accountant=Accountant.RDP,  # a quick one
                )  # fmt: skip
            )
        model = ModelConfig("swiss-roll", MLPConfig(width=64, blocks=2), sigma_data=0.5)
        denoiser = model.build(seed=0)
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            player = diffusion(settings, denoiser, sf.LogNormal(-1.5, 1.2))
            train(settings, player, data, run, model=model.to_json(), rule=rule)
            made = "no promise" if epsilon is None else f"epsilon {read_promise(run).epsilon:.2f}"
        seeds = sf.generators(0, range(1_000))
        start = denoiser.process.prior_sample((1_000, 2), seeds)
        times = sf.times.karras(denoiser.process, 15)
        drawn = sf.sample(denoiser.eval(), sf.solve.DPMSolverPP(), times, start).x
        print(f"{made}: {sliced_wasserstein(fresh, drawn)}")
        if epsilon == 1.0:
            pictures.save(pictures.scatter(drawn.numpy(), behind=fresh.numpy()), "private.png")
    print("wrote private.png: drawn with epsilon 1 over real points")


if __name__ == "__main__":
    main()

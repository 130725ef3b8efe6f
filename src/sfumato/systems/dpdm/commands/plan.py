"""``sfumato private plan``: what a private training would cost, without one."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, final

from sfumato.console.options import choice, parse
from sfumato.errors import UsageError
from sfumato.systems.dpdm.accounting import Accountant, epsilon, most_steps, noise_for

_ABOUT = """Work out noise, steps or epsilon of a private training, without one.

A step takes every record with probability q = batch / records. Of noise, length (steps or epochs)
and epsilon give two, and the third is worked out: the smallest noise, the most steps, or what they
cost. The same accountants count in the training.

examples:
  sfumato private plan --records 5000 --batch 512 --epochs 60 --epsilon 3
  sfumato private plan --records 60000 --batch 2048 --steps 600 --noise 1.2
  sfumato private plan --records 60000 --batch 2048 --noise 1.2 --epsilon 1
"""


@final
@dataclass(frozen=True)
class CostConfig:
    """The plan of a training; two of noise, length and epsilon."""

    records: int
    """Number of records."""
    batch: int
    """Records that a step takes on average."""
    steps: int = 0
    """Steps of the training; 0 if they are to be worked out, or given as epochs."""
    epochs: float = 0.0
    """In place of steps: passes over the data, each of records / batch steps."""
    epsilon: float = 0.0
    """The promise; 0 if it is to be worked out."""
    delta: float = 0.0
    """Of the promise; 0 takes a tenth of one over the records, as a power of ten."""
    noise: float = 0.0
    """The noise multiplier; 0 if it is to be worked out."""
    accountant: Annotated[Accountant, choice(Accountant, "accountant")] = Accountant.PRV
    """prv, the tighter, or rdp, what the paper used."""
    json: bool = False
    """Print JSON."""


def main(argv: list[str]) -> None:
    """Run ``sfumato private plan``; raises UsageError for a plan that makes no sense."""
    run(parse(CostConfig, "private plan", argv, _ABOUT))


def run(config: CostConfig) -> None:
    """Work out and print; raises UsageError as `worked_out`."""
    found = worked_out(config)
    if config.json:
        print(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
        print(f"{key:<18}{shown}")


def worked_out(config: CostConfig) -> dict[str, Any]:
    """All figures of the plan.

    Raises:
        UsageError: values out of range, not two of the three, or a budget that allows no step.
    """
    for name in ("records", "batch"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name} must be at least 1, got {getattr(config, name)}")
    for name in ("steps", "epochs", "epsilon", "noise", "delta"):
        if not 0 <= getattr(config, name) < math.inf:
            raise UsageError(f"--{name} must be at least 0, got {getattr(config, name)}")
    if config.steps and config.epochs:
        raise UsageError("--steps and --epochs both say how long: give one")
    rate = config.batch / config.records
    steps = config.steps or math.ceil(config.epochs / rate)
    given = {"noise": config.noise, "steps or epochs": steps, "epsilon": config.epsilon}
    if sum(map(bool, given.values())) != 2:
        have = ", ".join(name for name, value in given.items() if value) or "none"
        raise UsageError(f"give two of --noise, --steps (or --epochs) and --epsilon; got {have}")
    delta = config.delta or 10.0 ** (math.floor(-math.log10(config.records)) - 1)
    if delta >= 1 / config.records:
        raise UsageError(
            f"--delta must be below one over the records, {1 / config.records:.2g}: it is the "
            f"probability with which nothing is promised; got {delta:g}"
        )
    noise = config.noise
    if not noise:
        noise = noise_for(config.epsilon, rate, steps, delta, config.accountant)
    if not steps:
        steps = most_steps(config.epsilon, noise, rate, delta, config.accountant)
        if not steps:
            one = epsilon(noise, rate, 1, delta, config.accountant)
            raise UsageError(
                f"the budget allows no step: one costs epsilon {one:.4g}, more than "
                f"{config.epsilon:g}; take more noise, a smaller batch or a larger epsilon"
            )
    return {
        "records": config.records,
        "batch": config.batch,
        "sampling rate": rate,
        "steps": steps,
        "epochs": steps * rate,
        "noise multiplier": noise,
        "epsilon": epsilon(noise, rate, steps, delta, config.accountant),
        "epsilon, one step": epsilon(noise, rate, 1, delta, config.accountant),
        "delta": delta,
    }

"""What privacy costs: epsilon of published settings, and the noise that a target asks for.

    python benchmarks/dpdm_accounting.py     # half a minute

Epsilon of the settings published by Dockhorn et al. 2023 (arXiv 2210.09929), as we recall them, by
our two accountants and by Google's dp-accounting; and the noise that each of ours asks for. Writes
`benchmarks/results/dpdm-accounting.json`.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.systems.dpdm.accounting import Accountant, epsilon, noise_for

sys.path.insert(0, str(Path(__file__).parent))
from written import write

OUT = Path(__file__).parent / "results" / "dpdm-accounting.json"


@dataclass(frozen=True)
class Published:
    """A setting of Dockhorn et al. 2023, as recalled."""

    data: str
    records: int
    batch: int
    epochs: int
    delta: float
    target: float
    noise: float

    @property
    def rate(self) -> float:
        """q."""
        return 1 / math.ceil(self.records / self.batch)

    @property
    def steps(self) -> int:
        """T."""
        return self.epochs * math.ceil(self.records / self.batch)


PUBLISHED = (
    Published("MNIST, Fashion-MNIST", 60_000, 4096, 300, 1e-5, 0.2, 82.5),
    Published("MNIST, Fashion-MNIST", 60_000, 4096, 300, 1e-5, 1.0, 18.28),
    Published("MNIST, Fashion-MNIST", 60_000, 4096, 300, 1e-5, 10.0, 2.48),
    Published("CelebA 32x32", 162_770, 2048, 300, 1e-6, 1.0, 8.82),
    Published("CelebA 32x32", 162_770, 2048, 300, 1e-6, 10.0, 1.30),
)


def independent(noise: float, rate: float, steps: int, delta: float) -> float:
    """Epsilon by dp-accounting's RDP accountant."""
    import dp_accounting as dp
    from dp_accounting import rdp

    event = dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise))
    accountant = rdp.RdpAccountant()
    accountant.compose(dp.SelfComposedDpEvent(event, steps))
    return float(accountant.get_epsilon(delta))


def accounting() -> list[dict[str, Any]]:
    """One row for each published setting."""
    rows = []
    for p in PUBLISHED:
        where = (p.rate, p.steps, p.delta)
        by_rdp = noise_for(p.target, *where, Accountant.RDP)
        by_prv = noise_for(p.target, *where, Accountant.PRV)
        tight = epsilon(by_rdp, *where, Accountant.PRV)
        row = {
            "data": p.data, "records": p.records, "batch": p.batch, "epochs": p.epochs,
            "steps": p.steps, "rate": p.rate, "delta": p.delta, "target": p.target,
            "published_noise": p.noise,
            "rdp": epsilon(p.noise, *where, Accountant.RDP),
            "prv": epsilon(p.noise, *where, Accountant.PRV),
            "dp_accounting": independent(p.noise, *where),
            "noise_rdp": by_rdp,
            "noise_prv": by_prv,
            "less_noise": 1 - by_prv / by_rdp,
            "prv_at_noise_rdp": tight,
            "less_epsilon": 1 - tight / epsilon(by_rdp, *where, Accountant.RDP),
            "published_over_noise_rdp": p.noise / by_rdp,
        }  # fmt: skip
        print(
            f"{p.data:21s} eps {p.target:4g} s {p.noise:5g}: RDP {row['rdp']:.4f}, PRV "
            f"{row['prv']:.4f}, dp-accounting {row['dp_accounting']:.4f}; noise needed RDP "
            f"{by_rdp:g}, PRV {by_prv:g} ({row['less_noise']:.1%} less); at the RDP noise PRV "
            f"says {tight:.4f} ({row['less_epsilon']:.1%} less)",
            flush=True,
        )
        rows.append(row)
    return rows


def main() -> None:
    """Account, show, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    write(asked.out, 0, accounting())
    print(f"written to {asked.out}")


if __name__ == "__main__":
    main()

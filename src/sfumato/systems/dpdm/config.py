"""What a private run promises, in one frozen dataclass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

from sfumato.errors import UsageError
from sfumato.systems.dpdm.accounting import Accountant
from sfumato.systems.dpdm.randomness import Randomness


@final
@dataclass(frozen=True)
class PrivacyConfig:
    """What a run promises, (ε, δ)-differential privacy of records, and how it keeps it.

    Args:
        epsilon: ε, the budget; the run stops before a step that would cost more.
        delta: δ; must be well below one over the number of records.
        noise: noise multiplier s; 0 finds the smallest that keeps all steps within the budget.
        clip: C, the longest gradient that one record may contribute.
        multiplicity: K, draws of time and noise over which a record's gradient is averaged
            before it is clipped (Dockhorn et al. 2023, arXiv 2210.09929): costs computation,
            but no privacy.
        physical: draws that are computed together; bounds the memory, changes nothing else.
        accountant: who adds up the cost. prv is the tighter, rdp what the paper used.
        randomness: fresh; secure, a cryptographic generator; reproducible, which is not private.
        sampling: how batches are chosen; the accountants know Poisson sampling alone.
        population: number of records to name in public (q = batch/population) where the true
            number is a secret; at most the true one. 0 takes, and so publishes, the true one.
        watch_loss: keep losses in the log. They are computed from the data without noise, so
            that the log must then stay secret.

    Raises:
        UsageError: a value outside its range, or batches that are not Poisson-sampled.
    """

    epsilon: float = 10.0
    delta: float = 1e-5
    noise: float = 0.0
    clip: float = 1.0
    multiplicity: int = 8
    physical: int = 128
    accountant: Accountant = Accountant.PRV
    randomness: Randomness = Randomness.FRESH
    sampling: Literal["poisson", "shuffle"] = "poisson"
    population: int = 0
    watch_loss: bool = False

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and math.isfinite(self.epsilon)):
            raise UsageError(f"privacy.epsilon: expected a positive number, got {self.epsilon}")
        if not 0 < self.delta < 1:
            raise UsageError(f"privacy.delta: expected 0 < delta < 1, got {self.delta}")
        if not (self.clip > 0 and math.isfinite(self.clip)):
            raise UsageError(f"privacy.clip: expected a positive norm, got {self.clip}")
        if not (self.noise >= 0 and math.isfinite(self.noise)):
            raise UsageError(f"privacy.noise: expected at least 0, got {self.noise}")
        for name in ("multiplicity", "physical"):
            if getattr(self, name) < 1:
                raise UsageError(f"privacy.{name}: expected at least 1, got {getattr(self, name)}")
        if self.population < 0:
            raise UsageError(f"privacy.population: expected at least 0, got {self.population}")
        if self.sampling != "poisson":
            raise UsageError(
                f"privacy.sampling: {self.sampling!r} was asked for, but the cost is computed for "
                "Poisson sampling, where every record takes part in a step on its own with "
                "probability batch/records; for shuffled batches of fixed size the certificate "
                "would be wrong. Leave it at 'poisson'"
            )

    def records(self, actual: int) -> int:
        """The public number of records.

        Raises:
            UsageError: more than there are, or δ is not below one over it.
        """
        public = self.population or actual
        if public > actual:
            raise UsageError(
                f"privacy.population: {public:,} is more than the {actual:,} records there are; "
                "the sampling rate would be understated"
            )
        if self.delta >= 1 / actual:
            raise UsageError(
                f"privacy.delta: {self.delta:g} is not below 1/{actual:,} = {1 / actual:.2g}: a "
                "mechanism that publishes one record outright would pass; choose at most "
                f"{0.1 / actual:.0e}"
            )
        return public

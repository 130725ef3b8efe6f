"""How samples are drawn: the options that ``sample``, ``evaluate`` and ``encode`` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from sfumato.console.options import (
    Device,
    DeviceName,
    DType,
    DTypeName,
    Grid,
    GridName,
    Solver,
    SolverName,
    at_least,
)
from sfumato.errors import UsageError


@final
@dataclass(frozen=True)
class SamplingOptions:
    """How samples are drawn."""

    solver: Solver = SolverName.AUTO
    """auto takes what suits the model; genie takes a model with a derivative head. heun takes 2
    network evaluations per step, taylor 3, dormand-prince as many as it needs, others 1."""
    grid: Grid = GridName.AUTO
    """How the steps are spread over time; auto takes what suits the model's process."""
    guidance: float = 1.0
    """Strength of classifier-free guidance: 1 none, 2 strong; doubles the evaluations."""
    eta: float = 0.0
    """Noise that ddim adds at each step, 0 to 1: 1 is as much as ancestral."""
    churn: float = 0.0
    """Noise that heun adds over all steps (S_churn of Karras et al. 2022), up to about 40."""
    churn_min: float = 0.0
    """Lowest noise level at which churn adds noise (S_min)."""
    churn_max: float = 1e9
    """Highest noise level at which churn adds noise (S_max)."""
    batch: int = 64
    """Images computed together; what is drawn does not depend on it."""
    device: Device = DeviceName.AUTO
    """Where the network runs; auto takes CUDA, then Apple's GPU, then the CPU."""
    dtype: DType = DTypeName.FLOAT32
    """What the network computes in; the state stays float32."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch."""

    def check(self) -> None:
        """Refuse what makes no sense, at the door.

        Raises UsageError.
        """
        at_least("batch", self.batch, 1)
        at_least("eta", self.eta, 0)
        at_least("churn", self.churn, 0)
        at_least("churn-min", self.churn_min, 0)
        at_least("churn-max", self.churn_max, self.churn_min)
        at_least("threads", self.threads, 0)
        at_least("guidance", self.guidance, 0)
        if self.eta > 1:
            raise UsageError(f"--eta must be at most 1, got {self.eta}")
        if self.eta and self.solver is not SolverName.DDIM:
            raise UsageError(f"--eta belongs to --solver ddim, got --solver {self.solver.value}")
        if not self.churn and (self.churn_min, self.churn_max) != (
            SamplingOptions.churn_min,
            SamplingOptions.churn_max,
        ):
            raise UsageError("--churn-min and --churn-max belong to --churn, which is not given")
        if self.churn and self.solver is not SolverName.HEUN:
            raise UsageError(f"--churn belongs to --solver heun, got --solver {self.solver.value}")

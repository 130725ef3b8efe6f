"""How samples are drawn: the options that ``sample``, ``evaluate`` and ``encode`` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from sfumato.console.options import (
    Device,
    DeviceName,
    DType,
    DTypeName,
    Grid,
    Solver,
    at_least,
    torch_device,
    torch_dtype,
)
from sfumato.errors import UsageError
from sfumato.system import AUTO, OPTIONS, solvers

if TYPE_CHECKING:
    from sfumato.model.sampler import Drawer, Sampler


@final
@dataclass(frozen=True)
class SamplingOptions:
    """How samples are drawn."""

    solver: Solver = AUTO
    """auto takes what suits the model; genie takes a model with a derivative head. heun takes 2
    network evaluations per step, taylor 3, dormand-prince as many as it needs, others 1."""
    grid: Grid = AUTO
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
        if not self.churn and (self.churn_min, self.churn_max) != (
            SamplingOptions.churn_min,
            SamplingOptions.churn_max,
        ):
            raise UsageError("--churn-min and --churn-max belong to --churn, which is not given")
        taken = solvers()[self.solver].options if self.solver != AUTO else ()
        for name, value in self.options().items():
            if value != OPTIONS[name] and name not in taken:
                owners = " or ".join(s.name for s in solvers().values() if name in s.options)
                raise UsageError(
                    f"--{name.replace('_', '-')} belongs to --solver {owners}, got --solver "
                    f"{self.solver}"
                )

    def options(self) -> dict[str, float]:
        """The options of the solver, by their names in `sfumato.system.OPTIONS`."""
        return {name: getattr(self, name) for name in OPTIONS}

    def prepare(self, model: Sampler, steps: int | None, seed: int) -> Drawer:
        """The model made ready to draw so; on its device.

        Raises what `Sampler.prepare` raises, and UsageError for a device that is not here.
        """
        if self.threads:
            import torch

            torch.set_num_threads(self.threads)
        return model.prepare(
            seed=seed,
            steps=steps,
            solver=self.solver,
            grid=self.grid,
            guidance=self.guidance,
            device=torch_device(self.device),
            dtype=torch_dtype(self.dtype),
            **self.options(),
        )

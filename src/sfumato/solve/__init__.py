"""Solvers, one family per file. Each declares its order; a test measures it."""

from sfumato.solve.ancestral import Ancestral
from sfumato.solve.ddim import DDIM, StochasticDDIM
from sfumato.solve.deis import DEIS
from sfumato.solve.dormand_prince import DormandPrince
from sfumato.solve.dpm_solver import DPMSolverPP
from sfumato.solve.euler import Euler
from sfumato.solve.heun import Heun
from sfumato.solve.maruyama import EulerMaruyama
from sfumato.solve.unipc import UniPC

__all__ = [
    "DDIM", "DEIS", "Ancestral", "DPMSolverPP", "DormandPrince", "Euler", "EulerMaruyama", "Heun",
    "StochasticDDIM", "UniPC",
]  # fmt: skip

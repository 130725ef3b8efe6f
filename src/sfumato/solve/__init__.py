"""Solvers, one family per file. Each declares its order; a test measures it."""

from sfumato.solve.ancestral import Ancestral
from sfumato.solve.deis import DEIS
from sfumato.solve.dormand_prince import DormandPrince
from sfumato.solve.euler import Euler
from sfumato.solve.exponential import Exponential
from sfumato.solve.heun import Heun
from sfumato.solve.maruyama import EulerMaruyama

__all__ = [
    "DEIS",
    "Ancestral",
    "DormandPrince",
    "Euler",
    "EulerMaruyama",
    "Exponential",
    "Heun",
]

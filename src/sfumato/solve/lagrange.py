"""What the multistep solvers extrapolate with: the Lagrange basis, and a rule to integrate it.

ℓ_j(u) = ∏_{i ≠ j} (u - u_i) / (u_j - u_i) is 1 at its own node and 0 at the others.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NODES, WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(24))
"""Gauss-Legendre quadrature on [-1, 1], float64."""


def basis(u: Tensor, nodes: Tensor) -> Tensor:
    """The Lagrange basis over ``nodes`` (p,) at ``u`` (q,): (p, q)."""
    rows = []
    for j in range(len(nodes)):
        row = torch.ones_like(u)
        for i in (i for i in range(len(nodes)) if i != j):
            row = row * (u - nodes[i]) / (nodes[j] - nodes[i])
        rows.append(row)
    return torch.stack(rows)


def slopes(u: Tensor, nodes: Tensor) -> Tensor:
    """Derivatives of the Lagrange basis over ``nodes`` (p,) at ``u`` (q,): (p, q)."""
    p = len(nodes)
    rows = []
    for j in range(p):
        others = [i for i in range(p) if i != j]
        total = torch.zeros_like(u)
        for skip in others:
            term = torch.ones_like(u) / (nodes[j] - nodes[skip])
            for i in others:
                if i != skip:
                    term = term * (u - nodes[i]) / (nodes[j] - nodes[i])
            total = total + term
        rows.append(total)
    return torch.stack(rows)

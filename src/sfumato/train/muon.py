r"""Muon: momentum made orthogonal for matrices, AdamW for all else.

For a weight matrix W (m, n) with gradient G the step is (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon; the scale is of Liu et al. 2025, arXiv 2502.16982, eq. 4)

.. math:: M ← μ M + (1 - μ) G, \quad N = μ M + (1 - μ) G, \quad
          W ← W - η\, 0.2 \sqrt{\max(m, n)}\; U, \quad U ≈ \text{the polar factor of } N,

so that all directions of a matrix move alike, and a number about as far as one of Adam's, whose
learning rate it shares. A convolution (out, in, k, k) is a matrix (out, in k k).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

LEAST: Final = 16
"""Matrices with a shorter side (of an image's channels, say) are left to AdamW."""
_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5
Pair: TypeAlias = tuple[nn.Parameter, Tensor]
"""A parameter and its gradient."""


def matrices(module: nn.Module) -> set[nn.Parameter]:
    """The weights of linear layers and convolutions of `LEAST` rows and columns or more.

    Not what is only kept as one: tables of labels, spectral weights.
    """
    found: set[nn.Parameter] = set()
    for layer in module.modules():
        weight = layer.weight if isinstance(layer, _KINDS) else None
        if isinstance(weight, nn.Parameter) and min(len(weight), weight[0].numel()) >= LEAST:
            found.add(weight)
    return found


def orthogonal(matrices: Tensor) -> Tensor:
    r"""Nearly the polar factor of each of (k, m, n): singular values lie in about [0.68, 1.2].

    Five rounds of X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X from X = G/|G|, which commute with X Xᵀ, so
    that they are made of the smaller Gram matrices alone, in float32, and G is multiplied once.
    Singular values under about 1/700 of |G| are not brought all the way.
    """
    x = matrices.float()
    wide = x.shape[-2] <= x.shape[-1]
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
    gram = x @ x.mT if wide else x.mT @ x
    one = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device)
    whole = one
    for _ in range(_ROUNDS):
        part = _A * one + _B * gram + _C * (gram @ gram)
        whole = part @ whole
        gram = part @ gram @ part
    return whole @ x if wide else x @ whole


@final
class Muon(torch.optim.Optimizer):
    """See the module's text.

    Args:
        parameters: in their order, of float32.
        lr: η, of matrices and of all else.
        betas, weight_decay: of AdamW; matrices decay alike.
        momentum: μ.
        matrices: those parameters that are matrices; see `matrices`.
        fused: AdamW's kernel.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        *,
        matrices: Collection[nn.Parameter],
        fused: bool | None = None,
    ) -> None:
        how = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "momentum": momentum}
        self.matrices = set(matrices)
        super().__init__(parameters, {**how, "fused": fused})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step from the gradients; a parameter without one stays as it is."""
        if closure is not None:
            raise ValueError(f"expected no closure, got {closure!r}; make the gradients before")
        for group in self.param_groups:
            rest: list[Pair] = []
            alike: dict[tuple[int, int], list[Pair]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p in self.matrices:
                    shape = len(p), p.numel() // len(p)
                    alike.setdefault(shape, []).append((p, p.grad))
                else:
                    rest.append((p, p.grad))
            self._adam(rest, group)
            for shape, some in alike.items():
                self._turn(shape, some, group)

    def _turn(self, shape: tuple[int, int], some: list[Pair], group: dict[str, Any]) -> None:
        """A step of all matrices of one shape."""
        ahead, mu, lr = [], group["momentum"], group["lr"]
        for p, grad in some:
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            kept: Tensor = state["momentum"].lerp_(grad, 1 - mu)
            ahead.append(torch.lerp(grad, kept, mu).reshape(shape))
        turned = orthogonal(torch.stack(ahead))
        for (p, _), u in zip(some, turned, strict=True):
            p.mul_(1 - lr * group["weight_decay"])
            p.add_(u.reshape(p.shape), alpha=-lr * 0.2 * max(shape) ** 0.5)

    def _adam(self, some: list[Pair], group: dict[str, Any]) -> None:
        """A step of all else."""
        for p, _ in some:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.zeros((), dtype=torch.float32, device=p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        states = [self.state[p] for p, _ in some]
        adamw(
            [p for p, _ in some], [grad for _, grad in some], [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states], [], [s["step"] for s in states],
            fused=group["fused"], amsgrad=False, beta1=group["betas"][0], beta2=group["betas"][1],
            lr=group["lr"], weight_decay=group["weight_decay"], eps=1e-8, maximize=False,
        )  # fmt: skip

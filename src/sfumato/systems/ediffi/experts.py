r"""Denoisers for parts of the noise levels (eDiff-I: Balaji et al. 2022, arXiv 2211.01324, sec. 4).

Training times are drawn with ln(σ/α) ~ N(μ, s²). Level l of a binary tree splits this law into 2^l
intervals of equal probability, between the quantiles

.. math:: E^l_i: \quad \tfrac{i}{2^l} \le \Phi\!\left(\frac{\ln(σ/α) - μ}{s}\right)
          < \tfrac{i + 1}{2^l}.

An expert is a denoiser that is trained on one node of the tree, from the weights of the node above.
Only some nodes are grown (the paper's: the two ends), and one more expert, the complement, has what
is left. A step asks the expert at its own noise level, so that experts cost what one model costs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Tensor, nn

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser, in_parts
from sfumato.loss import Between, LogNormal
from sfumato.process import Process
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators, NumberSource
from sfumato.systems.ediffi.options import Node


@final
@dataclass(frozen=True)
class Split:
    """Which nodes have an expert; expert i has nodes[i], and the last one the complement, if any.

    Raises:
        ValueError: nodes that overlap.
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        ranges = sorted(n.range for n in self.nodes)
        if not ranges or any(a[1] > b[0] for a, b in zip(ranges, ranges[1:])):
            raise ValueError(f"expected nodes that do not overlap, got {self.nodes}")

    @property
    def pieces(self) -> tuple[tuple[float, float, int], ...]:
        """(low, high, expert) from low noise to high; they tile [0, 1]."""
        found: list[tuple[float, float, int]] = []
        at = 0.0
        for low, high, i in sorted((*n.range, i) for i, n in enumerate(self.nodes)):
            if low > at:
                found.append((at, low, len(self.nodes)))
            found.append((low, high, i))
            at = high
        if at < 1:
            found.append((at, 1.0, len(self.nodes)))
        return tuple(found)

    @property
    def experts(self) -> int:
        """Number of experts, the complement included."""
        return 1 + max(expert for _, _, expert in self.pieces)

    def part(self, expert: int, law: LogNormal) -> Between:
        """The law of the times that an expert is trained on. Raises ValueError: no such expert."""
        ranges = tuple((low, high) for low, high, i in self.pieces if i == expert)
        if not ranges:
            raise ValueError(f"expected an expert below {self.experts}, got {expert}")
        return Between(law, ranges)

    def route(self, law: LogNormal) -> Route:
        """The expert of each noise level."""
        ends = torch.tensor([low for low, _, _ in self.pieces[1:]], dtype=torch.float64)
        return Route(tuple(law.quantile(ends).tolist()), tuple(i for _, _, i in self.pieces))


@final
@dataclass(frozen=True)
class Route:
    """Noise levels σ/α tiled: ``experts[j]`` from edges[j - 1] (which is in) to edges[j] (not in).

    Raises:
        ValueError: edges that do not rise from above 0, or do not fit the experts.
    """

    edges: tuple[float, ...]
    experts: tuple[int, ...]

    def __post_init__(self) -> None:
        e = self.edges
        rising = all(a < b for a, b in zip((0.0, *e), e))
        if not rising or len(self.experts) != len(e) + 1 or min(self.experts) < 0:
            raise ValueError(
                "expected positive edges that rise, and one expert more than edges, got "
                f"{self.edges} and {self.experts}"
            )

    def __call__(self, ratio: float) -> int:
        """The expert for a noise level σ/α in [0, ∞]."""
        return self.experts[bisect_right(self.edges, ratio)]


@final
class Experts(Denoiser):
    """Asks, for each noise level, the expert that was trained on it.

    Args:
        experts: denoisers of one process, or functions that load them, called when first needed.
        route: the expert of each noise level.
        process: of all of them.
        keep: at most so many that were loaded stay in memory; the least recently used one leaves.
            0 keeps all.

    Raises:
        ValueError: a route to an expert that there is not, experts of another process, or a
            negative number to keep.
    """

    def __init__(
        self,
        experts: Sequence[Denoiser | Callable[[], Denoiser]],
        route: Route,
        process: Process,
        keep: int = 0,
    ) -> None:
        super().__init__()
        if max(route.experts) >= len(experts):
            raise ValueError(
                f"expected at least {1 + max(route.experts)} experts for {route}, "
                f"got {len(experts)}"
            )
        if keep < 0:
            raise ValueError(f"expected keep >= 0, got {keep}")
        self.process = process
        self.route = route
        self.keep = keep
        self.always = nn.ModuleDict(
            {str(i): e for i, e in enumerate(experts) if isinstance(e, Denoiser)}
        )
        self.loaders = {i: e for i, e in enumerate(experts) if not isinstance(e, Denoiser)}
        self.loaded: OrderedDict[int, Denoiser] = OrderedDict()
        for expert in self.always.values():
            self._admit(cast(Denoiser, expert))

    def expert(self, i: int) -> Denoiser:
        """Expert i; loaded now if it is not in memory.

        Raises:
            ValueError: it does not fit the others.
        """
        if i not in self.loaders:
            return cast(Denoiser, self.always[str(i)])
        if i in self.loaded:
            self.loaded.move_to_end(i)
            return self.loaded[i]
        while self.keep and len(self.loaded) >= self.keep:
            self.loaded.popitem(last=False)
        made = self.loaders[i]()
        self._admit(made)
        self.loaded[i] = made
        return made

    def _admit(self, expert: Denoiser) -> None:
        if expert.process != self.process:
            raise ValueError(f"expected experts of {self.process!r}, got one of {expert.process!r}")

    def indices(self, t: Time) -> list[int]:
        """Index of the expert at times t, () or (B,)."""
        q = self.process.marginal(as_time(t))
        ratio = (q.cov[..., 0, 0].sqrt() / q.A[..., 0, 0]).reshape(-1)
        return [self.route(r) for r in ratio.tolist()]

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """x̂_0 by the expert at t; where times differ between samples, by several.

        Raises:
            ValueError: one generator for samples of several experts.
        """
        which = self.indices(t)
        if len(set(which)) == 1:
            return self.expert(which[0])(x_t, t, cond, generator)
        if isinstance(generator, torch.Generator | NumberSource):
            raise ValueError("expected one generator for each sample, or none, got a common one")

        def one(expert: Denoiser, rows: Tensor, times: Tensor, cond: Condition) -> Tensor:
            own = None if generator is None else [generator[b] for b in rows.tolist()]
            return expert(x_t[rows], times, cond, own)

        return self._in_parts(which, t, cond, one)

    def residual(
        self, x_t: Tensor, t: Time, x0: Tensor, eps: Tensor, cond: Condition = NOTHING
    ) -> Tensor:
        """See `Denoiser.residual`; each sample by the expert at its t."""

        def one(expert: Denoiser, rows: Tensor, times: Tensor, cond: Condition) -> Tensor:
            return expert.residual(x_t[rows], times, x0[rows], eps[rows], cond)

        which = self.indices(t)
        which = which * len(x_t) if len(which) == 1 else which
        return self._in_parts(which, t, cond, one)

    def _in_parts(
        self,
        which: list[int],
        t: Time,
        cond: Condition,
        one: Callable[[Denoiser, Tensor, Tensor, Condition], Tensor],
    ) -> Tensor:
        """``one`` of each expert's samples, put back in the order of all."""
        times = as_time(t).expand(len(which))
        found, order = [], []
        for i in in_parts(sorted(set(which))):
            rows = torch.tensor([b for b, e in enumerate(which) if e == i])
            found.append(one(self.expert(i), rows, times[rows], cond.rows(rows)))
            order.append(rows)
        return torch.cat(found)[torch.cat(order).argsort()]

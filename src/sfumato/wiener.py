r"""A denoiser of functions: the best linear estimate, and a network for what is not linear.

With x_t = α x_0 + σ ξ, ξ ~ N(0, C), and a Gaussian law N(0, K) that has the data's spectrum, the
best estimate that is linear in x_t is the Wiener filter, mode by mode (k and c are the eigenvalues
of K and C)

.. math:: G x_t, \quad G = \frac{\alpha k}{\alpha^2 k + \sigma^2 c}, \qquad
          \text{with the error's power} \quad r = \frac{k\, \sigma^2 c}{\alpha^2 k + \sigma^2 c}.

For Gaussian data this is E[x_0 | x_t] = K(K + σ²C)⁻¹x_t (Lim et al. 2023, arXiv 2302.07400, the
score operator in closed form). For other data the network adds what is left,

.. math:: \hat x_0 = G x_t + \sqrt{\textstyle\sum r}\; F(x_t,\, G x_t,\, t),

so that its target has variance 1 at every noise level, as with EDM's preconditioning, of which
this is the form for functions: σ_d² there is k here. The target lies where the data does (r <= k,
r <= σ²c/α²), so the loss in L² stays finite on ever finer grids; and waves that the network does
not have are estimated by the filter, with the spectrum carried on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from sfumato.denoise import Cond, Denoiser, beside
from sfumato.field import GaussianField
from sfumato.nn.harmonic import filtered
from sfumato.process import Process
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators


@final
class Wiener(Denoiser):
    """x̂_0 = G x_t + c_out F(c_in x_t, c_lin G x_t, level); see the module's text.

    Where the law says that all data have the same mean over the box, F's mean is left out.

    Args:
        network: takes 2C channels (and those of a picture `Beside`) to C, on any grid; None is the
            filter alone, which is exact for Gaussian data.
        process: of one block, driven by a `GaussianField`.
        data: the law N(0, K) of variance 1 that has the data's spectrum; one for all channels, or
            one for each.
        reference: a grid on which the scales c_in, c_lin and c_out are computed, so that they are
            the same on all; that on which the network was trained.

    Raises:
        ValueError: another process, or fields of other dimensions.
    """

    def __init__(
        self,
        network: nn.Module | None,
        process: Process,
        data: GaussianField | Sequence[GaussianField],
        reference: Sequence[int],
    ) -> None:
        super().__init__()
        fields = (data,) if isinstance(data, GaussianField) else tuple(data)
        noise = process.noise
        if process.k != 1 or not isinstance(noise, GaussianField):
            raise ValueError(
                f"expected a process of one block driven by a GaussianField, got {process!r}"
            )
        for field in fields:
            if (field.dims, field.domain) != (noise.dims, noise.domain):
                raise ValueError(f"expected data on the box of the noise, {noise!r}, got {field!r}")
        if len(reference) != noise.dims:
            raise ValueError(f"expected a grid of {noise.dims} axes, got {tuple(reference)}")
        self.network, self.process = network, process
        self.data, self.noise = fields, noise
        self.reference = tuple(int(n) for n in reference)

    @property
    def evaluations(self) -> int:
        """One."""
        return 1

    def powers(self, t: Time, grid: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """α²k, σ²c and α, float64 (B or 1, C or 1, *grid), α (B or 1, 1, ...)."""
        q = self.process.marginal(as_time(t))
        over = (-1, 1, *[1] * len(grid))
        alpha, var = q.A[..., 0, 0].double().reshape(over), q.cov[..., 0, 0].double().reshape(over)
        k = torch.stack([field.power(grid) for field in self.data]).to(alpha.device)
        c = self.noise.power(grid).to(alpha.device)
        return alpha.square() * k, var * c, alpha

    def gain(self, t: Time, grid: Sequence[int]) -> Tensor:
        """G per mode; 0 where neither data nor noise has power."""
        signal, noise, alpha = self.powers(t, grid)
        total = signal + noise
        ratio = torch.where(total > 0, signal / total, torch.zeros_like(total))
        return torch.where(alpha > 0, ratio / alpha, torch.zeros_like(ratio))

    def unexplained(self, t: Time, grid: Sequence[int]) -> Tensor:
        """r per mode: variance of x_0 given x_t under the Gaussian law."""
        signal, noise, _ = self.powers(t, grid)
        total = signal + noise
        k = torch.stack([field.power(grid) for field in self.data]).to(total)
        return k * torch.where(total > 0, noise / total, torch.ones_like(total))

    def scales(self, t: Time) -> tuple[Tensor, Tensor, Tensor]:
        """c_in, c_lin and c_out, (B or 1, C or 1, 1, ...), float64."""
        grid = self.reference
        axes = tuple(range(-len(grid), 0))
        signal, noise, _ = self.powers(t, grid)
        gain = self.gain(t, grid)
        c_in = (signal + noise).sum(axes, keepdim=True).rsqrt()
        linear = (gain.square() * (signal + noise)).sum(axes, keepdim=True)
        c_out = self.unexplained(t, grid).sum(axes, keepdim=True).sqrt()
        return c_in, linear.clamp_min(1e-24).rsqrt(), c_out

    def linear(self, x_t: Tensor, t: Time) -> Tensor:
        """G x_t.

        Raises:
            ValueError: as many laws as channels are expected, or one.
        """
        grid = x_t.shape[2:]
        if len(self.data) not in (1, x_t.shape[1]):
            raise ValueError(
                f"expected a state of {len(self.data)} channels, one for each law, "
                f"got shape {tuple(x_t.shape)}"
            )
        return filtered(x_t, self.gain(t, grid), self.noise.domain, len(grid))

    def predict(self, x_t: Tensor, linear: Tensor, t: Time, cond: Cond = None) -> Tensor:
        """F, in the type of x_t.

        Raises:
            ValueError: there is no network.
        """
        if self.network is None:
            raise ValueError("this is the Wiener filter alone: it has no network")
        c_in, c_lin, _ = self.scales(t)
        x = torch.cat([c_in.to(x_t) * x_t, c_lin.to(x_t) * linear], 1)
        x, labels = beside(x, cond)
        weight = next(self.network.parameters(), x)
        level = self.process.level(as_time(t)).to(device=x.device, dtype=torch.float32)
        made: Tensor = self.network(x.to(weight.dtype), level.expand(len(x)), labels)
        return self._varying(made.to(x_t.dtype))

    def _varying(self, made: Tensor) -> Tensor:
        """Without the mean over the box, where that of the data does not vary."""
        fixed = [f.mean_varies for f in self.data]
        if all(fixed):
            return made
        axes = tuple(range(2, made.ndim))
        keep = torch.tensor(fixed, dtype=made.dtype, device=made.device)
        return made - (1 - keep).reshape(-1, *[1] * len(axes)) * made.mean(axes, keepdim=True)

    def forward(
        self, x_t: Tensor, t: Time, cond: Cond = None, generator: Generators = None
    ) -> Tensor:
        """G x_t + c_out F."""
        linear = self.linear(x_t, t)
        if self.network is None:
            return linear
        return linear + self.scales(t)[2].to(x_t) * self.predict(x_t, linear, t, cond)

    def residual(self, x_t: Tensor, t: Time, x0: Tensor, eps: Tensor, cond: Cond = None) -> Tensor:
        """F - (x_0 - G x_t)/c_out."""
        linear = self.linear(x_t, t)
        return self.predict(x_t, linear, t, cond) - (x0 - linear) / self.scales(t)[2].to(x_t)

"""Ours and diffusers' U-Net, training steps and sampling loops: what `throughput.py` times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sfumato import (
    Preconditioned,
    Prediction,
    Scheduled,
    VPLinear,
    denoising_loss,
    times,
)
from sfumato import (
    sampling as sample,
)
from sfumato.errors import require
from sfumato.nn import UNet, UNetConfig
from sfumato.nn.blocks import Resample
from sfumato.solve import DDIM
from sfumato.train.ema import Ema

CLASSES, SIDE, WIDTHS, BLOCKS = 10, 28, (32, 64, 64), 2
"""The network of both sides: 28x28 grey images of ten classes, attention at 14x14 and 7x7."""
DECAY, CLIP, RATE = 0.999, 1.0, 1e-4


@dataclass(frozen=True)
class Work:
    """One measurement: `batch` images on `device`, networks in `dtype`, `steps` of sampling."""

    batch: int
    steps: int
    dtype: torch.dtype
    device: torch.device

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast to the dtype, for both sides alike."""
        enabled = self.dtype is not torch.float32
        return torch.autocast(self.device.type, self.dtype, enabled=enabled)

    def data(self) -> tuple[Tensor, Tensor]:
        """Random images (B, 1, 28, 28) in [-1, 1] and labels (B,)."""
        g = torch.Generator().manual_seed(0)
        x = torch.rand(self.batch, 1, SIDE, SIDE, generator=g) * 2 - 1
        y = torch.randint(CLASSES, (self.batch,), generator=g)
        return x.to(self.device), y.to(self.device)


class Contender(ABC):
    """A network with its training step and its sampling loop."""

    name: str
    network: nn.Module

    @abstractmethod
    def train_step(self, work: Work) -> None:
        """Noise, forward, loss, backward, clipping, AdamW, moving average."""

    @abstractmethod
    def sample_loop(self, work: Work) -> None:
        """DDIM from noise, `work.steps` evaluations per image."""

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """One evaluation of the network."""

    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.network.parameters())

    def saved(self) -> int:
        """Operations per image that an exact rewriting of the network's formula spares."""
        return 0

    def flops(self) -> int:
        """Operations executed by one evaluation of one image, two per multiply-add."""
        p = next(self.network.parameters())
        x, y = torch.zeros(1, 1, SIDE, SIDE), torch.zeros(1, dtype=torch.long)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            self.forward(x.to(p.device), y.to(p.device))
        return int(counter.get_total_flops())


@final
class Sfumato(Contender):
    """Our U-Net, loss, solver and moving average."""

    def __init__(self, device: torch.device, compiled: bool = False) -> None:
        self.name = "sfumato" + (", compiled" if compiled else "")
        unet = UNet(
            UNetConfig(
                1,
                1,
                channels=WIDTHS[0],
                multipliers=tuple(w // WIDTHS[0] for w in WIDTHS),
                blocks=BLOCKS,
                attention=(SIDE // 2, SIDE // 4),
                head_channels=64,
                resolution=SIDE,
                labels=(CLASSES,),
                resample_blocks=False,
            )
        )
        self.network = unet.to(device)
        process = Scheduled(VPLinear())
        self.denoiser = Preconditioned(unet, process, Prediction.EPSILON)
        self.ema = Ema(self.denoiser)
        if compiled:
            unet.compile(dynamic=False)
        self.optimizer = torch.optim.AdamW(unet.parameters(), RATE, fused=True)

    def saved(self) -> int:
        """Up-sampling and 3x3 convolution are merged: 4 of 9 multiplications are left."""
        up = [m for m in self.network.modules() if isinstance(m, Resample) and m.direction == "up"]
        sides = [SIDE >> i for i in reversed(range(len(up)))]
        return sum(
            2 * (9 - 4) * m.conv.in_channels * m.conv.out_channels * side**2
            for m, side in zip(up, sides, strict=True)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        result: Tensor = self.network(x, torch.zeros(x.shape[0], device=x.device), y)
        return result

    def train_step(self, work: Work) -> None:
        x, y = work.data()
        t = torch.rand(work.batch, dtype=torch.float64)
        with work.precision():
            loss = denoising_loss(self.denoiser, x, t, cond=y).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.denoiser, DECAY)

    def sample_loop(self, work: Work) -> None:
        x, y = work.data()
        with work.precision():
            sample(self.denoiser, DDIM(), times.uniform(work.steps), x, cond=y)


@final
@dataclass(frozen=True)
class Settings:
    """How diffusers' network is run. The defaults of this class are diffusers' own."""

    channels_last: bool = False
    explicit_attention: bool = False
    groups: int = 32
    head_dim: int = 8
    fast_optimizer: bool = False  # fused AdamW and a moving average by foreach

    def label(self) -> str:
        """One line for the table."""
        if self == Settings():
            return "diffusers, as shipped"
        memory = "channels-last" if self.channels_last else "contiguous"
        attention = "explicit" if self.explicit_attention else "SDPA"
        return f"diffusers, {memory}, {attention}, {self.groups} groups"


def best_candidates(quick: bool) -> list[Settings]:
    """Settings among which diffusers' best is sought: few wide heads throughout.

    8 norm groups are usual for networks of this width; 2 groups make them as wide as ours, which
    is what channels-last bfloat16 group norm needs to be fast on a CPU.
    """
    return [
        Settings(memory, attention, groups, 64, True)
        for groups in ((2,) if quick else (8, 2))
        for memory in (False, True)
        for attention in (False, True)
    ]


@final
class Diffusers(Contender):
    """diffusers' `UNet2DModel`, with the operations of its unconditional training example."""

    def __init__(self, device: torch.device, settings: Settings, compiled: bool = False) -> None:
        diffusers = require("diffusers", "bench")
        processors = require("diffusers.models.attention_processor", "bench")
        training = require("diffusers.training_utils", "bench")
        self.name = settings.label() + (", compiled" if compiled else "")
        self.settings = settings
        self.unet: Any = diffusers.UNet2DModel(
            sample_size=SIDE,
            in_channels=1,
            out_channels=1,
            block_out_channels=WIDTHS,
            layers_per_block=BLOCKS,
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=settings.head_dim,
            norm_num_groups=settings.groups,
            resnet_time_scale_shift="scale_shift",
            num_class_embeds=CLASSES + 1,
        )
        if settings.explicit_attention:
            for module in self.unet.modules():
                if isinstance(module, processors.Attention):
                    module.set_processor(processors.AttnProcessor())
        memory = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.network = self.unet.to(device, memory_format=memory)
        self.ema = training.EMAModel(
            self.unet.parameters(), decay=DECAY, foreach=settings.fast_optimizer
        )
        if compiled:
            self.unet.compile(dynamic=False)
        self.optimizer = torch.optim.AdamW(
            self.unet.parameters(), RATE, fused=True if settings.fast_optimizer else None
        )
        self.rate = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda _: 1.0)
        self.noising = diffusers.DDPMScheduler()
        self.solver = diffusers.DDIMScheduler()

    def _memory(self, x: Tensor) -> Tensor:
        if self.settings.channels_last:
            return x.contiguous(memory_format=torch.channels_last)
        return x

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        result: Tensor = self.unet(x, torch.zeros_like(y), y, return_dict=False)[0]
        return result

    def train_step(self, work: Work) -> None:
        x, y = work.data()
        noise = torch.randn_like(x)
        t = torch.randint(0, 1000, (work.batch,), device=x.device)
        noisy = self._memory(self.noising.add_noise(x, noise, t))
        with work.precision():
            output = self.unet(noisy, t, y, return_dict=False)[0]
            loss = F.mse_loss(output.float(), noise.float())
        loss.backward()
        nn.utils.clip_grad_norm_(self.unet.parameters(), CLIP)
        self.optimizer.step()
        self.rate.step()
        self.optimizer.zero_grad()
        self.ema.step(self.unet.parameters())

    @torch.no_grad()
    def sample_loop(self, work: Work) -> None:
        x, y = work.data()
        x = self._memory(x)
        self.solver.set_timesteps(work.steps)
        with work.precision():
            for t in self.solver.timesteps:
                output = self.unet(x, t, y, return_dict=False)[0]
                x = self.solver.step(output, t, x).prev_sample

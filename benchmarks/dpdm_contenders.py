"""Who computes private gradients, and on which networks: for `dpdm.py`.

All get the same network, inputs, targets and clipping; see there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from opacus import GradSampleModule
from opacus.grad_sample.conv import compute_conv_grad_sample
from opacus.grad_sample.group_norm import compute_group_norm_grad_sample
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import sfumato.nn.unet as unet_module
from sfumato.nn import UNet, UNetConfig
from sfumato.nn.norm import EPSILON, GroupNorm
from sfumato.seeds import generator
from sfumato.systems.dpdm.descent import add_clipped
from sfumato.systems.dpdm.options import Config, preset
from sfumato.systems.dpdm.per_example import per_example_gradients

SEED = 0
CLIP = 1.0
HOOKED = {"skip_scale": 1.0, "fir": True, "labels": ()}
"""With these, every weight of our U-Net belongs to a module that is called."""
CHANNELS_LAST, ROWS = torch.channels_last, torch.contiguous_format
Gradients = list[Tensor]


def networks() -> dict[str, UNetConfig]:
    """The networks by name; only those that end in "hooked" suit everyone."""
    small, large = Config().network, preset("fashion-paper-1").network
    return {
        "recipe, hooked": replace(small, **HOOKED),
        "paper, hooked": replace(large, **HOOKED),
        "recipe": replace(small, labels=(10,)),
    }


def build(name: str) -> UNet:
    """The network; disturbed, since its outputs and some layers start at zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = UNet(networks()[name])
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.02 * torch.randn_like(p))
    return network


@dataclass(frozen=True)
class Work:
    """Draws, those of a record in a row: what goes into the network, and what should come out."""

    x: Tensor
    level: Tensor
    cond: Tensor | None
    target: Tensor

    @staticmethod
    def make(network: UNet, draws: int) -> Work:
        """Made up; the time of a step does not depend on it."""
        g, c = generator(SEED, "work"), network.config
        shape = (draws, c.in_channels, c.resolution, c.resolution)
        cond = torch.randint(c.labels[0] + 1, (draws,), generator=g) if c.labels else None
        return Work(
            torch.randn(shape, generator=g),
            0.5 * torch.randn(draws, generator=g),
            cond,
            torch.randn(shape, generator=g),
        )

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, a: int, b: int) -> Work:
        """Some of them."""
        cond = None if self.cond is None else self.cond[a:b]
        return Work(self.x[a:b], self.level[a:b], cond, self.target[a:b])

    def losses(self, network: nn.Module, bf16: bool, cache: bool = True) -> Tensor:
        """One loss for each draw."""
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=cache):
            y = network(self.x, self.level, self.cond)
        return (y - self.target).square().flatten(1).mean(1)


@contextmanager
def laid_out(memory: torch.memory_format) -> Iterator[None]:
    """Our U-Net runs in this memory format inside."""
    usual = unet_module.memory_format
    unet_module.memory_format = lambda x: memory
    try:
        yield
    finally:
        unet_module.memory_format = usual


class Contender(ABC):
    """One way to the clipped sum of all records' gradients."""

    name: str
    formats: tuple[torch.memory_format, ...] = (CHANNELS_LAST,)
    """Memory formats in which it may run; the fastest is taken."""
    chooses = True
    """Whether it may choose how many draws it takes at once."""

    def __init__(self, network: UNet, bf16: bool) -> None:
        self.network, self.bf16 = network, bf16
        self.parameters = list(network.parameters())
        self.memory = self.formats[0]

    @abstractmethod
    def per_record(self, work: Work, k: int) -> Gradients:
        """(records, \\*shape) of every parameter."""

    def gradient(self, work: Work, k: int, chunk: int) -> Gradients:
        """The clipped sum, at most ``chunk`` draws at once."""
        total = [torch.zeros_like(p) for p in self.parameters]
        with laid_out(self.memory):
            for a in range(0, len(work), chunk):
                add_clipped(self.per_record(work.rows(a, a + chunk), k), CLIP, total)
        return total


class Ours(Contender):
    """The library's way."""

    name = "ours"

    def per_record(self, work: Work, k: int) -> Gradients:
        def some(a: int, b: int) -> Tensor:
            return work.rows(a * k, b * k).losses(self.network, self.bf16)

        return per_example_gradients(some, len(work) // k, k, self.parameters)[0]


class Plain(Contender):
    """Nothing private: the gradient of the mean loss, added up over chunks."""

    name = "plain"

    def per_record(self, work: Work, k: int) -> Gradients:
        raise NotImplementedError

    def gradient(self, work: Work, k: int, chunk: int) -> Gradients:
        for p in self.parameters:
            p.grad = None
        for a in range(0, len(work), chunk):
            losses = work.rows(a, a + chunk).losses(self.network, self.bf16)
            (losses.sum() / len(work)).backward()
        return [p.grad for p in self.parameters if p.grad is not None]


class Opacus(Contender):
    """GradSampleModule's hooks on all draws, then the mean over a record's."""

    name = "opacus"
    formats = (CHANNELS_LAST, ROWS)

    def __init__(self, network: UNet, bf16: bool) -> None:
        twin = deepcopy(network)
        super().__init__(twin, bf16)
        for module in twin.modules():
            if isinstance(module, GroupNorm):  # as Opacus' rule for torch's group norm wants them
                module.num_groups, module.eps = module.groups, EPSILON
        GradSampleModule.GRAD_SAMPLERS[GroupNorm] = compute_group_norm_grad_sample
        self.hooked = GradSampleModule(twin, loss_reduction="sum")

    def rule(self, layer: nn.Conv2d, a: list[Tensor], b: Tensor) -> dict[nn.Parameter, Tensor]:
        """Opacus' rule for convolutions, on memory that lies as it assumes."""
        return compute_conv_grad_sample(layer, [a[0].contiguous(), *a[1:]], b)

    def per_record(self, work: Work, k: int) -> Gradients:
        GradSampleModule.GRAD_SAMPLERS[nn.Conv2d] = self.rule
        work.losses(self.hooked, self.bf16).sum().backward()
        found = [p.grad_sample for p in self.parameters]
        for p in self.parameters:
            p.grad_sample = p.grad = None
        if k == 1:
            return found
        for i, g in enumerate(found):  # in turn, so that each is freed
            found[i] = g.reshape(len(work) // k, k, *g.shape[1:]).mean(1)
            del g
        return found


class OpacusAsItIs(Opacus):
    """The same without the copy."""

    name = "opacus as it is"

    def rule(self, layer: nn.Conv2d, a: list[Tensor], b: Tensor) -> dict[nn.Parameter, Tensor]:
        """Opacus' rule for convolutions."""
        return compute_conv_grad_sample(layer, a, b)


class Functional(Contender):
    """vmap(grad) of a record's mean loss."""

    name = "torch.func"
    formats = (ROWS, CHANNELS_LAST)

    def per_record(self, work: Work, k: int) -> Gradients:
        held = {n: p.detach() for n, p in self.network.named_parameters()}

        def loss(held: dict[str, Tensor], x: Tensor, level: Tensor, target: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16, cache_enabled=False):
                y = functional_call(self.network, held, (x, level))
            return (y - target).square().mean()

        parts = [a.reshape(-1, k, *a.shape[1:]) for a in (work.x, work.level, work.target)]
        found = vmap(grad(loss), in_dims=(None, 0, 0, 0))(held, *parts)
        return [found[n] for n in held]


class OneAtATime(Contender):
    """A forward and a backward pass for every record."""

    name = "one at a time"
    chooses = False

    def per_record(self, work: Work, k: int) -> Gradients:
        one = [self.single(work.rows(a, a + k)) for a in range(0, len(work), k)]
        return [torch.cat(parts) for parts in zip(*one, strict=True)]

    def single(self, work: Work) -> Gradients:
        """Of one record."""
        loss = work.losses(self.network, self.bf16).mean()
        return [g[None] for g in torch.autograd.grad(loss, self.parameters)]

    def gradient(self, work: Work, k: int, chunk: int) -> Gradients:
        total = [torch.zeros_like(p) for p in self.parameters]
        for a in range(0, len(work), k):
            add_clipped(self.single(work.rows(a, a + k)), CLIP, total)
        return total

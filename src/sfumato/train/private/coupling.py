"""Whether a network mixes its examples: then no example has a gradient of its own.

Clipping bounds what a record can do to the sum only if record j's contribution depends on record
j alone. Batch normalisation, for one, breaks that. Layers known to do so are refused by their
type; beyond that the network is asked: if other examples of a batch come out differently, in any
bit of any layer, because one example was exchanged, or if a buffer changes, it is refused too.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from sfumato.denoise import Cond, Denoiser
from sfumato.errors import UsageError
from sfumato.loss import denoising_loss
from sfumato.train.draws import Loss, Part
from sfumato.train.private.per_example import agree

WHY = (
    "examples must not influence each other in private training, or clipping one record's gradient "
    "does not bound what that record does"
)


def refuse_coupling(
    denoiser: Denoiser, shape: tuple[int, ...], cond: Cond = None, *, examples: int = 4
) -> None:
    """Refuse a denoiser whose examples influence each other.

    Only made-up data is used. Its weights are disturbed in a copy first, since a layer that starts
    at zero would hide what lies before it.

    Args:
        denoiser: in training mode or not; it is left as it was.
        shape: of one example.
        cond: labels or an embedding for ``examples`` examples, if the denoiser takes them.
        examples: size of the batch.

    Raises:
        UsageError: a layer is named, and what it does.
    """
    for name, module in denoiser.named_modules():
        stateful = isinstance(module, _NormBase) and module.track_running_stats
        if isinstance(module, _NormBase) and ("Batch" in type(module).__name__ or stateful):
            raise UsageError(
                f"the layer {name!r} is a {type(module).__name__}, which mixes the examples of a "
                f"batch: {WHY}; use group normalisation"
            )
    twin = twin_of(denoiser)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(examples, *shape, generator=generator)
    other = x.clone()
    other[0] = torch.randn(shape, generator=generator)
    before = {name: b.clone() for name, b in twin.named_buffers()}
    first = _outputs(twin, x, cond)
    changed = [n for n, b in twin.named_buffers() if not torch.equal(b, before[n])]
    if changed:
        raise UsageError(
            f"the buffer {changed[0]!r} changes when the network is called, so it would carry the "
            "data out without any noise: use layers that keep no statistics of their input"
        )
    if _draws_numbers(twin, x, cond):
        raise UsageError(
            "the network draws random numbers of its own, as dropout does, and which example gets "
            "which depends on its place in the batch, so that a record more or less changes what "
            "the others contribute; set dropout to 0"
        )
    second = _outputs(twin, other, cond)
    for (name, kind, a), (_, _, b) in zip(first, second, strict=True):
        if not torch.equal(a, b):
            raise UsageError(
                f"the layer {name!r} ({kind}) gives an example another output when another "
                f"example of the batch is exchanged: {WHY}"
            )


def _draws_numbers(twin: Denoiser, x: Tensor, cond: Cond) -> bool:
    """Whether a call moves torch's global generator on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = torch.get_rng_state()
        _outputs(twin, x, cond, fork=False)
        return not torch.equal(torch.get_rng_state(), fresh)


def twin_of(denoiser: Denoiser) -> Denoiser:
    """A disturbed copy on the CPU: a layer that starts at zero would hide what lies before it."""
    twin = copy.deepcopy(denoiser).cpu().train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator).to(p))
    return twin


def can_be_watched(denoiser: Denoiser, loss: Loss, shape: tuple[int, ...], cond: Cond) -> bool:
    """Whether the gradients of single records can be had together; on made-up records.

    Args:
        denoiser, loss: what is trained.
        shape: of one record.
        cond: labels of 4 examples, if the denoiser takes them.

    Raises:
        UsageError: the loss draws random numbers of its own.
    """
    twin = twin_of(denoiser)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, *shape, generator=generator)
    t = torch.linspace(0.02, 0.9, 4, dtype=torch.float64)

    def losses(low: int, high: int) -> Tensor:
        here = slice(2 * low, 2 * high)
        noise = [torch.Generator().manual_seed(i) for i in range(4)]
        torch.manual_seed(0)
        return loss(twin, Part(x, t, cond, noise).rows(here))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = torch.get_rng_state()
        losses(0, 2)
        if not torch.equal(torch.get_rng_state(), fresh):
            raise UsageError(
                "the loss draws from torch's global generator, so what a record gets depends on "
                "its place in the batch; draw from the part's own generators instead"
            )
        return agree(losses, 2, 2, list(twin.parameters()))


def _outputs(
    denoiser: Denoiser, x: Tensor, cond: Cond, fork: bool = True
) -> list[tuple[str, str, Tensor]]:
    """What every layer puts out for all examples but the first, in the order they finish."""
    found: list[tuple[str, str, Tensor]] = []
    n = len(x)

    def keep(name: str, kind: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            for y in output if isinstance(output, tuple | list) else (output,):
                if isinstance(y, Tensor) and y.ndim and len(y) % n == 0:
                    found.append((name, kind, y.detach()[len(y) // n :].clone()))

        return hook

    handles = [
        module.register_forward_hook(keep(name, type(module).__name__))
        for name, module in denoiser.named_modules()
        if name
    ]
    try:
        with torch.random.fork_rng(devices=[], enabled=fork):
            torch.manual_seed(0)
            t = torch.linspace(0.02, 0.9, n, dtype=torch.float64)
            noise = [torch.Generator().manual_seed(i) for i in range(n)]
            losses = denoising_loss(denoiser, x, t, cond=cond, generator=noise)
            found.append(("the loss", type(denoiser).__name__, losses.detach()[1:].clone()))
    finally:
        for handle in handles:
            handle.remove()
    return found

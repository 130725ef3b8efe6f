"""Whether examples influence each other in training: then none has a gradient of its own.

Clipping bounds what a record can do to the sum only if record j's contribution depends on record
j alone. Batch normalisation, for one, breaks that. Layers known to do so are refused by their
type; beyond that network and loss are asked: if other examples of a batch come out differently,
in any bit of any layer, because one example was exchanged, or if a buffer changes, they are
refused too. So are those that draw from torch's global generator, as dropout does: who gets which
number depends on the place in the batch, and so on who else is there.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.systems.dpdm.per_example import agree
from sfumato.train.denoising import Loss, Microbatch, standard_loss

WHY = (
    "examples must not influence each other in private training, or clipping one record's gradient "
    "does not bound what that record does"
)
EXAMPLES = 4  # of the made-up batch


def refuse_coupling(
    denoiser: Denoiser,
    shape: tuple[int, ...],
    cond: Tensor | None = None,
    loss: Loss = standard_loss,
) -> None:
    """Refuse a denoiser and a loss whose examples influence each other.

    Only made-up data is used, and a disturbed copy of the denoiser (see `twin_of`).

    Args:
        denoiser: in training mode or not; it is left as it was.
        shape: of one example.
        cond: labels or an embedding for four examples, if the denoiser takes them.
        loss: of each example.

    Raises:
        UsageError: a layer is named, and what it does.
    """
    for name, module in denoiser.named_modules():
        stateful = isinstance(module, _NormBase) and module.track_running_stats
        if isinstance(module, _BatchNorm) or stateful:
            raise UsageError(
                f"the layer {name!r} is a {type(module).__name__}, which mixes the examples of a "
                f"batch: {WHY}; use group normalisation"
            )
    twin = twin_of(denoiser)
    exchanged = made_up(shape, cond)
    exchanged.x0[0] = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    before = {name: b.clone() for name, b in twin.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = torch.get_rng_state()
        first = _outputs(twin, loss, made_up(shape, cond))
        drew = not torch.equal(torch.get_rng_state(), fresh)
        torch.manual_seed(0)
        changed = [n for n, b in twin.named_buffers() if not torch.equal(b, before[n])]
        second = _outputs(twin, loss, exchanged)
    if changed:
        raise UsageError(
            f"the buffer {changed[0]!r} changes when the network is called, so it would carry the "
            "data out without any noise: use layers that keep no statistics of their input"
        )
    if drew:
        raise UsageError(
            "the network, or the loss, draws random numbers of its own, as dropout does, and which "
            "example gets which depends on its place in the batch, so that a record more or less "
            "changes what the others contribute; set dropout to 0, and draw from the part's own "
            "generators instead"
        )
    for (name, kind, a), (_, _, b) in zip(first, second, strict=True):
        if not torch.equal(a, b):
            raise UsageError(
                f"the layer {name!r} ({kind}) gives an example another output when another "
                f"example of the batch is exchanged: {WHY}"
            )


def made_up(shape: tuple[int, ...], cond: Tensor | None) -> Microbatch:
    """A batch that comes from nowhere, always the same."""
    x = torch.randn(EXAMPLES, *shape, generator=torch.Generator().manual_seed(1))
    t = torch.linspace(0.02, 0.9, EXAMPLES, dtype=torch.float64)
    return Microbatch(x, t, cond, [torch.Generator().manual_seed(i) for i in range(EXAMPLES)])


def twin_of(denoiser: Denoiser) -> Denoiser:
    """A disturbed copy on the CPU: a layer that starts at zero would hide what lies before it."""
    twin = copy.deepcopy(denoiser).cpu().train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator).to(p))
    return twin


def can_be_watched(
    denoiser: Denoiser, loss: Loss, shape: tuple[int, ...], cond: Tensor | None
) -> bool:
    """Whether the gradients of single records can be had together; on made-up records.

    The arguments are those of `refuse_coupling`, which must have let them pass.
    """
    twin = twin_of(denoiser)
    draws = EXAMPLES // 2

    def losses(low: int, high: int) -> Tensor:
        return loss(twin, made_up(shape, cond).rows(slice(draws * low, draws * high)))

    return agree(losses, 2, draws, list(twin.parameters()))


def _outputs(denoiser: Denoiser, loss: Loss, part: Microbatch) -> list[tuple[str, str, Tensor]]:
    """What every layer puts out for all examples but the first, in the order they finish."""
    found: list[tuple[str, str, Tensor]] = []

    def keep(name: str, kind: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            for y in output if isinstance(output, tuple | list) else (output,):
                if isinstance(y, Tensor) and y.ndim and len(y) % EXAMPLES == 0:
                    found.append((name, kind, y.detach()[len(y) // EXAMPLES :].clone()))

        return hook

    handles = [
        module.register_forward_hook(keep(name, type(module).__name__))
        for name, module in denoiser.named_modules()
        if name
    ]
    try:
        losses = loss(denoiser, part)
        found.append(("the loss", type(denoiser).__name__, losses.detach()[1:].clone()))
    finally:
        for handle in handles:
            handle.remove()
    return found

"""Weights cut among processes (FSDP), for modules that do not fit one device.

PyTorch's `fully_shard` holds each parameter, its average and its moments in equal slices, puts a
block together while it computes, and averages gradients as the slices leave it (Rajbhandari et al.
2020, arXiv 1910.02054, stage 3). Blocks are what stands in a `ModuleList`. Checkpoints hold whole
tensors, so a run may go on with another number of processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

_CONTAINERS = (nn.ModuleList, nn.ModuleDict)


def cut(module: nn.Module, device: torch.device) -> None:
    """Cut a module's parameters among all processes, in place."""
    mesh = torch.distributed.init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    for block in [block for part in reversed(lists) for block in part]:
        if not isinstance(block, _CONTAINERS) and any(True for _ in block.parameters()):
            fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


@contextmanager
def together(module: nn.Module) -> Iterator[None]:
    """Within it every process has the whole weights; does nothing to a module that is not cut."""
    parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()


@contextmanager
def unsynced(module: nn.Module) -> Iterator[None]:
    """Within it gradients add up in each process, and are not averaged yet."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(False)
    yield
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(True)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which this process may have a slice; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def slices(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this process has of each."""
    return [t.to_local() if isinstance(t, DTensor) else t for t in tensors]


def like(tensor: Tensor, other: Any) -> Tensor:
    """A whole tensor cut as another one of its shape is."""
    if not isinstance(other, DTensor):
        return tensor
    here = tensor.to(other.device)
    return distribute_tensor(here, other.device_mesh, other.placements, src_data_rank=None)

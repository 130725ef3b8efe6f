"""Weights cut among processes (FSDP), for modules that do not fit one device.

PyTorch's `fully_shard` holds each parameter, its average and its moments in equal slices, puts a
block together while it computes, and averages gradients as the slices leave it (Rajbhandari et al.
2020, arXiv 1910.02054, stage 3). Blocks are what stands in a `ModuleList`. Checkpoints hold whole
tensors, so a run may go on with another number of processes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_CONTAINERS = (nn.ModuleList, nn.ModuleDict)


def _is(value: object, package: str, name: str) -> bool:
    """Whether a value is of a class of PyTorch's; not if its package was never loaded.

    Loading these packages takes a second, and nothing can have been cut before.
    """
    loaded = sys.modules.get(package)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def _cut_module(module: nn.Module) -> bool:
    return _is(module, "torch.distributed.fsdp", "FSDPModule")


def _cut_tensor(tensor: object) -> bool:
    return _is(tensor, "torch.distributed.tensor", "DTensor")


def cut(module: nn.Module, device: torch.device) -> None:
    """Cut a module's parameters among all processes, in place."""
    from torch.distributed.fsdp import fully_shard

    mesh = torch.distributed.init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    for block in [block for part in reversed(lists) for block in part]:
        if not isinstance(block, _CONTAINERS) and any(True for _ in block.parameters()):
            fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


@contextmanager
def together(module: nn.Module) -> Iterator[None]:
    """Within it every process has the whole weights; does nothing to a module that is not cut."""
    parts: list[Any] = [part for part in module.modules() if _cut_module(part)]
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
    part: Any = module if _cut_module(module) else None
    if part is not None:
        part.set_requires_gradient_sync(False)
    yield
    if part is not None:
        part.set_requires_gradient_sync(True)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which this process may have a slice; every process must ask."""
    made: Any = tensor
    return made.full_tensor() if _cut_tensor(tensor) else tensor


def slices(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this process has of each."""
    given: Iterable[Any] = tensors
    return [t.to_local() if _cut_tensor(t) else t for t in given]


def like(tensor: Tensor, other: Any) -> Tensor:
    """A whole tensor cut as another one of its shape is."""
    if not _cut_tensor(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    here = tensor.to(other.device)
    return distribute_tensor(here, other.device_mesh, other.placements, src_data_rank=None)

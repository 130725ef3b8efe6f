"""Which memory format, attention path and dtype to use where: measured rules, in one place."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["best_dtype", "explicit_attention", "memory_format"]


def has_amx() -> bool:
    """True if this CPU multiplies bf16 tiles (AMX), without which bf16 gains nothing."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe()) if probe is not None else False


def best_dtype(device: torch.device | str) -> torch.dtype:
    """The fastest safe dtype for autocast on `device`: bfloat16 where hardware has it, or float32.

    CUDA: bfloat16 from compute capability 8.0. CPU: bfloat16 only with AMX.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if kind == "cpu":
        return torch.bfloat16 if has_amx() else torch.float32
    return torch.float32


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype convolutions will run in: autocast's if it is on, the tensor's otherwise."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype


def memory_format(x: Tensor) -> torch.memory_format:
    """The memory format a convolutional network should run `x` in."""
    return torch.channels_last


def explicit_attention(q: Tensor) -> bool:
    """True if softmax(q k^T) v written out is faster than the fused kernel for this `q`."""
    return False

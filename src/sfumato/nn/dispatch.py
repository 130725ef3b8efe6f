"""Which memory format, attention path and dtype to use where: measured rules, in one place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["best_dtype", "explicit_attention", "has_tangent", "memory_format"]


def has_tangent(x: Tensor) -> bool:
    """True if `x` carries a forward-mode derivative, as inside `torch.func.jvp`.

    Then kernels without a forward derivative must be avoided (torch 2.13): fused attention, and
    group norm of channels-last memory.
    """
    if torch.compiler.is_compiling():
        return False
    return forward_ad.unpack_dual(x).tangent is not None


def multiplies_bfloat16() -> bool:
    """True if this CPU has instructions for products of bfloat16: AMX, or AVX-512 BF16.

    Without either bfloat16 gains nothing. With AVX-512 BF16 alone (Zen 5, torch 2.13, batch 32, one
    thread, channels-last), GFLOP/s of 3x3 convolutions forward and backward in float32 / bfloat16:
    40 channels at 32x32 197 / 348, 80 at 16x16 258 / 442, 128 at 16x16 259 / 486.
    """
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)


def best_dtype(device: torch.device | str) -> torch.dtype:
    """The fastest safe dtype for autocast on `device`: bfloat16 where hardware has it, or float32.

    CUDA: bfloat16 from compute capability 8.0. CPU: bfloat16 only where
    `multiplies_bfloat16`.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if kind == "cpu":
        return torch.bfloat16 if multiplies_bfloat16() else torch.float32
    return torch.float32


def memory_format(x: Tensor) -> torch.memory_format:
    """The memory format a convolutional network should run `x` in: channels-last, everywhere.

    Measured (AVX-512 CPU, torch 2.13, batch 32, CPU time of one thread, GFLOP/s forward / input
    gradient / weight gradient, float32, 28x28):

        3x3, 96 -> 32 channels:  contiguous 144 / 78 / 129    channels-last 170 / 165 / 151
        1x1, 96 -> 32 channels:  contiguous  75 / 20 /  65    channels-last 126 / 137 / 104

    and no shape was faster contiguous. The reputation of channels-last group norm for being slow
    in bfloat16 is one of narrow groups: see `norm.groups_for`. On CUDA, bfloat16 convolutions want
    channels-last as well. Parameters stay contiguous; convolutions follow their input's format.
    """
    del x  # the rule is the same for every shape, dtype and device measured so far
    return torch.channels_last


def explicit_attention(q: Tensor) -> bool:
    """True if softmax(q k^T) v written out is faster than the fused kernel for this `q`.

    Measured on the same CPU, batch 32, milliseconds forward / forward + backward:

        tokens x heads x width      float32 fused    explicit       bfloat16 fused   explicit
        49  x 1 x 64                0.35 / 1.5       0.38 / 1.2     0.5 / 6.7        0.6 / 1.9
        64  x 2 x 64                0.9 / 3.3        1.3 / 3.6      1.3 / 13.7       1.5 / 4.4
        256 x 1 x 64                5.6 / 20         6.0 / 21       8.4 / 42         9.8 / 29
        256 x 4 x 32                13 / 45          37 / 87        20 / 110         25 / 65

    So: explicit exactly where a low-precision backward pass will run on a CPU, and where a forward
    derivative is asked for, which the fused kernels do not have.
    """
    if has_tangent(q):
        return True
    low = q.dtype in (torch.bfloat16, torch.float16)
    return low and q.device.type == "cpu" and q.requires_grad and torch.is_grad_enabled()

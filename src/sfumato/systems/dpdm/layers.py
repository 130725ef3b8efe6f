"""How each layer's weight gradient is kept apart by record: one rule for each function.

A rule runs the function with its weights held still and leaves a hook on the output; when the
output's gradient is known, the hook gives the weights' gradients, (records, \\*shape), to where
`Watcher.weight` says. The draws of a record lie side by side in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from sfumato.systems.dpdm.per_example import Watcher

MANY = 8  # draws per record from which one call for each record is no slower than one for all


def _named(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _linear(watcher: Watcher, func: Any, args: Any, kwargs: Any) -> Tensor:
    given = _named(("input", "weight", "bias"), args, kwargs)
    x = given["input"]
    w, to_w = watcher.weight(given["weight"])
    b, to_b = watcher.weight(given.get("bias"))
    y: Tensor = func(x, w, b)
    if to_w is None and to_b is None:
        return y
    x = x.detach()

    def hook(g: Tensor) -> None:
        rows = g.reshape(watcher.records, -1, g.shape[-1])
        if to_w is not None:
            a = x.to(g.dtype).reshape(watcher.records, -1, x.shape[-1])
            to_w(torch.bmm(rows.transpose(1, 2), a))
        if to_b is not None:
            to_b(rows.sum(1))

    return watcher.watch(y, hook)


def _embedding(watcher: Watcher, func: Any, args: Any, kwargs: Any) -> Tensor:
    names = ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq")
    given = _named((*names, "sparse"), args, kwargs)
    w, to_w = watcher.weight(given["weight"])
    plain = all(given.get(k) is None for k in ("padding_idx", "max_norm"))
    if to_w is None or w is None or not plain or given.get("scale_grad_by_freq"):
        return func(*args, **kwargs)
    rows: Tensor = given["input"]
    y = F.embedding(rows, w)

    def hook(g: Tensor) -> None:
        which = watcher.by_record(rows).reshape(watcher.records, -1, 1)
        values = _wide(g).reshape(watcher.records, -1, w.shape[1])
        made = values.new_zeros(watcher.records, *w.shape)
        to_w(made.scatter_add_(1, which.expand_as(values), values))

    return watcher.watch(y, hook)


def _group_norm(watcher: Watcher, func: Any, args: Any, kwargs: Any) -> Tensor:
    given = _named(("input", "num_groups", "weight", "bias", "eps"), args, kwargs)
    x, groups = given["input"], given["num_groups"]
    w, to_w = watcher.weight(given.get("weight"))
    b, to_b = watcher.weight(given.get("bias"))
    if to_w is None and to_b is None:
        return func(*args, **kwargs)
    n, c = x.shape[:2]
    area = x[0, 0].numel()
    layout = _layout(x)
    x = x.contiguous(memory_format=layout)

    def found(of_w: Tensor, of_b: Tensor) -> None:
        if to_w is not None:
            to_w(of_w)
        if to_b is not None:
            to_b(of_b)

    if watcher.draws >= MANY and x.requires_grad and w is not None and b is not None:
        sizes = (n, c, area, groups, given.get("eps", 1e-5))
        made: Tensor = _GroupNormOfRecords.apply(x, w, b, sizes, watcher.records, found)
        return made
    y, mean, rstd = torch.native_group_norm(x, w, b, n, c, area, groups, given.get("eps", 1e-5))
    x, mean, rstd = x.detach(), mean.detach(), rstd.detach()

    def hook(g: Tensor) -> None:
        g = g.contiguous(memory_format=layout)
        total = _wide(g.reshape(n, c, area).sum(2))
        product = _wide((g * x.to(g.dtype)).reshape(n, c, area).sum(2))
        centre, scale = (
            _wide(m).view(n, groups, 1).expand(n, groups, c // groups).reshape(n, c)
            for m in (mean, rstd)
        )
        of_w = watcher.by_record(scale * (product - centre * total)).sum(1)
        of_b = watcher.by_record(total).sum(1)
        found(of_w, of_b)

    return watcher.watch(y, hook)


def _layout(x: Tensor) -> torch.memory_format:
    """The memory format the group norm kernel takes x in; channels-last on the CPU alone."""
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and x.device.type == "cpu" else torch.contiguous_format


class _GroupNormOfRecords(torch.autograd.Function):
    """Group norm whose backward pass runs record by record.

    The kernel sums the gradients of weight and bias over what it is given: one record's draws.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, b: Tensor, sizes: Any, records: int, found: Any
    ) -> Tensor:
        """The norm; ``found`` is called with the gradients of weight and bias, (records, C)."""
        y, mean, rstd = torch.native_group_norm(x, w, b, *sizes)
        ctx.save_for_backward(x, w, mean, rstd)
        ctx.sizes, ctx.records, ctx.found = sizes, records, found
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of x; those of weight and bias are told."""
        x, w, mean, rstd = ctx.saved_tensors
        n, c, area, groups, _ = ctx.sizes
        g = g.contiguous(memory_format=_layout(x))
        k = n // ctx.records
        back = torch.ops.aten.native_group_norm_backward
        pieces = [
            back(*(a[i : i + k] for a in (g, x, mean, rstd)), w, k, c, area, groups, [True] * 3)
            for i in range(0, n, k)
        ]
        dx, of_w, of_b = zip(*pieces, strict=True)
        ctx.found(torch.stack(of_w), torch.stack(of_b))
        return torch.cat(dx), None, None, None, None, None


def _layer_norm(watcher: Watcher, func: Any, args: Any, kwargs: Any) -> Tensor:
    given = _named(("input", "normalized_shape", "weight", "bias", "eps"), args, kwargs)
    x, shape, eps = given["input"], tuple(given["normalized_shape"]), given.get("eps", 1e-5)
    w, to_w = watcher.weight(given.get("weight"))
    b, to_b = watcher.weight(given.get("bias"))
    y: Tensor = func(x, shape, w, b, eps)
    if to_w is None and to_b is None:
        return y
    x = x.detach()

    def hook(g: Tensor) -> None:
        if to_w is not None:
            unit = F.layer_norm(_wide(x), shape, eps=eps)
            to_w((_wide(g) * unit).reshape(watcher.records, -1, *shape).sum(1))
        if to_b is not None:
            to_b(g.reshape(watcher.records, -1, *shape).sum(1))

    return watcher.watch(y, hook)


def _wide(x: Tensor) -> Tensor:
    """At least float32. (Sums of half precision run in float32 and are rounded at their end.)"""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _convolution(watcher: Watcher, func: Any, args: Any, kwargs: Any) -> Tensor:
    transposed = func is torch.conv_transpose2d
    last = ("output_padding", "groups", "dilation") if transposed else ("dilation", "groups")
    names = ("input", "weight", "bias", "stride", "padding", *last)
    given = _named(names, args, kwargs)
    padding = given.get("padding", 0)
    x: Tensor = given["input"]
    w, to_w = watcher.weight(given["weight"])
    b, to_b = watcher.weight(given.get("bias"))
    if w is None or isinstance(padding, str) or x.ndim != 4:
        return func(*args, **kwargs)
    y: Tensor = func(**{**given, "weight": w, "bias": b})
    if to_w is None and to_b is None:
        return y
    x = x.detach()
    settings = [
        _pair(given.get("stride", 1)),
        _pair(padding),
        _pair(given.get("dilation", 1)),
        transposed,
        _pair(given.get("output_padding", 0)),
        given.get("groups", 1),
    ]

    def hook(g: Tensor) -> None:
        of_w, of_b = _conv_gradients(x.to(g.dtype), g, w, watcher.records, settings)
        if to_w is not None:
            to_w(of_w)
        if to_b is not None:
            to_b(watcher.by_record(_wide(g.sum((2, 3)))).sum(1) if of_b is None else of_b)

    return watcher.watch(y, hook)


def _conv_gradients(
    x: Tensor, g: Tensor, w: Tensor, records: int, settings: list[Any]
) -> tuple[Tensor, Tensor | None]:
    """Gradients of a convolution's weight, (records, \\*w.shape), and perhaps of its bias.

    By the way that measured fastest. Milliseconds for 64 draws, 3x3, 64 -> 64 channels at 14x14
    (float32 / bfloat16, one thread of an AVX-512 CPU with AMX, torch 2.13):

        draws per record     1             8             32         (the sum alone: 4.7 / 1.5)
        one call a record    10.1 / 8.9    5.7 / 2.3     4.8 / 1.7
        unfold and multiply   8.3 / 3.2    6.6 / 2.6     6.8 / 3.0
        grouped convolution   7.2 / 4.4    6.5 / 3.0     6.4 / 2.9
        `F.unfold`, einsum   16.1 / 12.0  19.1 / 15.3   18.8 / 15.3
    """
    draws = len(x) // records
    stride, padding, dilation, transposed, output_padding, groups = settings
    usual = not transposed and groups == 1 and stride == dilation == [1, 1]
    few = draws < MANY or x.device.type != "cpu"
    small = x.shape[2] * x.shape[3] <= (64 if x.dtype == torch.float32 else 400)
    if few and usual and small:
        return _unfolded(x, g, w, records, padding), None
    if few and groups == 1 and not transposed:
        return _grouped(x, g, w, records, settings), None
    like, outputs = w.to(g.dtype), [g.shape[1]]
    mask = [False, True, True]
    back = torch.ops.aten.convolution_backward
    found = [
        back(g[i : i + draws], x[i : i + draws], like, outputs, *settings, mask)
        for i in range(0, len(x), draws)
    ]
    return torch.stack([f[1] for f in found]), torch.stack([f[2] for f in found])


def _unfolded(x: Tensor, g: Tensor, w: Tensor, records: int, padding: list[int]) -> Tensor:
    """One product per record of the output's gradient with the unfolded input."""
    n, c = x.shape[:2]
    kh, kw = w.shape[2:]
    rows = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    rows = rows.contiguous()
    s = rows.stride()
    seen = rows.as_strided((n, *g.shape[2:], kh, kw * c), (s[0], s[1], s[2], s[1], 1))
    out = g.permute(0, 2, 3, 1).reshape(records, -1, g.shape[1])
    made = torch.bmm(out.transpose(1, 2), seen.reshape(records, -1, kh * kw * c))
    return made.view(records, -1, kh, kw, c).permute(0, 1, 4, 2, 3)


def _grouped(x: Tensor, g: Tensor, w: Tensor, records: int, settings: list[Any]) -> Tensor:
    """The weight gradient of a convolution with one group for each record."""
    draws = len(x) // records

    def beside(a: Tensor) -> Tensor:
        _, c, h, wide = a.shape
        a = a.reshape(records, draws, c, h, wide).transpose(0, 1)
        return a.reshape(draws, records * c, h, wide)

    like = torch.empty(records * w.shape[0], *w.shape[1:], dtype=g.dtype, device=g.device)
    settings = [*settings[:5], records]
    back = torch.ops.aten.convolution_backward
    made = back(beside(g), beside(x), like, None, *settings, [False, True, False])[1]
    return made.view(records, *w.shape)


def _pair(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)] * 2


RULES: dict[Any, Callable[[Watcher, Any, Any, Any], Tensor]] = {
    F.linear: _linear,
    F.embedding: _embedding,
    F.group_norm: _group_norm,
    F.layer_norm: _layer_norm,
    torch.conv2d: _convolution,
    torch.conv_transpose2d: _convolution,
}

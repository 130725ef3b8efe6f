r"""The gradient of every record's own loss, at about the price of one gradient of their sum.

For record i with draws r_{i1} ... r_{iK} the gradient is g_i = ∇ (1/K) Σ_k ℓ(x_i; r_ik). All
records' forward and backward passes run together as usual; only where a weight meets an
activation is its gradient kept apart by record. With a_ik the layer's input and b_ik the gradient
of its output,

* a linear layer: :math:`g_i = \sum_k b_{ik}^\top a_{ik}`;
* a convolution: the ordinary weight gradient over the K draws of record i alone, or one product
  of b with the unfolded a for all records, whichever measured faster (see `_convolution`);
* an affine norm: sums over pixels of b · (normalised a) and of b; an embedding: sums of rows of b.

Since the K draws of a record are summed inside these products, nothing of size B·K·|θ| ever
exists, only B·|θ|.

It works on any network by watching the functions it calls: `torch.nn.functional`'s linear,
convolutions, group and layer norm and embedding, whose weight may itself be computed from
parameters (a scaled or merged kernel). A parameter used by anything else is noticed, and
everything is then computed one record at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

MANY = 8  # draws per record from which one call for each record is no slower than one for all

Losses = Callable[[int, int], Tensor]
"""Losses (records · K,) of the records from the first to the second number, draws innermost."""


def per_example_gradients(
    losses: Losses, records: int, draws: int, parameters: Sequence[nn.Parameter]
) -> tuple[list[Tensor], Tensor]:
    """g_i of every record: one tensor (records, \\*shape) for each parameter, and all losses.

    Args:
        losses: computes the losses of a range of records, K = ``draws`` for each in a row; no
            record may influence another's (see `coupling`).
        records: how many.
        draws: K.
        parameters: what to differentiate by.

    Raises:
        ValueError: the number of losses is not records · draws.
    """
    watcher = _Watcher(parameters, records, draws)
    with watcher:
        value = losses(0, records)
    if value.shape != (records * draws,):
        raise ValueError(
            f"expected {records} x {draws} losses in one axis, got {tuple(value.shape)}"
        )
    wanted = [p for p in parameters if p.requires_grad]
    found = torch.autograd.grad(
        value.sum() / draws, [*watcher.roots, *wanted], allow_unused=True, materialize_grads=False
    )
    if any(g is not None for g in found[len(watcher.roots) :]):
        return _one_at_a_time(losses, records, draws, parameters)
    return watcher.gradients(), value.detach()


def _one_at_a_time(
    losses: Losses, records: int, draws: int, parameters: Sequence[nn.Parameter]
) -> tuple[list[Tensor], Tensor]:
    """The same by one backward pass for each record."""
    made = [p.new_zeros(records, *p.shape) for p in parameters]
    values = []
    for i in range(records):
        value = losses(i, i + 1)
        found = torch.autograd.grad(value.sum() / draws, list(parameters), allow_unused=True)
        for all_of_them, g in zip(made, found, strict=True):
            if g is not None:
                all_of_them[i] = g
        values.append(value.detach())
    return made, torch.cat(values)


@final
class _Watcher(TorchFunctionMode):
    """Runs a network with its weights held still, and keeps what their gradients need."""

    def __init__(self, parameters: Sequence[nn.Parameter], records: int, draws: int) -> None:
        super().__init__()
        self.parameters = list(parameters)
        self.index = {id(p): i for i, p in enumerate(self.parameters)}
        self.records, self.draws = records, draws
        self.sums: list[Tensor | None] = [None] * len(self.parameters)
        self.scaled: dict[int, tuple[Tensor, int, float]] = {}
        self.roots: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        scales = func in _MULTIPLY and len(args) == 2 and isinstance(args[1], int | float)
        if scales and id(args[0]) in self.index:
            made = args[0].detach() * args[1]
            self.scaled[id(made)] = (made, self.index[id(args[0])], float(args[1]))
            return made
        rule = _RULES.get(func)
        if rule is None:
            return func(*args, **kwargs)
        return rule(self, func, args, kwargs)

    def weight(self, w: Tensor | None) -> tuple[Tensor | None, Callable[[Tensor], None] | None]:
        """The weight held still, and where its per-record gradient goes; None if it has none."""
        if w is None:
            return None, None
        if id(w) in self.scaled:
            made, i, factor = self.scaled[id(w)]
            return made, lambda g: self.add(i, g, factor)
        if not w.requires_grad:
            return w, None
        if id(w) in self.index:
            i = self.index[id(w)]
            return w.detach(), lambda g: self.add(i, g)
        leaves = [i for i in (self.index.get(id(leaf)) for leaf in _leaves(w)) if i is not None]

        def spread(g: Tensor) -> None:
            """Through the function that made the weight, for all records at once."""
            back = torch.autograd.grad(
                w,
                [self.parameters[i] for i in leaves],
                g.to(w.dtype),
                retain_graph=True,
                is_grads_batched=True,
            )
            for i, one in zip(leaves, back, strict=True):
                self.add(i, one)

        return w.detach(), spread

    def add(self, i: int, g: Tensor, factor: float = 1.0) -> None:
        """Add a per-record gradient (records, \\*shape) to those of parameter i."""
        g = g.float() if g.dtype in (torch.bfloat16, torch.float16) else g
        if factor != 1.0:
            g = g * factor
        old = self.sums[i]
        self.sums[i] = g if old is None else old + g

    def watch(self, y: Tensor, hook: Callable[[Tensor], None]) -> Tensor:
        """Call ``hook`` with the gradient of y, 1/K left out, when it is known."""
        if not y.requires_grad:  # the first layer: its input is data
            y = y.detach().requires_grad_()
            self.roots.append(y)
        y.register_hook(lambda g: hook(g))
        return y

    def gradients(self) -> list[Tensor]:
        """What was found; zeros for parameters that had no part."""
        return [
            torch.zeros(self.records, *p.shape, device=p.device, dtype=p.dtype)
            if g is None
            else g.to(p.dtype)
            for p, g in zip(self.parameters, self.sums, strict=True)
        ]

    def by_record(self, x: Tensor) -> Tensor:
        """(records · K, ...) as (records, K, ...)."""
        return x.reshape(self.records, self.draws, *x.shape[1:])


def _leaves(w: Tensor) -> list[Tensor]:
    """The tensors that a computed tensor was made from."""
    found: dict[int, Tensor] = {}
    todo, seen = [w.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found[id(leaf)] = leaf
        todo += [following for following, _ in node.next_functions]
    return list(found.values())


def _named(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _linear(watcher: _Watcher, func: Any, args: Any, kwargs: Any) -> Tensor:
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


def _embedding(watcher: _Watcher, func: Any, args: Any, kwargs: Any) -> Tensor:
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


def _group_norm(watcher: _Watcher, func: Any, args: Any, kwargs: Any) -> Tensor:
    given = _named(("input", "num_groups", "weight", "bias", "eps"), args, kwargs)
    x, groups = given["input"], given["num_groups"]
    w, to_w = watcher.weight(given.get("weight"))
    b, to_b = watcher.weight(given.get("bias"))
    if to_w is None and to_b is None:
        return func(*args, **kwargs)
    n, c = x.shape[:2]
    area = x[0, 0].numel()
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    x = x.contiguous(memory_format=layout)
    y, mean, rstd = torch.native_group_norm(x, w, b, n, c, area, groups, given.get("eps", 1e-5))
    x, mean, rstd = x.detach(), mean.detach(), rstd.detach()

    def hook(g: Tensor) -> None:
        g = g.contiguous(memory_format=layout)
        pixels = tuple(range(2, x.ndim))
        total = _wide(g.sum(pixels))
        product = _wide((g * x.to(g.dtype)).sum(pixels))
        centre, scale = (
            _wide(m).view(n, groups, 1).expand(n, groups, c // groups).reshape(n, c)
            for m in (mean, rstd)
        )
        of_w = watcher.by_record(scale * (product - centre * total)).sum(1)
        of_b = watcher.by_record(total).sum(1)
        if to_w is not None:
            to_w(of_w)
        if to_b is not None:
            to_b(of_b)

    return watcher.watch(y, hook)


def _layer_norm(watcher: _Watcher, func: Any, args: Any, kwargs: Any) -> Tensor:
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


def _convolution(watcher: _Watcher, func: Any, args: Any, kwargs: Any) -> Tensor:
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


_MULTIPLY = {torch.Tensor.mul, torch.Tensor.__mul__, torch.mul}
_RULES: dict[Any, Callable[[_Watcher, Any, Any, Any], Tensor]] = {
    F.linear: _linear,
    F.embedding: _embedding,
    F.group_norm: _group_norm,
    F.layer_norm: _layer_norm,
    torch.conv2d: _convolution,
    torch.conv_transpose2d: _convolution,
}

r"""The gradient of every record's own loss, for little more than that of their sum costs.

How little depends on the draws of each record: docs/dpdm.md has the figures.

For record i with draws r_{i1} ... r_{iK} the gradient is g_i = ∇ (1/K) Σ_k ℓ(x_i; r_ik). All
records' forward and backward passes run together as usual; only where a weight meets an
activation is its gradient kept apart by record. With a_ik the layer's input and b_ik the gradient
of its output,

* a linear layer: :math:`g_i = \sum_k b_{ik}^\top a_{ik}`;
* a convolution: the ordinary weight gradient over the K draws of record i alone, or one product
  of b with the unfolded a for all records, whichever measured faster (see `layers`);
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
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sfumato.systems.dpdm.layers import RULES

Losses = Callable[[int, int], Tensor]
"""Losses (records · K,) of the records from the first to the second number, draws innermost."""


def agree(losses: Losses, records: int, draws: int, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether `watched` is right about a network: `one_at_a_time` gives the same.

    It is not where the records' axis is not the first one of a layer's input, as of a table of
    positions that passes through a layer before it meets the records: rows of other things would
    then be taken for records, and the clipped norms would not be theirs. Nothing in a single call
    tells; so whoever relies on it asks here first, with made-up records. ``losses`` must give the
    same losses each time.
    """
    try:
        found = watched(losses, records, draws, parameters)
    except (RuntimeError, ValueError, IndexError):  # such as changes in place, other shapes
        return False
    if found is None:
        return False
    got = found[0]
    want = one_at_a_time(losses, records, draws, parameters)[0]
    for i in range(records):
        apart = sum(float((a[i] - b[i]).double().square().sum()) for a, b in zip(got, want))
        whole = sum(float(b[i].double().square().sum()) for b in want)
        if not apart <= 1e-6 * whole + 1e-20:
            return False
    return True


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
    found = watched(losses, records, draws, parameters)
    return one_at_a_time(losses, records, draws, parameters) if found is None else found


def watched(
    losses: Losses, records: int, draws: int, parameters: Sequence[nn.Parameter]
) -> tuple[list[Tensor], Tensor] | None:
    """The same with all records together; None if a parameter is used in a way not known."""
    watcher = Watcher(parameters, records, draws)
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
        return None
    return watcher.gradients(), value.detach()


def one_at_a_time(
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


_MULTIPLY = {torch.Tensor.mul, torch.Tensor.__mul__, torch.mul}


@final
class Watcher(TorchFunctionMode):
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
            made = func(*args, **kwargs)  # still bound to the parameter, in case others use it
            self.scaled[id(made)] = (made, self.index[id(args[0])], float(args[1]))
            return made
        rule = RULES.get(func)
        if rule is None:
            return func(*args, **kwargs)
        return rule(self, func, args, kwargs)

    def weight(self, w: Tensor | None) -> tuple[Tensor | None, Callable[[Tensor], None] | None]:
        """The weight held still, and where its per-record gradient goes; None if it has none."""
        if w is None:
            return None, None
        if id(w) in self.scaled:
            made, i, factor = self.scaled[id(w)]
            return made.detach(), lambda g: self.add(i, g, factor)
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

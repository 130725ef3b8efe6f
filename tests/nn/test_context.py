"""Cross-attention, prompts and paint: independent formulas, and what must not change anything."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.nn import ContextConfig, Encoded, EncoderWidths, Prompt, UNet, UNetConfig
from sfumato.nn.context import Context, ContextEmbedding, CrossAttention

F64 = torch.float64


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=sf.generator(seed, *shape))


def cross(channels: int = 8, heads: int = 2, context: int = 5) -> CrossAttention:
    made = CrossAttention(channels, channels // heads, context, 0.7).double()
    with torch.no_grad():
        for i, p in enumerate(made.parameters()):
            p.copy_(randn(*p.shape, seed=i) * 0.4)
    return made


def by_hand(layer: CrossAttention, x: Tensor, context: Context) -> Tensor:
    """Sample by sample, head by head, pixel by pixel."""
    made = torch.empty_like(x)
    width = x.shape[1] // layer.heads
    for b in range(len(x)):
        n = layer.norm(x[b : b + 1])[0].flatten(1).mT  # (pixels, C)
        q = layer.query(n)
        k, v = layer.key_value(context.tokens[b, context.mask[b]]).chunk(2, 1)
        heads = [slice(h * width, (h + 1) * width) for h in range(layer.heads)]
        products = [q[:, h] @ k[:, h].mT for h in heads]
        greatest = max(max(float(p.detach().max()) for p in products), 0.0)
        out = []
        for h, p in zip(heads, products, strict=True):
            if context.bias is not None:
                a = torch.nn.functional.interpolate(
                    context.bias[b : b + 1], x.shape[2:], mode="area"
                )
                a = torch.cat([torch.zeros_like(a[:, :1]), a], 1)[0].flatten(1).mT
                p = p + greatest * a[:, context.mask[b]]
            out.append((p / math.sqrt(width)).softmax(1) @ v[:, h])
        y = layer.out(torch.cat(out, 1)).mT.reshape(x.shape[1:])
        made[b] = layer.scale * (x[b] + y)
    return made


@pytest.mark.parametrize("painted", [False, True])
def test_attention_to_a_context_by_hand(painted: bool) -> None:
    x, tokens = randn(2, 8, 4, 4), randn(2, 7, 5)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[0, 3:] = False
    bias = randn(2, 6, 8, 8).abs() if painted else None
    layer, context = cross(), Context(tokens, mask, bias)
    torch.testing.assert_close(layer(x, context), by_hand(layer, x, context))


def test_samples_do_not_see_one_another_s_paint() -> None:
    x, tokens = randn(3, 8, 4, 4), randn(3, 7, 5)
    mask, bias = torch.ones(3, 7, dtype=torch.bool), randn(3, 6, 4, 4).abs()
    layer = cross()
    whole = layer(x, Context(tokens, mask, bias))
    for b in range(3):
        own = slice(b, b + 1)
        alone = layer(x[own], Context(tokens[own], mask[own], bias[own]))
        torch.testing.assert_close(whole[own], alone)


def test_paint_draws_attention_to_its_word_where_it_is() -> None:
    """More weight, more attention, at the painted pixels alone; weight 0 changes nothing."""
    x, tokens, mask = randn(1, 8, 4, 4), randn(1, 7, 5), torch.ones(1, 7, dtype=torch.bool)
    layer = cross()
    where = torch.zeros(1, 6, 4, 4, dtype=F64)
    where[0, 2, :2] = 1
    seen = []

    def look(weight: float) -> Tensor:
        n = layer.norm(x).permute(0, 2, 3, 1).reshape(1, 16, 8)
        q = layer.query(n).view(1, 16, 2, 4).transpose(1, 2)
        k = layer.key_value(tokens).view(1, 7, 2, 2, 4)[:, :, 0].transpose(1, 2)
        added = layer._logits(q, k, Context(tokens, mask, weight * where), (4, 4))
        return (q @ k.mT / 2 + added).softmax(-1)[0, :, :, 3]  # the painted token, after the null

    for weight in (0.0, 0.2, 0.5, 2.0):
        seen.append(look(weight).reshape(2, 4, 4))
    for less, more in zip(seen, seen[1:]):
        assert bool((more[:, :2] > less[:, :2]).all())
        assert torch.equal(more[:, 2:], less[:, 2:])
    plain = layer(x, Context(tokens, mask))
    torch.testing.assert_close(layer(x, Context(tokens, mask, 0 * where)), plain)


WIDTHS = (EncoderWidths(6), EncoderWidths(5, 3), EncoderWidths(4, 4))


def prompt(batch: int = 2) -> Prompt:
    encoded = []
    for i, w in enumerate(WIDTHS):
        length = (4, 3, 1)[i]
        mask = torch.ones(batch, length, dtype=torch.bool)
        mask[0, 2:] = False
        encoded.append(
            Encoded(
                randn(batch, length, w.tokens, seed=i).float(),
                mask,
                randn(batch, w.pooled, seed=i).float(),
            )
        )
    return Prompt(tuple(encoded))


def network(seed: int = 0) -> UNet:
    torch.manual_seed(seed)
    net = UNet(
        UNetConfig(
            3, 3, channels=16, multipliers=(1, 2), blocks=1, attention=(4,), head_channels=16,
            resolution=8, context=ContextConfig(WIDTHS, 12),
        )
    )  # fmt: skip
    with torch.no_grad():
        for p in net.parameters():
            if not bool(p.any()):
                p.normal_(std=0.2)
    return net.eval()


def test_each_encoder_counts_and_a_silent_one_does_not() -> None:
    net, x, level = network(), randn(2, 3, 8, 8).float(), torch.zeros(2)
    said = prompt()
    whole = net(x, level, said)
    for i in range(3):
        kept = torch.ones(2, 3, dtype=torch.bool)
        kept[:, i] = False
        quiet = said.keeping(kept)
        assert float((net(x, level, quiet) - whole).abs().max()) > 1e-3
        other = list(quiet.encoded)
        e = other[i]
        other[i] = Encoded(e.tokens + 5, e.mask, e.pooled - 3)  # nobody hears it
        torch.testing.assert_close(net(x, level, Prompt(tuple(other))), net(x, level, quiet))


def test_nothing_said_is_no_prompt() -> None:
    net, x, level = network(), randn(2, 3, 8, 8).float(), torch.zeros(2)
    torch.testing.assert_close(net(x, level, prompt().silent()), net(x, level, None))


def test_words_beyond_the_mask_do_not_count_and_samples_are_apart() -> None:
    net, x, level = network(), randn(2, 3, 8, 8).float(), torch.zeros(2)
    said = prompt()
    longer = Prompt(
        tuple(
            Encoded(
                torch.cat([e.tokens, torch.full_like(e.tokens, 9.0)], 1),
                torch.cat([e.mask, torch.zeros_like(e.mask)], 1),
                e.pooled,
            )
            for e in said.encoded
        )
    )
    whole = net(x, level, said)
    torch.testing.assert_close(net(x, level, longer), whole)
    for b in (0, 1):
        rows = torch.tensor([b])
        torch.testing.assert_close(net(x[rows], level[rows], said[rows]), whole[rows])


def test_dropping_is_independent() -> None:
    """The mask of a joint draw silences exactly the pairs that it says."""
    kept = torch.tensor([[True, False, True], [False, True, False]])
    quiet = prompt().keeping(kept)
    assert torch.equal(torch.stack([e.present for e in quiet.encoded], 1), kept)


def test_every_part_learns() -> None:
    net, x, level = network(), randn(2, 3, 8, 8).float(), torch.zeros(2)
    said = prompt().keeping(torch.tensor([[True] * 3, [False] * 3]))
    net(x, level, said).square().sum().backward()
    missing = [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert missing == []


def test_misfits_are_named() -> None:
    net, x, level = network(), torch.zeros(2, 3, 8, 8), torch.zeros(2)
    with pytest.raises(ValueError, match="prompt of 2 samples, got 3"):
        net(x, level, prompt(3))
    with pytest.raises(ValueError, match="widths"):
        net(x, level, Prompt(prompt().encoded[:2]))
    with pytest.raises(ValueError, match="takes a prompt"):
        net(x, level, torch.zeros(2, dtype=torch.int64))
    plain = UNet(UNetConfig(3, 3, channels=16, multipliers=(1,), attention=(), resolution=8))
    with pytest.raises(ValueError, match="takes no prompt"):
        plain(x, level, prompt())
    with pytest.raises(ValueError, match="needs attention"):
        UNetConfig(3, 3, attention=(), context=ContextConfig(WIDTHS))
    tokens, mask, pooled = (
        torch.zeros(2, 3, 4),
        torch.ones(2, 3, dtype=torch.bool),
        torch.zeros(2, 0),
    )
    with pytest.raises(ValueError, match="a mask of bool"):
        Encoded(tokens, mask.float(), pooled)
    with pytest.raises(ValueError, match="expected tokens"):
        Encoded(tokens, mask[:, :2], pooled)
    with pytest.raises(ValueError, match="a bias of shape"):
        Prompt((Encoded(tokens, mask, pooled),), torch.zeros(2, 4, 8, 8))
    assert isinstance(net.context, ContextEmbedding)

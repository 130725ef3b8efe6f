"""Paint, negative prompts and guidance by encoder: formulas, costs, what must stay as it is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.condition import Condition, ImageCondition
from sfumato.denoise import Denoiser, counted
from sfumato.guide import ClassifierFree
from sfumato.nn import ContextConfig, Encoded, EncoderWidths, Prompt, UNet, UNetConfig
from sfumato.systems.ediffi.fixed_condition import EncoderGuidance, FixedCondition
from sfumato.systems.ediffi.paint import PaintWithWords, Stroke, attention_map

F64 = torch.float64


def prompt(batch: int = 2, lengths: tuple[int, ...] = (3, 2)) -> Prompt:
    g = sf.generator(0)
    return Prompt(
        tuple(
            Encoded(
                torch.randn(batch, n, 4 + i, generator=g),
                torch.ones(batch, n, dtype=torch.bool),
                torch.randn(batch, i, generator=g),
            )
            for i, n in enumerate(lengths)
        )
    )


class Heard(Denoiser):
    """Returns 1 + Σ 10^i over the encoders that it heard; keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.process = sf.Scheduled(sf.EDM())
        self.told: list[Condition] = []

    def forward(self, x_t: Tensor, t, cond=None, generator=None) -> Tensor:  # type: ignore[no-untyped-def]
        self.told.append(cond)
        said = cond.prompt
        value = torch.ones(len(x_t), dtype=x_t.dtype)
        if isinstance(said, Prompt):
            for i, e in enumerate(said.encoded):
                value = value + e.present.to(value) * 10.0 ** (i + 1)
        return value.reshape(-1, 1, 1, 1).expand_as(x_t)


X = torch.zeros(2, 1, 4, 4, dtype=F64)


@pytest.mark.parametrize(
    ("scales", "cost"), [((1.0, 1.0), 1), ((3.0, 3.0), 2), ((3.0, 1.5), 3), ((0.0, 0.0), 1)]
)
def test_a_scale_for_each_encoder(scales: tuple[float, float], cost: int) -> None:
    """1 + w_1 10 + w_2 100, by as few evaluations as there are different sums."""
    net = Heard()
    guided = EncoderGuidance(net, scales)
    with counted() as spent:
        got = guided(X, 0.01, prompt())
    assert spent.evaluations == cost
    torch.testing.assert_close(got, torch.full_like(X, 1 + 10 * scales[0] + 100 * scales[1]))
    assert len(net.told) == cost


def test_equal_scales_are_classifier_free_guidance() -> None:
    said, net = prompt(), Heard()
    for w in (0.5, 1.0, 4.0):
        want = ClassifierFree(net, w)(X, 0.01, said)
        torch.testing.assert_close(EncoderGuidance(net, (w, w))(X, 0.01, said), want)


def test_a_negative_prompt_is_what_guidance_goes_away_from() -> None:
    """w x̂(c) - (w - 1) x̂(negative), with the caller's picture beside on both sides."""
    net, said = Heard(), prompt()
    negative = prompt(1).keeping(torch.tensor([[True, False]]))
    image = torch.zeros(2, 1, 4, 4)
    got = ClassifierFree(net, 3.0, FixedCondition(net, negative))(
        X, 0.01, ImageCondition(image, said)
    )
    torch.testing.assert_close(got, torch.full_like(X, 3.0 * 111 - 2.0 * 11))
    assert all(c.image is image for c in net.told)


def test_the_map_of_strokes() -> None:
    """Columns of the phrase's tokens alone; overlapping strokes of one token: the larger weight."""
    left, soft = torch.zeros(4, 4), torch.full((2, 4, 4), 0.5)
    left[:, :2] = 1
    a = attention_map([Stroke(left, (1, 2)), Stroke(soft, (2,), 1.5)], 5, 2)
    assert a.shape == (2, 5, 4, 4)
    assert torch.equal(a[:, 1], left.expand(2, 4, 4))
    assert torch.equal(a[:, 2], torch.maximum(left, torch.tensor(0.75)).expand(2, 4, 4))
    assert not bool(a[:, [0, 3, 4]].any())


def test_the_weight_of_paint_grows_with_the_noise() -> None:
    """w' log(1 + σ) A goes to the network; σ = 80 t here."""
    net, said = Heard(), prompt()
    where = torch.rand(4, 4, generator=sf.generator(1))
    painted = PaintWithWords(net, [Stroke(where, (3,))], 0.7)
    for t in (1e-6, 0.01, 1.0):
        painted(X, t, said)
        heard = net.told[-1].prompt
        assert isinstance(heard, Prompt) and heard.bias is not None
        want = 0.7 * math.log1p(80 * t) * where
        torch.testing.assert_close(heard.bias[1, 3], want, rtol=1e-5, atol=1e-9)
    each = torch.tensor([0.01, 0.5], dtype=F64)
    painted(X, each, said)
    heard = net.told[-1].prompt
    assert isinstance(heard, Prompt) and heard.bias is not None
    ratio = heard.bias[0, 3] / heard.bias[1, 3]
    torch.testing.assert_close(ratio, torch.full((4, 4), math.log1p(0.8) / math.log1p(40)))


def test_only_prompts_are_painted() -> None:
    """Not the unconditional side of guidance, nor anything at strength 0; the picture stays."""
    net, said, image = Heard(), prompt(), torch.zeros(2, 1, 4, 4)
    strokes = [Stroke(torch.ones(4, 4), (0,))]
    ClassifierFree(PaintWithWords(net, strokes, 1.0), 2.0)(X, 0.1, ImageCondition(image, said))
    free, guided = net.told
    assert free.image is image and free.told is None
    assert guided.prompt is not None
    assert guided.prompt.bias is not None and guided.image is image
    PaintWithWords(net, strokes, 0.0)(X, 0.1, said)
    assert net.told[-1].prompt is said
    PaintWithWords(net, strokes, 1.0)(X, 0.1, None)
    assert net.told[-1].told is None


def test_paint_moves_what_a_network_says_where_it_is_painted() -> None:
    """And by a share of the noise that goes to 0 with it."""
    torch.manual_seed(0)
    widths = (EncoderWidths(4), EncoderWidths(5, 1))
    net = UNet(
        UNetConfig(
            1, 1, channels=16, multipliers=(1,), blocks=1, attention=(8,), head_channels=16,
            resolution=8, context=ContextConfig(widths, 12),
        )
    )  # fmt: skip
    with torch.no_grad():
        for p in net.parameters():
            if not bool(p.any()):
                p.normal_(std=0.3)
    denoiser = sf.Preconditioned(net, sf.Scheduled(sf.EDM())).eval()
    said, x = prompt(1), torch.randn(1, 1, 8, 8, generator=sf.generator(2))
    where = torch.zeros(8, 8)
    where[2:4, 2:4] = 1
    painted = PaintWithWords(denoiser, [Stroke(where, (1,))], 1.0)
    with torch.no_grad():
        gaps = [
            float(
                (painted(x * (1 + 80 * t), t, said) - denoiser(x * (1 + 80 * t), t, said))
                .abs()
                .max()
            )
            / (80 * t)
            for t in (1e-7, 0.02, 0.5)
        ]
    assert gaps[0] < 1e-4 * gaps[1] and gaps[1] > 0


def test_misfits_are_named() -> None:
    net, ones = Heard(), torch.ones(4, 4)
    with pytest.raises(ValueError, match="a prompt by 3 encoders, got 2"):
        EncoderGuidance(net, (1.0, 2.0, 3.0))(X, 0.1, prompt())
    with pytest.raises(ValueError, match="a prompt by 1 encoders, got none"):
        EncoderGuidance(net, (1.0,))(X, 0.1)
    with pytest.raises(ValueError, match="tokens below 5"):
        PaintWithWords(net, [Stroke(ones, (5,))], 1.0)(X, 0.1, prompt())
    with pytest.raises(ValueError, match="masks of one size"):
        PaintWithWords(net, [Stroke(ones, (0,)), Stroke(torch.ones(2, 2), (1,))], 1.0)(
            X, 0.1, prompt()
        )
    with pytest.raises(ValueError, match="masks for 2 samples"):
        PaintWithWords(net, [Stroke(torch.ones(3, 4, 4), (0,))], 1.0)(X, 0.1, prompt())
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        Stroke(2 * ones, (0,))
    with pytest.raises(ValueError, match="numbers of tokens"):
        Stroke(ones, ())
    with pytest.raises(ValueError, match="strength >= 0"):
        PaintWithWords(net, [Stroke(ones, (0,))], -1.0)
    with pytest.raises(ValueError, match="a scale for each"):
        EncoderGuidance(net, ())

"""Painting with words in Stable Diffusion, against the formula written by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.errors import UsageError
from sfumato.systems.ediffi.text.stable_diffusion import _added, painted
from tiny_diffusion import (
    PROMPT,
    SQUARE,
    TOKENS,
    attentions,
    build,
    check,
    draw,
    masks,
    recorded,
    resized,
    state,
)

diffusers = pytest.importorskip("diffusers", reason="pip install 'sfumato[bench]'")
pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

from diffusers.models.attention_processor import Attention, AttnProcessor  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",  # of diffusers
)


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm"])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_the_formula(parts: dict[str, Any], scheduler: str, guidance: float) -> None:
    """At every step, layer and resolution; with and without the doubling of guidance."""
    pipe, drawn = build(parts, scheduler), masks(64, 96)
    with recorded(pipe.unet) as seen, painted(pipe, PROMPT, drawn, strength=0.4):
        draw(pipe, 3, width=96, guidance_scale=guidance, num_images_per_prompt=2)
    rows = 4 if guidance > 1 else 2
    assert {s[1] for s in seen.steps} == {(rows, 4, 8, 12)} and len(seen.steps) >= 3
    first = rows - 2
    alphas = pipe.scheduler.alphas_cumprod
    atol = 1e-9 if scheduler == "ddim" else 1e-6  # the others have their σs in float32
    assert check(seen, alphas, 0.4, drawn, first, atol) == {(8, 12), (4, 6)}
    with pytest.raises(AssertionError):  # it is not what is drawn unpainted
        check(seen, alphas, 0.0, drawn, first)


def test_odd_sizes_and_masks_of_another_resolution(pipe: Any) -> None:
    """A latent of 9x13, then 5x7; masks of about its proportions."""
    drawn = masks(36, 50)
    with recorded(pipe.unet) as seen, painted(pipe, PROMPT, drawn, strength=1.0):
        draw(pipe, height=72, width=104)
    sizes = check(seen, pipe.scheduler.alphas_cumprod, 1.0, drawn, 1, atol=1e-6)  # A is float32
    assert sizes == {(9, 13), (5, 7)}


@pytest.mark.parametrize("kind", ["Img2Img", "Inpaint"])
def test_pictures_to_begin_with(parts: dict[str, Any], kind: str) -> None:
    """The first σ is then not the scheduler's first."""
    pipe = build(parts, "dpm", kind)
    more: dict[str, Any] = {"image": torch.rand(1, 3, 64, 64, dtype=torch.float64)}
    if kind == "Inpaint":
        more["mask_image"] = torch.ones(1, 1, 64, 64, dtype=torch.float64)
    else:
        pipe = build(parts, "euler", kind)
    with recorded(pipe.unet) as seen, painted(pipe, PROMPT, SQUARE, strength=0.4):
        pipe(PROMPT, strength=0.5, num_inference_steps=4, output_type="latent", **more)
    assert len(seen.steps) == 2 and seen.steps[0][0] < 600
    check(seen, pipe.scheduler.alphas_cumprod, 0.4, SQUARE, 1, atol=1e-6)


def test_half_precision(parts: dict[str, Any]) -> None:
    pipe = build(parts)
    try:
        pipe.to(torch.bfloat16)
        with recorded(pipe.unet) as seen, painted(pipe, PROMPT, SQUARE, strength=1.0):
            draw(pipe)
    finally:
        pipe.to(torch.float64)
    assert seen.calls[0][-1].dtype == torch.bfloat16
    check(seen, pipe.scheduler.alphas_cumprod, 1.0, SQUARE, 1, atol=0.03)


def test_tokens_that_are_not_there_have_no_say_in_the_maximum(pipe: Any) -> None:
    """An attention mask of the network (diffusers gives such tokens -10000)."""
    embedded = torch.cat(pipe.encode_prompt(PROMPT, "cpu", 1, True)[::-1])
    embedded[:, 40:] *= 5
    there = torch.ones(2, 77)
    there[:, 40:] = there[0, 1:] = 0
    draw(pipe)  # the pipeline knows that it is guided, and the scheduler its steps
    with recorded(pipe.unet) as seen, painted(pipe, PROMPT, SQUARE, strength=0.4), torch.no_grad():
        x = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=sf.generator(0))
        pipe.unet(x, torch.tensor(700), embedded, encoder_attention_mask=there)
    check(seen, pipe.scheduler.alphas_cumprod, 0.4, SQUARE, 1)


def test_paint_never_repels() -> None:
    """Where every product of a query and a key is negative, there is no bias."""
    attn = Attention(query_dim=4, cross_attention_dim=4, heads=2, dim_head=2)
    x, said, a = torch.rand(2, 6, 4) + 0.1, torch.rand(2, 3, 4) + 0.1, torch.ones(1, 6, 3)
    with torch.no_grad():
        attn.to_q.weight.copy_(torch.eye(4))
        attn.to_k.weight.copy_(-torch.eye(4))
        assert float(_added(attn, x, said, 2.0, a, None).abs().max()) == 0
        attn.to_k.weight.copy_(torch.eye(4))
        made = _added(attn, x, said, 2.0, a, None)
    for b in range(2):
        greatest = max(
            float((x[b, :, h] @ said[b, :, h].T).max()) for h in (slice(0, 2), slice(2, 4))
        )
        assert made[b].unique().numel() == 1
        assert float(made[b, 0, 0]) == pytest.approx(2 * greatest / 2**0.5, rel=1e-6)


def test_the_mask_is_of_the_kind_of_the_network() -> None:
    """As fused attention on a GPU asks for; the maximum is in float32, beyond float16."""
    attn = Attention(query_dim=4, cross_attention_dim=4, heads=1, dim_head=4).half()
    x, said, a = torch.full((1, 2, 4), 300.0), torch.full((1, 3, 4), 300.0), torch.ones(1, 2, 3)
    with torch.no_grad():
        for layer in (attn.to_q, attn.to_k):
            layer.weight.copy_(torch.eye(4))
        made = _added(attn, x.half(), said.half(), 0.1, a, None)
    assert made.dtype == torch.float16
    assert float(made[0, 0, 0]) == pytest.approx(0.1 * 4 * 300**2 / 2, rel=1e-3)


def test_strength_0_is_no_painting_at_all(pipe: Any) -> None:
    plain, before = draw(pipe, 3), state(pipe)
    with painted(pipe, PROMPT, SQUARE, strength=0.0):
        assert all(a is b or a == b == [] for a, b in zip(before, state(pipe)))
        assert torch.equal(draw(pipe, 3), plain)
    with painted(pipe, PROMPT, SQUARE, strength=0.4):
        assert float((draw(pipe, 3) - plain).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_rows_of_the_negative_prompt_are_left_bit_for_bit(
    parts: dict[str, Any], kind: torch.dtype
) -> None:
    pipe = build(parts)
    more = {"num_images_per_prompt": 3, "guidance_scale": 4.0, "negative_prompt": "grass"}
    try:
        pipe.to(kind)
        with recorded(pipe.unet) as plain:
            draw(pipe, **more)
        with recorded(pipe.unet) as seen, painted(pipe, PROMPT, SQUARE, strength=1.0):
            draw(pipe, **more)
    finally:
        pipe.to(torch.float64)
    (a,), (b,) = plain.outputs, seen.outputs
    assert len(a) == 6 and torch.equal(a[:3], b[:3])
    assert all(float((a[i] - b[i]).abs().max()) > 1e-3 for i in (3, 4, 5))


def test_a_picture_does_not_depend_on_the_others(pipe: Any) -> None:
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=sf.generator(1))
    other = torch.stack([x[0], 30 * x[1].flip(0)])
    made = []
    with painted(pipe, PROMPT, SQUARE, strength=0.4):
        for latents in (x, other, x[:1]):
            made.append(draw(pipe, 2, latents=latents, num_images_per_prompt=len(latents)))
    assert float((made[0][1] - made[1][1]).abs().max()) > 1
    for again in made[1:]:
        torch.testing.assert_close(again[0], made[0][0], atol=1e-10, rtol=1e-10)


def test_masks_of_each_picture(pipe: Any) -> None:
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=sf.generator(1))
    apple = torch.stack([SQUARE["red apple"], SQUARE["red apple"].flip(1)])
    with painted(pipe, PROMPT, {"red apple": apple, "grass": SQUARE["grass"]}, strength=0.4):
        both = draw(pipe, 2, latents=x, num_images_per_prompt=2)
        with pytest.raises(UsageError, match="expected masks for 3 pictures, got 2"):
            draw(pipe, num_images_per_prompt=3)
    for i in range(2):
        with painted(pipe, PROMPT, {"red apple": apple[i], "grass": SQUARE["grass"]}, strength=0.4):
            alone = draw(pipe, 2, latents=x[i : i + 1])
        torch.testing.assert_close(both[i], alone[0], atol=1e-10, rtol=1e-10)


def probabilities(pipe: Any, monkeypatch: Any, strength: float, drawn: dict[str, Tensor]) -> Tensor:
    """Attention (heads, pixels, tokens) of the prompt's row in the network's first layer."""
    (_, attn), found = next(iter(attentions(pipe.unet).items())), []
    plain = type(attn).get_attention_scores

    def scores(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
        found.append(plain(attn, q, k, mask))
        return found[-1]

    monkeypatch.setattr(attn, "processor", AttnProcessor())
    monkeypatch.setattr(attn, "get_attention_scores", scores)
    with painted(pipe, PROMPT, drawn, strength):
        draw(pipe, guidance_scale=1.0)
    monkeypatch.undo()
    (made,) = found
    return made


def test_attention_goes_where_it_was_painted(pipe: Any, monkeypatch: Any) -> None:
    """The more the stronger; pixels that nobody painted see what they saw."""
    drawn = {"red apple": SQUARE["red apple"]}
    inside = resized(drawn["red apple"], 8, 8).flatten()
    inside, outside = inside == 1, inside == 0
    assert 0 < int(inside.sum()) < 64 and int(outside.sum()) > 30
    masses, plain = [], probabilities(pipe, monkeypatch, 0.0, drawn)
    for strength in (0.0, 0.1, 0.3, 1.0, 3.0, 100.0):
        p = probabilities(pipe, monkeypatch, strength, drawn)
        masses.append(p[:, :, TOKENS["red apple"]].sum(2)[:, inside])
        torch.testing.assert_close(p[:, outside], plain[:, outside], atol=1e-12, rtol=0)
    for less, more in zip(masses, masses[1:]):
        assert bool((more > less).all())
    assert float(masses[0].max()) < 0.5 and float(masses[-1].min()) > 0.9


def test_painting_goes_away_with_the_noise(parts: dict[str, Any]) -> None:
    """log(1 + σ) → σ: the change is of first order in it."""
    pipe = build(parts, "euler")
    changes = {}
    for sigma in (10.0, 1.0, 1e-2, 1e-4, 1e-6):
        outputs = []
        for strength in (0.0, 0.4):
            with recorded(pipe.unet) as seen, painted(pipe, PROMPT, SQUARE, strength):
                draw(pipe, num_inference_steps=1, sigmas=[sigma, 0.0], guidance_scale=1.0)
            assert float(pipe.scheduler.sigmas[0]) == pytest.approx(sigma)
            outputs += seen.outputs
        changes[sigma] = float((outputs[0] - outputs[1]).abs().max())
    assert changes[10.0] > changes[1.0] > 10 * changes[1e-2] > 0
    assert changes[1e-6] == pytest.approx(changes[1e-4] / 100, rel=0.02)
    assert changes[1e-6] < 1e-5 * changes[10.0]


@pytest.mark.parametrize("slices", ["one", "classic", 1])
def test_other_processors_are_kept_under_the_paint(pipe: Any, slices: str | int) -> None:
    with painted(pipe, PROMPT, SQUARE, strength=0.4):
        want = draw(pipe, 2)
    former = pipe.unet.attn_processors
    try:
        if slices == "classic":
            pipe.unet.set_attn_processor(AttnProcessor())
        else:
            pipe.enable_attention_slicing(slices if slices == 1 else "max")
        with painted(pipe, PROMPT, SQUARE, strength=0.4):
            torch.testing.assert_close(draw(pipe, 2), want, atol=1e-9, rtol=1e-9)
    finally:
        pipe.unet.set_attn_processor(former)

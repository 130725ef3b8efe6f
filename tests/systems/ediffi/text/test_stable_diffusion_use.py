"""A painted pipeline: how it is left, and what cannot be painted."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sfumato.errors import UsageError
from sfumato.systems.ediffi.text.stable_diffusion import painted, tokenize
from tiny_diffusion import (
    PROMPT,
    SQUARE,
    attentions,
    build,
    draw,
    recorded,
    state,
)

diffusers = pytest.importorskip("diffusers", reason="pip install 'sfumato[bench]'")
pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",  # of diffusers
)


def test_the_pipeline_is_afterwards_as_before(pipe: Any) -> None:
    before, plain = state(pipe), draw(pipe)
    own = [m.processor for m in attentions(pipe.unet, "attn1").values()]
    with painted(pipe, PROMPT, SQUARE, strength=0.4):
        draw(pipe)
        now = [m.processor for m in attentions(pipe.unet, "attn1").values()]
        assert all(a is b for a, b in zip(own, now))
        with (
            pytest.raises(UsageError, match="painted already"),
            painted(pipe, PROMPT, SQUARE, strength=0.4),
        ):
            pass
        assert not any(m.processor in before for m in attentions(pipe.unet).values())
    for fail in (RuntimeError("of another kind"), KeyboardInterrupt()):
        after = state(pipe)
        assert all(a is b or a == b == [] for a, b in zip(before, after))
        assert torch.equal(draw(pipe), plain)
        with pytest.raises(type(fail)), painted(pipe, PROMPT, SQUARE, strength=0.4):
            raise fail
    assert all(a is b or a == b == [] for a, b in zip(before, state(pipe)))
    with pytest.raises(UsageError), painted(pipe, PROMPT, {"pear": SQUARE["grass"]}, strength=0.4):
        pass
    assert all(a is b or a == b == [] for a, b in zip(before, state(pipe)))


@pytest.mark.parametrize(
    ("prompt", "phrase", "message"),
    [
        (PROMPT, "pear", "'pear' is not in 'a red apple on grass'"),
        (PROMPT, "gras", "did you mean 'grass'"),
        ("grass on grass", "grass", "2 times; say which with 'grass #1'"),
        ("a, " * 37 + "red apple", "red apple", "beyond the 77 tokens"),
        ("a, " * 50 + "red apple", "red apple", "beyond the 77 tokens"),
        ("", "apple", "expected a prompt in words"),
    ],
)
def test_phrases_that_cannot_be_painted(pipe: Any, prompt: str, phrase: str, message: str) -> None:
    with (
        pytest.raises(UsageError, match=message),
        painted(pipe, prompt, {phrase: SQUARE["grass"]}, strength=0.4),
    ):
        pass


def test_one_of_several_is_painted_if_it_is_said_which(pipe: Any) -> None:
    (other,) = {pipe.tokenizer.convert_tokens_to_ids("on</w>")}
    prompt, made = "grass on grass", []
    for phrase in ("grass #1", "grass #2"):
        with recorded(pipe.unet) as seen, painted(pipe, prompt, {phrase: SQUARE["grass"]}, 1.0):
            draw(pipe, prompt=prompt)
        made += seen.outputs
    assert tokenize(pipe.tokenizer, prompt).ids[2] == other
    assert torch.equal(made[0][0], made[1][0]) and not torch.equal(made[0][1], made[1][1])


def test_masks_that_do_not_fit(pipe: Any) -> None:
    wrong: dict[str, Any] = {
        "expected a tensor": [[1.0]],
        r"in \[0, 1\], got \(4, 4\) in \[2, 2\]": torch.full((4, 4), 2.0),
        "expected a mask": torch.ones(1, 1, 4, 4),
    }
    for message, mask in wrong.items():
        with pytest.raises(UsageError, match=message), painted(pipe, PROMPT, {"grass": mask}, 0.4):
            pass
    with (
        pytest.raises(UsageError, match="masks of one size"),
        painted(pipe, PROMPT, SQUARE | {"grass": torch.ones(8, 8)}, 0.4),
    ):
        pass
    with painted(pipe, PROMPT, SQUARE, 0.4):
        with pytest.raises(UsageError, match="proportions of the latent 8x12, got 64x64"):
            draw(pipe, width=96)
        with pytest.raises(UsageError, match="proportions of the latent 12x8, got 64x64"):
            draw(pipe, height=96)
    for strength, drawn in ((-1.0, SQUARE), (math.nan, SQUARE), (0.4, {})):
        with (
            pytest.raises(UsageError, match="expected painted phrases and a strength >= 0"),
            painted(pipe, PROMPT, drawn, strength),
        ):
            pass


def test_what_is_painted_is_what_is_drawn(pipe: Any) -> None:
    """Another prompt has its tokens elsewhere; embeddings made beforehand are believed."""
    embedded, negative = pipe.encode_prompt(PROMPT, "cpu", 1, True)
    with painted(pipe, PROMPT, SQUARE, strength=0.4):
        want = draw(pipe)
        for prompt in ("grass on a red apple", [PROMPT, "a red apple"]):
            with pytest.raises(UsageError, match="called with another prompt"):
                draw(pipe, prompt=prompt)
        assert torch.equal(draw(pipe, prompt=[PROMPT]), want)
        given = {"prompt": None, "prompt_embeds": embedded, "negative_prompt_embeds": negative}
        assert torch.equal(draw(pipe, **given), want)
        with pytest.raises(UsageError, match="expected embeddings of 77 tokens, got 154"):
            draw(pipe, prompt=None, prompt_embeds=torch.cat([embedded, embedded], 1),
                 negative_prompt_embeds=torch.cat([negative, negative], 1))  # fmt: skip


def test_only_stable_diffusion_is_painted(parts: dict[str, Any]) -> None:
    with (
        pytest.raises(UsageError, match="expected one of StableDiffusionPipeline, .* got object"),
        painted(object(), PROMPT, SQUARE, strength=0.4),
    ):
        pass
    pipe = build(parts)
    with painted(pipe, PROMPT, SQUARE, 0.4), pytest.raises(UsageError, match="not its network"):
        pipe.unet(torch.zeros(1, 4, 8, 8).double(), 0, torch.zeros(1, 77, 16).double())
    pipe.register_modules(unet=diffusers.UNet2DConditionModel(
        block_out_channels=(4,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        mid_block_type=None, norm_num_groups=2, layers_per_block=1))  # fmt: skip
    with pytest.raises(UsageError, match="no cross-attention"), painted(pipe, PROMPT, SQUARE, 0.4):
        pass

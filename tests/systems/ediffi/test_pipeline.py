"""Drawing what a prompt says: cascades, paint, style and what to keep away from, each by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.condition import ImageCondition
from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.guide import ClassifierFree
from sfumato.model.description import ModelConfig
from sfumato.seeds import fold
from sfumato.solve import DEIS
from sfumato.systems.ediffi.fixed_condition import EncoderGuidance, FixedCondition
from sfumato.systems.ediffi.paint import PaintWithWords, Stroke
from sfumato.systems.ediffi.pipeline import (
    Cascade,
    ImageRequest,
    Paint,
    Stage,
    imagine,
    open_cascade,
    prepare,
    strokes,
)
from sfumato.systems.ediffi.prompt_data import upsampled
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder
from sfumato.systems.ediffi.text.encoders import Transformer
from sfumato.times import karras
from tiny_prompted import WORDS, encoder, filled, picture, save_model, tiny_model, unet

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

ALL = ("bert", "clip", "t5")
LEFT = torch.zeros(16, 16)
LEFT[:, :8] = 1
SAID = "a red square, left of a blue square"


def stage(*names: str, seed: int = 0, **settings: Any) -> Stage:
    model = tiny_model(*names, **settings)
    return Stage(filled(model.build(), seed), model, PromptEncoder(model.encoders))


@pytest.fixture(scope="module")
def base() -> Cascade:
    return Cascade((stage(*ALL),))


@pytest.fixture(scope="module")
def two() -> Cascade:
    """From nothing to 8 pixels, and from 8 to 16; both listen to two sentences and a picture."""
    return Cascade((stage(*ALL), stage("clip", "t5", "bert", seed=1, side=16, low=8)))


def by_hand(
    cascade: Cascade, denoisers: list[Denoiser], wish: ImageRequest, seed: int, n: int
) -> Tensor:
    """The pictures of given denoisers, in one batch."""
    x = torch.zeros(0)
    for k, (one, denoiser) in enumerate(zip(cascade.stages, denoisers, strict=True)):
        side = one.model.network.resolution
        shown = None if wish.style is None else wish.style.expand(n, 3, 8, 8)
        said = one.encoder.prompt([wish.prompt] * n, shown)
        cond = ImageCondition(upsampled(x.clamp(-1, 1), side), said) if k else said
        g = sf.generators(fold(seed, "stage", k) if k else seed, range(n))
        begin = denoiser.process.prior_sample((n, 3, side, side), g)
        times = karras(denoiser.process, (4, 10)[k])
        x = sf.sample(denoiser, DEIS(), times, begin, cond=cond).x
    return x


def drawn(cascade: Cascade, wish: ImageRequest, n: int = 2) -> Tensor:
    return imagine(cascade, wish, 3, range(n), 4).x


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def apart(a: Tensor, b: Tensor) -> None:
    assert float((a - b).abs().max()) > 0.02


# ----------------------------------------------------------------------------------------- guidance


def test_guidance_of_one_is_the_plain_model(two: Cascade) -> None:
    wish = ImageRequest(SAID, guidance=1.0)
    plain = [s.denoiser for s in two.stages]
    close(drawn(two, wish), by_hand(two, plain, wish, 3, 2))
    assert imagine(two, wish, 3, [0]).nfe == 25 + 10
    assert imagine(two, replace(wish, guidance=2.0), 3, [0], 4).nfe == 2 * (4 + 10)
    apart(drawn(two, wish), drawn(two, replace(wish, prompt="a white square")))


def test_a_negative_prompt_is_what_is_gone_away_from(two: Cascade) -> None:
    wish = ImageRequest(SAID, "a blue square", guidance=2.5)
    hand: list[Denoiser] = [
        ClassifierFree(
            s.denoiser, 2.5, FixedCondition(s.denoiser, s.encoder.prompt(["a blue square"]))
        )
        for s in two.stages
    ]
    close(drawn(two, wish), by_hand(two, hand, wish, 3, 2))
    apart(drawn(two, wish), drawn(two, replace(wish, negative="")))
    empty: list[Denoiser] = [ClassifierFree(s.denoiser, 2.5) for s in two.stages]
    close(drawn(two, replace(wish, negative="")), by_hand(two, empty, wish, 3, 2))


@pytest.mark.parametrize("negative", ["", "a blue square"])
def test_the_style_has_a_guidance_of_its_own(two: Cascade, negative: str) -> None:
    """By the place of the encoder of pictures in each model: second in one, first in the other."""
    wish = ImageRequest(SAID, negative, style=picture("pink"), guidance=2.0, style_guidance=3.5)
    scales = ((2.0, 3.5, 2.0), (3.5, 2.0, 2.0))
    hand: list[Denoiser] = []
    for s, w in zip(two.stages, scales, strict=True):
        other = FixedCondition(s.denoiser, s.encoder.prompt([negative])) if negative else None
        hand.append(EncoderGuidance(s.denoiser, w, other))
    close(drawn(two, wish), by_hand(two, hand, wish, 3, 2))
    equal = replace(wish, style_guidance=2.0)
    apart(drawn(two, equal), drawn(two, wish))
    same = [
        ClassifierFree(s.denoiser, 2.0, FixedCondition(s.denoiser, s.encoder.prompt([negative])))
        if negative else ClassifierFree(s.denoiser, 2.0) for s in two.stages
    ]  # fmt: skip
    close(drawn(two, equal), by_hand(two, same, wish, 3, 2))
    apart(drawn(two, wish), drawn(two, replace(wish, style=picture("green"))))


def test_without_a_style_its_guidance_is_nothing(base: Cascade) -> None:
    wish = ImageRequest(SAID, guidance=2.0, style_guidance=9.0)
    (made,) = (prepare(s, wish).denoiser for s in base.stages)
    assert isinstance(made, ClassifierFree) and made.scale == 2.0
    quiet = prepare(base.stages[0], wish).prompt
    assert [e.present.tolist() for e in quiet.encoded] == [[True], [False], [True]]


# -------------------------------------------------------------------------------------------- paint


def test_strokes_have_the_numbers_of_their_tokens() -> None:
    """[CLS] and a token a word for each encoder of sentences, one for each of pictures."""
    words = ["[CLS]", "a", "red", "square", ",", "left", "of", "a", "blue", "square", "[SEP]"]
    assert set(words[1:-1]) <= set(WORDS)
    n = len(words)
    red, blue = words.index("red"), words.index("blue")
    for order, starts in (
        (("bert", "clip", "t5"), (0, n + 1)),
        (("clip", "bert", "clip", "t5"), (1, n + 2)),
        (("bert",), (0,)),
        (("t5", "clip"), (0,)),
    ):
        paint = (Paint("blue squares", LEFT, 0.7), Paint("red", 1 - LEFT))
        found = strokes(ImageRequest(SAID, paint=paint), PromptEncoder(tiny_model(*order).encoders))
        assert found[0].tokens == tuple(s + blue + k for s in starts for k in (0, 1))
        assert found[1].tokens == tuple(s + red for s in starts)
        assert found[0].where is LEFT and [f.weight for f in found] == [0.7, 1.0]
    assert strokes(ImageRequest(SAID), PromptEncoder(tiny_model().encoders)) == ()


def test_painted_tokens_are_those_of_the_prompt(base: Cascade) -> None:
    """Counted in what the model is told, they are the encodings of the word itself."""
    (one,) = base.stages
    (stroke,) = strokes(ImageRequest(SAID, paint=(Paint("left", LEFT),)), one.encoder)
    said = prepare(one, ImageRequest(SAID, style=picture())).prompt
    lengths = [e.tokens.shape[1] for e in said.encoded]
    first, second = stroke.tokens
    for name, encoded, at in (("bert", said.encoded[0], first), ("t5", said.encoded[2],
                              second - lengths[0] - 1)):  # fmt: skip
        alone = Transformer(encoder(name)).encode([SAID])
        place = [SAID[a:b] for a, b in alone.offsets[0]].index("left")
        torch.testing.assert_close(encoded.tokens[0, at], alone.encoded.tokens[0, place])


def test_paint_is_laid_on_both_stages(two: Cascade) -> None:
    paint = (Paint("red square", LEFT), Paint("blue", 1 - LEFT, 0.5))
    wish = ImageRequest(SAID, paint=paint, strength=0.8, guidance=2.0)
    n = 11
    tokens = [((2, 3, n + 3, n + 4), (8, n + 9)), ((3, 4, n + 3, n + 4), (9, n + 9))]
    hand: list[Denoiser] = []
    for one, (red, blue) in zip(two.stages, tokens, strict=True):
        laid = [Stroke(LEFT, red), Stroke(1 - LEFT, blue, 0.5)]
        hand.append(ClassifierFree(PaintWithWords(one.denoiser, laid, 0.8), 2.0))
    close(drawn(two, wish), by_hand(two, hand, wish, 3, 2))
    last: list[Denoiser] = [hand[0], ClassifierFree(two.stages[1].denoiser, 2.0)]
    apart(drawn(two, wish), by_hand(two, last, wish, 3, 2))


def test_no_strength_is_no_paint_bit_for_bit(two: Cascade) -> None:
    wish = ImageRequest(SAID, "a pink square", guidance=2.0)
    painted = replace(wish, paint=(Paint("red", LEFT),))
    assert torch.equal(drawn(two, replace(painted, strength=0.0)), drawn(two, wish))
    apart(drawn(two, replace(painted, strength=2.0)), drawn(two, wish))


def test_phrases_that_cannot_be_painted(base: Cascade) -> None:
    for phrase, message in (
        ("green", "'green' is not in"),
        ("square", r"2 times; say which with 'square #1', or 'square #all'"),
        ("...", "has no words"),
        ("blue #2", "there is no #2"),
    ):
        with pytest.raises(UsageError, match=message):
            imagine(base, ImageRequest(SAID, paint=(Paint(phrase, LEFT),)), 0, [0])
    deaf = Cascade((stage("clip"),))
    with pytest.raises(UsageError, match="takes pictures only; leave out the paint"):
        imagine(deaf, ImageRequest(SAID, paint=(Paint("red", LEFT),)), 0, [0])


# ----------------------------------------------------------------------------------------- pictures


def test_a_picture_depends_on_its_seed_and_number_alone(two: Cascade) -> None:
    wish = ImageRequest(
        SAID, "a green square", (Paint("red", LEFT),), style=picture(), style_guidance=2.0
    )
    told: list[int] = []
    every = imagine(two, wish, 7, range(5), 4, progress=told.append)
    assert told == [5] and every.x.shape == (5, 3, 16, 16)
    for batch in (1, 2):
        told.clear()
        again = imagine(two, wish, 7, range(5), 4, batch=batch, progress=told.append)
        close(again.x, every.x)
        assert sum(told) == 5 and max(told) == batch and again.nfe == every.nfe
    close(imagine(two, wish, 7, [4, 1], 4).x, every.x[[4, 1]])
    for i in range(4):
        apart(every.x[i], every.x[i + 1])
    apart(imagine(two, wish, 8, range(5), 4).x, every.x)


def test_steps_are_those_of_the_first_model(two: Cascade) -> None:
    counts: list[int] = []
    hooks = [
        s.denoiser.register_forward_hook(lambda *_, k=k: counts.append(k))  # type: ignore[misc]
        for k, s in enumerate(two.stages)
    ]
    imagine(two, ImageRequest(SAID, guidance=1.0), 0, [0], 3)
    imagine(two, ImageRequest(SAID, guidance=1.0), 0, [0])
    for hook in hooks:
        hook.remove()
    assert counts == [0] * 3 + [1] * 10 + [0] * 25 + [1] * 10


def test_what_is_not_finite_is_not_given_out(base: Cascade) -> None:
    with pytest.raises(SfumatoError, match="not finite; try more steps or less guidance"):
        imagine(base, ImageRequest(SAID, guidance=1e38), 0, [0])


def test_numbers_outside_their_range() -> None:
    for name, option in (("strength", "strength"), ("guidance", "guidance"),
                         ("style_guidance", "style-guidance")):  # fmt: skip
        for value in (-0.1, float("nan"), float("inf")):
            with pytest.raises(UsageError, match=f"--{option}: expected 0 or more, got {value}"):
                ImageRequest(SAID, **{name: value})


def test_a_style_needs_an_encoder_of_pictures_in_every_model(
    base: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is said before anything is drawn."""
    cascade = Cascade((*base.stages, stage("bert", side=16, low=8)))
    done: list[Callable[..., Any]] = []
    monkeypatch.setattr("sfumato.systems.ediffi.pipeline.walk", done.append)
    with pytest.raises(UsageError, match="takes sentences only; leave out the style"):
        imagine(cascade, ImageRequest(SAID, style=picture()), 0, [0])


# ----------------------------------------------------------------------------------------- cascades


def test_models_that_do_not_follow(base: Cascade) -> None:
    (one,) = base.stages
    larger, far = stage("bert", side=16, low=8), stage("bert", side=32, low=24)
    assert Cascade((one, larger)).side == 16
    for stages, message in (
        ((), "expected at least one model"),
        ((larger,), "a model that enlarges 8 pixels cannot go on from nothing"),
        ((one, one), "a model that is a base cannot go on from pictures of 8 pixels"),
        ((one, far), "that enlarges 24 pixels cannot go on from pictures of 8 pixels"),
        ((one, larger, larger), "that enlarges 8 pixels cannot go on from pictures of 16 pixels"),
    ):
        with pytest.raises(UsageError, match=message):
            Cascade(stages)


def test_a_cascade_from_its_folders(two: Cascade, tmp_path: Path) -> None:
    """The same pictures; encoders in common are opened once."""
    third = stage(*ALL, side=32, low=16)
    for k, one in enumerate((*two.stages, third)):
        save_model(tmp_path / str(k), one.model, one.denoiser)
    opened = open_cascade([str(tmp_path / str(k)) for k in range(3)])
    assert opened.stages[0].encoder is opened.stages[2].encoder
    assert opened.stages[0].encoder is not opened.stages[1].encoder
    wish = ImageRequest(SAID)
    first = Cascade(opened.stages[:2])
    assert torch.equal(drawn(first, wish), drawn(two, wish))
    with pytest.raises(UsageError, match="enlarges 8 pixels cannot go on from nothing"):
        open_cascade([str(tmp_path / "1")])
    plain = ModelConfig("squares", unet())
    save_model(tmp_path / "plain", plain, plain.build())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="plain draws without prompts; use sfumato sample for it"):
        open_cascade([str(tmp_path / "plain")])

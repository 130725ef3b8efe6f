"""From sentences and pictures to prompts, in the order of the model's encoders."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sfumato.errors import SfumatoError, UsageError
from sfumato.nn import Encoded, EncoderWidths
from sfumato.systems.ediffi.model import EncoderConfig, Modality
from sfumato.systems.ediffi.prompt_encoder import (
    CACHE_BYTES,
    PromptEncoder,
    encoder_config,
    masked,
    place_of,
)
from sfumato.systems.ediffi.text.dual import DualConfig, dual_model, save_dual, train_tokenizer
from sfumato.systems.ediffi.text.encoders import CachedTextEncoder, PictureEncoder, Transformer
from tiny_prompted import WIDTHS, configs, encoder, picture

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

SAID = ("a red square", "", "left of a pink square")


def same(a: Encoded, b: Encoded) -> None:
    """Equal where there are tokens."""
    assert torch.equal(a.mask, b.mask)
    there = a.mask[..., None]
    torch.testing.assert_close(a.tokens * there, b.tokens * there, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(a.pooled[a.present], b.pooled[a.present], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "order",
    [("bert",), ("clip",), ("bert", "clip", "t5"), ("clip", "t5", "bert"), ("t5", "clip", "clip"),
     ("clip", "bert", "clip", "t5", "bert")],
)  # fmt: skip
def test_encoders_speak_in_the_order_of_the_model(order: tuple[str, ...]) -> None:
    """Whatever is mixed: each says what it says on its own."""
    hearing = PromptEncoder(configs(*order))
    shown = torch.stack([picture("red"), picture("green"), torch.rand(3, 8, 8)])
    prompt = hearing.prompt(SAID, shown)
    assert len(prompt) == 3 and len(prompt.encoded) == len(order)
    for name, heard in zip(order, prompt.encoded, strict=True):
        if name == "clip":
            same(heard, PictureEncoder(encoder(name)).encode(shown))
            assert bool(heard.present.all())
        else:
            same(heard, Transformer(encoder(name)).encode(SAID).encoded)
            assert heard.present.tolist() == [True, False, True]  # an empty sentence says nothing
    assert len(hearing.sentences(SAID)) == len(order) - order.count("clip")
    assert len(hearing.pictures(shown)) == order.count("clip")


def test_what_was_said_of_pictures_may_be_given() -> None:
    hearing = PromptEncoder(configs("clip", "bert"))
    shown = torch.rand(2, 3, 8, 8)
    (known,) = hearing.pictures(shown)
    a, b = hearing.prompt(SAID[:2], shown), hearing.prompt(SAID[:2], [known])
    for one, other in zip(a.encoded, b.encoded, strict=True):
        assert torch.equal(one.tokens, other.tokens) and torch.equal(one.mask, other.mask)
        assert torch.equal(one.pooled, other.pooled)


def test_no_picture_is_silence() -> None:
    """Of the shape of what would be said, so that paint counts the same tokens."""
    hearing = PromptEncoder(configs("bert", "clip", "t5"))
    quiet, shown = hearing.prompt(SAID), hearing.prompt(SAID, torch.rand(3, 3, 8, 8))
    assert [e.present.tolist()[0] for e in quiet.encoded] == [True, False, True]
    assert not bool(quiet.encoded[1].present.any())
    for a, b in zip(quiet.encoded, shown.encoded, strict=True):
        assert a.tokens.shape == b.tokens.shape and a.pooled.shape == b.pooled.shape
    nothing = masked(EncoderWidths(5, 3), 2)
    assert not bool(nothing.present.any()) and nothing.pooled.shape == (2, 3)


def test_a_listener_is_measured() -> None:
    for name in ("bert", "t5"):
        made = encoder_config(f"sentence:{encoder(name)}")
        assert replace(made, weights="") == configs(name)[0]
    found = encoder_config(f"picture:{encoder('clip')}")
    assert replace(found, weights="") == EncoderConfig(
        Modality.PICTURE, encoder("clip"), WIDTHS["clip"]
    )
    assert re.fullmatch("[0-9a-f]{16}", found.weights)
    assert encoder_config(found.name) == found


@pytest.mark.parametrize(
    "name", ["", "minilm", "sentence:", "nose:minilm", ":minilm", "Sentence:x"]
)
def test_names_of_encoders(name: str) -> None:
    with pytest.raises(UsageError, match=r"such as sentence:minilm or picture:FOLDER, got '") as e:
        encoder_config(name)
    assert str(e.value).endswith(repr(name))


def test_another_encoder_than_in_training_is_refused() -> None:
    bert, clip = configs("bert", "clip")
    PromptEncoder([bert, clip])
    for wrong in (
        replace(bert, widths=EncoderWidths(16)),
        replace(bert, source=encoder("t5")),
        replace(clip, widths=EncoderWidths(8, 9)),
    ):
        with pytest.raises(SfumatoError, match="trained with .*: it is another encoder") as e:
            PromptEncoder([clip, wrong])
        assert wrong.source in str(e.value)


def test_an_encoder_that_has_changed_is_refused(tmp_path: Path) -> None:
    """And its other half, which has not, is heard; half precision is no change."""
    where = tmp_path / "clip"
    tiny = DualConfig(
        side=16, patch=8, width=32, heads=2, picture_layers=1, text_layers=1, shared=16,
        vocabulary=300, length=12,
    )  # fmt: skip
    words = train_tokenizer(SAID, tiny)
    save_dual(dual_model(tiny, words), words, where)
    seen, said = (encoder_config(f"{ear}:{where}") for ear in ("picture", "sentence"))
    PromptEncoder([seen, said])
    weights = load_file(where / "model.safetensors")
    halves = {k: w.half() if w.is_floating_point() else w for k, w in weights.items()}
    save_file(halves, where / "model.safetensors", {"format": "pt"})
    seen, said = (encoder_config(f"{ear}:{where}") for ear in ("picture", "sentence"))
    plain = {k: w.float() if w.is_floating_point() else w for k, w in halves.items()}
    save_file(plain, where / "model.safetensors", {"format": "pt"})
    PromptEncoder([seen, said])
    plain["visual_projection.weight"] = plain["visual_projection.weight"].clone()
    plain["visual_projection.weight"][0, 0] += 1e-3
    save_file(plain, where / "model.safetensors", {"format": "pt"})
    PromptEncoder([said])
    with pytest.raises(SfumatoError, match="picture:.* has other weights .* give it back") as e:
        PromptEncoder([said, seen])
    changed = encoder_config(seen.name)
    assert seen.weights in str(e.value) and changed.weights in str(e.value)
    assert changed.weights != seen.weights and changed.widths == seen.widths
    PromptEncoder([said, changed, replace(seen, weights="")])  # or where it is not known


def test_where_encoders_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shipped one (or one in SFUMATO_ZOO), before a folder, before a name for the hub."""
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SFUMATO_ZOO", str(tmp_path / "zoo"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SfumatoError, match="run 'sfumato data fetch minilm'"):
        place_of("minilm")
    assert place_of("openai/clip") == "openai/clip"
    os.makedirs("openai/clip")
    assert place_of("openai/clip") == Path("openai/clip")
    shutil.copytree(encoder("clip"), "zoo/ours")
    assert place_of("ours") == "ours"
    card = {"name": "ours", "system": "CLIP", "data": "squares", "kind": "encoder"}
    Path("zoo/ours/card.json").write_text(json.dumps(card))
    assert place_of("ours") == tmp_path / "zoo" / "ours"
    found = PromptEncoder([EncoderConfig(Modality.PICTURE, "ours", WIDTHS["clip"])]).pictures(
        torch.ones(1, 3, 8, 8)
    )
    same(found[0], PictureEncoder(encoder("clip")).encode(torch.ones(1, 3, 8, 8)))
    with pytest.raises(UsageError, match="there is no folder 'elsewhere'"):
        encoder_config("sentence:elsewhere")


@pytest.mark.parametrize(
    ("room", "dtype"), [(CACHE_BYTES, torch.float32), (CACHE_BYTES + 1, torch.float16)]
)
def test_many_sentences_are_remembered_in_half(room: int, dtype: torch.dtype) -> None:
    hearing = PromptEncoder(configs("bert"), room=room)
    (memory,) = hearing.encoders
    assert isinstance(memory, CachedTextEncoder) and memory.room == room
    with torch.autocast("cpu", torch.bfloat16):  # as in training
        first, again = (hearing.sentences(["a red square"])[0].encoded for _ in range(2))
    assert first.pooled.dtype == torch.float32
    assert [kept.tokens.dtype for kept in memory.kept.values()] == [dtype]
    assert first.tokens.dtype == torch.float32 and torch.equal(first.tokens, again.tokens)


def test_a_sentence_that_is_cut_is_said(recwarn: pytest.WarningsRecorder) -> None:
    hearing = PromptEncoder(configs("bert", "t5"))  # of which the first reads 16 tokens
    long = "a red square, " * 10
    hearing.prompt(["a red square", ""])
    assert not recwarn
    with pytest.warns(UserWarning, match="the sentence is longer than the model reads: .*square,'"):
        hearing.prompt([long])
    hearing = PromptEncoder(configs("bert"))
    with pytest.warns(UserWarning, match=r"some sentences are longer .* of 'a red .*is left out"):
        hearing.prompt(["a red square", long])
    recwarn.clear()
    hearing.prompt(["a red square", long])  # in training that is said once
    assert not recwarn
    with pytest.raises(UsageError, match="is not text"):
        hearing.prompt(["a \udcff"])

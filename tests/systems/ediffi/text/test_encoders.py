"""Encoders against transformers' own output, on small models with random weights in true format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import sfumato as sf
from sfumato.errors import SfumatoError, UsageError
from sfumato.nn import EncoderWidths
from sfumato.systems.ediffi.text.encoders import CachedTextEncoder, PictureEncoder, Transformer
from sfumato.systems.ediffi.text.phrases import tokens_of
from tiny_prompted import word_tokenizer

transformers = pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")
tokenizers = pytest.importorskip("tokenizers", reason="pip install 'sfumato[text]'")

WORDS = ["a", "red", "app", "##le", "left", "of", "blue", "car", "##s", ",", "cat", "on", "grass"]
SENTENCES = ["a red apple, left of blue cars", "Cats on grass", ""]


def saved(family: str, folder: Path) -> Path:
    torch.manual_seed(0)
    size = len(WORDS) + 4
    text: dict[str, Any] = {
        "vocab_size": size, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 12,
    }  # fmt: skip
    if family == "bert":
        model = transformers.BertModel(transformers.BertConfig(**text))
    elif family == "t5":
        config = transformers.T5Config(
            vocab_size=size, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2
        )
        model = transformers.T5EncoderModel(config)
    else:
        vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
                  "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
                  "projection_dim": 8}  # fmt: skip
        text |= {"projection_dim": 8, "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        model = transformers.CLIPModel(config)
    model.eval().save_pretrained(folder)
    word_tokenizer(folder, WORDS)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {f: saved(f, tmp_path_factory.mktemp(f)) for f in ("t5", "clip", "bert")}


WIDTHS = {"t5": EncoderWidths(16), "clip": EncoderWidths(16, 8), "bert": EncoderWidths(16, 16)}


@pytest.mark.parametrize("family", ["t5", "clip", "bert"])
def test_it_says_what_the_model_says(folders: dict[str, Path], family: str) -> None:
    """Sentence by sentence, without padding, by transformers itself."""
    encoder = Transformer(folders[family])  # the family is read from the configuration
    assert encoder.widths == WIDTHS[family]
    said = encoder.encode(SENTENCES)
    words = transformers.AutoTokenizer.from_pretrained(folders[family])
    for i, sentence in enumerate(SENTENCES[:2]):
        ids = torch.tensor([words(sentence)["input_ids"]])
        with torch.no_grad():
            if family == "t5":
                out = transformers.T5EncoderModel.from_pretrained(folders["t5"])(ids)
            elif family == "bert":
                out = transformers.BertModel.from_pretrained(folders["bert"])(ids)
                whole = out.last_hidden_state.mean(1)
            else:
                model = transformers.CLIPModel.from_pretrained(folders["clip"])
                out = model.text_model(ids)
                whole = model.text_projection(out.pooler_output)
        n = ids.shape[1]
        assert int(said.encoded.mask[i].sum()) == n == len(said.offsets[i][:n])
        torch.testing.assert_close(
            said.encoded.tokens[i, :n], out.last_hidden_state[0], atol=1e-5, rtol=1e-5
        )
        if family != "t5":
            torch.testing.assert_close(
                said.encoded.pooled[i],
                (whole / whole.norm() * whole.shape[1] ** 0.5)[0],
                atol=1e-5, rtol=1e-5,
            )  # fmt: skip
    assert not bool(said.encoded.present[2])  # the empty sentence is silence


def test_phrases_are_found_in_what_was_read(folders: dict[str, Path]) -> None:
    said = Transformer(folders["bert"]).encode(SENTENCES[:1])
    text = SENTENCES[0]
    for phrase, want in (("red apples", "redapple"), ("car", "cars"), ("left of", "leftof")):
        found = tokens_of(text, phrase, said.offsets[0])
        assert "".join(text[slice(*said.offsets[0][i])] for i in found) == want
    with pytest.raises(UsageError, match="beyond the 6 tokens"):
        short = Transformer(folders["bert"], length=6).encode(SENTENCES[:1])
        tokens_of(text, "blue cars", short.offsets[0])


def test_long_sentences_are_cut_where_the_model_ends(folders: dict[str, Path]) -> None:
    said = Transformer(folders["bert"], length=77).encode(["a cat " * 40])
    assert said.encoded.tokens.shape[1] == 12


def test_pictures(folders: dict[str, Path]) -> None:
    """[-1, 1] is scaled as CLIP's; larger pictures first; unit length times √P."""
    encoder = PictureEncoder(folders["clip"])
    assert encoder.widths == EncoderWidths(8, 8)
    x = torch.rand(2, 3, 32, 32, generator=sf.generator(0)) * 2 - 1
    said = encoder.encode(x)
    model = transformers.CLIPModel.from_pretrained(folders["clip"])
    processor = transformers.CLIPImageProcessor(do_resize=False, do_center_crop=False)
    pixels = processor(images=list((x + 1) / 2), do_rescale=False, return_tensors="pt")
    with torch.no_grad():
        whole = model.visual_projection(model.vision_model(**pixels).pooler_output)
    want = whole / whole.norm(dim=1, keepdim=True) * 8**0.5
    torch.testing.assert_close(said.pooled, want, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(said.tokens[:, 0], said.pooled)
    large = torch.nn.functional.interpolate(x, (64, 64))
    assert float((encoder.encode(large).pooled - said.pooled).abs().max()) < 1.0


def test_what_was_said_is_remembered(folders: dict[str, Path], monkeypatch: Any) -> None:
    encoder = Transformer(folders["bert"])
    asked: list[str] = []
    plain = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda s: (asked.extend(s), plain(s))[1])
    each = [plain([s]).encoded for s in SENTENCES[:2]]
    room = sum(e.tokens.nbytes + e.pooled.nbytes for e in each)
    memory = CachedTextEncoder(encoder, room)
    first = memory.encode([SENTENCES[0], SENTENCES[1], SENTENCES[0]])
    assert asked == SENTENCES[:2]
    again = memory.encode([SENTENCES[0]])
    assert asked == SENTENCES[:2]
    n = again.encoded.tokens.shape[1]
    torch.testing.assert_close(first.encoded.tokens[2:, :n], again.encoded.tokens)
    torch.testing.assert_close(first.encoded.tokens, plain(
        [SENTENCES[0], SENTENCES[1], SENTENCES[0]]).encoded.tokens * first.encoded.mask[..., None],
        atol=1e-5, rtol=1e-5)  # fmt: skip
    assert again.offsets[0] == first.offsets[0]
    memory.encode(["red"])
    memory.encode([SENTENCES[1]])  # the one longest not asked for was forgotten
    assert asked == [*SENTENCES[:2], "red", SENTENCES[1]]
    assert not bool(memory.encode([""]).encoded.present[0])
    kept = list(memory.kept.values())
    assert memory.held == sum(k.bytes for k in kept) <= room
    assert all(k.tokens.untyped_storage().nbytes() == k.tokens.nbytes for k in kept)
    nothing = CachedTextEncoder(encoder, 0)  # what is forgotten at once is still said
    torch.testing.assert_close(
        nothing.encode([SENTENCES[0]]).encoded.tokens, again.encoded.tokens, atol=1e-5, rtol=1e-5
    )
    assert not nothing.kept and not nothing.held


def test_what_is_not_there_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder 'openai/clip'"):
        Transformer("openai/clip")
    with pytest.raises(SfumatoError, match="cannot be read as a text encoder"):
        Transformer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(UsageError, match="expected a family of t5, clip, bert, got 'gpt2'"):
        Transformer(tmp_path)
    with pytest.raises(UsageError, match="is a gpt2, which sees no pictures"):
        PictureEncoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))  # and no weights
    with pytest.raises(SfumatoError, match="cannot be read as a CLIP model"):
        PictureEncoder(tmp_path)

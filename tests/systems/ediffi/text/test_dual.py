"""The parts of a dual encoder: its loss by the slow way and by hand, its sub-words, its weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

import sfumato as sf
from sfumato.errors import UsageError
from sfumato.systems.ediffi.text.dual import (
    DualConfig,
    dual_model,
    save_dual,
    train_tokenizer,
    vectors,
)
from sfumato.systems.ediffi.text.dual_training import contrastive_loss
from sfumato.systems.ediffi.text.encoders import PictureEncoder, Transformer, picture_values
from sfumato.systems.ediffi.text.phrases import tokens_of

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

SAID: Final = (
    "a red apple left of a jack-o-lantern",
    "a blue book on grass",
    "an apple, red and round",
    "it's a drawing of two police-cars (old)",
)
TINY: Final = DualConfig(
    side=16, patch=8, width=32, heads=2, picture_layers=2, text_layers=2, shared=16,
    vocabulary=320, length=24, steps=100, batch=8, rate=3e-3,
)  # fmt: skip


@pytest.fixture(scope="module")
def words() -> Any:
    return train_tokenizer(SAID, TINY)


@pytest.fixture(scope="module")
def model(words: Any) -> Any:
    return dual_model(TINY, words).eval()


# ---------------------------------------------------------------------------------------- the loss


def slow_loss(u: Tensor, v: Tensor, s: float, same: list[list[bool]]) -> float:
    """The formula at the head of the module, over B."""
    total, n = 0.0, len(u)
    for i in range(n):
        mine = math.exp(s * float(u[i] @ v[i]))
        others = [j for j in range(n) if j == i or not same[i][j]]
        total += math.log(mine / sum(math.exp(s * float(u[i] @ v[j])) for j in others))
        total += math.log(mine / sum(math.exp(s * float(u[j] @ v[i])) for j in others))
    return -total / 2 / n


def mean_loss(*of: Tensor) -> Tensor:
    return contrastive_loss(*of).mean()


def drawn(seed: int, n: int = 7, d: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors, and which of some sentences, drawn from four, are the same."""
    g = sf.generator(seed, "vectors")
    u, v = (F.normalize(torch.randn(n, d, generator=g, dtype=torch.float64)) for _ in range(2))
    said = torch.randint(4, (n,), generator=g)
    return u, v, said[:, None] == said


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [0.5, 14.0, 100.0])
def test_the_loss_is_the_formula_without_the_same_sentences(seed: int, scale: float) -> None:
    u, v, same = drawn(seed)
    assert int(same.sum()) > len(u)  # some are the same
    s = torch.tensor(scale, dtype=torch.float64)
    got = float(mean_loss(u, v, s, same))
    assert got == pytest.approx(slow_loss(u, v, scale, same.tolist()), rel=1e-12)
    assert float(mean_loss(v, u, s, same)) == pytest.approx(got, rel=1e-12)
    apart = torch.eye(len(u), dtype=torch.bool)
    assert float(mean_loss(u, v, s, apart)) > got  # more to be told apart


def test_the_loss_by_hand() -> None:
    e = torch.eye(3, dtype=torch.float64)
    s = torch.tensor(2.0, dtype=torch.float64)
    two = mean_loss(e[:2], e[:2], s, e[:2, :2].bool())
    assert float(two) == pytest.approx(math.log(1 + math.exp(-2)))
    # The first two are one sentence: neither is told from the other, the third is from both.
    u, same = e[[0, 0, 2]], torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    want = (2 * math.log(1 + math.exp(-2)) + math.log(1 + 2 * math.exp(-2))) / 3
    assert float(mean_loss(u, u, s, same)) == pytest.approx(want)
    # Vectors that say nothing: as good as guessing among three.
    assert float(mean_loss(e[[0] * 3], e[[1] * 3], s, e.bool())) == pytest.approx(math.log(3))


def test_the_gradient_of_the_loss() -> None:
    u, v, same = drawn(3)
    scale = torch.tensor(3.0, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (u, v, scale)]
    assert torch.autograd.gradcheck(lambda *x: mean_loss(*x, same), inputs)
    all_one = torch.ones_like(same)  # nothing to tell apart: no loss, no pull, no NaN
    loss = mean_loss(u, v, scale, all_one)
    for gradient in torch.autograd.grad(loss, inputs):
        assert float(gradient.abs().max()) == 0
    assert float(loss.detach()) == 0


# --------------------------------------------------------------------------------------- sub-words


@pytest.mark.parametrize(
    "sentence",
    [*SAID, "A RED Apple", "zebra quizzes, unseen!", "größer als 猫 🎈", "two  spaces , so", "x"],
)
def test_what_was_read_can_be_said_again(words: Any, sentence: str) -> None:
    read = words(sentence)["input_ids"]
    assert read[0] == words.bos_token_id and read[-1] == words.eos_token_id
    assert words.unk_token_id not in read
    assert words.decode(read, skip_special_tokens=True) == " " + sentence.lower()


def test_what_is_often_said_is_few_tokens(words: Any) -> None:
    assert len(words(" apple")["input_ids"]) < 2 + len("apple")
    assert words("Red Apple")["input_ids"] == words("red apple")["input_ids"]
    assert words("ﬁve ②")["input_ids"] == words("five 2")["input_ids"]  # NFKC
    assert len(words) <= TINY.vocabulary


@pytest.mark.parametrize("before", ["", " ", "   "])
def test_each_token_knows_its_characters(words: Any, before: str) -> None:
    text = before + "A Red Apple left of a jack-o-lantern"
    read = words(text, return_offsets_mapping=True)
    pairs = list(zip(read["input_ids"], read["offset_mapping"], strict=True))
    assert pairs[0][1] == pairs[-1][1] == (0, 0)
    for token, (start, stop) in pairs[1:-1]:
        # spaces that the text begins with may be counted to its first token
        assert text[start:stop].lower().strip() == words.decode([token]).strip()
    covered = {i for start, stop in read["offset_mapping"] for i in range(start, stop)}
    assert {i for i in covered if text[i] != " "} == {i for i, c in enumerate(text) if c != " "}
    found = {
        phrase: "".join(
            text[slice(*read["offset_mapping"][i])].strip()
            for i in tokens_of(text, phrase, read["offset_mapping"])
        )
        for phrase in ("red apple", "a #1", "jack-o-lantern", "left of")
    }
    assert found == {
        "red apple": "RedApple",
        "a #1": "A",
        "jack-o-lantern": "jack-o-lantern",
        "left of": "leftof",
    }


def test_characters_of_several_bytes(words: Any) -> None:
    text = "eine größere 猫 und 🎈 red"
    offsets = words(text, return_offsets_mapping=True)["offset_mapping"]
    for phrase in ("größere", "猫", "red"):
        places = [offsets[i] for i in tokens_of(text, phrase, offsets)]
        at = text.index(phrase)
        assert (min(a for a, _ in places), max(b for _, b in places)) == (at, at + len(phrase))


@given(st.text(max_size=40))
def test_no_text_is_too_strange(text: str) -> None:
    made = train_tokenizer(SAID[:1], TINY)
    read = made(text, return_offsets_mapping=True)
    assert made.unk_token_id not in read["input_ids"]
    assert all(0 <= a <= b <= len(text) for a, b in read["offset_mapping"])


# --------------------------------------------------------------------------------- the whole of it


@torch.no_grad()
def test_the_whole_of_a_sentence_is_its_end(model: Any, words: Any) -> None:
    for sentence in SAID:
        ids = torch.tensor([words(sentence)["input_ids"]])
        assert int(ids.max()) > words.eos_token_id  # END has not the highest number
        out = model.text_model(input_ids=ids)
        torch.testing.assert_close(out.pooler_output[0], out.last_hidden_state[0, -1])
        last = ids.clone()
        last[0, -2] = words("x")["input_ids"][1]
        other = model.text_model(input_ids=last).pooler_output
        assert float((other - out.pooler_output).abs().max()) > 1e-3  # all before it counts
        more = F.pad(ids, (0, 3), value=7)  # what comes after does not, whatever it is
        again = model.text_model(input_ids=more).pooler_output
        torch.testing.assert_close(again, out.pooler_output, atol=1e-5, rtol=1e-5)


def said_by(model: Any, words: Any, sentences: list[str]) -> Tensor:
    pictures = torch.zeros(len(sentences), 3, 16, 16)
    with torch.no_grad():
        return vectors(model, words, pictures, sentences, "cpu")[1]


def test_a_sentence_does_not_depend_on_the_others(model: Any, words: Any) -> None:
    together = said_by(model, words, [*SAID, ""])
    torch.testing.assert_close(together.norm(dim=1), torch.ones(5))
    for k, sentence in enumerate([*SAID, ""]):
        alone = said_by(model, words, [sentence])
        torch.testing.assert_close(alone[0], together[k], atol=1e-5, rtol=1e-5)
    assert float((together[:, None] - together).norm(dim=2).add(torch.eye(5)).min()) > 1e-2


def test_a_long_sentence_is_cut_and_still_ends(model: Any, words: Any) -> None:
    long = "a red apple " * 30
    read = words(long, truncation=True, max_length=words.model_max_length)["input_ids"]
    assert len(read) == TINY.length and read[-1] == words.eos_token_id
    cut = words.decode(read, skip_special_tokens=True)
    one, other, short = said_by(model, words, [long, long + "blue", "a red apple"])
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(one, said_by(model, words, [cut])[0], atol=1e-5, rtol=1e-5)
    assert float((one - short).norm()) > 1e-2


def test_weights_depend_on_the_seed_alone(words: Any) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = dual_model(TINY, words).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    same = dual_model(TINY, words).state_dict()
    other = dual_model(replace(TINY, seed=1), words).state_dict()
    assert all(torch.equal(one[k], same[k]) for k in one)
    matrices = [k for k, w in one.items() if w.ndim > 1 and w.is_floating_point()]
    assert len(matrices) > 20
    assert not any(torch.equal(one[k], other[k]) for k in matrices)
    assert one["text_model.embeddings.token_embedding.weight"].shape == (len(words), 32)
    assert one["vision_model.embeddings.position_embedding.weight"].shape == (5, 32)  # 4 squares


# ---------------------------------------------------------------------------------------- pictures


def test_pictures_as_clip_takes_them() -> None:
    """By the constants of Radford et al.'s code; a plain picture stays plain at any size."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    for said, level in ((-1.0, 0.0), (0.0, 0.5), (1.0, 1.0)):
        for side in (8, 16, 24):
            got = picture_values(torch.full((2, 3, 16, 16), said), side)
            assert got.shape == (2, 3, side, side)
            want = ((level - mean) / deviation)[None, :, None, None].expand_as(got)
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    edge = torch.ones(1, 3, 16, 16)
    edge[..., :8] = -1
    level = picture_values(edge, 24) * deviation[:, None, None] + mean[:, None, None]
    assert float(level.min()) > -1e-5 and float(level.max()) < 1 + 1e-5  # cubics overshoot
    same = picture_values(edge, 16) * deviation[:, None, None] + mean[:, None, None]
    torch.testing.assert_close(same, (edge + 1) / 2, atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------------------------ on the disk


def test_what_is_kept_is_read_by_the_encoders(model: Any, words: Any, tmp_path: Path) -> None:
    before = {k: w.clone() for k, w in model.state_dict().items()}
    save_dual(model, words, tmp_path)
    for k, w in model.state_dict().items():  # the model itself is as it was
        assert w.dtype == before[k].dtype and torch.equal(w, before[k])
    kept = load_file(tmp_path / "model.safetensors")
    assert {w.dtype for w in kept.values() if w.is_floating_point()} == {torch.float16}
    assert {f.suffix for f in tmp_path.iterdir()} == {".json", ".safetensors"}

    pictures = torch.rand(4, 3, 24, 24, generator=sf.generator(0)) * 2 - 1
    with torch.no_grad():
        u, v = vectors(model, words, pictures, SAID, "cpu")
    said = Transformer(tmp_path).encode(SAID)
    seen = PictureEncoder(tmp_path).encode(pictures)
    for got, want in ((said.encoded.pooled, v), (seen.pooled, u)):
        assert got.dtype == torch.float32 and got.shape == want.shape
        off = (got / 4 - want).norm(dim=1)  # of length √16
        assert 0 < float(off.max()) < 5e-3
        assert float((want[:, None] - want).norm(dim=2).add(torch.eye(4)).min()) > 1e-2
    text = "A Red Apple left of a jack-o-lantern"
    again = Transformer(tmp_path).encode([text])
    assert again.encoded.tokens.shape[1] == len(words(text)["input_ids"])
    found = tokens_of(text, "red apple", again.offsets[0])
    assert "".join(text[slice(*again.offsets[0][i])] for i in found) == "RedApple"
    assert Transformer(tmp_path).length == TINY.length


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"side": 20}, "a side that 8 divides .* got 20 and 32"),
        ({"width": 33}, "a width that 2 divides, got 16 and 33"),
        ({"steps": 0}, "expected steps >= 1, got 0"),
        ({"batch": 1}, "expected batch >= 2, got 1"),
        ({"vocabulary": 259}, "expected vocabulary >= 260, got 259"),
        ({"length": 3}, "expected length >= 4, got 3"),
        ({"hold": -1}, "expected hold >= 0, got -1"),
        ({"patch": 0}, "expected patch >= 1, got 0"),
        ({"heads": 0}, "expected heads >= 1, got 0"),
        ({"rate": 0.0}, "a rate above 0, and a decay and a weight .*, got 0.0, 0.1 and 1.0"),
        ({"rate": math.nan}, "a rate above 0, .* got nan"),
        ({"decay": -1.0}, "a decay and a weight of styles of 0 or more, got 0.003, -1.0"),
        ({"style": -0.5}, "a weight of styles of 0 or more, got 0.003, 0.1 and -0.5"),
        ({"style": math.inf}, "a weight of styles of 0 or more, got 0.003, 0.1 and inf"),
        ({"side": 0}, "expected side >= 1, got 0"),
        ({"text_layers": 0}, "expected text_layers >= 1, got 0"),
    ],
)
def test_sizes_that_do_not_fit(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(TINY, **wrong)

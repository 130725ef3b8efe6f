"""Training a dual encoder on what can be learned at once, and retrieval where it is known."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.data.sets import DataCard, Lazy
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.progress import Progress
from sfumato.systems.ediffi.clip import retrieval, style_accuracy
from sfumato.systems.ediffi.data import Captioned
from sfumato.systems.ediffi.text import dual_training
from sfumato.systems.ediffi.text.dual import DualConfig, dual_model, train_tokenizer, vectors
from sfumato.systems.ediffi.text.dual_training import Styles, train_dual
from toy_captioned import squares

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

TINY: Final = DualConfig(
    side=16, patch=8, width=32, heads=2, picture_layers=1, text_layers=1, shared=16,
    vocabulary=300, length=12, steps=100, batch=8, rate=3e-3,
)  # fmt: skip


def doubled(data: Captioned) -> Captioned:
    """Every picture twice, with the same sentence: what no encoder can tell apart."""
    images = np.concatenate([data.images[:], data.images[:]])
    return Captioned("twice", images, tuple(data.captions) * 2, data.card)


def test_it_learns_what_can_be_learned_and_knows_nothing_before() -> None:
    data, told = squares(8), list[Progress]()
    model, words = train_dual(data, TINY, progress=told.append)
    assert not model.training
    assert retrieval(model, words, data, 8, 8) == (1.0, 1.0)
    assert retrieval(model, words, doubled(data), 16, 16) == (1.0, 1.0)
    wrong = retrieval(model, words, squares(8, shift=1), 8, 8)
    assert wrong == (0.0, 0.0)  # each has the sentence of another one
    assert [(p.step, p.steps) for p in told] == [(50, 100), (100, 100)]
    assert 0 < told[1].loss < 0.1 < told[0].loss  # means of fifty steps each, not of all
    assert 0 < told[0].seconds < told[1].seconds

    tokenizer = train_tokenizer((s for group in data.captions for s in group), TINY)
    shares = np.array(
        [
            retrieval(dual_model(replace(TINY, seed=seed), tokenizer).eval(), tokenizer, data, 8, 8)
            for seed in range(20)
        ]
    )
    assert (np.abs(shares.mean(0) - 1 / 8) < 0.1).all()


def test_sentences_that_are_the_same_are_not_told_apart() -> None:
    """With each sentence twice in every batch the loss goes to 0, not to log 2."""
    data, told = doubled(squares(6)), list[Progress]()
    model, words = train_dual(data, replace(TINY, batch=12), progress=told.append)
    assert told[-1].loss < 0.2
    assert retrieval(model, words, data, 12, 12) == (1.0, 1.0)


def test_no_picture_is_twice_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    plain = dual_training.contrastive_loss

    def watched(u: Tensor, v: Tensor, scale: Tensor, same: Tensor) -> Tensor:
        seen.append(same)
        return plain(u, v, scale, same)

    monkeypatch.setattr(dual_training, "contrastive_loss", watched)
    train_dual(squares(8), replace(TINY, steps=20, batch=6))
    assert len(seen) == 20
    assert all(torch.equal(same, torch.eye(6, dtype=torch.bool)) for same in seen)


def test_a_training_depends_on_its_seed_alone() -> None:
    short = replace(TINY, steps=3, batch=4)
    made = []
    for seed in (0, 0, 1):
        torch.rand(int(1 + len(made)))  # other uses of torch's own generator
        made.append(train_dual(squares(8), replace(short, seed=seed))[0].state_dict())
    assert all(torch.equal(made[0][k], made[1][k]) for k in made[0])
    assert not torch.equal(made[0]["visual_projection.weight"], made[2]["visual_projection.weight"])


class Watched(Lazy):
    """The pictures of a set, and which of them were asked for."""

    def __init__(self, data: Captioned) -> None:
        self.data, self.asked = data, set[int]()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.data), 3, self.data.resolution, self.data.resolution

    def take(self, index: np.ndarray) -> np.ndarray:
        self.asked.update(index.tolist())
        return np.asarray(self.data.images[index])


def test_so_many_are_held_and_no_others_are_asked_for() -> None:
    plain = squares(8)
    watched = Watched(plain)
    data, asked = Captioned("watched", watched, plain.captions, plain.card), watched.asked
    model, words = train_dual(data, replace(TINY, hold=5, batch=5))
    assert len(asked) == 5
    there = data.subset(sorted(asked))
    assert retrieval(model, words, there, 5, 5) == (1.0, 1.0)
    asked.clear()
    train_dual(data, replace(TINY, hold=5, batch=5, steps=1, seed=1))
    seen = frozenset(asked)
    asked.clear()
    train_dual(data, replace(TINY, hold=5, batch=5, steps=1, seed=2))
    assert seen != asked  # which ones is drawn
    asked.clear()
    train_dual(data, replace(TINY, hold=0, steps=1))
    assert asked == set(range(8))


def test_the_scale_stays_below_a_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the model says the same by its own loss afterwards."""
    seen: list[float] = []
    plain = dual_training.contrastive_loss

    def watched(u: Tensor, v: Tensor, scale: Tensor, same: Tensor) -> Tensor:
        seen.append(float(scale.detach()))
        return plain(u, v, scale, same) - 10 * scale.log()  # wants it larger

    monkeypatch.setattr(dual_training, "contrastive_loss", watched)
    model, _ = train_dual(squares(8), replace(TINY, rate=0.2, steps=60, decay=0))
    assert 99 < max(seen) < 100.01
    assert float(model.logit_scale.detach().exp()) == pytest.approx(100, rel=1e-3)


def test_what_cannot_be_trained() -> None:
    with pytest.raises(UsageError, match="as many pictures as a batch, 8, got 7"):
        train_dual(squares(7), TINY)
    with pytest.raises(UsageError, match="as many pictures as a batch, 8, got 6"):
        train_dual(squares(8), replace(TINY, hold=6))
    with pytest.raises(
        SfumatoError, match="the loss is not finite at step [1-9]: mean loss (nan|inf)"
    ):
        train_dual(squares(8), replace(TINY, rate=1e30))


# ----------------------------------------------------------------------------------------- styles


def striped(n: int = 8, *, known: bool = True) -> Captioned:
    """Each colour with weak upright and with weak level stripes; sentences say the colour."""
    plain = squares(n)
    stripes = np.where(np.arange(16) % 4 < 2, 12, -12)
    drawn = [plain.images[:] + s for s in (stripes[None, :], stripes[:, None])]
    images = np.concatenate(drawn).clip(0, 255).astype(np.uint8)
    styles = ("upright",) * n + ("level",) * n
    return Captioned("s", images, plain.captions * 2, plain.card, styles if known else None)


def apart(model: Any, words: Any, data: Captioned) -> float:
    """Mean distance of the vectors of one colour in two styles."""
    said = [group[0] for group in data.captions]
    u = vectors(model, words, data.batch(np.arange(len(data)))[0], said, "cpu")[0].detach()
    one, other = u.chunk(2)
    return float((one - other).norm(dim=1).mean())


def test_the_term_of_styles_is_the_formula() -> None:
    names = ["b", "a", "c", "b", "c"]
    term = Styles(names, 4, TINY)
    u = F.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    weight, bias = torch.linspace(-1, 2, 12).view(3, 4), torch.tensor([0.1, -0.2, 0.3])
    term.weight.data, term.bias.data = weight, bias
    want = 0.0
    for row, right in zip(u.tolist(), (1, 2, 0), strict=True):  # pictures 3, 4, 1: b, c, a
        scores = [
            2 * sum(w * x for w, x in zip(ws, row, strict=True)) + b  # sqrt(4)
            for ws, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        want -= math.log(math.exp(scores[right]) / sum(map(math.exp, scores))) / 3
    assert float(term.loss(u, torch.tensor([3, 4, 1])).mean().detach()) == pytest.approx(
        want, rel=1e-5
    )
    for nothing in (None, ["a"] * 5):  # nothing to tell
        assert Styles(nothing, 4, TINY).loss(u, torch.tensor([3, 4, 1])).tolist() == [0, 0, 0]


def test_the_weight_of_styles_is_a_factor() -> None:
    """The loss of the first step, at weights 0, 1 and 2."""
    told = list[Progress]()
    for weight in (0.0, 1.0, 2.0):
        settings = replace(TINY, style=weight, batch=16, steps=1)
        train_dual(striped(), settings, progress=told.append)
    none, one, two = (p.loss for p in told)
    assert two - none == pytest.approx(2 * (one - none), rel=1e-4)
    assert one - none > 0.1


def test_the_reading_is_learned_of_the_pictures_that_are_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, data = list[Styles](), striped()

    class Watched(Styles):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.first = self.weight.detach().clone()
            made.append(self)

    monkeypatch.setattr(dual_training, "Styles", Watched)
    held = list[Captioned]()
    plain = Captioned.subset
    monkeypatch.setattr(
        Captioned, "subset", lambda self, index, quiet: held.append(plain(self, index)) or held[-1]
    )
    start = train_dual(data, replace(TINY, hold=9, batch=8, steps=20))
    (reading,), (there,) = made, held
    right = [reading.names[k] for k in reading.right.tolist()]
    assert right == list(there.styles or ()) and len(right) == 9
    assert right != list(data.styles or ())[:9]
    moved = (reading.weight.detach() - reading.first).abs()
    assert float(moved.max()) > 1e-2 and float(reading.bias.detach().abs().max()) > 1e-3
    begun = float(start[0].logit_scale.detach())
    more, _ = train_dual(data, replace(TINY, hold=9, batch=8, steps=20), start=start)
    assert float(more.logit_scale.detach()) != begun  # it goes on


def test_frozen_and_half_weights_go_on_as_others() -> None:
    first, words = train_dual(striped(), replace(TINY, steps=20))
    first = first.half().requires_grad_(requires_grad=False)
    made, _ = train_dual(striped(), replace(TINY, steps=20), start=(first, words))
    moved = made.visual_projection.weight - first.visual_projection.weight.float()
    assert float(moved.detach().abs().max()) > 1e-2
    assert made.visual_projection.weight.dtype == torch.float32
    assert not first.visual_projection.weight.requires_grad


def test_vectors_tell_styles_that_no_sentence_says() -> None:
    data = striped()
    found = {}
    for weight in (0.0, 1.0):
        model, words = train_dual(data, replace(TINY, style=weight, batch=16, steps=200))
        assert retrieval(model, words, data, 16, 16) == (1.0, 1.0)  # and they say the colour
        found[weight] = apart(model, words, data)
    assert found[0.0] < 0.15 < 0.4 < found[1.0]
    unknown, _ = train_dual(striped(known=False), replace(TINY, style=1.0, batch=16, steps=200))
    assert apart(unknown, words, data) == pytest.approx(found[0.0])  # the same training


def test_pictures_go_on_and_sentences_stay() -> None:
    data = striped()
    first, words = train_dual(data, replace(TINY, style=0.0, batch=16, steps=100))
    before = copy.deepcopy(first.state_dict())
    larger = replace(TINY, style=1.0, batch=16, steps=150, width=64, shared=32, seed=1)
    made, same = train_dual(data, larger, start=(first, words))
    assert same is words and not made.training
    assert all(torch.equal(w, before[k]) for k, w in first.state_dict().items())
    after = made.state_dict()  # of the first one's sizes
    assert all(after[k].shape == w.shape for k, w in before.items())
    stays = [k for k in before if k.startswith("text_")]
    assert len(stays) > 10
    assert all(torch.equal(after[k], before[k]) for k in stays)
    assert not torch.equal(after["visual_projection.weight"], before["visual_projection.weight"])
    assert apart(made, words, data) > 2 * apart(first, words, data)
    assert retrieval(made, words, data, 16, 16) == (1.0, 1.0)
    assert all(p.requires_grad for p in made.parameters())


def greys_by(styles: list[str]) -> Captioned:
    """Picture k has grey 10 k and the style styles[k]."""
    plain = greys(list(range(len(styles))))
    return replace(plain, styles=tuple(styles))


def test_styles_are_read_where_they_can_be() -> None:
    """Vectors on two axes, by style; then with styles that have nothing to do with the vectors."""
    g = torch.Generator().manual_seed(0)
    vectors = E[[0, 1] * 12] + 0.2 * torch.randn(24, 8, generator=g)
    known = Known(vectors, E)
    styles = ["a", "b"] * 12
    assert style_accuracy(known, greys_by(styles), greys_by(styles), 24) == 1.0
    assert style_accuracy(known, greys_by(styles), greys_by(["b", "a"] * 12), 24) == 0.0
    half = [s if i % 4 < 2 else "ab"[s == "a"] for i, s in enumerate(styles)]
    assert style_accuracy(known, greys_by(styles), greys_by(half), 24) == 0.5
    assert style_accuracy(known, greys_by(["a"] * 24), greys_by(["a"] * 18 + ["b"] * 6), 24) == 0.75
    with pytest.raises(UsageError, match="styles are known"):
        style_accuracy(known, greys([0]), greys_by(["a"]), 1)
    # vectors e and -e, that say nothing: what is frequent is said of all, by the constant alone
    both = E[[0] * 24] * torch.tensor([1.0, -1.0]).repeat(12)[:, None]
    mostly = greys_by(["b"] * 18 + ["a"] * 6)
    assert style_accuracy(Known(both, E), mostly, mostly, 24) == 0.75
    # as the formula says it, by another way: the least squares of a taller system
    u = F.normalize(vectors).double() * 8**0.5
    x = F.pad(u, (0, 1), value=1.0)
    tall = torch.cat([x, torch.eye(9, dtype=torch.float64) * (24 / 100) ** 0.5])
    odd = ["a", "b", "b", "c", "a", "c"] * 4
    assert style_accuracy(known, greys_by(odd), greys_by(odd), 3) != style_accuracy(
        known, greys_by(odd), greys_by(odd), 24
    )  # of so many
    y = torch.tensor([[s == n for n in "abc"] for s in odd]).double()
    w = torch.linalg.lstsq(tall, F.pad(y, (0, 0, 0, 9))).solution
    want = float((((x @ w).argmax(1)) == y.argmax(1)).double().mean())
    assert style_accuracy(known, greys_by(odd), greys_by(odd), 24) == want
    assert 0.2 < want < 1


# --------------------------------------------------------------------------------------- retrieval


class Known(nn.Module):
    """Picture k, all of grey 10 k, and the sentence "n k" are vectors from two tables."""

    def __init__(self, pictures: Tensor, sentences: Tensor) -> None:
        super().__init__()
        self.pictures = nn.Parameter(pictures)
        self.sentences = nn.Parameter(sentences)
        self.config = SimpleNamespace(vision_config=SimpleNamespace(image_size=4))
        self.visual_projection = self.text_projection = nn.Identity()

    def vision_model(self, pixel_values: Tensor) -> SimpleNamespace:
        grey = (pixel_values[:, 0].mean((1, 2)) * 0.26862954 + 0.48145466) * 255
        return SimpleNamespace(pooler_output=self.pictures[(grey / 10).round().long()])

    def text_model(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(pooler_output=self.sentences[input_ids[:, 0]])


class Reader:
    """The tokeniser of "n k"."""

    model_max_length = 4

    def __call__(self, said: list[str], **_: Any) -> Any:
        ids = torch.tensor([[int(s.split()[1])] for s in said])

        class Read(dict):  # type: ignore[type-arg]
            def to(self, device: str) -> Any:
                return self

        return Read(input_ids=ids, attention_mask=torch.ones_like(ids))


def greys(said: list[int]) -> Captioned:
    """Picture k has grey 10 k and the sentence "n said[k]"."""
    level = np.arange(len(said), dtype=np.uint8) * 10
    images = np.broadcast_to(level[:, None, None, None], (len(said), 3, 4, 4)).copy()
    return Captioned(
        "greys",
        images,
        tuple((f"n {k}",) for k in said),
        DataCard("greys", "made", "none", "small"),
    )


E = torch.eye(8)


def test_retrieval_by_hand() -> None:
    """Sentence 1 is nearest to picture 0, while every picture is nearest to its own sentence."""
    sentences = E.clone()
    sentences[1] = 0.9 * E[0] + 0.4 * E[1]
    data = greys(list(range(8)))
    assert retrieval(Known(E, sentences), Reader(), data, 8, 8) == (1.0, 0.875)
    assert retrieval(Known(sentences, E), Reader(), data, 8, 8) == (0.875, 1.0)
    shifted = E.roll(1, 0)
    assert retrieval(Known(E, shifted), Reader(), data, 8, 8) == (0.0, 0.0)
    plain = torch.ones(8, 8)  # says nothing: the first of each group
    assert retrieval(Known(plain, plain), Reader(), data, 8, 4) == (0.25, 0.25)
    assert retrieval(Known(E * 7, E * 0.1), Reader(), data, 8, 8) == (1.0, 1.0)  # directions


def test_the_same_sentence_is_one() -> None:
    data = greys([0, 0, 2, 3, 4, 5, 6, 7])
    one_two = E.clone()
    one_two[0] = one_two[1] = E[0]  # pictures 0 and 1 look alike, and are called alike
    assert retrieval(Known(one_two, E), Reader(), data, 8, 8) == (1.0, 1.0)
    other = greys(list(range(8)))  # called by two names, one is wrong
    assert retrieval(Known(one_two, E), Reader(), other, 8, 8)[0] == 0.875


def test_groups_are_drawn_and_only_whole_ones_count() -> None:
    data = greys(list(range(8)))
    assert retrieval(Known(E, E), Reader(), data, 7, 3) == (1.0, 1.0)  # two groups of three
    sentences = E.clone()
    sentences[1] = 0.9 * E[0] + 0.4 * E[1]
    found = {retrieval(Known(E, sentences), Reader(), data, 8, 2, seed)[1] for seed in range(20)}
    assert found == {0.875, 1.0}  # wrong only where pictures 0 and 1 meet
    for n, among in ((8, 9), (3, 4), (8, 1), (8, 0)):
        with pytest.raises(UsageError, match=f"to choose among, got {among}"):
            retrieval(Known(E, E), Reader(), data, n, among)

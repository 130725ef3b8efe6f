"""`benchmarks/ediffi.py` on tiny models: many prompts in a batch, paint, styles, every part."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from scene_reader.emoji import NAMES, prompt_content, train_scene_reader
from scene_reader.reading import SceneReading
from scene_reader.scores import scores
from scene_reader.training import ReaderTraining
from torch import Tensor

from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.loss import LogNormal
from sfumato.systems.ediffi.data.layout import pair_split, place_split, plan
from sfumato.systems.ediffi.experts import Experts, Node
from sfumato.systems.ediffi.model import PromptedModel
from sfumato.systems.ediffi.pipeline import Cascade, ImageRequest, Paint, Stage, imagine
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder
from tiny_prompted import encoder, filled, picture, save_model, tiny_model
from toy_emoji import write_toy_emoji

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")
pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")

bench = import_module("ediffi")
drawn = import_module("ediffi_drawn")
experts = import_module("ediffi_experts")
judged = import_module("ediffi_judged")
placed = import_module("ediffi_placed")

ALL = ("bert", "clip", "t5")
SAID = ("a red square", "a blue square, left of a green square", "a pink square of a cyan square")


def wide(*names: str, side: int, **settings: Any) -> PromptedModel:
    """A tiny model of larger pictures, which attends where they are 8 pixels wide."""
    model = tiny_model(*names, side=side, **settings)
    levels = (1,) * (side // 8).bit_length()
    return replace(model, network=replace(model.network, multipliers=levels, attention=(8,)))


def stage(*names: str, seed: int = 0, **settings: Any) -> Stage:
    model = tiny_model(*names, **settings)
    return Stage(filled(model.build(), seed), model, PromptEncoder(model.encoders))


@pytest.fixture(scope="module")
def two() -> Cascade:
    return Cascade((stage(*ALL), stage("clip", "t5", "bert", seed=1, side=16, low=8)))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "data"))
    return write_toy_emoji(tmp_path / "data")


# ------------------------------------------------------------------------------- prompts in batches


def by_turns(cascade: Cascade, wishes: Sequence[ImageRequest]) -> Tensor:
    """Picture i of the i-th wish, each drawn alone."""
    return torch.cat([imagine(cascade, w, 3, [i], 3).x for i, w in enumerate(wishes)])


def together(cascade: Cascade, asked: Any, batch: int = 50) -> Tensor:
    made: Tensor = drawn.draw(cascade, asked, 3, 3, batch=batch, dtype=torch.float32).x
    return made


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3)


def test_the_reader_is_trained_with_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else is measured without them."""
    with_gradients = []

    def trained(out: Path, progress: object) -> None:
        with_gradients.append(torch.is_grad_enabled())
        raise SfumatoError("far enough")

    monkeypatch.setattr(bench, "train_scene_reader", trained)
    monkeypatch.setattr(sys, "argv", ["ediffi.py", "reader", "--reader", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="far enough"):
        bench.main()
    assert with_gradients == [True]


def test_prompts_of_different_lengths_are_drawn_as_alone(two: Cascade) -> None:
    for w in (1.0, 2.0):
        alone = by_turns(two, [ImageRequest(s, guidance=w) for s in SAID])
        for batch in (50, 2):
            close(together(two, drawn.Prompts(SAID, guidance=w), batch), alone)


def test_networks_are_evaluated_in_the_type_that_is_asked_for(two: Cascade) -> None:
    """bfloat16 has 8 bits: the same pictures to its error, and not to float32's."""
    asked = drawn.Prompts(SAID, guidance=1.0)
    exact = drawn.draw(two, asked, 3, 3, dtype=torch.float32).x
    coarse = drawn.draw(two, asked, 3, 3, dtype=torch.bfloat16).x
    off = float((coarse - exact).square().mean().sqrt() / exact.std())
    assert coarse.dtype == torch.float32 and 1e-4 < off < 0.1


def test_styles_are_those_of_each_prompt(two: Cascade) -> None:
    shown = torch.stack([picture(name) for name in ("pink", "green", "black")])
    for scale in (2.0, 3.5):
        wishes = [
            ImageRequest(s, style=x, guidance=2.0, style_guidance=scale)
            for s, x in zip(SAID, shown, strict=True)
        ]
        asked = drawn.Prompts(SAID, shown, guidance=2.0, style_guidance=scale)
        close(together(two, asked, 2), by_turns(two, wishes))


def test_paint_is_that_of_each_prompt(two: Cascade) -> None:
    g = torch.Generator().manual_seed(0)
    where = (torch.rand(2, 3, 8, 8, generator=g) < 0.5).float()
    phrases = (("red", "blue square", "pink"), ("square", "green", "cyan square"))
    wishes = [
        ImageRequest(
            s, paint=tuple(Paint(phrases[k][i], where[k, i]) for k in (0, 1)), strength=1.5
        )
        for i, s in enumerate(SAID)
    ]
    places = tuple(drawn.Place(p, w) for p, w in zip(phrases, where, strict=True))
    asked = drawn.Prompts(SAID, places=places, strength=1.5)
    close(together(two, asked), by_turns(two, wishes))
    plain = together(two, drawn.Prompts(SAID))
    assert torch.equal(together(two, replace(asked, strength=0.0)), plain)
    assert float((together(two, asked) - plain).abs().max()) > 0.02


def test_encoders_are_hidden(two: Cascade) -> None:
    (first, second) = (one.name for one in two.stages[0].model.encoders if "clip" not in one.name)
    every, one, other, none = (
        together(two, drawn.Prompts(SAID, heard=heard, guidance=2.0))
        for heard in ((first, second), (first,), (second,), ())
    )
    close(every, together(two, drawn.Prompts(SAID, guidance=2.0)))
    close(none, together(two, drawn.Prompts([""] * 3, guidance=2.0)))
    alike = [float((a - b).abs().max()) for a, b in ((every, one), (every, other), (one, other))]
    assert min(alike) > 0.02


def test_what_is_not_finite_is_not_judged(two: Cascade) -> None:
    with pytest.raises(SfumatoError, match="not finite"):
        together(two, drawn.Prompts(SAID, guidance=1e38))


# ---------------------------------------------------------------------------------- paint and style


def test_things_that_are_painted() -> None:
    made = placed.paintings(200, 0)
    assert made.said == placed.paintings(200, 0).said != placed.paintings(200, 1).said
    assert int((made.boxes & made.boxes.flip(1)).sum()) == 0  # apart
    assert bool((made.boxes <= made.halves).all())
    assert bool((made.halves[:, 0] ^ made.halves[:, 1]).all())
    sides = made.boxes.any(2).sum(-1)
    assert torch.equal(sides, made.boxes.any(3).sum(-1))
    assert set(sides.flatten().tolist()) == {11, 12, 13, 14}
    assert not made.boxes[..., [0, -1], :].any() and not made.boxes[..., [0, -1]].any()
    for said, asked in zip(made.said, made.asked, strict=True):
        assert prompt_content(said) == asked and pair_split(*asked.things) == "test"
    firsts = {tuple(h[0].nonzero()[0].tolist() + h[0].nonzero()[-1].tolist()) for h in made.halves}
    assert len(firsts) == 4  # left, right, top, bottom


def test_figures_of_paint_by_hand() -> None:
    made = placed.paintings(2, 0)
    pixels = torch.zeros(2, 32, 32, dtype=torch.int64)
    for b, one in enumerate(made.asked):
        for k, name in enumerate(one.things):
            box = made.boxes[b, k]
            if b and k:  # a quarter of the second thing of the second picture, in a corner
                y, x = box.nonzero()[0].tolist()
                box = torch.zeros_like(box)
                box[y : y + 5, x : x + 5] = True
            pixels[b][box] = NAMES.thing(name) + 1
    ground = torch.tensor([NAMES.ground(one.ground) for one in made.asked])
    zero = torch.zeros(2, dtype=torch.int64)
    found = placed.painted_figures(SceneReading(NAMES, pixels, zero, ground, 16), made)
    area = int(made.boxes[1, 1].sum())
    assert found["object"] == found["both"] == found["exact"] == 100
    assert found["inside"] == found["inside_halves"] == 100
    assert found["overlap"] == found["overlap_box"] == pytest.approx((3 + 25 / area) / 4)
    swapped = replace(made, boxes=made.boxes.flip(1), halves=made.halves.flip(1))
    wrong = placed.painted_figures(SceneReading(NAMES, pixels, zero, ground, 16), swapped)
    assert wrong["both"] == 100 and wrong["inside"] == wrong["overlap"] == 0
    none = placed.painted_figures(SceneReading(NAMES, pixels * 0, zero, ground, 16), made)
    assert none["object"] == none["inside"] == none["inside_halves"] == none["overlap"] == 0


def test_references_do_not_show_what_is_asked_for(toy: Path) -> None:
    made = placed.shown(30, 0)
    assert set(made.pictures) == {"noto", "twemoji", "openmoji", "fluent"}
    assert len({x.sum().item() for x in made.pictures.values()}) == 4
    for said, asked, scene in zip(made.said, made.asked, made.scenes, strict=True):
        assert prompt_content(said) == asked
        assert asked.things[0] not in {t.words for t in plan(scene, "test").things}
        assert place_split(asked.things[0], asked.ground) == "test"


# ----------------------------------------------------------------------------------------- captions


def test_captions_are_those_of_their_scenes(toy: Path) -> None:
    made = judged.captions(40, 0)
    assert made.said != judged.captions(40, 1).said
    for i, said in enumerate(made.said):
        assert said in made.scenes.captions(i) and prompt_content(said) == made.asked[i]
    assert made.pictures(32).shape == (40, 3, 32, 32)
    fine = torch.from_numpy(made.scenes[[5]]).float() / 127.5 - 1
    torch.testing.assert_close(
        made.pictures(32)[5:6], torch.nn.functional.avg_pool2d(fine, 2), rtol=0, atol=1e-5
    )


# ------------------------------------------------------------------------------------------ experts


def alike(seed: int = 0) -> tuple[Stage, Stage]:
    """One model, and experts that all have its weights."""
    single = wide("bert", side=32)
    one = Stage(filled(single.build(), seed), single, PromptEncoder(single.encoders))
    model = replace(single, split=(Node(3, 7), Node(3, 0)))
    made = model.build()
    assert isinstance(made, Experts)
    for expert in made.always.values():
        expert.load_state_dict(one.denoiser.state_dict())
    return one, Stage(made.eval(), model, one.encoder)


def test_experts_that_are_alike_lose_alike(toy: Path) -> None:
    one, both = alike()
    mine, same = experts.losses((one, both), 6, 0, batch=4)
    assert len(mine) == 8 and all(x.shape == (6,) and bool((x > 0).all()) for x in mine)
    for a, b in zip(mine, same, strict=True):
        torch.testing.assert_close(a, b)
    expert: Denoiser = both.denoiser.expert(0)  # type: ignore[attr-defined]
    filled(expert, 5)  # that of the most noise
    _, other = experts.losses((one, both), 6, 0, batch=3)
    gaps = [float((a - b).abs().max()) for a, b in zip(mine, other, strict=True)]
    assert gaps[7] > 1e-3 and max(gaps[:7]) < 1e-5


def test_losses_by_level_by_hand() -> None:
    one = [torch.tensor([1.0, 3.0]) for _ in range(8)]
    other = [torch.tensor([1.0, 2.0]) for _ in range(8)]
    rows = experts.loss_rows([one, other], LogNormal(0.0, 1.0))
    assert [r["node"] for r in rows] == [f"3.{k}" for k in range(8)]
    assert rows[0]["sigma_low"] == 0 and rows[7]["sigma_high"] is None
    assert rows[3]["sigma_high"] == pytest.approx(1.0) == rows[4]["sigma_low"]
    row = rows[2]
    assert (row["single"], row["experts"], row["difference"]) == (2.0, 1.5, -0.5)
    assert row["difference_error"] == pytest.approx(0.5) and row["percent"] == -25
    assert row["single_error"] == pytest.approx(1.0) and row["percent_error"] == pytest.approx(25)


# -------------------------------------------------------------------------------------------- parts


@pytest.fixture
def work(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny models and a tiny reader; few real scenes to compare with."""
    monkeypatch.setattr(judged, "REAL", 40)
    for name, seed, settings in (
        ("base", 0, {"side": 32}),
        ("large", 1, {"side": 64, "low": 32}),
        ("experts", 2, {"side": 32, "split": (Node(3, 7), Node(3, 0))}),
    ):
        model = wide(*ALL, **settings)  # type: ignore[arg-type]
        save_model(tmp_path / name, model, filled(model.build(), seed))
    few = ReaderTraining(steps=2, batch=4, channels=16, multipliers=(1, 2), least=1)
    train_scene_reader(tmp_path / "reader", n=8, training=few)
    return tmp_path


def run(work: Path, part: str, *words: str) -> dict[str, Any]:
    argv = ["ediffi.py", part, *words, "--steps", "2", "--reader", str(work / "reader"),
            "--results", str(work / "results"), "--img", str(work / "img")]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        bench.main()
    made = json.loads((work / "results" / f"ediffi-{part}.json").read_text())
    assert str(work) not in json.dumps(made["results"])
    return dict(made["results"])


@pytest.mark.slow
def test_every_part(work: Path) -> None:
    model = ("--model", str(work / "base"))
    both = (*model, "--enlarge", str(work / "large"))
    found = run(work, "reader", "--n", "20")
    assert found["n"] == 20 and 0 <= found["object"] <= 100 and found["object_n"] >= 20

    found = run(work, "text", *both, "--n", "22")
    assert found["models"] == ["base", "large"] and found["resolution"] == 64
    assert [r["guidance"] for r in found["rows"]] == [1, 3]
    assert [r["nfe"] for r in found["rows"]] == [12, 24]
    assert found["real"]["frechet"] < found["rows"][0]["frechet"]
    assert "likeness" not in found["real"]  # the tiny encoder only sees

    found = run(work, "encoders", *model, "--n", "4", "--guidance", "2")
    assert [r["heard"] for r in found["rows"]] == [
        [], ["sentence:bert"], ["sentence:t5"], ["sentence:bert", "sentence:t5"],
    ]  # fmt: skip

    found = run(work, "paint", *model, "--n", "3", "--strengths", "0", "1")
    assert [r["strength"] for r in found["rows"]] == [0, 1]
    found = run(work, "style", *model, "--n", "3", "--style-guidance", "1", "4")
    vendors = ["noto", "twemoji", "openmoji", "fluent"]
    assert [r["reference"] for r in found["rows"]] == ["none", *vendors, *vendors]
    assert [r.get("style_guidance") for r in found["rows"]] == [None, *[1] * 4, *[4] * 4]
    assert [r["style_guidance"] for r in found["right"]] == [1, 4]
    found = run(work, "sheet", *both)
    assert len(found["prompts"]) == 12 and len(set(found["prompts"])) == 12
    for name, wide in (("paint", 150 + 3 * 130), ("style", 150 + 6 * 130), ("outside", 150 + 520),
                       ("sheet", 2 * (150 + 520))):  # fmt: skip
        with Image.open(work / "img" / f"ediffi-{name}.webp") as drawing:
            assert wide < drawing.width < wide + 30


@pytest.mark.slow
def test_the_part_of_experts(work: Path) -> None:
    words = ("--single", str(work / "base"), "--model", str(work / "experts"))
    found = run(work, "experts", *words, "--n", "4", "--guidance", "1")
    assert found["single"] == "base" and found["split"] == ["3.7", "3.0"]
    assert len(found["losses"]) == 8 and found["cost"]["nfe_single"] == 2
    assert 0.3 < found["cost"]["ratio"] < 3
    weights = [row["megabytes_weights"] for row in found["memory"]]
    assert weights[1] == pytest.approx(3 * weights[0]) and weights[2] == weights[0]


def test_what_cannot_be_measured(work: Path, tmp_path: Path) -> None:
    for words, message in (
        (["text"], "by --model"),
        (["experts", "--model", str(work / "base")], "by --single"),
        (["text", "--model", str(work / "base"), "--clip", encoder("clip")], "family"),
    ):
        with pytest.raises(SystemExit, match=message):
            run(work, *words, "--n", "2")
    with pytest.raises(SfumatoError, match="there is no reader in"):
        bench.read_by(bench.Options("text", reader=tmp_path / "none"))
    with pytest.raises(UsageError, match="listens to sentences only takes no style"):
        one = Cascade((stage("bert"),))
        placed.style_rows(one, None, placed.shown(1, 0), 1.0, (1.0,), 0, 1)


def test_styles_by_scale() -> None:
    """Means over vendors; a mean of two has half the root of the sum of squared errors."""
    rows = [{"reference": "none", "n": 5, "object": 100.0}]
    for scale, right, error in ((3.0, 50.0, 3.0), (3.0, 70.0, 4.0), (6.0, 90.0, None)):
        rows.append({"style_guidance": scale, "right": right, "right_error": error, "n": 5,
                     "object": right + 1})  # fmt: skip
    assert placed.right_styles(rows) == [
        {"style_guidance": 3.0, "right": 60.0, "right_error": 2.5, "object": 61.0, "n": 10},
        {"style_guidance": 6.0, "right": 90.0, "right_error": 0.0, "object": 91.0, "n": 5},
    ]


def test_a_row_of_figures() -> None:
    asked = [prompt_content("a fox on sand"), prompt_content("a bell on snow")]
    zero = torch.zeros(2, dtype=torch.int64)
    found = SceneReading(NAMES, torch.zeros(2, 32, 32, dtype=torch.int64), zero, zero, 1)
    row = judged.Figures(scores(found, asked, "r")).row()
    assert row["object"] == 0 and row["object_n"] == 2 and row["ground_error"] >= 0

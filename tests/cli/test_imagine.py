"""`sfumato imagine`: every option on tiny models, what is written, and every bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from odd_pictures import bomb
from sfumato.cli import main
from sfumato.data import to_uint8
from sfumato.errors import UsageError
from sfumato.files import pictures
from sfumato.model.load import read_model
from sfumato.systems.ediffi.commands import prompted
from sfumato.systems.ediffi.commands.imagine import parse_paint, read_style
from sfumato.systems.ediffi.pipeline import ImageRequest, Paint, imagine, open_cascade
from tiny_prompted import filled, picture, save_model, tiny_model

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

SAID = "a red square, left of a blue square"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two that follow on each other, one that hears no pictures, one whose encoder is gone."""
    root = tmp_path_factory.mktemp("models")
    gone = tiny_model("bert").to_json()
    gone["encoders"][0]["source"] = "no/such/folder"
    made = {
        "base": tiny_model("bert", "clip", "t5"),
        "larger": tiny_model("bert", "clip", "t5", side=16, low=8),
        "deaf": tiny_model("bert"),
    }
    for seed, (name, model) in enumerate(made.items()):
        save_model(root / name, model, filled(model.build(), seed))
    lost: Any = read_model(gone)
    save_model(root / "gone", lost, filled(lost.build()))
    return {name: str(root / name) for name in (*made, "gone")}


@pytest.fixture(autouse=True)
def masks(in_an_empty_folder: Path) -> None:
    """left.png and right.png, 32x32, and the fine.png; style.png of one colour, not square."""
    left = np.zeros((32, 32), np.uint8)
    left[:, :16] = 255
    Image.fromarray(left).save("left.png")
    Image.fromarray(255 - left).save("right.png")
    left[:, :18] = 255
    Image.fromarray(left).save("fine.png")
    Image.new("RGB", (12, 8), (255, 150, 200)).save("style.png")


def left_half(side: int) -> torch.Tensor:
    where = torch.zeros(side, side)
    where[:, : side // 2] = 1
    return where


def options(models: dict[str, str]) -> list[str]:
    """All of them."""
    return [
        "imagine", SAID, "--model", models["base"], "--enlarge", models["larger"], "--n", "3",
        "--paint", "fine.png:red", "--paint", "right.png:blue square:0.5", "--strength", "0.8",
        "--style", "style.png", "--negative", "a green square", "--guidance", "2",
        "--style-guidance", "3", "--steps", "3", "--seed", "5", "--device", "cpu", "--threads", "1",
    ]  # fmt: skip


ABOUT: dict[str, Any] = {
    "sfumato": "imagine", "prompt": SAID, "negative": "a green square", "seed": 5, "steps": 3,
    "paint": ["fine.png:red", "right.png:blue square:0.5"], "strength": 0.8, "guidance": 2.0,
    "style": "style.png", "style_guidance": 3.0,
}  # fmt: skip


def test_everything_at_once(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """To a sheet, a folder and an array: the pictures of the library, and how they were made."""
    cascade = open_cascade([models["base"], models["larger"]])
    left, fine = left_half(16), left_half(16)  # as the largest model sees them
    fine[:, 8] = 1
    paint = (Paint("red", fine), Paint("blue square", 1 - left, 0.5))
    wish = ImageRequest(SAID, "a green square", paint, 0.8, picture("pink"), 2.0, 3.0)
    drawn = imagine(cascade, wish, 5, range(3), 3)
    want = to_uint8(drawn.x).numpy()
    about = {**ABOUT, "model": [models["base"], models["larger"]]}

    assert main([*options(models), "--out", "new/a.npz"]) == 0
    with np.load("new/a.npz") as archive:
        assert np.array_equal(archive["images"], want)
        assert json.loads(str(archive["about"])) == about
    said = capsys.readouterr().out
    assert said.startswith(f"3 pictures of 16x16, {drawn.nfe} network evaluations each, ")
    assert said.endswith(" s\nwrote new/a.npz\n") and drawn.nfe == 4 * (3 + 10)

    assert main([*options(models), "--out", "some", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(Path("some/sample.json").read_text()) == about
    for i in range(3):
        made = np.asarray(Image.open(f"some/{i:06}.png"))
        assert np.array_equal(made.transpose(2, 0, 1), want[i])

    assert main([*options(models), "--out", "a.webp", "--columns", "3"]) == 0
    assert json.loads(pictures.described("a.webp")) == about
    sheet = np.asarray(Image.open("a.webp").convert("RGB"))
    assert np.array_equal(sheet, np.asarray(pictures.sheet(want, 3)))


def test_what_is_left_out_is_as_it_was_learned(models: dict[str, str]) -> None:
    """A sheet by itself; and the same command again may overwrite it, but nothing else."""
    words = ["imagine", "a red square", "--model", models["base"], "--quiet", "--steps", "2"]
    assert main(words) == 0
    want = imagine(open_cascade([models["base"]]), ImageRequest("a red square"), 0, range(4), 2).x
    sheet = pictures.sheet(to_uint8(want).numpy(), 2)
    assert np.array_equal(np.asarray(Image.open("imagined.png")), np.asarray(sheet))
    about = json.loads(pictures.described("imagined.png"))
    assert about["paint"] == [] and about["style"] is None and about["steps"] == 2
    assert main([*words, "--seed", "1"]) == 0
    assert json.loads(pictures.described("imagined.png"))["seed"] == 1
    before = Path("style.png").read_bytes()
    assert main([*words, "--out", "style.png"]) == 2
    assert Path("style.png").read_bytes() == before
    assert main([*words, "--out", "style.png", "--force"]) == 0
    assert Path("style.png").read_bytes() != before


@pytest.mark.parametrize("words", [["imagine", "--help"], ["imagine"],
                                   ["imagine", "a fox", "--model", "no/such"],
                                   ["imagine", "", "--model", "m"]])  # fmt: skip
def test_help_and_what_is_missing_do_not_wait_for_torch(words: list[str]) -> None:
    code = f"import sys\nfrom sfumato.cli import main\nprint(main({words!r}))\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    *shown, status, modules = done.stdout.splitlines()
    assert set(modules.split()).isdisjoint({"torch", "transformers", "accelerate", "scipy"})
    assert status == ("0" if "--help" in words else "2")
    if status == "0":
        text = " ".join(" ".join(shown).translate({ord("│"): " "}).split())
        assert "--style-guidance" in text and "MASK:PHRASE:WEIGHT for another weight" in text


# ------------------------------------------------------------------------------ masks and styles


def test_masks_are_reduced_and_read_with_their_weight() -> None:
    for text, phrase, weight in (
        ("left.png:red", "red", 1.0),
        ("left.png:red square:0.25", "red square", 0.25),
        ("left.png:red:0", "red", 0.0),
        ("left.png:square #2:2", "square #2", 2.0),
        ("left.png:three: a fox", "three: a fox", 1.0),  # a colon of the sentence
        ("left.png:three: a fox:3", "three: a fox", 3.0),
    ):
        found = parse_paint(text, 8)
        assert (found.phrase, found.weight) == (phrase, weight)
        assert torch.equal(found.where, left_half(8))
    grey = np.arange(36, dtype=np.uint8).reshape(6, 6) * 7
    Image.fromarray(grey).save("grey.png")
    want = torch.from_numpy(grey.reshape(2, 3, 2, 3).mean((1, 3)) / 255).float()
    torch.testing.assert_close(parse_paint("grey.png:a", 2).where, want)
    assert parse_paint("grey.png:a", 12).where.shape == (12, 12)


@pytest.mark.parametrize("name", ["a:b.png", "C:\\masks\\left.png", "c:left.png", "16:9:x.png"])
def test_colons_of_a_path_are_its_own(name: str) -> None:
    Path(name).write_bytes(Path("left.png").read_bytes())
    found = parse_paint(f"{name}:red:0.5", 8)
    assert (found.phrase, found.weight) == ("red", 0.5)
    assert torch.equal(found.where, left_half(8))


def test_masks_on_a_transparent_layer_and_turned_ones() -> None:
    """What is transparent is not painted; pictures stand as their EXIF says."""
    layer = np.zeros((8, 8, 4), np.uint8)
    layer[:, :4] = 255
    layer[:, 4:, :3] = 255  # white, but not to be seen
    layer[0, 0, 3] = 51
    Image.fromarray(layer).save("layer.png")
    want = left_half(8)
    want[0, 0] = 0.2
    torch.testing.assert_close(parse_paint("layer.png:a", 8).where, want)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be seen turned by a quarter to the right
    left = Image.open("left.png")
    left.save("turned.png", exif=turned)
    assert torch.equal(parse_paint("turned.png:a", 8).where, left_half(8).T)
    top = np.zeros((8, 12, 3), np.uint8)
    top[:4] = 255
    Image.fromarray(top).save("turned-style.png", exif=turned)
    found = read_style(Path("turned-style.png"))
    assert found.shape == (3, 8, 8)
    assert bool((found[:, :, 4:] == 1).all() and (found[:, :, :4] == -1).all())


def test_a_style_is_the_middle_square_on_white() -> None:
    x = np.random.default_rng(0).integers(0, 256, (7, 10, 3), np.uint8)
    Image.fromarray(x).save("wide.png")
    want = torch.from_numpy(x[:, 1:8].transpose(2, 0, 1) / 127.5 - 1).float()
    torch.testing.assert_close(read_style(Path("wide.png")), want)
    Image.fromarray(x.transpose(1, 0, 2)).save("high.png")
    torch.testing.assert_close(read_style(Path("high.png")), want.mT)
    clear = np.dstack([x, np.zeros((7, 10), np.uint8)])
    Image.fromarray(clear).save("clear.png")
    assert bool((read_style(Path("clear.png")) == 1).all())


# ------------------------------------------------------------------------------------ bad input


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence."""
    assert main(words) == 2
    out = capsys.readouterr()
    assert out.err.count("\n") == 1 and out.err.startswith("sfumato imagine: ")
    assert "bug" not in out.err and out.out == ""
    return out.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n", "0"], "--n must be at least 1, got 0"),
        (["--n", "-2"], "--n must be at least 1, got -2"),
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--columns", "-1"], "--columns must be at least 0, got -1"),
        (["--threads", "-1"], "--threads must be at least 0, got -1"),
        (["--guidance", "-1"], "--guidance: expected 0 or more, got -1"),
        (["--guidance", "nan"], "--guidance: expected 0 or more, got nan"),
        (["--strength", "-0.5"], "--strength: expected 0 or more, got -0.5"),
        (["--style-guidance", "-3"], "--style-guidance: expected 0 or more, got -3"),
        (["--out", "a.jpg"], "--out a.jpg: expected .png or .webp (a sheet)"),
        (["--out", "left.png"], "left.png exists and was not made by this command"),
        (["--model", "no/such"], "there is no folder 'no/such'"),
        (["--model", "left.png"], "expected the folder of a model, but left.png is a file"),
        (["--model", "tiny-faces"], "draws without prompts; use sfumato sample for it"),
        (["--enlarge", "tiny-gray"], "unknown model 'tiny-gray'"),
        (["--enlarge", "BASE"], "a model that is a base cannot go on from pictures of 8 pixels"),
        (["--enlarge", "LARGER", "LARGER"], "enlarges 8 pixels cannot go on from pictures of 16"),
        (["--model", "LARGER"], "a model that enlarges 8 pixels cannot go on from nothing"),
        (["--model", "GONE"], "there is no folder 'no/such/folder'"),
        (["--model", "DEAF", "--style", "style.png"], "takes sentences only; leave out"),
        (["--paint", "left.png:green"], "'green' is not in 'a red square, left of a blue square'"),
        (["--paint", "left.png:rad"], "did you mean 'red'?"),
        (["--paint", "left.png:square"], "2 times; say which with 'square #1', or 'square #all'"),
        (["--paint", "left.png:red:strong"], "'red:strong' is not in"),
        (["--paint", "left.png:red:-1"], "--paint: expected MASK:PHRASE or MASK:PHRASE:WEIGHT"),
        (["--paint", "left.png:red:nan"], "got 'left.png:red:nan'"),
        (["--paint", "left.png:red:inf"], "got 'left.png:red:inf'"),
        (["--paint", "left.png"], "expected MASK:PHRASE or MASK:PHRASE:WEIGHT, such as left.png:"),
        (["--paint", "left.png: "], "expected MASK:PHRASE or MASK:PHRASE:WEIGHT"),
        (["--paint", ""], "expected MASK:PHRASE or MASK:PHRASE:WEIGHT"),
        (["--paint", "none.png:red"], "--paint none.png: no such file"),
        (["--paint", "C:\\none.png:red"], "--paint C:\\none.png: no such file"),
        (["--paint", "folder:red"], "--paint folder: a folder has this name"),
        (["--paint", "style.png:red"], "--paint style.png: expected a square picture, got 12x8"),
        (["--paint", "black.png:red"], "--paint black.png: nothing is white in it"),
        (["--paint", "text.png:red"], "--paint text.png: not a picture of a kind that is read"),
        (["--paint", "huge.png:red"], "--paint huge.png: more than 64,000,000 pixels"),
        (["--style", "none.png"], "--style none.png: no such file"),
        (["--style", "text.png"], "--style text.png: not a picture of a kind that is read"),
        (["--style", "huge.png"], "--style huge.png: more than 64,000,000 pixels"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn(
    words: list[str], message: str, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder").mkdir()
    Path("text.png").write_text("a fox")
    Path("huge.png").write_bytes(bomb())
    Image.new("L", (8, 8)).save("black.png")
    words = [models.get(w.lower(), w) if w.isupper() else w for w in words]
    before = sorted(p.name for p in Path().iterdir())
    assert message in refused(["imagine", SAID, "--model", models["base"], *words], capsys)
    assert sorted(p.name for p in Path().iterdir()) == before


@pytest.mark.parametrize("said", ["", "  ", "\n"])
def test_an_empty_sentence(
    said: str, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    message = "expected a sentence, got nothing"
    assert message in refused(["imagine", said, "--model", models["base"]], capsys)


def test_other_commands_name_this_one(
    models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", models["base"]]) == 2
    assert "see sfumato imagine --help" in capsys.readouterr().err
    with pytest.raises(UsageError, match="expected MASK:PHRASE"):
        parse_paint("left.png", 8)


def test_the_shipped_models_are_taken_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual model and what enlarges its pictures; a model that is named has only its own."""
    monkeypatch.setattr("sfumato.files.cards.SHIPPED", tmp_path / "zoo")
    with pytest.raises(UsageError, match="scenes is not shipped here: give the folder of a"):
        prompted.chosen("", ())
    for name in (prompted.USUAL, "other"):
        (tmp_path / "zoo" / name).mkdir(parents=True)
        (tmp_path / "zoo" / name / "card.json").write_text("{}")
    assert prompted.chosen("", ()) == (prompted.USUAL,)
    assert prompted.chosen("", ["other"]) == (prompted.USUAL, "other")
    (tmp_path / "zoo" / prompted.LARGER).mkdir()
    (tmp_path / "zoo" / prompted.LARGER / "card.json").write_text("{}")
    assert prompted.chosen("", ()) == (prompted.USUAL, prompted.LARGER)
    assert prompted.chosen("", ["other"]) == (prompted.USUAL, "other")
    assert prompted.chosen("mine", ()) == ("mine",)
    assert prompted.chosen("mine", ["other"]) == ("mine", "other")

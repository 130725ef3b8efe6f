"""The recipe of a small CLIP: from a folder to one that the encoders read; honest scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.cli import main
from sfumato.data.captioned import Captioned
from sfumato.errors import MissingExtra, UsageError
from sfumato.recipes import clip
from sfumato.recipes.codec import decode
from sfumato.store import read_folder
from sfumato.text.dual import DualConfig
from sfumato.text.encoders import PictureEncoder, Transformer
from toy_captioned import COLOURS, squares
from toy_emoji import write_toy_emoji

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

TINY: Final = DualConfig(
    side=16, patch=8, width=32, heads=2, picture_layers=1, text_layers=1, shared=16,
    vocabulary=300, length=12, steps=100, batch=10, rate=3e-3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _its_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "data"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 20), colour).save(tmp_path / "mine" / f"{name}.png")
        (tmp_path / "mine" / f"{name}.txt").write_text(f"a {name} square\n")
    return tmp_path / "mine"


def test_from_a_folder_to_encoders(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "clip"
    words = ["train", "clip", "--path", str(folder), "--out", str(out)]
    for name in ("side", "width", "heads", "picture_layers", "text_layers", "shared", "vocabulary",
                 "length", "steps", "batch", "rate"):  # fmt: skip
        words += [f"--dual.{name.replace('_', '-')}", str(getattr(TINY, name))]
    assert main([*words, "--dual.hold", "0"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line]
    assert said[0].startswith("step 50 of 100, loss ") and said[0].endswith(" s left")
    assert said[1].startswith("step 100 of 100, loss ") and said[1].endswith(", 0 s left")
    assert said[2] == f"run folder: {out}"
    files = read_folder(out)  # complete, and as it was written
    about = json.loads(files["training.json"])
    assert decode(about["config"], clip.Config) == clip.Config(out, folder, None, TINY)
    assert about["data"]["source"] == str(folder)
    perfect = {"sentence": 1.0, "picture": 1.0, "n": 10}
    assert about["scores"].pop("seconds") > 0
    assert about["scores"].pop("threads") == torch.get_num_threads()
    assert about["scores"] == {"pictures": "those of the training", "of 10": perfect}

    data = squares(10)
    v = Transformer(out).encode([s for (s,) in data.captions]).encoded.pooled
    u = PictureEncoder(out).encode(data.batch(range(10))[0]).pooled
    assert (u @ v.T).argmax(1).tolist() == list(range(10)) == (v @ u.T).argmax(1).tolist()

    assert main(words) == 2
    assert f"{out} already holds something; choose another" in capsys.readouterr().err


def test_what_is_not_possible_is_said_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "a").write_text("kept")
    for out in (full, full / "a"):
        with pytest.raises(UsageError, match="already holds something"):
            clip.run(clip.Config(out, tmp_path / "gone", dual=TINY))
    assert (full / "a").read_text() == "kept"
    with pytest.raises(UsageError, match="as many pictures as a batch, 11, got 10"):
        clip.run(clip.Config(tmp_path / "new", folder, dual=DualConfig(side=16, batch=11)))
    (folder / "red.txt").unlink()
    with pytest.raises(UsageError, match=r"no text beside the picture for red.png"):
        clip.run(clip.Config(tmp_path / "new", folder, dual=TINY))

    def absent(module: str, extra: str) -> Any:
        raise MissingExtra(f"pip install 'sfumato[{extra}]'")

    monkeypatch.setattr(clip, "require", absent)
    with pytest.raises(MissingExtra, match=r"sfumato\[text\]"):
        clip.run(clip.Config(tmp_path / "new", folder, dual=TINY))


def test_it_goes_on_from_another_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes are those of the first; of sentences it says the same, of pictures something else."""
    monkeypatch.setattr(clip, "clip_data", lambda split, side: squares(10, side))
    first = clip.run(clip.Config(tmp_path / "first", dual=TINY))
    more = DualConfig(side=32, batch=10, steps=5, seed=1)
    out = clip.run(clip.Config(tmp_path / "more", start=first, dual=more))
    said, asked = ["a red square", "a pink one"], squares(10).batch(range(10))[0]
    one, other = (Transformer(where).encode(said).encoded for where in (first, out))
    assert torch.equal(one.tokens, other.tokens) and torch.equal(one.pooled, other.pooled)
    one, other = (PictureEncoder(where).encode(asked) for where in (first, out))
    assert one.pooled.shape == other.pooled.shape
    assert not torch.equal(one.pooled, other.pooled)
    assert (out / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    assert json.loads((out / "training.json").read_text())["scores"]["of 10"]["sentence"] == 1.0

    for wrong, why in ((tmp_path / "none", "cannot be read as a dual encoder"), (folder, "cannot")):
        with pytest.raises(UsageError, match=why):
            clip.run(clip.Config(tmp_path / "new", start=wrong, dual=TINY))
    library = pytest.importorskip("transformers")
    library.BertConfig(hidden_size=8).save_pretrained(tmp_path / "bert")
    with pytest.raises(UsageError, match="is a bert; expected a CLIPModel"):
        clip.run(clip.Config(tmp_path / "new", start=tmp_path / "bert", dual=TINY))
    assert not (tmp_path / "new").exists()


def test_the_scores_are_of_pictures_that_were_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the held-out ones have other sentences, so what was learned is wrong of every one."""

    def toy(split: str, side: int) -> Captioned:
        styles = tuple("light" if k % 2 else "dark" for k in range(10))
        return replace(squares(10, side, shift=int(split == "test")), styles=styles)

    monkeypatch.setattr(clip, "clip_data", toy)
    out = clip.run(clip.Config(tmp_path / "out", dual=TINY))
    scores = json.loads((out / "training.json").read_text())["scores"]
    assert scores["pictures"] == "held out"
    assert scores["of 10"] == {"sentence": 0.0, "picture": 0.0, "n": 10}
    assert "of 100" not in scores
    assert scores["style"] == {"style": 1.0, "n": 10}  # these are the same as in training


def test_an_interrupted_run_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = clip.save_dual

    def interrupted(model: Any, words: Any, where: Path) -> None:
        plain(model, words, where)
        raise KeyboardInterrupt

    monkeypatch.setattr(clip, "clip_data", lambda split, side: squares(10, side))
    monkeypatch.setattr(clip, "save_dual", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clip.run(clip.Config(tmp_path / "out", dual=TINY))
    assert not list((tmp_path / "out").iterdir())
    monkeypatch.setattr(clip, "save_dual", plain)
    clip.run(clip.Config(tmp_path / "out", dual=TINY))  # the same again
    assert read_folder(tmp_path / "out")


def test_the_built_in_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dicebear", reason="needs the extra: pip install 'sfumato[data]'")
    pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")
    write_toy_emoji(tmp_path / "data")
    monkeypatch.setattr(clip, "_AVATARS", {"train": 5, "test": 3})
    for split, n in (("train", 5), ("test", 3)):
        data = clip.clip_data(split, 32)  # type: ignore[arg-type]
        assert data.images.shape[1:] == (3, 32, 32)
        groups = data.captions[:90]
        styled = sum(all("in the style of" in s for s in group) for group in groups)
        plain = sum(not any("in the style of" in s for s in group) for group in groups)
        faces = sum(all("background" in s and "hair" in s for s in group) for group in groups)
        emoji = sum(any(s.startswith("a drawing of") for s in group) for group in groups)
        assert (styled, plain, faces, emoji) == (40, 50, 10, 20)
        seen = {group for group in data.captions[:180] if "hair" in group[0]}
        assert len(seen) == n
        assert data.card.size.endswith("66.7% scenes, 22.2% emoji, 11.1% avatars")
    one, other = (set(clip.clip_data(s, 32).captions[:900]) for s in ("train", "test"))  # type: ignore[arg-type]
    assert not one & other
    assert np.asarray(data.images[0]).dtype == np.uint8

"""The recipe of a small CLIP: from a folder to one that the encoders read; honest scores."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sfumato.cli import main
from sfumato.errors import MissingExtra, UsageError
from sfumato.files.store import read_folder
from sfumato.model.codec import decode
from sfumato.systems.ediffi import clip
from sfumato.systems.ediffi.data import Captioned
from sfumato.systems.ediffi.text.dual import DualConfig, save_dual
from sfumato.systems.ediffi.text.dual_training import train_dual
from sfumato.systems.ediffi.text.encoders import PictureEncoder, Transformer
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
    assert decode(about["config"], clip.Clip) == clip.Clip(out, folder, "", TINY)
    assert about["data"]["source"] == str(folder)
    perfect = {"sentence": 1.0, "picture": 1.0, "n": 10}
    assert about["seconds"] > 0 and about["threads"] == torch.get_num_threads()
    assert about["before"] == []
    assert about["scores"] == {"pictures": "those of the training", "of 10": perfect}

    data = squares(10)
    v = Transformer(out).encode([s for (s,) in data.captions]).encoded.pooled
    u = PictureEncoder(out).encode(data.batch(range(10))[0]).pooled
    assert (u @ v.T).argmax(1).tolist() == list(range(10)) == (v @ u.T).argmax(1).tolist()

    assert main(words) == 2
    assert f"{out} already holds something; go on with a run by --resume" in capsys.readouterr().err


def test_what_is_not_possible_is_said_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "a").write_text("kept")
    for out in (full, full / "a"):
        with pytest.raises(UsageError, match="already holds something"):
            clip.run(clip.Clip(out, tmp_path / "gone", dual=TINY))
    assert (full / "a").read_text() == "kept"
    with pytest.raises(UsageError, match="as many pictures as a batch, 11, got 10"):
        clip.run(clip.Clip(tmp_path / "new", folder, dual=DualConfig(side=16, batch=11)))
    (folder / "red.txt").unlink()
    with pytest.raises(UsageError, match=r"no text beside the picture for red.png"):
        clip.run(clip.Clip(tmp_path / "new", folder, dual=TINY))

    def absent(module: str, extra: str) -> Any:
        raise MissingExtra(f"pip install 'sfumato[{extra}]'")

    monkeypatch.setattr(clip, "require", absent)
    with pytest.raises(MissingExtra, match=r"sfumato\[text\]"):
        clip.run(clip.Clip(tmp_path / "new", folder, dual=TINY))


def test_it_goes_on_from_another_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of sentences it says the same, of pictures something else, and it knows what was before."""
    sides = list[int]()

    def toy(split: str, side: int) -> Captioned:
        sides.append(side)
        return squares(10, side)

    monkeypatch.setattr(clip, "clip_data", toy)
    first = clip.run(clip.Clip(tmp_path / "zoo" / "first", dual=TINY))
    (first / "card.json").write_text('{"name": "first", "system": "CLIP", "data": "squares"}')
    monkeypatch.setenv("SFUMATO_ZOO", str(tmp_path / "zoo"))
    more = DualConfig(batch=10, steps=5, seed=1, rate=3e-3)
    sides.clear()
    out = clip.run(clip.Clip(tmp_path / "more", start="first", dual=more))  # by its name
    assert sides == [16, 16]
    said, asked = ["a red square", "a pink one"], squares(10).batch(range(10))[0]
    one, other = (Transformer(where).encode(said).encoded for where in (first, out))
    assert torch.equal(one.tokens, other.tokens) and torch.equal(one.pooled, other.pooled)
    one, other = (PictureEncoder(where).encode(asked) for where in (first, out))
    assert one.pooled.shape == other.pooled.shape
    assert not torch.equal(one.pooled, other.pooled)
    assert (out / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    for name in ("tokenizer_config.json", "config.json"):
        here = json.loads((out / name).read_text())
        assert here.items() >= json.loads((first / name).read_text()).items()
        assert "local_files_only" not in here
    third = clip.run(clip.Clip(tmp_path / "third", start=str(out), dual=more))
    files = [first, out, third]
    told = [json.loads((where / "training.json").read_text()) for where in files]
    mine = [{k: one[k] for k in ("config", "seconds", "threads")} for one in told]
    assert [one["before"] for one in told] == [[], mine[:1], mine[:2]]
    assert told[2]["config"]["start"] == str(out)


def test_what_cannot_go_on(tmp_path: Path) -> None:
    library = pytest.importorskip("transformers")
    usual = DualConfig(batch=10, steps=5)

    def refused(start: Path, why: str, dual: DualConfig = usual) -> None:
        with pytest.raises(UsageError, match=why):
            clip.run(clip.Clip(tmp_path / "new", start=str(start), dual=dual))
        assert not (tmp_path / "new").exists()

    made = tmp_path / "made"
    save_dual(*train_dual(squares(10), replace(TINY, steps=1)), made)
    refused(made, "--dual.text-layers: .*made, which is to go on, has its own",
            replace(usual, text_layers=2))  # fmt: skip
    refused(tmp_path / "none", "cannot be read as a dual encoder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "cannot be read as a dual encoder")
    library.BertConfig(hidden_size=8).save_pretrained(tmp_path / "bert")
    refused(tmp_path / "bert", "is a bert; expected a CLIPModel")

    def broken(name: str) -> Path:
        where = tmp_path / name
        shutil.copytree(made, where)
        return where

    weights = load_file(made / "model.safetensors")
    lacking = broken("lacking")
    kept = {k: w for k, w in weights.items() if k != "visual_projection.weight"}
    save_file(kept, lacking / "model.safetensors", {"format": "pt"})
    refused(lacking, "lacks 1 weight, such as visual_projection.weight")
    short = broken("short")
    whole = (made / "model.safetensors").read_bytes()
    (short / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(short, "cannot be read as a dual encoder")
    other = broken("other")
    weights["visual_projection.weight"] = torch.zeros(3, 3, dtype=torch.float16)
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    refused(other, "cannot be read as a dual encoder")
    mute = broken("mute")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (mute / name).unlink()
    refused(mute, "cannot be read as a dual encoder|sub-words and knows")


def test_the_scores_are_of_pictures_that_were_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the held-out ones have other sentences, so what was learned is wrong of every one."""

    def toy(split: str, side: int) -> Captioned:
        styles = tuple("ab"[k % 2 if split == "train" else k < 3] for k in range(10))
        return replace(squares(10, side, shift=int(split == "test")), styles=styles)

    monkeypatch.setattr(clip, "clip_data", toy)
    out = clip.run(clip.Clip(tmp_path / "out", dual=TINY))
    scores = json.loads((out / "training.json").read_text())["scores"]
    assert scores["pictures"] == "held out"
    assert scores["of 10"] == {"sentence": 0.0, "picture": 0.0, "n": 10}
    assert "of 100" not in scores
    # of those with an odd number, which it takes for b, only 1 is b; and so is an even one, 0 or 2
    assert scores["style"] == {"style": 0.4, "n": 10}


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
        clip.run(clip.Clip(tmp_path / "out", dual=TINY))
    assert not list((tmp_path / "out").iterdir())
    monkeypatch.setattr(clip, "save_dual", plain)
    clip.run(clip.Clip(tmp_path / "out", dual=TINY, resume=True))  # the last step stands
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

"""Readers of the scenes of emoji: what sentences ask for, how masks are lowered, the folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scene_reader.emoji import (
    NAMES,
    SEED,
    pixels_of,
    prompt_content,
    scene_set,
    train_scene_reader,
)
from scene_reader.reading import SceneReading, load_reader
from scene_reader.scores import PromptContent, scores
from scene_reader.training import ReaderTraining

from sfumato.errors import SfumatoError, UsageError
from sfumato.files.progress import Progress
from sfumato.systems.ediffi.data import Scene, Scenes
from sfumato.systems.ediffi.data.layout import plan, relation, sentences
from toy_emoji import write_toy_emoji


def test_every_sentence_asks_for_what_is_in_its_scene() -> None:
    said = 0
    for split in ("train", "test"):
        for i in range(400):
            made = plan(i, split)  # type: ignore[arg-type]
            cells = {t.words: cell for t, cell in zip(made.things, made.cells, strict=True)}
            for sentence in sentences(made):
                asked = prompt_content(f"{sentence}, in the style of noto")
                assert sorted(asked.things) == sorted(cells), sentence
                assert asked.ground == made.ground.name
                ways = [w for w in ("left of", "right of", "above", "below") if w in sentence]
                assert len(asked.relations) >= len(ways)
                said += len(asked.relations)
                for a, way, b in asked.relations:
                    assert relation(cells[a], cells[b]) == way, sentence
    assert said > 1000


def test_sentences_by_hand() -> None:
    assert prompt_content("a car, a carrot and an owl on a brick wall") == PromptContent(
        ("car", "carrot", "owl"), "bricks"
    )
    assert prompt_content(
        "in a blue sky, a blue book is to the left of a red heart"
    ) == PromptContent(("blue book", "red heart"), "sky", (("blue book", "left of", "red heart"),))
    far = prompt_content("a fox above a bell and right of a star")
    assert far.relations == (("fox", "above", "bell"), ("fox", "right of", "star"))
    assert far.ground == ""
    with pytest.raises(UsageError, match="about things of scenes, got 'a zebra on sand'"):
        prompt_content("a zebra on sand")


def test_a_pixel_is_a_things_if_half_of_it_is() -> None:
    fine = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [2, 2, 0, 2], [2, 2, 2, 2]], np.uint8)
    scene = Scene(
        0,
        np.zeros((3, 4, 4), np.uint8),
        (),
        ("fox", "bell"),
        np.zeros((2, 4)),
        fine,
        "noto",
        "sand",
    )
    fox, bell = NAMES.thing("fox") + 1, NAMES.thing("bell") + 1
    assert pixels_of(scene, 2).tolist() == [[fox, 0], [bell, bell]]
    assert pixels_of(scene, 4).tolist() == np.array([0, fox, bell])[fine].tolist()


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "data"))
    return write_toy_emoji(tmp_path / "data")


def test_scenes_with_what_is_known_of_them(toy: Path) -> None:
    every = Scenes("test", 64, 20)
    made = scene_set(every, [3, 0, 7])
    assert made.pictures.shape == (3, 3, 32, 32) and made.pixels.shape == (3, 32, 32)
    for k, i in enumerate((3, 0, 7)):
        scene = every.scene(i)
        mean = scene.image.reshape(3, 32, 2, 32, 2).astype(float).mean((2, 4))
        assert np.abs(made.pictures[k] - mean).max() <= 0.5
        there = {NAMES.thing(name) + 1 for name in scene.things}
        assert set(np.unique(made.pixels[k])) == there | {0}
        assert NAMES.vendors[made.vendor[k]] == scene.vendor
        assert NAMES.grounds[made.ground[k]] == scene.ground
    assert len(scene_set(every, range(2), 64)) == 2
    with pytest.raises(UsageError, match="a side that divides 64, got 24"):
        scene_set(every, range(2), 24)


def test_the_truth_itself_is_all_right(toy: Path) -> None:
    """So the scores have no ceiling but the reader's: at 32 pixels every thing is large enough."""
    import torch

    every = Scenes("test", 64, 300)
    known = scene_set(every, range(300))
    found = SceneReading(
        NAMES,
        torch.from_numpy(known.pixels).long(),
        torch.from_numpy(known.vendor),
        torch.from_numpy(known.ground),
        ReaderTraining().least,
    )
    for last in (0, -1):
        asked = [prompt_content(every.captions(i)[last]) for i in range(300)]
        made = scores(found, asked, "truth")
        assert made["object"].value == made["ground"].value == made["exact"].value == 100
    first = scores(found, [prompt_content(every.captions(i)[0]) for i in range(300)], "truth")
    assert first["relation"].value == first["attribute"].value == 100


def test_a_reader_is_trained_and_written(toy: Path, tmp_path: Path) -> None:
    said: list[Progress] = []
    tiny = ReaderTraining(steps=2, batch=4, channels=16, multipliers=(1, 2))
    made = train_scene_reader(tmp_path / "r", n=8, training=tiny, progress=said.append)
    assert said[-1].step == 2
    again = load_reader(tmp_path / "r")
    assert again.names == NAMES == made.names and again.resolution == 32 and again.least == 16
    card = json.loads((tmp_path / "r" / "card.json").read_text())
    assert card["kind"] == "scene reader" and f"8 train scenes of seed {SEED}" in card["note"]
    assert card["params"] == sum(p.numel() for p in made.network.parameters())
    with pytest.raises(SfumatoError, match="exists already"):
        train_scene_reader(tmp_path / "r", n=8, training=tiny)
    train_scene_reader(tmp_path / "r", n=8, training=tiny, replace=True)


def test_without_the_emoji(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "none"))
    with pytest.raises(SfumatoError, match="run 'sfumato data fetch emoji'"):
        train_scene_reader(tmp_path / "r")
    assert not (tmp_path / "r").exists()

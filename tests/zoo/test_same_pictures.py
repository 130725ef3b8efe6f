"""The same seed draws the same picture for ever.

``same.npz`` holds what every shipped model drew at commit 197a25c, before the house was rebuilt
(two samples of seed 0, by the commands below). On the machine that made it they are the same bit
for bit; elsewhere other instructions round otherwise, so a few grey levels are allowed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.cli import main
from sfumato.data.places import data_root
from sfumato.files.cards import shipped

SAME = np.load(Path(__file__).with_name("same.npz"))
PHOTOGRAPH = Path(__file__).parents[2] / "src/sfumato/cli/tour/photographs/chelsea.webp"

SAMPLED = [
    "avatars", "avatars-genie", "diamond-cld", "fashion", "fashion-cld", "fashion-ddgan",
    "fashion-dsno", "fashion-genie", "fashion-private-1", "fashion-private-10",
    "multi-swiss-roll-cld",
]  # fmt: skip
FIELDS = {
    "mixture": ["--resolution", "32x32"],
    "vorticity": ["--resolution", "64x64"],
    "burgers": ["--resolution", "32"],
    "darcy": ["--resolution", "16x16", "--given", "darcy"],
    "digits-sdf": ["--resolution", "64x64"],
}
SENTENCE = "a red apple left of a blue book on grass"
IMAGINED = {"scenes": ["--model", "scenes", "--steps", "8", "--n", "2"], "scenes-64": ["--n", "2"]}
RESTORED = {
    "restore": ["--task", "jpeg"],
    "restore-inpaint": ["--task", "inpaint", "--mask", "mask.png"],
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def compare(name: str, made: np.ndarray) -> None:
    want = SAME[name]
    assert made.shape == want.shape
    if want.dtype == np.uint8:
        apart = np.abs(made.astype(int) - want.astype(int))
        assert apart.mean() < 0.1 and np.quantile(apart, 0.999) <= 4
    else:
        assert np.abs(made - want).max() < 2e-3 * np.abs(want).max()


def need(name: str) -> None:
    if not (data_root() / name).is_dir():
        pytest.skip(f"{name} is not here: run 'sfumato data fetch {name}'")


def test_every_model_that_draws_is_compared() -> None:
    compared = {*SAMPLED, *FIELDS, *IMAGINED, *RESTORED}
    judges = {"avatars-classifier", "fashion-classifier", "scenes-clip"}
    assert compared == set(shipped()) - judges == set(SAME.files)


@pytest.mark.parametrize("name", SAMPLED)
def test_samples(name: str) -> None:
    assert main(["sample", name, "--n", "2", "--seed", "0", "--out", "out.npz"]) == 0
    made = np.load("out.npz")
    compare(name, made["images"] if "images" in made else made["points"])


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name: str) -> None:
    if name == "darcy":
        need("neuraloperator")
    assert main(["fields", "sample", name, "--n", "2", *FIELDS[name], "--out", "out.npz"]) == 0
    made = np.load("out.npz")
    field = made[[k for k in made.files if made[k].ndim > 1][-1]]
    compare(name, field[:, ::2, ::2] if name == "digits-sdf" else field)


@pytest.mark.parametrize("name", IMAGINED)
def test_sentences(name: str) -> None:
    need("minilm")
    assert main(["imagine", SENTENCE, *IMAGINED[name], "--out", "out.npz"]) == 0
    made = np.load("out.npz")["images"]
    compare(name, made[: len(SAME[name])])


@pytest.mark.parametrize("name", RESTORED)
def test_restored(name: str) -> None:
    with Image.open(PHOTOGRAPH) as photograph:
        photograph.convert("RGB").crop((100, 60, 148, 108)).save("in.png")
    mask = np.zeros((48, 48), np.uint8)
    mask[16:32, 16:32] = 255
    Image.fromarray(mask).save("mask.png")
    assert main(["restore", "in.png", "out.png", *RESTORED[name], "--steps", "2"]) == 0
    with Image.open("out.png") as made:
        compare(name, np.asarray(made.convert("RGB")))

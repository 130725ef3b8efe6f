"""What is read in scenes: readings by hand, training on real ones, folders, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from scene_reader.emoji import FINE, NAMES, prompt_content, scene_set
from scene_reader.reading import (
    Names,
    SceneFeatures,
    SceneReader,
    SceneReading,
    load_reader,
    lowered,
    save_reader,
)
from scene_reader.scores import object_hits, scores
from scene_reader.segmenter import Segmented, Segmenter, SegmenterConfig
from scene_reader.training import (
    ReaderTraining,
    SceneSet,
    reader_loss,
    smoothed,
    train_reader,
    worsened,
)
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError
from sfumato.files import store
from sfumato.files.progress import Progress
from sfumato.metrics.features import pixel_values
from sfumato.seeds import generator
from sfumato.systems.ediffi.data import Scenes

FEW = Names(("fox", "bell"), ("noto", "fluent"), ("sand", "snow", "night"))


def reading(pixels: list[Any], least: int = 2, names: Names = FEW) -> SceneReading:
    made = torch.tensor(pixels)
    zero = torch.zeros(len(made), dtype=torch.int64)
    return SceneReading(names, made, zero, zero, least)


def reader(least: int = 2, **settings: Any) -> SceneReader:
    torch.manual_seed(0)
    config = SegmenterConfig(3, 3, (2, 3), channels=16, multipliers=(1, 2), **settings)
    network = Segmenter(config).eval()
    return SceneReader(network, "small reader", FEW, 8, least)


# ----------------------------------------------------------------------------------------- readings


def test_what_is_found_and_where_by_hand() -> None:
    one = [[0, 1, 1], [0, 0, 1], [2, 0, 0]]
    two = [[2, 2, 0], [2, 2, 0], [0, 0, 0]]
    found = reading([one, two])
    assert found.counts.tolist() == [[3, 1], [0, 4]]
    assert found.found.tolist() == [[True, False], [False, True]]
    assert found.where(0, 0).long().tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert not found.where(0, 1).any() and not found.where(1, 0).any()
    assert found.centre(0, 0) == pytest.approx(((1 + 2 + 2) / 3 + 0.5, 1 / 3 + 0.5))
    assert found.centre(1, 1) == (1.0, 1.0) and found.centre(0, 1) is None
    assert reading([one], least=1).centre(0, 1) == (0.5, 2.5)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pixels": torch.zeros(2, 3, dtype=torch.int64)}, r"expected pixels \(B, H, W\)"),
        ({"vendor": torch.zeros(1, dtype=torch.int64)}, r"got \(2, 3, 3\), \(1,\) and \(2,\)"),
        ({"pixels": torch.full((2, 3, 3), 3)}, r"pixels in 0..2, got \[3\]"),
        ({"vendor": torch.tensor([0, 2])}, r"vendors in 0..1, got \[0, 2\]"),
        ({"ground": torch.tensor([-1, 2])}, r"grounds in 0..2, got \[-1, 2\]"),
    ],
)
def test_readings_that_do_not_fit(changed: dict[str, Tensor], message: str) -> None:
    zero = torch.zeros(2, dtype=torch.int64)
    right = {"pixels": torch.zeros(2, 3, 3, dtype=torch.int64), "vendor": zero, "ground": zero}
    with pytest.raises(ValueError, match=message):
        SceneReading(FEW, **right | changed, least=1)


def test_names() -> None:
    assert (FEW.thing("bell"), FEW.vendor("fluent"), FEW.ground("night")) == (1, 1, 2)
    for look, name, message in (
        (FEW.thing, "fix", "unknown thing 'fix'; did you mean 'fox'"),
        (FEW.vendor, "notto", "unknown vendor 'notto'; did you mean 'noto'"),
        (FEW.ground, "sandd", "unknown ground 'sandd'; did you mean 'sand'"),
    ):
        with pytest.raises(UsageError, match=message):
            look(name)
    with pytest.raises(UsageError, match="names of things, all different"):
        Names(("fox", "fox"), ("noto",), ("sand",))
    with pytest.raises(UsageError, match="names of grounds, all different"):
        Names(("fox",), ("noto",), ())


# ------------------------------------------------------------------------------------------ readers


def test_a_reader_takes_the_most_likely_of_everything() -> None:
    made = reader()
    x = torch.rand(5, 3, 8, 8) * 2 - 1
    said = made.network(pixel_values(x))
    found = made.read(x, batch=2)
    assert torch.equal(found.pixels, said.pixels.argmax(1))
    assert torch.equal(found.vendor, said.labels[0].argmax(1))
    assert torch.equal(found.ground, said.labels[1].argmax(1)) and found.least == 2
    features = SceneFeatures(made)
    torch.testing.assert_close(features(x), said.features, rtol=1e-4, atol=1e-5)
    assert features(x).shape == (5, features.dim) and features.name == "small reader"


def test_larger_pictures_are_lowered_and_bytes_are_read() -> None:
    made = reader()
    fine = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    small = fine.float().view(3, 3, 8, 2, 8, 2).mean((3, 5)) / 127.5 - 1
    torch.testing.assert_close(lowered(pixel_values(fine), 8), small)
    said = made.network(small)
    for given in (fine, fine.numpy(), fine.float() / 127.5 - 1):
        assert torch.equal(made.read(given).pixels, said.pixels.argmax(1))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 3, 8, 8), "expected pictures, got none"),
        ((2, 1, 8, 8), r"H a multiple of 8, got \(2, 1, 8, 8\)"),
        ((2, 3, 8, 16), r"H a multiple of 8, got \(2, 3, 8, 16\)"),
        ((2, 3, 12, 12), r"H a multiple of 8, got \(2, 3, 12, 12\)"),
        ((2, 3, 4, 4), r"H a multiple of 8, got \(2, 3, 4, 4\)"),
    ],
)
def test_pictures_that_cannot_be_read(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        reader().read(torch.zeros(shape))


def test_a_network_with_other_outputs_than_names() -> None:
    network = Segmenter(SegmenterConfig(3, 4, (2, 3), 16, (1, 2)))
    with pytest.raises(ValueError, match=r"labels \(3, \(2, 3\)\), got \(4, \(2, 3\)\)"):
        SceneReader(network, "r", FEW, 8, 2)
    with pytest.raises(ValueError, match="expected least >= 1, got 0"):
        reader(least=0)


# ------------------------------------------------------------------------------------------ folders


def test_folder_round_trip(tmp_path: Path) -> None:
    made = reader()
    save_reader(made, tmp_path / "r", {"name": "small reader"})
    again = load_reader(tmp_path / "r")
    x = torch.rand(4, 3, 8, 8)
    assert (again.name, again.names, again.resolution, again.least) == ("small reader", FEW, 8, 2)
    assert torch.equal(again.features(x), made.features(x))
    assert torch.equal(again.read(x).pixels, made.read(x).pixels)
    assert json.loads(store.read_folder(tmp_path / "r")["card.json"]) == {"name": "small reader"}
    with pytest.raises(SfumatoError, match="exists already"):
        save_reader(made, tmp_path / "r", {})
    save_reader(reader(least=5), tmp_path / "r", {}, replace=True)
    assert load_reader(tmp_path / "r").least == 5


def test_damaged_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    files = store.read_folder(save_reader(reader(), tmp_path / "r", {}))
    described = json.loads(files["model.json"])
    weights = load(files["model.safetensors"])
    weights.pop("input.bias")
    cases: dict[str, tuple[dict[str, bytes], str]] = {
        "newer": ({"model.json": _json(described | {"format_version": 2})}, "install a newer one"),
        "other": ({"model.json": _json(described | {"kind": "classifier"})},
                  "not a scene reader but classifier"),
        "names": ({"model.json": _json(described | {"names": {"things": ["a"]}})}, "do not fit"),
        "fewer": ({"model.safetensors": save(weights)}, "do not fit"),
        "words": ({"model.json": b"[]"}, "does not describe a model"),
    }  # fmt: skip
    for name, (changed, message) in cases.items():
        store.write_folder(tmp_path / name, files | changed)
        with pytest.raises(SfumatoError, match=message):
            load_reader(tmp_path / name)
    (tmp_path / "r" / "model.json").write_text("{}")
    with pytest.raises(SfumatoError, match="does not match its checksum"):
        load_reader(tmp_path / "r")


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


# ----------------------------------------------------------------------------------------- training


def squares(n: int, seed: int = 0) -> SceneSet:
    """A light or a dark square of 4 pixels somewhere on one of three greys; two frames."""
    rng = np.random.default_rng(seed)
    pictures = np.empty((n, 3, 8, 8), np.uint8)
    pixels = np.zeros((n, 8, 8), np.uint8)
    ground, vendor, thing = (rng.integers(0, k, n) for k in (3, 2, 2))
    for i in range(n):
        pictures[i] = 90 + 30 * ground[i]
        pictures[i, :, 0] = 255 * vendor[i]
        y, x = rng.integers(1, 5), rng.integers(0, 5)
        pictures[i, :, y : y + 4, x : x + 4] = 255 * thing[i]
        pixels[i, y : y + 4, x : x + 4] = 1 + thing[i]
    return SceneSet(pictures, pixels, vendor, ground)


QUICK = ReaderTraining(steps=120, batch=32, channels=16, multipliers=(1, 2), least=5, noise=0.05)


def test_a_reader_learns_and_the_random_state_is_left_alone() -> None:
    said: list[Progress] = []
    state = torch.get_rng_state()
    made = train_reader(squares(320), FEW, QUICK, name="squares", progress=said.append)
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.step for p in said] == [50, 100, 120] and said[-1].loss < 0.5 * said[0].loss
    assert (made.name, made.resolution, made.least) == ("squares", 8, 5)
    test = squares(100, 1)
    found = made.read(test.pictures)
    truth = torch.from_numpy(test.pixels).long()
    assert float((found.pixels == truth).double().mean()) > 0.97
    assert float((found.vendor == torch.from_numpy(test.vendor)).double().mean()) > 0.97
    assert float((found.ground == torch.from_numpy(test.ground)).double().mean()) > 0.97
    right = torch.stack([(truth == k).flatten(1).any(1) for k in (1, 2)], 1)
    assert float((found.found == right).double().mean()) > 0.97


def test_the_same_seed_gives_the_same_reader() -> None:
    few = ReaderTraining(steps=3, batch=8, channels=16, multipliers=(1, 2))
    x = squares(4, 2).pictures
    a, b = (train_reader(squares(16), FEW, few).features(x) for _ in range(2))
    assert torch.equal(a, b)
    other = ReaderTraining(steps=3, batch=8, channels=16, multipliers=(1, 2), seed=1)
    assert not torch.equal(a, train_reader(squares(16), FEW, other).features(x))


def test_the_loss_by_hand() -> None:
    g = torch.Generator().manual_seed(0)
    said = Segmented(
        torch.randn(2, 3, 2, 2, generator=g), (torch.randn(2, 2, generator=g),),
        torch.randn(2, 2, generator=g), torch.zeros(2, 1),
    )  # fmt: skip
    pixels = torch.tensor([[[0, 1], [1, 0]], [[2, 2], [0, 1]]])
    vendor = torch.tensor([1, 0])
    log = said.pixels.log_softmax(1)
    want = (
        -sum(float(log[b, pixels[b, i, j], i, j]) for b in (0, 1) for i in (0, 1) for j in (0, 1))
        / 8
    )
    want -= 0.3 * sum(float(said.labels[0].log_softmax(1)[b, vendor[b]]) for b in (0, 1)) / 2
    p = said.present.sigmoid()
    there = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    want -= 0.3 * float((there * p.log() + (1 - there) * (1 - p).log()).mean())
    assert float(reader_loss(said, pixels, (vendor,), 0.3).mean()) == pytest.approx(want, rel=1e-5)


def test_pictures_are_blurred_and_made_noisy_half_of_the_time() -> None:
    x = torch.rand(400, 3, 6, 6) * 2 - 1
    same = worsened(x, ReaderTraining(noise=0, blur=0), generator(0))
    assert torch.equal(same, x)
    soft = worsened(x, ReaderTraining(noise=0, blur=1), generator(0)) - x
    most = smoothed(x) - x
    share = (soft / most).flatten(1).median(1).values
    untouched = (soft == 0).flatten(1).all(1)
    assert 0.4 < float(untouched.double().mean()) < 0.6
    assert float(share.min()) >= 0 and 0.9 < float(share.max()) <= 1.001
    noisy = (worsened(x, ReaderTraining(noise=0.2, blur=0), generator(0)) - x).flatten(1).std(1)
    assert 0.4 < float((noisy == 0).double().mean()) < 0.6 and 0.17 < float(noisy.max()) < 0.25
    line = torch.zeros(1, 3, 5, 5)
    line[:, :, :, 2] = 4.0
    assert smoothed(line)[0, 0, 2].tolist() == [0, 1, 2, 1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (s.pictures.astype(np.float32), s.pixels, s.vendor, s.ground), "float32"),
        (lambda s: (s.pictures[:, :1], s.pixels, s.vendor, s.ground), r"\(16, 1, 8, 8\)"),
        (lambda s: (s.pictures, s.pixels[:, :4], s.vendor, s.ground), r"\(16, 4, 8\)"),
        (lambda s: (s.pictures, s.pixels, s.vendor[:3], s.ground), r"\(3,\) and \(16,\)"),
        (lambda s: (s.pictures[:0], s.pixels[:0], s.vendor[:0], s.ground[:0]), r"\(0, 3, 8, 8\)"),
    ],
)
def test_sets_that_do_not_fit(
    change: Callable[[SceneSet], tuple[np.ndarray, ...]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        SceneSet(*change(squares(16)))


def test_what_cannot_be_trained_on() -> None:
    few = squares(16)
    with pytest.raises(UsageError, match="at least 32 scenes, got 16"):
        train_reader(few, FEW, QUICK)
    with pytest.raises(UsageError, match=r"pixels in 0..1, got up to 2"):
        train_reader(few, Names(("fox",), FEW.vendors, FEW.grounds), QUICK)
    with pytest.raises(UsageError, match=r"grounds in 0..0, got up to 2"):
        train_reader(few, Names(FEW.things, FEW.vendors, ("sand",)), QUICK)
    for settings, message in (
        ({"steps": 0}, "steps >= 1, got 0"),
        ({"blur": -1}, "blur >= 0, got -1"),
        ({"rate": float("nan")}, "rate of 0 or more, got nan"),
    ):
        with pytest.raises(UsageError, match=message):
            ReaderTraining(**settings)  # type: ignore[arg-type]
    with pytest.raises(SfumatoError, match="loss is not finite .* lower learning rate"):
        train_reader(squares(64), FEW, ReaderTraining(
            steps=40, batch=16, channels=16, multipliers=(1, 2), rate=1e18))  # fmt: skip


@pytest.mark.slow
def test_a_short_training_reads_real_scenes_far_better_than_chance() -> None:
    """By chance a ground is right one time in ten; things are those of other prompts as often."""
    pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")
    try:
        train, test = Scenes("train", FINE, seed=7), Scenes("test", FINE)
        known = scene_set(train, range(800))
    except SfumatoError:
        pytest.skip("the emoji are not here: run 'sfumato data fetch emoji'")
    short = ReaderTraining(
        steps=140, batch=32, channels=24, multipliers=(1, 2, 2), rate=5e-3, least=8
    )
    made = train_reader(known, NAMES, short)
    unseen = scene_set(test, range(200))
    found = made.read(unseen.pictures)
    asked = [prompt_content(test.captions(i)[0]) for i in range(200)]
    figures = scores(found, asked, made.name)
    assert figures["ground"].value > 80 and figures["noun"].value > 5
    thing = torch.from_numpy(unseen.pixels) > 0
    assert float(((found.pixels > 0) == thing).double().mean()) > 0.9
    others = 100 * float(object_hits(found, asked[1:] + asked[:1]).double().mean())
    assert figures["object"].value > 2 * others

"""Scenes: sentences, boxes and masks that are true of the pictures; splits; the same by index."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from toy_emoji import write_toy_emoji

pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")

from sfumato.data.emoji import VENDORS
from sfumato.data.packages import EMOJI
from sfumato.data.places import data_root
from sfumato.errors import SfumatoError, UsageError
from sfumato.systems.ediffi.data.grounds import GROUNDS
from sfumato.systems.ediffi.data.layout import THINGS, pair_split, place_split, plan, sentences
from sfumato.systems.ediffi.data.scenes import Scene, Scenes, scenes
from sfumato.systems.ediffi.text.phrases import spans

WHERE: Final = {ground.phrase: ground.name for ground in GROUNDS}
CLAIM: Final = re.compile(r"(?:to the )?(left of|right of|above|below) an? ")
MAGENTA: Final = np.array([1.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_emoji(tmp_path_factory.mktemp("emoji"))


@pytest.fixture
def real() -> None:
    if not all((data_root() / package.key).is_dir() for package in EMOJI):
        pytest.skip("the emoji are not here: run 'sfumato data fetch emoji'")


def where(mask: np.ndarray, k: int, j: int) -> set[str]:
    """What is true of two things by their pixels alone: apart, and mainly in that direction."""
    (ya, xa), (yb, xb) = np.nonzero(mask == k), np.nonzero(mask == j)
    across, down = xb.mean() - xa.mean(), yb.mean() - ya.mean()
    found = set()
    for name, free, far in (
        ("left of", xa.max() < xb.min(), across > abs(down)),
        ("right of", xb.max() < xa.min(), -across > abs(down)),
        ("above", ya.max() < yb.min(), down > abs(across)),
        ("below", yb.max() < ya.min(), -down > abs(across)),
    ):
        if free and far:
            found.add(name)
    return found


def claims(caption: str, things: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """(thing, relation, thing) of every relation that a sentence states; the first thing is its
    subject."""
    at = {caption.index(thing): thing for thing in things}
    subject = at[min(at)]
    return [(subject, m[1], at[m.end()]) for m in CLAIM.finditer(caption)]


def check(scene: Scene) -> int:
    stated = 0
    for caption in scene.captions:
        grounds = [name for phrase, name in WHERE.items() if phrase in caption]
        assert grounds == [scene.ground]
        for thing in scene.things:
            assert len(spans(caption, thing)) == 1  # so that it can be painted
            assert re.search(rf"\b{'an' if thing[0] in 'aeiou' else 'a'} {thing}\b", caption)
        for thing in {t.words for t in THINGS} - set(scene.things):
            assert not re.search(rf"\b{thing}\b", caption)
        for a, relation, b in claims(caption, scene.things):
            k, j = scene.things.index(a) + 1, scene.things.index(b) + 1
            assert where(scene.mask, k, j) == {relation}, caption
            stated += 1
    return stated


@pytest.mark.parametrize("resolution", [32, 64, 100])
@pytest.mark.parametrize("split", ["train", "test"])
def test_sentences_are_true_of_the_masks(root: Path, split: str, resolution: int) -> None:
    made = Scenes(split, resolution, 150, root=root)  # type: ignore[arg-type]
    counts = [0, 0, 0, 0]
    for i in range(len(made)):
        scene = made.scene(i)
        stated = check(scene)
        n = len(scene.things)
        counts[n] += 1
        assert stated == {1: 0, 2: 4}.get(n, stated)
        assert n < 3 or stated in (8, 24)  # of one thing to both others, by one or by all three
    assert min(counts[1:]) > 15


@pytest.mark.parametrize("vendor", VENDORS)
def test_masks_are_where_the_picture_differs_from_its_ground(root: Path, vendor: str) -> None:
    made = Scenes("train", 48, 60, vendor=vendor, root=root)
    for i in range(len(made)):
        scene, ground = made.scene(i), made.ground(i) / 255.0
        toward = MAGENTA[:, None, None] - ground
        alpha = ((scene.image / 255.0 - ground) * toward).sum(0) / (toward**2).sum(0)
        sure = abs(alpha - 0.5) > 0.02
        assert ((alpha > 0.5) == (scene.mask > 0))[sure].all()
        assert sure.mean() > 0.95  # edges may be covered by exactly a half
        outside = np.ones((48, 48), np.bool_)
        for x0, y0, x1, y1 in scene.boxes:
            outside[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = False
        assert np.array_equal(scene.image[:, outside], made.ground(i)[:, outside])


def test_boxes_are_tight_apart_and_whole(root: Path) -> None:
    made = Scenes("test", 64, 120, root=root)
    for i in range(len(made)):
        scene = made.scene(i)
        assert scene.boxes.shape == (len(scene.things), 4)
        assert set(np.unique(scene.mask)) == set(range(len(scene.things) + 1))
        cells = made.plan(i).cells
        for k, (x0, y0, x1, y1) in enumerate(scene.boxes, 1):
            left, upper, side = cells[k - 1]
            assert abs((x0 + x1) / 2 - (2 * left + side)) <= 1  # in the middle of its cell
            assert abs((y0 + y1) / 2 - (2 * upper + side)) <= 1
            inside = np.zeros((64, 64), np.bool_)
            inside[y0:y1, x0:x1] = True
            own = scene.mask == k
            assert not (own & ~inside).any()
            edges = own[y0, x0:x1], own[y1 - 1, x0:x1], own[y0:y1, x0], own[y0:y1, x1 - 1]
            assert all(edge.any() for edge in edges)
            assert min(x0, y0) >= 2 and max(x1, y1) <= 62  # none is cut off
            assert max(x1 - x0, y1 - y0) >= 15
        for (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) in combinations(scene.boxes, 2):
            assert ax1 < bx0 or bx1 < ax0 or ay1 < by0 or by1 < ay0


def test_a_scene_depends_on_seed_split_and_number_alone(root: Path) -> None:
    made = Scenes("train", 32, 40, root=root)
    everything = made[:]
    order = np.random.default_rng(0).permutation(40)
    assert np.array_equal(made[order], everything[order])
    assert np.array_equal(Scenes("train", 32, 1000, root=root)[7], everything[7])
    assert np.array_equal(made.scene(7).image, everything[7])
    assert not np.array_equal(Scenes("train", 32, 40, seed=1, root=root)[7], everything[7])
    assert not np.array_equal(Scenes("test", 32, 40, root=root)[7], everything[7])
    data = scenes(Scenes("train", 32, 40, root=root))
    assert data.captions[7] == made.scene(7).captions
    part = data.subset([30, 7])
    assert np.array_equal(part.images[1], everything[7])
    assert part.draw_captions([0, 1], 5) == (
        part.draw_captions([0], 5)[0],
        part.draw_captions([1], 5)[0],
    )
    x, _ = data.batch([7])
    assert np.allclose((x[0].numpy() + 1) * 127.5, everything[7], atol=1e-3)
    assert sentences(plan(2))[0] == "a rocket right of a robot on a brick wall"  # for good


def test_the_same_scene_by_every_vendor_and_at_every_resolution(root: Path) -> None:
    by = {v: Scenes("train", 64, 30, vendor=v, root=root) for v in VENDORS}
    drawn = Scenes("train", 64, 30, root=root)
    small = Scenes("train", 32, 30, root=root)
    seen = set()
    for i in range(30):
        pictures = {v: made.scene(i) for v, made in by.items()}
        assert len({(p.things, p.captions, p.ground) for p in pictures.values()}) == 1
        assert len({p.image.tobytes() for p in pictures.values()}) == 4
        assert {v: p.vendor for v, p in pictures.items()} == {v: v for v in VENDORS}
        mine = drawn.scene(i)
        seen.add(mine.vendor)
        assert np.array_equal(mine.image, pictures[mine.vendor].image)
        assert small.captions(i) == mine.captions
        halved = mine.image.reshape(3, 32, 2, 32, 2).mean((2, 4))
        assert abs(halved - small[i]).mean() < 0.8
    assert seen == set(VENDORS)


def test_no_pair_and_no_sentence_of_test_is_in_train() -> None:
    said: dict[str, set[str]] = {}
    for split in ("train", "test"):
        plans = [plan(i, split) for i in range(3000)]  # type: ignore[arg-type]
        said[split] = {s for made in plans for s in sentences(made)}
        held = 0
        for made in plans:
            words = [thing.words for thing in made.things]
            assert len(set(words)) == len(words)
            assert all(made.ground.name not in thing.hidden_on for thing in made.things)
            pairs = [pair_split(a, b) for a, b in combinations(words, 2)]
            if len(words) == 1:
                assert place_split(words[0], made.ground.name) == split
            elif split == "train":
                assert "test" not in pairs
            else:
                assert "test" in pairs
                held += pairs[0] == "test"
        if split == "test":
            assert 0.5 < held / sum(len(made.things) > 1 for made in plans) < 0.95
    assert not said["train"] & said["test"]
    words = [thing.words for thing in THINGS]
    pairs = [pair_split(a, b) == "test" for a, b in combinations(words, 2)]
    assert 0.08 < np.mean(pairs) < 0.14
    for a in words:  # every thing is in some pair of each split
        assert {pair_split(a, b) for b in words if b != a} == {"train", "test"}
    assert pair_split("bus", "owl") == pair_split("owl", "bus")


def test_all_things_and_grounds_are_drawn_about_as_often() -> None:
    plans = [plan(i) for i in range(6000)]
    things = [plan_thing.words for made in plans for plan_thing in made.things]
    counts = np.array([things.count(thing.words) for thing in THINGS])
    assert counts.min() > 0.6 * counts.mean() and counts.max() < 1.5 * counts.mean()
    on = [made.ground.name for made in plans]
    grounds = np.array([on.count(ground.name) for ground in GROUNDS])
    assert grounds.min() > 0.6 * grounds.mean() and grounds.max() < 1.5 * grounds.mean()
    sizes = np.bincount([len(made.things) for made in plans], minlength=4)[1:] / 6000
    assert abs(sizes - [0.25, 0.5, 0.25]).max() < 0.03
    vendors = [made.vendor for made in plans]
    assert all(abs(vendors.count(v) / 6000 - 0.25) < 0.03 for v in VENDORS)


def test_the_style_is_said_only_when_asked_for(root: Path) -> None:
    plain, styled = Scenes("train", n=40, root=root), Scenes("train", n=40, style=True, root=root)
    for i in range(40):
        scene = styled.scene(i)
        assert all(s.endswith(f" in the style of {scene.vendor}") for s in scene.captions)
        assert not any(vendor in s for vendor in VENDORS for s in plain.captions(i))
    alone = Scenes("train", n=2, vendor="fluent", style=True, root=root)
    assert alone.captions(0)[0].endswith("in the style of fluent")


def test_wrong_wishes(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown split 'tests'; did you mean 'test'"):
        Scenes("tests", root=root)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown vendor 'flunt'; did you mean 'fluent'"):
        Scenes(vendor="flunt", root=root)
    for resolution in (31, 129):
        with pytest.raises(UsageError, match=rf"resolution must lie in 32..128, got {resolution}"):
            Scenes("train", resolution, root=root)
    with pytest.raises(UsageError, match=r"n must lie in 1..1000000000, got 0"):
        Scenes("train", n=0, root=root)
    with pytest.raises(SfumatoError, match="sfumato data fetch emoji"):
        Scenes("train", root=tmp_path / "nothing")
    with pytest.raises(IndexError, match="scene 4 is out of range for 4 scenes"):
        Scenes("train", n=4, root=root).scene(4)
    lacking = Scenes("train", n=400, root=write_toy_emoji(tmp_path, without="owl"))
    with pytest.raises(SfumatoError, match="'owl' of .* cannot be drawn"):
        lacking[:]


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("vendor", VENDORS)
def test_real_things_can_be_seen_on_their_grounds(vendor: str) -> None:
    made = Scenes("train", 32, 400, vendor=vendor)
    seen: dict[str, list[float]] = {}
    for i in range(len(made)):
        scene, ground = made.scene(i), made.ground(i).astype(np.int64)
        check(scene)
        differs = abs(scene.image - ground).max(0)
        assert (differs[scene.mask > 0] > 0).mean() > 0.95
        for k, thing in enumerate(scene.things, 1):
            seen.setdefault(thing, []).append(float((differs[scene.mask == k] > 30).mean()))
    assert len(seen) == 64
    for thing, shares in seen.items():
        assert np.mean(shares) > 0.6, thing
        assert min(shares) > 0.4, thing

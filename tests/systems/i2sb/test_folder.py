"""Which files, where to, and what happens when one fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from odd_pictures import put, saved
from sfumato.errors import SfumatoError, UsageError
from sfumato.files import pictures
from sfumato.systems.i2sb.folder import Item, mask_for, plan, run

ONE = saved(Image.new("RGB", (3, 3)), "PNG")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "b/c.PNG", "b/d/e.png", "f.gif"):
        put(tmp_path / "in", name, ONE)
    for name in (".hidden.png", "notes.txt", "b/.x/y.png"):
        put(tmp_path / "in", name, b"x")
    return tmp_path / "in"


def names(items: object) -> list[tuple[str, str]]:
    return [(i.name, i.target.as_posix().split("/out/")[-1]) for i in items]  # type: ignore[attr-defined]


def test_a_folder_keeps_its_structure(photos: Path, tmp_path: Path) -> None:
    found = plan(photos, tmp_path / "out")
    assert names(found.items) == [
        ("a.png", "a.png"), ("b/c.PNG", "b/c.PNG"), ("b/d/e.png", "b/d/e.png"), ("f.gif", "f.png"),
    ]  # fmt: skip
    assert found.skipped == 0
    assert not (tmp_path / "out").exists()


def test_a_file_goes_to_a_file_or_into_a_folder(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for out, want in (("x.jpg", "x.jpg"), ("there", "there/a.png"), ("new", "new/a.png")):
        (item,) = plan(photos / "a.png", tmp_path / out).items
        assert item.target == tmp_path / want
    (item,) = plan(photos / "f.gif", tmp_path / "there").items
    assert item.target == tmp_path / "there" / "f.png"
    assert item.spread.name == "f.png.spread.png"
    assert item.compare.name == "f.png.compare.png"


def test_originals_are_overwritten_only_when_told(photos: Path, tmp_path: Path) -> None:
    for source in (photos, photos / "a.png"):
        for force in (False, True):
            with pytest.raises(UsageError, match="would overwrite .*--in-place"):
                plan(source, source, force=force)
        with pytest.raises(UsageError, match="--in-place overwrites the originals, so OUT must be"):
            plan(source, tmp_path / "out", in_place=True)
    with pytest.raises(UsageError, match="would overwrite"):
        plan(photos / "a.png", photos)
    found = plan(photos, photos / ".." / "in", in_place=True)
    assert [i.target.name for i in found.items] == ["a.png", "c.PNG", "e.png", "f.png"]
    (item,) = plan(photos / "a.png", photos, in_place=True).items
    assert item.target == photos / "a.png"
    put(photos, "f.png", ONE)
    with pytest.raises(UsageError, match=r"the result of f\.gif would overwrite f\.png"):
        plan(photos, photos, in_place=True)


def test_an_original_by_another_name_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").symlink_to(photos / "b" / "c.PNG")
    with pytest.raises(UsageError, match=r"result of a\.png would overwrite b/c\.PNG"):
        plan(photos, out, force=True)


def test_results_are_overwritten_only_when_told(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out, "b/c.PNG", ONE)
    put(out, "f.png", ONE)
    with pytest.raises(UsageError, match=r"c\.PNG and 1 more exist already; --force"):
        plan(photos, out)
    assert len(plan(photos, out, force=True).items) == 4
    left = plan(photos, out, skip_existing=True)
    assert [i.name for i in left.items] == ["a.png", "b/d/e.png"]
    assert left.skipped == 2
    put(out, "a.png.spread.png", ONE)
    assert len(plan(photos, out, skip_existing=True).items) == 2
    with pytest.raises(UsageError, match=r"a\.png\.spread\.png exists already"):
        plan(photos, out, skip_existing=True, spread=True)
    put(out, "b/d/e.png.compare.png", ONE)
    with pytest.raises(UsageError, match=r"e\.png\.compare\.png exists already"):
        plan(photos, out, skip_existing=True, compare=True)
    with pytest.raises(UsageError, match=r"f\.png exists already"):
        plan(photos / "a.png", out / "f.png")


def test_results_inside_the_folder_are_no_originals(photos: Path) -> None:
    put(photos / "done", "old.png", ONE)
    assert len(plan(photos, photos / "done").items) == 4


def test_our_own_maps_are_no_originals(photos: Path) -> None:
    about = json.dumps({"sfumato": "restore"})
    picture = Image.new("RGB", (3, 3))
    put(photos, "a.png.spread.png", pictures.encode(picture, about=about))
    put(photos, "a.png.compare.png", pictures.encode(picture, about=about))
    put(photos, "mine.compare.png", ONE)
    found = plan(photos, photos, in_place=True)
    assert [i.name for i in found.items] == [
        "a.png", "b/c.PNG", "b/d/e.png", "f.gif", "mine.compare.png",
    ]  # fmt: skip


def test_two_results_of_one_name(photos: Path, tmp_path: Path) -> None:
    put(photos, "f.png", ONE)
    with pytest.raises(UsageError, match=r"f\.gif and f\.png would both become.*rename one"):
        plan(photos, tmp_path / "out")


def test_places_that_make_no_sense(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist; expected a picture or a folder"):
        plan(tmp_path / "none", tmp_path / "out")
    with pytest.raises(UsageError, match="is a folder, so OUT must be one"):
        plan(photos, put(tmp_path, "file.png", ONE))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no pictures.*\.png"):
        plan(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UsageError, match="ends in .png.*got '.txt'"):
        plan(photos / "a.png", tmp_path / "out.txt")
    with pytest.raises(UsageError, match="256 colours"):
        plan(photos / "a.png", tmp_path / "out.gif")


def test_masks_by_name(photos: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    put(masks, "a.jpg", ONE)
    put(masks, "b/c.PNG", ONE)
    items = plan(photos, tmp_path / "out").items
    assert mask_for(None, items[0]) is None
    assert mask_for(masks / "a.jpg", items[1]) == masks / "a.jpg"
    assert mask_for(masks, items[0]) == masks / "a.jpg"
    assert mask_for(masks, items[1]) == masks / "b" / "c.PNG"
    with pytest.raises(UsageError, match=r"there is no mask for it, such as .*b/d/e\.png"):
        mask_for(masks, items[2])
    (single,) = plan(photos / "a.png", tmp_path / "out").items
    assert mask_for(masks, single) == masks / "a.jpg"


def test_what_fails_stops_nothing_but_bugs_do() -> None:
    items = [Item(n, Path(n), Path(n)) for n in "abcdef"]
    errors = {
        "a": SfumatoError("clear words"),
        "c": OSError(13, "Permission denied"),
        "d": MemoryError(),
        "e": RuntimeError("out of memory on the card"),
    }

    def do(item: Item) -> str:
        if item.name in errors:
            raise errors[item.name]
        return item.name * 2

    outcome = run(items, do)
    assert [(i.name, made) for i, made in outcome.done] == [("b", "bb"), ("f", "ff")]
    assert [(i.name, why) for i, why in outcome.failed] == [
        ("a", "clear words"),
        ("c", "no permission"),
        ("d", "not enough memory"),
        ("e", "out of memory on the card"),
    ]
    assert outcome.status == 1
    assert run(items[1:2], do).status == 0
    for stops in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        errors["f"] = stops  # type: ignore[assignment]
        with pytest.raises(type(stops)) as stopped:
            run(items, do, "how to go on")
        assert stopped.value.__notes__ == ["1 of 6 pictures done and kept, 4 failed; how to go on"]
        stops.__notes__.clear()
        with pytest.raises(type(stops)) as stopped:
            run(items[5:], do)
        assert not stopped.value.__notes__  # of one picture there is nothing to say
    errors["f"] = TypeError("a bug")  # type: ignore[assignment]
    with pytest.raises(TypeError, match="a bug"):
        run(items, do)

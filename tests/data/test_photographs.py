"""The photographs: who took them, that train and test differ, where the files are looked for."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sfumato.data.packages import SCIKIT_IMAGE, WALLPAPERS_16, WALLPAPERS_20
from sfumato.data.photographs import TEST, TRAIN, photograph, photographs
from sfumato.data.places import data_root
from sfumato.errors import SfumatoError, UsageError

NEEDED = {
    "train": [data_root() / p.key for p in (WALLPAPERS_16, WALLPAPERS_20)],
    "test": [data_root() / SCIKIT_IMAGE.key] if find_spec("skimage") is None else [],
}


def need(split: str) -> None:
    if not all(folder.is_dir() for folder in NEEDED[split]):
        pytest.skip("the photographs are not here: run 'sfumato data fetch photographs'")


def no_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.data.photographs.find_spec", lambda _: None)


@pytest.mark.parametrize(("split", "count"), [("train", 14), ("test", 5)])
def test_the_real_sets_are_whole(split: str, count: int) -> None:
    need(split)
    data = photographs(split, 64)  # type: ignore[arg-type]
    assert data.images.shape == (40_000, 3, 64, 64)
    assert data.labels is None
    held = data.images.photographs  # type: ignore[attr-defined]
    assert len(held) == count
    assert max(max(levels[0].shape) for levels in held) <= 2000
    assert sum(level.nbytes for levels in held for level in levels) < 200_000_000
    x, _ = data.batch(range(64))
    assert x.shape == (64, 3, 64, 64)
    assert -0.6 < float(x.mean()) < 0.4 and float(x.std()) > 0.3  # neither black nor one grey
    again = photographs(split, 64, 100)  # type: ignore[arg-type]
    assert np.array_equal(again.images[:], data.images[:100])


def test_authors_and_licences_are_those_of_the_copyright_file() -> None:
    need("train")
    blocks: dict[str, tuple[str, str]] = {}
    for package in (WALLPAPERS_16, WALLPAPERS_20):
        text = (data_root() / package.key / "copyright").read_text("utf-8")
        pattern = r"Files: \d\d\.04/(\S+)\nCopyright: (.*)\nLicense: (\S+)"
        blocks |= {m[1]: (m[2], m[3]) for m in re.finditer(pattern, text)}
    licences = set()
    for photo in TRAIN:
        copyright_line, licence = blocks[photo.file]
        assert photo.author.split()[-1].strip('"') in copyright_line
        assert licence.replace("-", "") == photo.licence.replace(" ", "").replace("-", "")
        licences.add(photo.licence)
    assert all(licence.startswith("CC") for licence in licences)
    card = photographs("train", 64, 10).card
    assert all(p.file in card.licence and p.author in card.licence for p in TRAIN)


def test_no_photograph_is_in_both_splits_and_names_differ() -> None:
    names = [photo.name for photo in (*TRAIN, *TEST)]
    assert len(set(names)) == len(names) == 19
    assert not {p.package for p in TRAIN} & {p.package for p in TEST}
    assert not any("umang" in p.file or "analogpattern" in p.file for p in TRAIN)


def test_one_whole_photograph_by_name() -> None:
    need("test")
    astronaut = photograph("astronaut")
    assert (astronaut.shape, astronaut.dtype) == ((3, 512, 512), np.uint8)
    assert photograph("chelsea").shape == (3, 300, 451)
    with pytest.raises(UsageError, match="unknown photograph .x.; there are: aitzgorri, astronaut"):
        photograph("x")


def test_installed_and_fetched_files_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("skimage") is None:
        pytest.skip("scikit-image is not installed: pip install 'sfumato[test]'")
    if not (data_root() / SCIKIT_IMAGE.key).is_dir():
        pytest.skip("the photographs are not here: run 'sfumato data fetch photographs'")
    installed = [photograph(photo.name, Path("nowhere")) for photo in TEST]
    no_installed_package(monkeypatch)
    for photo, image in zip(TEST, installed, strict=True):
        assert np.array_equal(photograph(photo.name), image)


def test_an_installed_file_that_differs_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "skimage" / "data").mkdir(parents=True)
    (tmp_path / "skimage" / "__init__.py").write_text("raise RuntimeError('was imported')")
    (tmp_path / "skimage" / "data" / "coffee.png").write_bytes(b"tea")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "skimage", raising=False)
    with pytest.raises(SfumatoError, match=r"coffee.png.*sfumato data fetch photographs"):
        photograph("coffee", tmp_path)


def test_absent_and_damaged_files_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_installed_package(monkeypatch)
    for split in ("train", "test"):
        with pytest.raises(SfumatoError, match="sfumato data fetch photographs"):
            photographs(split, 64, root=tmp_path)  # type: ignore[arg-type]
    folder = tmp_path / SCIKIT_IMAGE.key
    folder.mkdir()
    (folder / "rocket.jpg").write_bytes(b"not what it was")
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  rocket.jpg\n")
    with pytest.raises(SfumatoError, match="rocket.jpg does not have the checksum"):
        photograph("rocket", tmp_path)


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown split 'tset'; did you mean 'test'"):
        photographs("tset")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="resolution must lie in 8..1024, got 2000"):
        photographs("train", 2000)
    with pytest.raises(UsageError, match="n must be at least 1, got 0"):
        photographs("train", 64, 0)

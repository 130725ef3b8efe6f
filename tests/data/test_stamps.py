"""Stamps: padded squares on white, captions, splits, and how a pattern of files is fetched."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data.decode import BrokenImage
from sfumato.data.download import check, fetch
from sfumato.data.kept import split_of
from sfumato.data.packages import Client, Package
from sfumato.data.places import data_root, sha256
from sfumato.data.stamps import TOPICS, squared, stamp_captions, stamp_names, stamps
from sfumato.errors import SfumatoError, UsageError


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "png")
    return file.getvalue()


def write_package(root: Path, n: int = 60) -> Path:
    files = {}
    for k in range(n):
        stem = f"{('animals', 'food')[k % 2]}/some/thing-{k:02d}"
        files[f"{stem}.png"] = png(Image.new("RGB", (10, 10), (k, 2 * k, 255 - k)))
        files[f"{stem}.txt"] = f"Thing № {k}.\nde.utf8=Ding {k}.\n".encode()
    files["animals/some/thing-00_mirror.png"] = png(Image.new("RGB", (10, 10)))
    sums = ""
    for name, data in sorted(files.items()):
        (root / "stamps" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "stamps" / name).write_bytes(data)
        sums += f"{hashlib.sha256(data).hexdigest()}  {name}\n"
    (root / "stamps" / "SHA256SUMS").write_text(sums)
    return root


def test_pictures_captions_and_topics_go_together(tmp_path: Path) -> None:
    root = write_package(tmp_path)
    seen: list[str] = []
    for split in ("train", "test"):
        data = stamps(split, 8, root, progress=False)  # type: ignore[arg-type]
        names = stamp_names(split, root)  # type: ignore[arg-type]
        captions = stamp_captions(split, root)  # type: ignore[arg-type]
        assert data.labels is not None
        assert len(data) == len(names) == len(captions) > 0
        for image, label, name, caption in zip(
            data.images, data.labels, names, captions, strict=True
        ):
            k = int(name.removesuffix(".png")[-2:])
            assert caption == f"Thing № {k}."
            assert image[:, 4, 4].tolist() == [k, 2 * k, 255 - k]
            assert TOPICS[label[0]] == name.split("/")[0]
            assert split_of(name) == split
        seen += names
    assert len(seen) == len(set(seen)) == 60  # the mirrored one, without a text, is left out


def test_alpha_on_white_and_padding_to_a_square() -> None:
    wide = Image.new("RGBA", (32, 16), (0, 0, 0, 128))
    picture = squared(png(wide), 16)
    assert picture.shape == (3, 16, 16)
    assert (picture[:, :2] == 255).all() and (picture[:, -2:] == 255).all()
    assert abs(picture[:, 6:10].astype(int) - 127).max() <= 2
    tall = squared(png(Image.new("RGBA", (8, 16), (255, 0, 0, 255))), 16)
    assert np.array_equal(tall[:, 8, 8], [255, 0, 0])
    assert (tall[:, :, :3] == 255).all() and (tall[:, :, -3:] == 255).all()
    with pytest.raises(BrokenImage):
        squared(png(wide)[:40], 16)


def test_a_broken_file_is_named_and_nothing_is_kept(tmp_path: Path) -> None:
    root = write_package(tmp_path)
    name = stamp_names("train", root)[3]
    path = root / "stamps" / name
    with pytest.raises(SfumatoError, match="does not have the checksum"):
        path.write_bytes(path.read_bytes()[:50])
        stamps("train", 8, root, progress=False)
    sums = root / "stamps" / "SHA256SUMS"  # broken from the beginning
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [f"{digest}  {name}" if line.endswith(f"  {name}") else line
             for line in sums.read_text().splitlines()]  # fmt: skip
    sums.write_text("\n".join(lines) + "\n")
    with pytest.raises(SfumatoError, match=f"{name} cannot be used"):
        stamps("train", 8, root, progress=False)
    assert not list((root / "stamps-drawn").glob("*"))


def test_absent_and_unknown(tmp_path: Path) -> None:
    for ask in (stamps, stamp_names, stamp_captions):
        with pytest.raises(SfumatoError, match="sfumato data fetch stamps"):
            ask("train", root=tmp_path)
        with pytest.raises(UsageError, match="unknown split"):
            ask("tests", root=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="resolution must lie in 8..1024"):
        stamps("train", 4)


INSIDE = {
    "usr/share/s/a/frog.png": b"frog",
    "usr/share/s/b/frog.png": b"another frog",
    "usr/share/s/b/frog.txt": b"A frog.",
    "usr/share/s/b/frog.ogg": b"croak",
    "usr/share/s/../../../../../escape.png": b"outside",
    "usr/share/s//rooted.png": b"outside",
    "usr/share/doc/copyright": b"GPL",
}


def archive(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in INSIDE.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_a_pattern_keeps_folders_apart_and_nothing_escapes(tmp_path: Path) -> None:
    file = archive(tmp_path / "toy.tgz")
    files = ("usr/share/s/*.png", "usr/share/s/*.txt", "usr/share/doc/copyright")
    wanted = Package("toy", Client.NPM, "toy", "1", sha256(file), files, "MIT", 0.1, "a toy")
    folder = fetch(wanted, tmp_path / "root", file)
    kept = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert kept == ["SHA256SUMS", "a/frog.png", "b/frog.png", "b/frog.txt", "copyright"]
    assert (folder / "b" / "frog.png").read_bytes() == b"another frog"
    assert not list(tmp_path.rglob("escape.png"))
    check(folder)
    (folder / "b" / "frog.png").write_bytes(b"a toad")
    with pytest.raises(SfumatoError, match="b/frog.png"):
        check(folder)


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    file = archive(tmp_path / "toy.tgz")
    files = ("usr/share/s/*.png", "usr/share/s/*.gif")
    wanted = Package("toy", Client.NPM, "toy", "1", sha256(file), files, "MIT", 0.1, "a toy")
    with pytest.raises(SfumatoError, match=r"does not hold usr/share/s/\*.gif"):
        fetch(wanted, tmp_path / "root", file)
    assert not list((tmp_path / "root").glob("*"))


def test_the_real_set() -> None:
    if not (data_root() / "stamps").is_dir():
        pytest.skip("the stamps are not here: run 'sfumato data fetch stamps' (161 MB)")
    train, test = stamp_names("train"), stamp_names("test")
    assert (len(train), len(test)) == (716, 69)
    captions = dict(zip(train, stamp_captions("train"), strict=True))
    captions |= dict(zip(test, stamp_captions("test"), strict=True))
    assert captions["animals/amphibians/frog.png"] == "A frog."
    assert all(captions.values())
    data = stamps("test", 64, progress=False)
    assert data.images.shape == (69, 3, 64, 64)
    corners = data.images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).mean() > 0.75  # most things stand free on white

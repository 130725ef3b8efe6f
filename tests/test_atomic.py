"""Files and folders appear whole or not at all, and nothing that was there is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sfumato.errors import SfumatoError, UsageError
from sfumato.files.atomic import remove, sweep, whole, write


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_hidden_until_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    write(target, "grün")
    assert target.read_bytes() == "grün".encode()
    with whole(target) as fresh:
        fresh.write_bytes(b"new")
        assert fresh.name.startswith(".b.txt.tmp-")
        assert target.read_bytes() == "grün".encode()
    assert target.read_bytes() == b"new"
    assert names(tmp_path / "a") == ["b.txt"]


@pytest.mark.parametrize("folder", [False, True])
def test_what_was_there_survives_every_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool
) -> None:
    target = tmp_path / "x"

    def make(path: Path, data: bytes) -> None:
        if folder:
            path.mkdir()
        (path / "f" if folder else path).write_bytes(data)

    def held() -> bytes:
        return (target / "f" if folder else target).read_bytes()

    make(target, b"old")
    for error in (KeyboardInterrupt, ValueError("no"), OSError(28, "No space left on device")):
        expected = SfumatoError if isinstance(error, OSError) else (KeyboardInterrupt, ValueError)
        with pytest.raises(expected), whole(target) as fresh:
            make(fresh, b"half")
            raise error
        assert (held(), names(tmp_path)) == (b"old", ["x"])
    for name in ("fsync", "replace"):

        def refused(*_: object) -> None:
            raise OSError(13, "Permission denied")

        with monkeypatch.context() as patch, pytest.raises(SfumatoError, match="x cannot be wr"):
            patch.setattr(os, name, refused)
            with whole(target) as fresh:
                make(fresh, b"new")
        assert (held(), names(tmp_path)) == (b"old", ["x"])
    with whole(target) as fresh:
        make(fresh, b"new")
    assert (held(), names(tmp_path)) == (b"new", ["x"])


def test_what_exists_is_kept_or_refused_if_asked(tmp_path: Path) -> None:
    target = tmp_path / "x"
    with whole(target, existing="refuse") as fresh:
        fresh.mkdir()
        (fresh / "mine").touch()
    with pytest.raises(UsageError, match="exists already"), whole(target, existing="refuse"):
        pytest.fail("the work was begun")
    with whole(target, existing="keep") as fresh:
        fresh.mkdir()
        (fresh / "other").touch()
    assert (names(target), names(tmp_path)) == (["mine"], ["x"])
    (tmp_path / "late").mkdir()
    with pytest.raises(UsageError), whole(tmp_path / "y", existing="refuse") as fresh:
        fresh.mkdir()
        (tmp_path / "late").rename(tmp_path / "y")
    assert names(tmp_path) == ["x", "y"]


def test_the_error_says_where_why_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = r"file/a cannot be written \(something else has this name already\); ask"
    with pytest.raises(SfumatoError, match=message), whole(tmp_path / "file" / "a", hint="ask"):
        pass


def test_leftovers_are_swept_and_old_ones_come_back(tmp_path: Path) -> None:
    for name in (".a.tmp-00000000", ".b.old-00000000", ".c.old-00000000", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / ".d.txt.tmp-00000000").touch()
    (tmp_path / ".b.old-00000000" / "f").touch()
    assert len(sweep(tmp_path)) == 4
    assert (names(tmp_path), names(tmp_path / "b")) == (["b", "c"], ["f"])
    remove(tmp_path / "b")
    assert names(tmp_path) == ["c"]


def test_links_and_modes_stay(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real.txt"
    write(real, "old")
    real.chmod(0o640)
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    write(link, "new")
    assert link.is_symlink() and link.readlink() == real and real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o640
    ahead = tmp_path / "ahead.txt"
    ahead.symlink_to(tmp_path / "elsewhere" / "to-come.txt")
    write(ahead, "there")
    assert (tmp_path / "elsewhere" / "to-come.txt").read_text() == "there" and ahead.is_symlink()
    assert names(tmp_path) == ["ahead.txt", "elsewhere", "link.txt"]

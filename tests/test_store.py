"""The checksummed folder: round trip, every damage found, atomic under kills and a full disk."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sfumato.errors import SfumatoError
from sfumato.files import store
from sfumato.files.atomic import sweep

FILES = {"model.json": b'{"a": 1}', "card.json": b"{}", "weights.bin": bytes(range(256)) * 8}


def test_round_trip_and_canonical_list(tmp_path: Path) -> None:
    folder = store.write_folder(tmp_path / "a" / "b", FILES)
    assert store.read_folder(folder) == FILES
    expected = "".join(
        f"{hashlib.sha256(FILES[n]).hexdigest()}  {n}\n"
        for n in ("card.json", "model.json", "weights.bin")
    )
    assert (folder / "SHA256SUMS").read_text() == expected
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]  # nothing left beside it


def test_every_flip_and_truncation_is_refused(tmp_path: Path) -> None:
    folder = store.write_folder(tmp_path / "c", FILES)
    rng = random.Random(0)
    for _ in range(300):
        victim = folder / rng.choice([*FILES, store.SUMS])
        whole = victim.read_bytes()
        if rng.random() < 0.3:
            victim.write_bytes(whole[: rng.randrange(len(whole))])
        else:
            damaged = bytearray(whole)
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
            victim.write_bytes(damaged)
        with pytest.raises(SfumatoError) as caught:
            store.read_folder(folder)
        if victim.name != store.SUMS:
            assert victim.name in str(caught.value)
        victim.write_bytes(whole)
    assert store.read_folder(folder) == FILES


def test_missing_unlisted_and_reordered(tmp_path: Path) -> None:
    folder = store.write_folder(tmp_path / "c", FILES)
    (folder / "extra.bin").write_bytes(b"x")
    with pytest.raises(SfumatoError, match=r"extra\.bin is not listed"):
        store.read_folder(folder)
    (folder / "extra.bin").unlink()
    text = (folder / store.SUMS).read_text()
    lines = text.splitlines(keepends=True)
    for other in ("".join(reversed(lines)), text + lines[0], text.upper(), text[:-1], ""):
        (folder / store.SUMS).write_text(other)
        with pytest.raises(SfumatoError, match=store.SUMS):
            store.read_folder(folder)
    (folder / store.SUMS).write_text(text)
    (folder / "card.json").unlink()
    with pytest.raises(SfumatoError, match=r"card\.json is listed"):
        store.read_folder(folder)
    (folder / store.SUMS).unlink()
    with pytest.raises(SfumatoError, match="missing"):
        store.read_folder(folder)
    with pytest.raises(SfumatoError, match="not a folder"):
        store.read_folder(tmp_path / "nowhere")


def test_names_and_existing_folder(tmp_path: Path) -> None:
    for name in ("../x", "a/b", ".hidden", store.SUMS, ""):
        with pytest.raises(ValueError, match="plain file name"):
            store.write_folder(tmp_path / "n", {name: b""})
    with pytest.raises(ValueError, match="at least one"):
        store.write_folder(tmp_path / "n", {})
    folder = store.write_folder(tmp_path / "n", FILES)
    with pytest.raises(SfumatoError, match="exists already"):
        store.write_folder(folder, {"a": b"1"})
    assert store.read_folder(folder) == FILES
    store.write_folder(folder, {"a": b"1"}, replace=True)
    assert store.read_folder(folder) == {"a": b"1"}
    assert [p.name for p in tmp_path.iterdir()] == ["n"]


def test_a_failing_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.write_folder(tmp_path / "n", FILES)
    calls = {"n": 0, "fail at": 0}
    real = os.fsync

    def full(descriptor: int) -> None:
        calls["n"] += 1
        if calls["n"] == calls["fail at"]:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    for fail_at in range(1, len(FILES) + 3):
        calls.update({"n": 0, "fail at": fail_at})
        with pytest.raises(SfumatoError, match="the disk is full"):
            store.write_folder(folder, {**FILES, "new": b"1"}, replace=True)
        assert store.read_folder(folder) == FILES
        assert [p.name for p in tmp_path.iterdir()] == ["n"]


def test_killed_writers_leave_a_readable_folder(tmp_path: Path) -> None:
    """Kills a process that rewrites one folder forever; the folder or its predecessor survives."""
    target = tmp_path / "n"
    store.write_folder(target, {"x": b"0" * 4096})
    code = (
        "import sys; from sfumato.files.store import write_folder\n"
        "print('on', flush=True)\n"
        "i = 0\n"
        "while True:\n"
        "    i += 1; write_folder(sys.argv[1], {'x': str(i % 10).encode() * 4096}, replace=True)\n"
    )
    rng = random.Random(1)
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            try:
                child.wait(rng.uniform(0.0, 0.1))
            except subprocess.TimeoutExpired:
                child.kill()
        sweep(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["n"]
        files = store.read_folder(target)
        assert len(set(files["x"])) == 1 and len(files["x"]) == 4096

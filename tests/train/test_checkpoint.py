"""Checkpoints: every damage is found, a full disk loses nothing, newer versions are refused."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sfumato.errors import SfumatoError
from sfumato.files import store
from sfumato.files.store import read_folder, write_folder
from sfumato.model.load import load_model
from sfumato.train import checkpoint_folders, find_checkpoint


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture(scope="module")
def checkpoint(toy, tmp_path_factory):
    settings = replace(toy.SETTINGS, steps=5)
    return toy.toy_train(tmp_path_factory.mktemp("run") / "a", settings)


def test_300_random_damages_are_refused(checkpoint, tmp_path):
    """Byte flips and truncations anywhere, SHA256SUMS included; the message names a file."""
    rng = random.Random(0)
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    whole = contents(checkpoint)
    weights = [len(data) ** 0.5 for data in whole.values()]
    hit = dict.fromkeys(whole, 0)
    for i in range(300):
        name = rng.choices(list(whole), weights)[0]
        data = bytearray(whole[name])
        if i % 3:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        else:
            del data[rng.randrange(len(data)) :]
        (copy / name).write_bytes(data)
        with pytest.raises(SfumatoError, match=r"safetensors|\.json|SHA256SUMS"):
            find_checkpoint(copy)
        if i < 12:
            with pytest.raises(SfumatoError):
                load_model(copy)
        (copy / name).write_bytes(whole[name])
        hit[name] += 1
    assert min(hit.values()) >= 5, hit
    assert dict(find_checkpoint(copy).files) == {k: v for k, v in whole.items() if k != store.SUMS}


def test_missing_and_additional_files_are_refused(checkpoint, tmp_path):
    for name in contents(checkpoint):
        copy = tmp_path / name
        shutil.copytree(checkpoint, copy)
        (copy / name).unlink()
        with pytest.raises(SfumatoError, match=name):
            load_model(copy)
    copy = tmp_path / "more"
    shutil.copytree(checkpoint, copy)
    (copy / "notes.txt").write_text("x")
    with pytest.raises(SfumatoError, match=r"notes\.txt is not listed"):
        load_model(copy)


def rewritten(checkpoint: Path, out: Path, name: str, change: dict) -> Path:
    """A copy with changed JSON and right checksums."""
    files = read_folder(checkpoint)
    value = json.loads(files[name])
    value.update(change)
    return write_folder(out, {**files, name: json.dumps(value).encode()})


def test_a_newer_format_is_refused(toy, checkpoint, tmp_path):
    newer = rewritten(checkpoint, tmp_path / "m", "model.json", {"format_version": 99})
    with pytest.raises(SfumatoError, match=r"newer sfumato .*format 99.* upgrade"):
        load_model(newer)
    run = tmp_path / "run"
    rewritten(
        checkpoint, run / "checkpoints" / "step-00000005", "state.json", {"format_version": 2}
    )
    with pytest.raises(SfumatoError, match="newer sfumato"):
        toy.toy_train(run, resume=True)


def test_weights_of_another_model_are_refused(toy, checkpoint, tmp_path):
    for width, message in ((8, r"another model: .*has shape .*expected"), (32, "more weights")):
        described = {"model": toy.toy_model(width).to_json()}
        other = rewritten(checkpoint, tmp_path / f"m{width}", "model.json", described)
        with pytest.raises(SfumatoError, match=message):
            load_model(other)


def test_no_folder_or_no_checkpoint_is_said(tmp_path):
    with pytest.raises(SfumatoError, match="there is no folder"):
        load_model(tmp_path / "nothing")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(SfumatoError, match="no checkpoint yet"):
        load_model(tmp_path)


def mounted(folder: Path, size: str) -> bool:
    folder.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def test_a_full_disk_loses_nothing(toy, tmp_path):
    """On a real, small tmpfs: the save fails, all older checkpoints stand, and the run goes on."""
    disk = tmp_path / "disk"
    if not mounted(disk, "320k"):
        pytest.skip("cannot mount a tmpfs here; the next test imitates one")
    settings = replace(toy.SETTINGS, keep=100)
    try:
        with pytest.raises(SfumatoError, match="the disk is full"):
            toy.toy_train(disk / "run", settings)
        folders = checkpoint_folders(disk / "run")
        assert folders
        for folder in folders:
            read_folder(folder)
        assert not list((disk / "run" / "checkpoints").glob(".*"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = contents(toy.toy_train(disk / "run", settings, resume=True))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert again == contents(toy.toy_train(tmp_path / "whole", settings))


class _FullFile(io.FileIO):
    """A file on a disk with no room for more than 1,000 bytes."""

    def write(self, data: bytes) -> int:
        if len(data) > 1000:
            super().write(data[:1000])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_an_imitated_full_disk_loses_nothing(toy, tmp_path, monkeypatch):
    """The same without a mount: from the third checkpoint on, writing fails half-way."""
    opened = 0

    def full_open(path, mode="r", *args, **more):
        nonlocal opened
        opened += 1
        if opened > 2 * 6:  # five files and the checksums each
            return _FullFile(path, mode)
        return open(path, mode, *args, **more)

    monkeypatch.setattr(store, "open", full_open, raising=False)
    with pytest.raises(SfumatoError, match="the disk is full"):
        toy.toy_train(tmp_path / "a")
    monkeypatch.undo()
    names = [folder.name for folder in checkpoint_folders(tmp_path / "a")]
    assert names == ["step-00000005", "step-00000010"]
    assert sorted(os.listdir(tmp_path / "a" / "checkpoints")) == names
    again = contents(toy.toy_train(tmp_path / "a", resume=True))
    assert again == contents(toy.toy_train(tmp_path / "b"))

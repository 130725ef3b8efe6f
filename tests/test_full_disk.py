"""A disk that takes nothing more: one sentence names the place and the cause, and nothing is left.

The size of files is limited (EFBIG) in place of the disk; `benchmarks/rough.py` fills a real one.
"""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from every_output import QUICK, inputs, words
from sfumato.cli import main
from sfumato.data.kept import write_array
from sfumato.errors import SfumatoError, reason
from sfumato.files.atomic import filled, probe, write


@contextmanager
def files_of_at_most(n: int) -> Iterator[None]:
    """Longer ones end in EFBIG, as they end in ENOSPC on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    compiled, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it would be cut short
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = compiled


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inputs(tmp_path_factory.mktemp("given") / "in")


@pytest.mark.parametrize("command", QUICK)
@pytest.mark.parametrize("room", [0, 400])
def test_a_full_disk_in_every_command(
    command: str, room: int, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = tmp_path / "full"
    place.mkdir()
    (place / "old.txt").write_text("was there")
    argv, cache = words(
        command, given, (tmp_path if command.startswith("CACHE") else place) / "out"
    )
    monkeypatch.setenv("SFUMATO_DATA", str(place / "cache" if cache else tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    with files_of_at_most(room):
        status = main(argv)
    said = capsys.readouterr().err
    assert status == 1
    assert "cannot be written (a file may not be so large there)" in said
    assert str(place if room or not cache else tmp_path) in said and "Errno" not in said
    left = everything(place)
    assert left.pop("old.txt") == b"was there"
    if argv[0] == "train" and room:  # a run that has begun stays, and can be gone on with
        assert "go on with --resume" in said and not [name for name in left if ".tmp-" in name]
    elif argv[:2] == ["private", "export"] and left:
        assert set(left) == {"out.npz"} and "out.npz has no certificate yet" in said
    else:
        assert not left and [p.name for p in place.iterdir()] == ["old.txt"]


def test_what_was_there_stays_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in ("many", "many.npz", "sheet.png"):
        argv = [
            "sample",
            "fashion",
            "--n",
            "3",
            "--steps",
            "1",
            "--quiet",
            "--out",
            f"{tmp_path}/{out}",
        ]
        assert main(argv) == 0
        before = everything(tmp_path)
        with files_of_at_most(400):
            assert main([*argv, "--seed", "1"]) == 1
        assert everything(tmp_path) == before


def test_finished_batches_are_kept_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["sample", "fashion", "--n", "6", "--steps", "1", "--batch", "2", "--quiet"]
    argv += ["--out", str(tmp_path / "out.npz")]
    with files_of_at_most(2500):  # a batch fits, all of them do not
        assert main(argv) == 1
    said = capsys.readouterr().err
    assert f"finished batches are kept in {tmp_path / '.out.npz.parts'}" in said
    assert "the same command goes on" in said
    assert main(argv) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["out.npz"]


def test_a_folder_is_filled_or_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with pytest.raises(SfumatoError, match="the disk is full"), filled(folder) as fresh:
        (fresh / "a").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())
    write(folder / "mine", "stays")
    write(folder / "a", "old")
    with pytest.raises(KeyboardInterrupt), filled(folder) as fresh:
        (fresh / "a").write_text("half")
        raise KeyboardInterrupt
    assert everything(tmp_path) == {"new/folder/mine": b"stays", "new/folder/a": b"old"}
    with filled(folder) as fresh:
        (fresh / "a").write_text("new")
    assert everything(tmp_path) == {"new/folder/mine": b"stays", "new/folder/a": b"new"}


def test_a_full_disk_is_found_out_before_the_work(tmp_path: Path) -> None:
    with files_of_at_most(0), pytest.raises(SfumatoError, match="may not be so large"):
        probe(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_plain_words() -> None:
    assert reason(OSError(errno.ENOSPC, "No space left on device")) == "the disk is full"
    assert reason(OSError("hdf5: errno = 28, error message = 'x'")) == "the disk is full"
    assert reason(OSError(errno.EXDEV, "Invalid cross-device link")) == "Invalid cross-device link"
    assert reason(OSError("no number")) == "no number"


def test_arrays_are_streamed_as_numpy_writes_them(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    write_array(tmp_path / "a.npy", x.shape, np.float32, iter(x))
    mapped = np.lib.format.open_memmap(tmp_path / "b.npy", "w+", np.float32, x.shape)
    mapped[:] = x
    mapped.flush()
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    for rows in (x[:3], np.concatenate([x, x]), x[..., :2]):
        with pytest.raises(ValueError):
            write_array(tmp_path / "c.npy", x.shape, np.float32, iter(rows))


def test_what_is_printed_onto_a_full_disk() -> None:
    says = {"": "what is printed cannot be written (the disk is full)",
            "1": "the disk is full, perhaps where what is printed goes"}  # fmt: skip
    for unbuffered, said in says.items():
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "sfumato", "data"], stdout=full, stderr=subprocess.PIPE,
                text=True, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            )  # fmt: skip
        assert (done.returncode, done.stderr) == (1, f"sfumato data: {said}\n")

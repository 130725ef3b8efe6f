"""Model folders that were damaged or made up, with checksums that are right: one sentence each."""

from __future__ import annotations

import copy
import json
import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sfumato as sf
from sfumato import zoo
from sfumato.cli import main
from sfumato.errors import SfumatoError
from sfumato.files.store import read_folder, write_folder
from sfumato.train import checkpoint as ck

HUGE = 10**12
STRANGE = [None, "", "a", -1, 0, 1.5, HUGE, -HUGE, 1e308, float("nan"), [], [[]], {}, True,
           {"type": "UNetConfig"}, {"type": []}, [HUGE] * 3, "../../etc/passwd"]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values that hold no others."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        if isinstance(part, dict | list) and part:
            yield from places(part, (*at, key))
        else:
            yield (*at, key)


def made(source: Path, target: Path, path: tuple[Any, ...], value: Any) -> Path:
    """A copy of a model folder with one value changed, checksums redone."""
    files = dict(read_folder(source))
    about = json.loads(files["model.json"])
    place = about
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    files["model.json"] = json.dumps(about).encode()
    return write_folder(target, files, replace=True)


@pytest.fixture(scope="module")
def source() -> Path:
    return zoo.find("fashion")


@pytest.fixture
def little_memory() -> Iterator[None]:
    """At most 6 GB more than now, so that what fills the memory fails here and not the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 6 * 10**9, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_sizes_are_checked_against_the_weights_before_anything_is_built(
    source: Path, tmp_path: Path, little_memory: None
) -> None:
    for field, value in {
        "blocks": HUGE, "channels": HUGE, "multipliers": [1, 2, HUGE], "labels": [HUGE],
        "resolution": 2**40, "embedding": HUGE, "latent": HUGE,
    }.items():  # fmt: skip
        folder = made(source, tmp_path / field, ("model", "network", field), value)
        with pytest.raises(SfumatoError, match=rf"{field}/model\.json"):
            sf.load(folder)
    # Not absurd, each of these, but more than there is in the file.
    for field, value in {"blocks": 90_000, "channels": 32}.items():
        folder = made(source, tmp_path / field, ("model", "network", field), value)
        with pytest.raises(SfumatoError, match="more weights than its file holds"):
            sf.load(folder)


@pytest.mark.parametrize("seed", range(int(os.environ.get("SFUMATO_DAMAGED", "1"))))
def test_a_hundred_damaged_folders(
    source: Path, tmp_path: Path, little_memory: None, seed: int
) -> None:
    """Whatever stands in the place of any value: it loads, or one error names the folder."""
    about = json.loads((source / "model.json").read_text())
    every = list(places(about))
    draw = random.Random(seed)
    refused = 0
    for _ in range(100):
        path, value = draw.choice(every), copy.deepcopy(draw.choice(STRANGE))
        folder = made(source, tmp_path / "damaged", path, value)
        try:
            sf.load(folder)
        except SfumatoError as error:
            assert str(tmp_path) in str(error)
            refused += 1
    assert refused > 60


def test_deep_nesting_and_other_files(source: Path, tmp_path: Path) -> None:
    files = dict(read_folder(source))
    for deep in (500, 5_000, 200_000):
        text = '{"format_version": 1, "model": ' + "[" * deep + "]" * deep + "}"
        folder = tmp_path / f"deep{deep}"
        write_folder(folder, {**files, "model.json": text.encode()})
        with pytest.raises(SfumatoError, match=f"deep{deep}"):
            sf.load(folder)
    weights = next(name for name in files if name.endswith(".safetensors"))
    header = (10**15).to_bytes(8, "little")
    for name, data in {"short": b"", "header": header, "text": b"x" * 100}.items():
        write_folder(tmp_path / name, {**files, weights: data})
        with pytest.raises(SfumatoError, match=name):
            sf.load(tmp_path / name)


@pytest.mark.parametrize(
    "command",
    ["sample fashion --n 2 --out out.png", "evaluate fashion --n 20",
     "encode fashion x.npz --out out.npz", "trajectories fashion --n 2 --out out",
     "private export fashion-private-1 --n 2 --out out",
     "imagine word --model scenes --out out.png",
     "fields sample mixture --n 1 --out out.nc", "fields evaluate mixture --n 20",
     "fields calibrate mixture --out out", "restore x.png out.png --task jpeg --model restore",
     "experts plan 1.0 --model scenes"],
)  # fmt: skip
def test_every_command_names_the_file_and_ends_with_status_1(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    first, *words = command.split()
    (name,) = (word for word in words if word in zoo.folders())
    folder = made(zoo.find(name), tmp_path / "bad", ("model", "process"), {"type": "Nothing"})
    np.savez("x.npz", images=np.zeros((2, 1, 28, 28), np.uint8))
    Image.new("RGB", (64, 64)).save("x.png")
    assert main([first, *(str(folder) if word == name else word for word in words)]) == 1
    assert "bad/model.json: unknown type in model.process 'Nothing'" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_weights_without_a_description_say_so(tmp_path: Path) -> None:
    files = {"model.safetensors": b"", "model.json": ck.pack_json({"model": {}})}
    write_folder(tmp_path / "bare", files)
    with pytest.raises(SfumatoError, match="no description: they were trained without `model=`"):
        sf.load(tmp_path / "bare")

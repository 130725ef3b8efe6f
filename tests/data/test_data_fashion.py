"""The idx parser against files made by hand, Fashion-MNIST's search path, and the real files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from sfumato.data import FASHION_CLASSES, fashion_mnist
from sfumato.data.mnist import DEBIAN_FOLDER, read_idx
from sfumato.data.places import data_root
from sfumato.errors import SfumatoError, UsageError


def idx(code: int, shape: tuple[int, ...], body: bytes) -> bytes:
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + body


def write_set(folder: Path, part: str, images: np.ndarray, labels: list[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    body = idx(8, images.shape, images.tobytes())
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(body))
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(idx(8, (len(labels),), bytes(labels)))
    )


def test_idx_reads_shape_and_values_zipped_or_not(tmp_path: Path) -> None:
    data = idx(8, (2, 1, 3), bytes([1, 2, 3, 4, 5, 255]))
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "zipped.gz").write_bytes(gzip.compress(data))
    for name in ("plain", "zipped.gz"):
        assert read_idx(tmp_path / name).tolist() == [[[1, 2, 3]], [[4, 5, 255]]]


def test_idx_reads_big_endian_numbers(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(idx(0x0C, (2,), struct.pack(">2i", -5, 70000)))
    (tmp_path / "b").write_bytes(idx(0x0D, (1,), struct.pack(">f", 0.5)))
    assert read_idx(tmp_path / "a").tolist() == [-5, 70000]
    assert read_idx(tmp_path / "b").tolist() == [0.5]


GOOD = idx(8, (4,), b"abcd")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\3\4not idx at all",
        GOOD[:-1],
        GOOD + b"x",
        idx(7, (1,), b"a"),
        b"\0\0\x08\x03\0\0\0\1",
        gzip.compress(GOOD, mtime=0)[:-9],
        b"\x1f\x8b" + b"garbage" * 9,
    ],
    ids=["empty", "zip", "short", "long", "type", "no-data", "cut-gzip", "bad-gzip"],
)
def test_damaged_idx_files_are_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(data)
    with pytest.raises(SfumatoError, match="damaged"):
        read_idx(path)


def test_the_data_folder_is_looked_at_before_debians(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, debian = tmp_path / "ours", tmp_path / "debian"
    monkeypatch.setenv("SFUMATO_DATA", str(ours))
    monkeypatch.setattr("sfumato.data.mnist.DEBIAN_FOLDER", debian)
    images = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)
    write_set(debian, "t10k", images, [9, 0, 4])
    found = fashion_mnist("test")
    assert found.labels is not None
    assert found.labels[:, 0].tolist() == [9, 0, 4]
    assert np.array_equal(found.images[:, 0], images)
    write_set(ours / "fashion-mnist", "t10k", images[:1], [7])
    assert len(fashion_mnist("test")) == 1
    assert len(fashion_mnist("test", root=debian)) == 3


def test_a_missing_set_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path))
    monkeypatch.setattr("sfumato.data.mnist.DEBIAN_FOLDER", tmp_path / "nowhere")
    with pytest.raises(SfumatoError, match="sfumato data fetch fashion-mnist.*apt-get install"):
        fashion_mnist()
    with pytest.raises(UsageError, match="'train'"):
        fashion_mnist("trian")  # type: ignore[arg-type]


def test_images_and_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path, "train", np.zeros((3, 28, 28), np.uint8), [1, 2])
    with pytest.raises(SfumatoError, match="expected images"):
        fashion_mnist("train", root=tmp_path)


@pytest.mark.parametrize(("split", "n"), [("train", 60_000), ("test", 10_000)])
def test_the_real_set_is_complete_and_balanced(split: str, n: int) -> None:
    if not any(f.is_dir() for f in (data_root() / "fashion-mnist", DEBIAN_FOLDER)):
        pytest.skip("Fashion-MNIST is not here: run 'sfumato data fetch fashion-mnist'")
    data = fashion_mnist(split)  # type: ignore[arg-type]
    assert data.labels is not None
    assert np.bincount(data.labels[:, 0]).tolist() == [n // 10] * 10
    assert data.images.shape == (n, 1, 28, 28)
    # a fact about the pictures: trousers leave more black than pullovers
    dark = [(data.images[data.labels[:, 0] == k] == 0).mean() for k in (1, 2)]
    assert FASHION_CLASSES.values[1:3] == ("Trouser", "Pullover")
    assert dark[0] > dark[1] + 0.1

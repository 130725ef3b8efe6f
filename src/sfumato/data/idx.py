"""The idx format of the MNIST family: big-endian header, then the array."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from sfumato.errors import SfumatoError

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> np.ndarray:
    """The array in an idx file, gzipped or not.

    The header is two zero bytes, a type code, the number of dimensions n, then n sizes as
    big-endian uint32 (http://yann.lecun.com/exdb/mnist, section "FILE FORMATS").

    Raises:
        SfumatoError: the file is cut short, damaged, or not idx.
    """
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise SfumatoError(f"{path}: cannot be read ({error}); fetch it again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        head = data[:4].hex() or "nothing"
        raise SfumatoError(f"{path}: not an idx file (it starts with {head})")
    dtype, start = np.dtype(_TYPES[data[2]]), 4 + 4 * data[3]
    shape = tuple(int(size) for size in np.frombuffer(data[4:start], ">u4"))
    expected = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(shape) != data[3] or len(data) != expected:
        raise SfumatoError(
            f"{path}: header promises {expected} bytes for shape {shape}, the file has {len(data)}"
        )
    array: np.ndarray = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return array

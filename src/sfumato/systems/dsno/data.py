r"""Trajectory sets: where a solver carried noise, kept so that one network can learn the whole way.

Trajectory i starts from x_1 drawn by ``generators(seed, [i])``, follows the probability flow of a
trained model, and is kept at a few times, t = 1 and t = 0 included. A state is kept divided by
its scale,

.. math:: x(t) / s(t), \qquad s(t)^2 = \alpha^2 \sigma_d^2 + \sigma^2,

which is about 1 at every time, so that float16 holds it to three digits wherever it is. A set is
a folder of checksummed folders (see `sfumato.files.store`):

* ``set/`` ``set.json``, a `Description`: the model and the SHA-256 of its weights, the process,
  the solver, the grid and which of its times are kept, seed, number, type,
* ``shard-00000/`` ... ``states.npy`` (n, M, C, ...), ``labels.npy`` (n, A), ``shard.json``.

Each shard appears complete, in one rename, and depends on its number and the description alone,
so a set that was interrupted goes on to the same bytes. Nothing in it is executed when read.
"""

from __future__ import annotations

import hashlib
import io
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, cast, final

import numpy as np
import torch
from torch import Tensor

from sfumato.data.sets import Indices
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.store import read_folder, write_folder
from sfumato.process import Process
from sfumato.sampling import Solver
from sfumato.seeds import fold
from sfumato.solve import DDIM, DPMSolverPP

FORMAT = 1
SET, STATES, LABELS, SHARD = "set", "states.npy", "labels.npy", "shard.json"
DTYPES = ("float16", "float32")


@final
@dataclass(frozen=True)
class Description:
    """What a trajectory set is.

    Args:
        model: the name of the model that was followed.
        weights: SHA-256 of its weights, see `sfumato.train.checkpoint.digest`.
        process: the process, in words.
        solver: the solver, in words.
        grid: the times that were walked, falling from 1 to 0.
        kept: which of them are kept, by position in the grid; the first and the last are.
        shape: of one state, (C, H, W) or (d,).
        labels: number of classes on every label axis; () is without labels.
        sigma_data: σ_d of the scale s(t).
        n: number of trajectories.
        seed: of x_1, and of the labels where there are several axes.
        shard: trajectories in a shard.
        batch: trajectories computed together; the last bits depend on it.
        dtype: how states are kept, "float16" or "float32".

    Raises:
        UsageError: values that do not fit together.
    """

    model: str
    weights: str
    process: str
    solver: str
    grid: tuple[float, ...]
    kept: tuple[int, ...]
    shape: tuple[int, ...]
    labels: tuple[int, ...]
    sigma_data: float
    n: int
    seed: int = 0
    shard: int = 250
    batch: int = 50
    dtype: str = "float16"

    def __post_init__(self) -> None:
        for name in ("grid", "kept", "shape", "labels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("n", "shard", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype: expected {' or '.join(DTYPES)}, got {self.dtype!r}")
        if any(b >= a for a, b in zip(self.grid, self.grid[1:], strict=False)):
            raise UsageError(f"expected a grid that falls, got {self.grid}")
        if len(self.grid) < 2 or self.grid[0] != 1 or self.grid[-1] != 0:
            raise UsageError(f"expected a grid from 1 to 0, got {self.grid}")
        inner = all(a < b for a, b in zip(self.kept, self.kept[1:], strict=False))
        if not (inner and len(self.kept) > 1 and self.kept[0] == 0):
            raise UsageError(f"expected rising positions from 0, got {self.kept}")
        if self.kept[-1] != len(self.grid) - 1:
            raise UsageError(f"expected the last time, {len(self.grid) - 1}, got {self.kept}")

    @property
    def times(self) -> tuple[float, ...]:
        """The times that are kept, falling from 1 to 0."""
        return tuple(self.grid[k] for k in self.kept)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.n // self.shard)

    @property
    def digest(self) -> str:
        """What ties a shard to its set: a hash of everything but n, by which a set may grow."""
        kept = {k: v for k, v in asdict(self).items() if k != "n"}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def indices(self, shard: int) -> range:
        """The numbers of the trajectories in a shard."""
        return range(shard * self.shard, min((shard + 1) * self.shard, self.n))

    def label_rows(self, indices: Sequence[int]) -> np.ndarray:
        """Labels (B, A) of these trajectories: in turns, or drawn where there are several axes."""
        if len(self.labels) == 1:
            return (np.asarray(indices, np.int64) % self.labels[0])[:, None]
        rows = [
            [fold(self.seed, "label", axis, i) % count for axis, count in enumerate(self.labels)]
            for i in indices
        ]
        return np.array(rows, np.int64).reshape(len(indices), len(self.labels))

    def to_json(self) -> dict[str, Any]:
        """Plain values for set.json."""
        return {"format_version": FORMAT, **asdict(self)}

    @staticmethod
    def from_json(raw: Mapping[str, Any], where: str) -> Description:
        """From what `to_json` made. Raises SfumatoError for anything else, naming ``where``."""
        version = raw.get("format_version")
        if not isinstance(version, int) or version > FORMAT:
            raise SfumatoError(
                f"{where} has format {version}, this sfumato reads up to {FORMAT}; upgrade with: "
                "pip install -U sfumato"
            )
        names = {f.name for f in fields(Description)}
        try:
            return Description(**{k: v for k, v in raw.items() if k in names})
        except (TypeError, UsageError) as error:
            raise SfumatoError(f"{where} does not describe a trajectory set: {error}") from error


def in_words(process: Process) -> str:
    """A process as descriptions of sets write it: its type, and the values of its fields."""
    values = (getattr(process, f.name) for f in fields(cast(Any, process)))
    return f"{type(process).__name__}({', '.join(map(repr, values))})"


def solver_in_words(solver: Solver) -> str:
    """A solver as descriptions of sets write it; one name for DDIM and its multistep relatives."""
    match solver:
        case DDIM(eta=eta):
            return f"Exponential(order=1, eta={eta})"
        case DPMSolverPP(order=order):
            return f"Exponential(order={order}, eta=0.0)"
    return repr(solver)


def scales(process: Process, times: Sequence[float], sigma_data: float) -> Tensor:
    """s(t) = sqrt(α² σ_d² + σ²) of the times, float64 (M,)."""
    q = process.marginal(torch.tensor(list(times), dtype=torch.float64))
    return (q.cov[..., 0, 0] + (q.A[..., 0, 0] * sigma_data).square()).sqrt()


def describe(folder: Path | str) -> Description:
    """The description of the set in a folder.

    Raises:
        SfumatoError: there is none, or it is damaged.
    """
    folder = Path(folder)
    if not (folder / SET).is_dir():
        raise SfumatoError(f"{folder} is not a trajectory set: it has no folder {SET}/")
    raw = _json(read_folder(folder / SET), "set.json", folder / SET)
    return Description.from_json(raw, str(folder / SET / "set.json"))


def write_description(folder: Path, description: Description) -> None:
    """Begin a set, or let one grow. Raises SfumatoError if the disk refuses."""
    data = (json.dumps(description.to_json(), indent=1) + "\n").encode()
    write_folder(folder / SET, {"set.json": data}, replace=True)


def shard_folder(folder: Path, shard: int) -> Path:
    """The folder of shard number ``shard``."""
    return folder / f"shard-{shard:05d}"


def write_shard(
    folder: Path, about: Description, shard: int, states: np.ndarray, labels: np.ndarray
) -> None:
    """Write a shard in one rename; states (n, M, C, ...) are already divided by their scale."""
    indices = about.indices(shard)
    tie = {"set": about.digest, "first": indices.start, "n": len(indices)}
    files = {
        STATES: _npy(states.astype(about.dtype)),
        LABELS: _npy(labels.astype(np.int64)),
        SHARD: (json.dumps(tie) + "\n").encode(),
    }
    write_folder(shard_folder(folder, shard), files)


def check_shard(folder: Path, about: Description, shard: int) -> tuple[np.ndarray, np.ndarray]:
    """A shard's states and labels, every byte checked.

    Raises:
        SfumatoError: damaged, cut short, or of another set; the message names the folder.
    """
    where = shard_folder(folder, shard)
    files = read_folder(where)
    tie, indices = _json(files, SHARD, where), about.indices(shard)
    if tie.get("set") != about.digest or tie.get("first") != indices.start:
        raise SfumatoError(f"{where} belongs to another trajectory set; remove it")
    if tie.get("n") != len(indices):
        raise SfumatoError(f"{where}: expected {len(indices)} trajectories, got {tie.get('n')}")
    try:
        states = np.load(io.BytesIO(files[STATES]), allow_pickle=False)
        labels = np.load(io.BytesIO(files[LABELS]), allow_pickle=False)
    except (KeyError, ValueError, EOFError) as error:
        raise SfumatoError(f"{where} is not a shard of trajectories: {error!r}") from error
    want = (len(indices), len(about.kept), *about.shape)
    if states.shape != want or states.dtype != np.dtype(about.dtype):
        raise SfumatoError(
            f"{where}: expected states {want} {about.dtype}, got {states.shape} {states.dtype}"
        )
    return states, labels


class Trajectories(NamedTuple):
    """States (B, M, C, ...) float32, and labels (B, A) int64 or None."""

    states: Tensor
    labels: Tensor | None


@final
class TrajectorySet:
    """The trajectories of a folder, checked once when opened and then mapped, not loaded.

    ``batch(indices)`` gives states (B, M, C, ...) float32 in their own units, the first at t = 1
    and the last at t = 0, and labels (B, A) or None: what `sfumato.train.train` takes.

    Args:
        folder: the set.
        process: the process, for the scale of the states.
        weights: the digest of the model that the trajectories should follow; None takes any.
        partial: take the finished shards of an unfinished set.

    Raises:
        SfumatoError: no set, an unfinished one, a damaged shard, one of another set, or
            trajectories of another model.
    """

    def __init__(
        self,
        folder: Path | str,
        process: Process,
        *,
        weights: str | None = None,
        partial: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.about = about = describe(folder)
        if in_words(process) != about.process:
            raise SfumatoError(
                f"{folder} follows another process: {about.process}, expected {in_words(process)}"
            )
        if weights is not None and weights != about.weights:
            raise SfumatoError(
                f"{folder} holds trajectories of another model: {about.model!r} with weights "
                f"{about.weights[:12]}, expected weights {weights[:12]}; make them again with "
                "sfumato trajectories"
            )
        there = [k for k in range(about.shards) if shard_folder(self.folder, k).is_dir()]
        if len(there) < about.shards and not (partial and there):
            raise SfumatoError(
                f"{folder} is not finished: {len(there)} of {about.shards} shards are there; give "
                "the command that makes it again, and it goes on"
            )
        self._states: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._starts: list[int] = []
        n = 0
        for k in there:
            _, labels = check_shard(self.folder, about, k)
            file = shard_folder(self.folder, k) / STATES
            self._states.append(np.load(file, mmap_mode="r", allow_pickle=False))
            self._labels.append(labels)
            self._starts.append(n)
            n += len(labels)
        self._n = n
        self._scale = scales(process, about.times, about.sigma_data).float()

    def __len__(self) -> int:
        return self._n

    @property
    def times(self) -> tuple[float, ...]:
        """The times of the states, falling from 1 to 0."""
        return self.about.times

    def batch(self, indices: Indices) -> Trajectories:
        """The trajectories at these indices. Raises ValueError: an index out of range."""
        index = np.asarray(indices)
        if index.size and (index.min() < 0 or index.max() >= self._n):
            raise ValueError(f"expected indices in 0..{self._n - 1}, got {index.tolist()[:4]} ...")
        rows, labels = [], []
        for i in index.tolist():
            k = bisect_right(self._starts, i) - 1
            rows.append(self._states[k][i - self._starts[k]])
            labels.append(self._labels[k][i - self._starts[k]])
        states = torch.from_numpy(np.stack(rows).astype(np.float32))
        states = states * self._scale.reshape(1, -1, *([1] * len(self.about.shape)))
        given = torch.from_numpy(np.stack(labels)) if self.about.labels else None
        return Trajectories(states, given)


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def _json(files: Mapping[str, bytes], name: str, folder: Path) -> dict[str, Any]:
    try:
        value = json.loads(files[name])
    except (KeyError, ValueError) as error:
        raise SfumatoError(f"{folder} has no readable {name}: {error!r}") from error
    if not isinstance(value, dict):
        raise SfumatoError(f"{folder / name}: expected a JSON object")
    return value

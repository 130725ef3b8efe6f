"""Darcy flow and Burgers' equation: that the stored numbers solve what the docstrings say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage as ndimage
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import spsolve

from sfumato.data.download import SUMS
from sfumato.data.packages import NEURALOPERATOR
from sfumato.data.places import data_root, sha256
from sfumato.errors import SfumatoError, UsageError
from sfumato.systems.ddo.data.darcy import FRAME_INTERVAL, PERMEABILITY, VISCOSITY, burgers, darcy
from sfumato.systems.ddo.nn.harmonic import Domain

stored = pytest.mark.skipif(
    not (data_root() / NEURALOPERATOR.key).is_dir(),
    reason=f"the solved equations are not here: run 'sfumato data fetch {NEURALOPERATOR.key}'",
)


def solved(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """u of -∇·(a ∇u) = 1 with u = 0 on the border: finite volumes about the points x, by x."""
    n = len(x)
    gaps = np.diff(np.concatenate([[0.0], x, [1.0]]))
    size = (gaps[:-1] + gaps[1:]) / 2
    wide = np.pad(a, 1, mode="edge")

    def through(w: np.ndarray) -> np.ndarray:
        """Flux for a unit difference between neighbours along the first axis, (n + 1, n)."""
        mean = 2 * w[:-1] * w[1:] / (w[:-1] + w[1:])
        return mean[:, 1:-1] / gaps[:, None] * size

    down, right = through(wide), through(wide.T).T
    index = np.arange(n * n).reshape(n, n)
    diagonal = down[:-1] + down[1:] + right[:, :-1] + right[:, 1:]
    inner_down, inner_right = down[1:-1].ravel(), right[:, 1:-1].ravel()
    i = [index[:-1].ravel(), index[:, :-1].ravel()]
    j = [index[1:].ravel(), index[:, 1:].ravel()]
    off = sparse.csc_matrix(
        (-np.concatenate([inner_down, inner_right]), (np.concatenate(i), np.concatenate(j))),
        shape=(n * n, n * n),
    )
    matrix = sparse.diags(diagonal.ravel(), format="csc") + off + off.T
    return spsolve(matrix, np.outer(size, size).ravel()).reshape(n, n)


@stored
def test_where_the_permeability_is_constant_the_laplacian_is_its_inverse() -> None:
    """h² extrapolation of the median of -Δu from both grids: 1/a to 0.3 %."""
    medians = {}
    for grid in (16, 32):
        a, u = np.moveaxis(darcy("test", grid).values.astype(float), 1, 0)
        lap = (4 * u[:, 1:-1, 1:-1] - u[:, 2:, 1:-1] - u[:, :-2, 1:-1]) * grid**2
        lap -= (u[:, 1:-1, 2:] + u[:, 1:-1, :-2]) * grid**2
        low = ndimage.minimum_filter(a, (1, 5, 5))[:, 1:-1, 1:-1]
        high = ndimage.maximum_filter(a, (1, 5, 5))[:, 1:-1, 1:-1]
        medians[grid] = [float(np.median(lap[(low == v) & (high == v)])) for v in (0, 1)]
    for v, a_of_v in enumerate(PERMEABILITY):
        limit = medians[32][v] + (medians[32][v] - medians[16][v]) / 3
        assert limit == pytest.approx(1 / a_of_v, rel=3e-3)


@stored
def test_the_pressure_solves_the_equation_at_the_points_of_the_frame() -> None:
    for grid, tolerance in ((32, 0.045), (16, 0.12)):
        data = darcy("test", grid)
        x = data.frame.coordinates(data.grid)[0]
        errors, shifted = [], []
        for stored_a, u in data.values[:8].astype(float):
            a = np.where(stored_a > 0, PERMEABILITY[1], PERMEABILITY[0])
            errors.append(np.linalg.norm(solved(a, x) - u) / np.linalg.norm(u))
            other = solved(a, x + 0.4 / grid)
            shifted.append(np.linalg.norm(other - u) / np.linalg.norm(u))
        assert np.median(errors) < tolerance
        assert np.median(shifted) > 1.5 * np.median(errors)  # the points are where we say


@stored
def test_the_pressure_is_zero_on_the_border_of_the_unit_square() -> None:
    """A quartic through five points along lines of constant permeability vanishes at 0 and 1."""
    data = darcy("test", 32)
    x = data.frame.coordinates(data.grid)[0]
    zeros: dict[float, list[float]] = {0.0: [], 1.0: []}
    for a, u in data.values.astype(float):
        for values, u_, side in ((a, u, 0.0), (a[::-1], u[::-1], 1.0)):
            places = x if side == 0 else x[::-1]
            for j in range(3, 29):
                if np.ptp(values[:7, j - 3 : j + 4]) == 0:
                    fit = np.polynomial.Polynomial.fit(places[1:6], u_[1:6, j], 4)
                    at = side
                    for _ in range(5):
                        at -= fit(at) / fit.deriv()(at)
                    zeros[side].append(at)
    for side, found in zeros.items():
        assert len(found) > 100
        assert np.median(found) == pytest.approx(side, abs=1e-4)  # a tenth of the offset


@stored
def test_what_the_sets_hold() -> None:
    train, test, fine = darcy(), darcy("test"), darcy("test", 32)
    assert (train.values.shape, len(test), fine.grid) == ((1000, 2, 16, 16), 50, (32, 32))
    assert train.frame == test.frame == fine.frame
    assert train.frame.domain is Domain.PERIODIC
    assert np.array_equal(fine.values[..., ::2, ::2], test.values)
    for data in (train, fine):
        assert set(np.unique(data.values[:, 0])) == {0.0, 1.0}
        assert 0.45 < data.values[:, 0].mean() < 0.55
    assert len(np.unique(np.concatenate([train.values, test.values]), axis=0)) == 1050
    # by the maximum principle u > 0; what is not, is known
    wrong = (train.values[:, 1] < 0).any((1, 2)).sum(), (fine.values[:, 1] < 0).any((1, 2)).sum()
    assert wrong == (12, 1)


def ring(u: np.ndarray, time: float, n: int = 128) -> np.ndarray:
    """Burgers' equation by Fourier modes, from 16 points to 16 points after `time`."""
    modes = np.fft.rfft(u.astype(float)) * (n / 16)
    modes[:, 8] /= 2
    modes = np.pad(modes, ((0, 0), (0, n // 2 - 8)))
    k = 2 * np.pi * np.arange(n // 2 + 1)
    kept = np.arange(n // 2 + 1) < n / 3
    steps = round(time / 0.0015)
    h = time / steps
    half = np.exp(-VISCOSITY * k**2 * h / 2)

    def slope(w: np.ndarray) -> np.ndarray:
        return -0.5j * k * kept * np.fft.rfft(np.fft.irfft(w * kept, n) ** 2)

    for _ in range(steps):  # Runge-Kutta of order 4, viscosity exact
        a = slope(modes)
        b = slope(half * (modes + h / 2 * a))
        c = slope(half * modes + h / 2 * b)
        d = slope(half**2 * modes + h * half * c)
        modes = half**2 * (modes + h / 6 * a) + h / 3 * half * (b + c) + h / 6 * d
    return np.fft.irfft(modes, n)[:, :: n // 16]


@stored
def test_the_later_states_solve_burgers_equation() -> None:
    states = (0, 5, 16)
    data = burgers("test", states)
    u = data.values[:40]
    for channel in (1, 2):
        now = ring(u[:, 0], FRAME_INTERVAL * states[channel])
        wrong = np.linalg.norm(now - u[:, channel]) / np.linalg.norm(u[:, channel])
        assert wrong < 5e-4
    assert [q.name for q in data.frame.quantities] == ["u(t=0)", "u(t=0.3)", "u(t=0.96)"]
    assert data.frame.domain is Domain.PERIODIC
    assert data.frame.axes[0].stop == 1.0


@stored
def test_burgers_parts_are_disjoint_and_whole() -> None:
    train, test = burgers("train", [16]), burgers("test", [16])
    assert (len(train), len(test)) == (1000, 200)
    assert len(np.unique(np.concatenate([train.values, test.values]), axis=0)) == 1200
    both = burgers("train", [3, 16])
    assert np.array_equal(both.values[:, 1:], train.values)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="train set is on grids of 16 points, got 32"):
        darcy("train", 32)
    with pytest.raises(UsageError, match="test set is on grids of 16 and 32 points, got 64"):
        darcy("test", 64)
    with pytest.raises(UsageError, match="unknown split 'tset'; did you mean 'test'"):
        darcy("tset")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown split"):
        burgers("validation")  # type: ignore[arg-type]
    for states in ([], [3, 3], [17], [-1]):
        with pytest.raises(UsageError, match=r"expected different states of 0 \.\. 16"):
            burgers("train", states)


def test_missing_changed_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SfumatoError, match="sfumato data fetch neuraloperator"):
        darcy(root=tmp_path)
    folder = tmp_path / NEURALOPERATOR.key
    folder.mkdir()
    file = folder / "darcy_train_16.pt"

    def put(what: object) -> None:
        torch.save(what, file)
        (folder / SUMS).write_text(f"{sha256(file)}  {file.name}\n")

    put({"x": torch.zeros(3, 16, 16), "y": torch.zeros(3, 16, 16)})
    with pytest.raises(SfumatoError, match=r"should hold .*1000, 16, 16.* and holds .*3, 16, 16"):
        darcy(root=tmp_path)
    put([1, 2])
    with pytest.raises(SfumatoError, match="cannot be read"):
        darcy(root=tmp_path)
    put(Path("x"))  # an object that is not data: not loaded
    with pytest.raises(SfumatoError, match="cannot be read"):
        darcy(root=tmp_path)
    file.write_bytes(b"changed")
    with pytest.raises(SfumatoError, match="does not have the checksum"):
        darcy(root=tmp_path)

"""Precision, recall, density, coverage against their definitions written as loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.metrics import neighbours
from sfumato.metrics.neighbours import neighbourhoods, squared_distances


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def radius(points: torch.Tensor, i: int, k: int) -> float:
    others = sorted(float((points[i] - points[j]).norm()) for j in range(len(points)) if j != i)
    return others[k - 1]


def share(points: torch.Tensor, balls: torch.Tensor, k: int) -> float:
    radii = [radius(balls, i, k) for i in range(len(balls))]
    inside = [
        any(float((p - c).norm()) <= r for c, r in zip(balls, radii, strict=True)) for p in points
    ]
    return sum(inside) / len(inside)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), n=st.integers(6, 14), m=st.integers(6, 14), k=st.integers(1, 4),
    shift=st.floats(0, 3), tile=st.integers(1, 100),
)  # fmt: skip
def test_agrees_with_the_definitions(
    seed: int, n: int, m: int, k: int, shift: float, tile: int
) -> None:
    x, y = normal(seed, n, 3), normal(seed + 1, m, 3) + shift
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_TILE", tile)  # any cutting into tiles, the same answer
        result = neighbourhoods(x, y, features="t", k_precision=k, k_density=k)
    assert result.precision.value == pytest.approx(share(y, x, k))
    assert result.recall.value == pytest.approx(share(x, y, k))
    radii = [radius(x, i, k) for i in range(n)]
    hits = [[float((y[j] - x[i]).norm()) <= radii[i] for i in range(n)] for j in range(m)]
    assert result.density.value == pytest.approx(sum(map(sum, hits)) / (k * m))
    assert result.coverage.value == pytest.approx(
        sum(any(hits[j][i] for j in range(m)) for i in range(n)) / n
    )


def test_same_law_far_away_and_collapsed() -> None:
    x, y = normal(0, 600, 4), normal(1, 600, 4)
    same = neighbourhoods(x, y, features="t")
    assert same.precision.value > 0.9 and same.recall.value > 0.9
    assert same.density.value == pytest.approx(1, abs=0.1)
    # Naeem et al. 2020, eq. 9: E coverage = 1 - (M-1)...(M-k) / ((2M-1)...(2M-k)) for N = M
    product = 1.0
    for i in range(1, 6):
        product *= (600 - i) / (1200 - i)
    assert same.coverage.value == pytest.approx(1 - product, abs=0.03)
    far = neighbourhoods(x, y + 100, features="t")
    assert all(score.value == 0 for score in far)
    collapsed = neighbourhoods(x, 0.05 * y, features="t")
    assert collapsed.precision.value > 0.99
    assert collapsed.recall.value < 0.05 and collapsed.coverage.value < 0.5


def test_order_and_precision_do_not_matter() -> None:
    x, y = normal(2, 300, 5) + 50, 0.9 * normal(3, 250, 5) + 50.2
    one = neighbourhoods(x, y, features="t")
    p = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    q = torch.randperm(250, generator=torch.Generator().manual_seed(1))
    other = neighbourhoods(x[p], y[q], features="t")
    single = neighbourhoods(x.float(), y.float(), features="t")
    for a, b, c in zip(one, other, single, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-12)
        assert a.value == pytest.approx(c.value, abs=0.01)


def test_squared_distances() -> None:
    x, y = normal(4, 7, 3), normal(5, 9, 3)
    assert float((squared_distances(x, y) - torch.cdist(x, y).square()).abs().max()) < 1e-12
    assert float(squared_distances(x + 1e3, x + 1e3).min()) >= 0


def test_prints_features_and_says_what_is_wrong() -> None:
    x = normal(6, 40, 2)
    lines = str(neighbourhoods(x, x, features="MobileNetV2")).splitlines()
    assert lines[0].startswith("precision (MobileNetV2, n=40, k=3) 1")
    assert [line.split()[0] for line in lines] == ["precision", "recall", "density", "coverage"]
    with pytest.raises(ValueError, match="more than 5"):
        neighbourhoods(x, x[:5], features="t")
    with pytest.raises(ValueError, match=r"expected \(N, F\)"):
        neighbourhoods(x, x[:, :1], features="t")

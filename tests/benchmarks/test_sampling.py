"""What `benchmarks/sampling.py` makes of its rows: tables, and a picture that can be read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sampling = pytest.importorskip("sampling")
plot = pytest.importorskip("sampling_plot")


def row(sampler: str, nfe: int, quality: float, maker: str = "sfumato") -> dict[str, Any]:
    return {
        "sampler": sampler, "settings": "as it is", "maker": maker, "nfe": nfe, "n": 1000,
        "quality": quality, "flops": 2e9 * nfe, "seconds": 0.01 * nfe, "scores": [],
    }  # fmt: skip


ROWS = [
    row("diffusers DEIS", 5, 1.5, "diffusers"),
    row("diffusers DEIS", 10, 0.7, "diffusers"),
    row("Heun", 5, 30.0),
    row("Heun", 9, 3.0),
    row("DDIM", 5, 4.0),
    row("DDIM", 10, 0.5),
    row("diffusers DDIM", 5, 4.02, "diffusers"),
    row("diffusers DDIM", 10, 0.5, "diffusers"),
    row("DDGAN", 4, 2.0),
]


def test_the_best_of_each_budget_stands_out_whoever_made_it() -> None:
    table = {line["sampler"]: line for line in sampling.pivot(ROWS, (10, 5))}
    assert list(table) == ["DDIM", "Heun", "DDGAN", "diffusers DDIM", "diffusers DEIS"]
    assert table["diffusers DEIS"]["at"] == {"5": "**1.50**", "10": "0.70"}
    assert table["DDIM"]["at"] == {"5": "4.00", "10": "**0.50**"}
    assert table["Heun"]["at"]["10"] == "3.00 (at 9)"
    assert table["DDGAN"]["at"] == {"5": "2.00 (at 4)"}
    assert table["DDIM"]["gflop"] == pytest.approx(2) and table["DDIM"]["ms"] == pytest.approx(10)


def test_details_are_those_of_the_most_that_the_budget_allows() -> None:
    shown = {line["sampler"]: line["nfe"] for line in sampling.details(ROWS, 10)}
    assert shown["Heun"] == 9 and shown["DDIM"] == 10 and shown["DDGAN"] == 4


def test_names_keep_apart_and_inside() -> None:
    placed = plot.spread([0.5, 0.5, 0.51, 0.02, 0.99], 0.05, 0.0, 1.0)
    order = sorted(placed)
    assert all(b - a > 0.0499 for a, b in zip(order, order[1:], strict=False))
    assert order[0] >= 0 and order[-1] <= 1
    assert sorted(range(5), key=lambda i: placed[i])[::4] == [3, 4]  # the order is kept


def test_curves_that_coincide_are_named_once() -> None:
    names = [text for _, text in plot.labels(plot.curves(ROWS))]
    assert "DDIM, both" in names and "DEIS, diffusers" in names and len(names) == 4


def test_the_picture_is_small(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    results = {"rows": ROWS, "floor": {"value": 0.3}}
    path.write_text(json.dumps({"features": "pixels", "results": results}))
    plot.draw({"fashion": path, "avatars": path}, tmp_path / "picture.png")
    assert 10_000 < (tmp_path / "picture.png").stat().st_size < 300_000

"""The benchmark of the private gradient: all contenders compute the same, or are not timed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from loading import load

pytest.importorskip("opacus", reason="the extra 'private' is not installed")
PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "dpdm.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load(PATH)


def test_who_computes_our_gradients_is_admitted_and_nobody_else(bench) -> None:
    race = bench.Race("recipe, hooked", "float32", bench.build("recipe, hooked"), quick=True)
    race.admit()
    assert [c.name for c in race.contenders] == [kind.name for kind in bench.HOOKED_RACE]
    assert all(gap <= 1e-4 for gap in race.differences.values()), race.differences
    refused = {row["contender"] for row in race.refused if "difference" in row}
    assert refused == {"opacus as it is"}  # its unfolding takes channels-last memory for rows


def test_a_row_has_what_the_tables_show(bench) -> None:
    race = bench.Race("recipe", "float32", bench.build("recipe"), quick=True)
    race.admit()
    plain, ours = race.run(8, 1, 8)
    assert plain["over_plain"] == plain["over_plain_cpu"] == 1
    assert ours["over_plain_cpu"] > 0 and ours["draws_per_s"] > 0


def test_the_published_settings() -> None:
    mnist, *_, celeba = load(PATH.with_name("dpdm_accounting.py")).PUBLISHED
    assert (mnist.steps, mnist.rate) == (4500, 1 / 15)
    assert (celeba.steps, celeba.rate) == (24_000, 1 / 80)

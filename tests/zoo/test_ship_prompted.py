"""What a card of a model that draws from prompts says of its measured figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from loading import ROOT, load


def test_scores_are_the_figures_of_the_measured_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.delitem(sys.modules, "ship", raising=False)
    row = {"n": 500, "guidance": 3.0, "nfe": 60, "object": 81.25, "object_error": 1.2}
    row |= {"likeness": 0.8123, "likeness_error": 0.004, "likeness_n": 500}
    (tmp_path / "text.json").write_text(
        json.dumps({"results": {"models": ["a", "b"], "rows": [row]}})
    )
    found = load(ROOT / "tools" / "ship_prompted.py").scores([tmp_path / "text.json"])
    assert found == {
        "things found (a + b, n=500, guidance 3)": "81.2 ± 1.2 %",
        "likeness by the CLIP (a + b, n=500, guidance 3)": "0.812 ± 0.004",
    }

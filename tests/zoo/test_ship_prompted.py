"""What a card of a model that draws from prompts says of its measured figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from loading import ROOT, load
from sfumato.files.store import write_folder
from sfumato.model.codec import encode
from sfumato.systems.ediffi import clip
from sfumato.systems.ediffi.text.dual import DualConfig
from sfumato.train.checkpoint import pack_json


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.delitem(sys.modules, "ship", raising=False)
    return load(ROOT / "tools" / "ship_prompted.py")


def trained(folder: Path, config: clip.Clip, share: float, before: list[Any]) -> Any:
    """The files of a trained dual encoder that the card is made of."""
    of = {"sentence": share, "picture": 1 - share, "n": 20}
    scores = {"pictures": "held out", "of 10": of, "of 100": of}
    scores["style"] = {"style": 0.125, "n": 30}
    mine = {"config": encode(config), "seconds": 150.0, "threads": 2}
    about = {**mine, "scores": scores, "data": {"name": "d", "licence": "x"}, "before": before}
    weights = {"a": torch.zeros(3, 4), "b": torch.zeros(5)}
    files = {"model.safetensors": save(weights), "training.json": pack_json(about)}
    write_folder(folder, files | {"config.json": b'{"vision_config": {"image_size": 64}}'})
    return mine


def test_a_dual_encoder_that_went_on_has_both_commands(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "ZOO", tmp_path / "zoo")
    first = clip.Clip(Path("runs/a"), dual=DualConfig(hold=60_000, style=0.0))
    before = trained(tmp_path / "a", first, 0.25, [])
    tool.encoder(tmp_path / "a", "mine")
    card = json.loads((tmp_path / "zoo" / "mine" / "card.json").read_text())
    assert card["params"] == 17 and card["resolution"] == 64
    assert card["command"] == "sfumato train clip --out runs/a --dual.style 0.0"
    assert card["time"] == "2 min on 2 thread(s) of a shared CPU"
    assert card["scores"] == {
        f"right {of} of {n} (held out, n=20)": share
        for n in (10, 100)
        for of, share in (("sentence", "25.0 %"), ("picture", "75.0 %"))
    } | {"style, by a linear reading (held out, n=30)": "12.5 %"}

    trained(tmp_path / "b", clip.Clip(Path("runs/b"), start="runs/a"), 0.5, [before])
    for _ in range(2):  # shipping it again says nothing twice
        tool.encoder(tmp_path / "b", "mine")
        again = json.loads((tmp_path / "zoo" / "mine" / "card.json").read_text())
        then = "sfumato train clip --out runs/b --start runs/a"
        assert again["command"] == f"{card['command']} ; {then}"
        assert again["time"] == "2 min on 2 thread(s), then 2 min on 2 thread(s) of a shared CPU"
    assert again["scores"]["right sentence of 10 (held out, n=20)"] == "50.0 %"


def test_scores_are_the_figures_of_the_measured_rows(tool: Any, tmp_path: Path) -> None:
    row = {"n": 500, "guidance": 3.0, "nfe": 60, "object": 81.25, "object_error": 1.2}
    row |= {"likeness": 0.8123, "likeness_error": 0.004, "likeness_n": 500}
    (tmp_path / "text.json").write_text(
        json.dumps({"results": {"models": ["a", "b"], "rows": [row]}})
    )
    found = tool.scores([tmp_path / "text.json"])
    assert found == {
        "things found (a + b, n=500, guidance 3)": "81.2 ± 1.2 %",
        "likeness by the CLIP (a + b, n=500, guidance 3)": "0.812 ± 0.004",
    }

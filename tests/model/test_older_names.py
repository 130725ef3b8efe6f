"""Descriptions of models with the type names of older versions are read, and compare equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sfumato as sf
from sfumato.model.codec import ALIASES, NESTED, digest, renewed
from sfumato.model.load import read_model

ZOO = Path(sf.__file__).parent / "zoo"
SHIPPED = sorted(
    p for p in ZOO.glob("*/model.json") if "process" in json.dumps(json.loads(p.read_text()))
)


def types(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {str(value.get("type"))}.union(*map(types, value.values()))
    return set().union(*map(types, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.parent.name)
def test_every_shipped_model_is_read_and_written_with_the_names_of_today(path: Path) -> None:
    raw = json.loads(path.read_text())["model"]
    model = read_model(raw)
    written = model.to_json()
    assert not types(written) & (ALIASES.keys() | NESTED.keys())
    assert read_model(json.loads(json.dumps(written))) == model
    again = read_model(raw).to_json()  # what a resumed run compares with
    assert again == written


def test_there_are_models_with_older_names() -> None:
    older = [p for p in SHIPPED if types(json.loads(p.read_text())) & ALIASES.keys()]
    assert len(SHIPPED) >= 19 and len(older) >= 15


def test_fields_have_their_names_of_today() -> None:
    encoder = {"source": "minilm"}
    old = {
        "type": "PromptedModel",
        "listeners": [{"type": "Listener", "ear": "SENTENCE", **encoder}],
    }
    new = {
        "type": "PromptedModel",
        "encoders": [{"type": "EncoderConfig", "modality": "SENTENCE", **encoder}],
    }
    assert renewed(old) == renewed(new) == new
    assert digest(old) == digest(new)


def test_the_schedule_of_a_bridge_moves_into_its_process() -> None:
    schedule = {"type": "SymmetricBrownian", "beta_min": 0.2, "beta_max": 0.4}
    old = {"type": "PinnedConfig", "schedule": schedule, "deterministic": True}
    new = {
        "type": "Bridge",
        "inner": {"type": "Scheduled", "schedule": schedule},
        "deterministic": True,
    }
    assert renewed([old]) == [new]
    assert renewed({"type": "PinnedConfig"}) == {"type": "Bridge"}

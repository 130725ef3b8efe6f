"""Where models are and what their cards say: shipped ones by name, others by folder; no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, final

from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.files.hub import cached, is_hub_id

_TYPES = {"str": str, "int": int, "Mapping[str, Any]": Mapping, "Mapping[str, list[str]]": Mapping}


@final
@dataclass(frozen=True)
class ModelCard:
    """What ``card.json`` says about a model.

    Args:
        name: the name it is asked for by; that of its folder.
        system: the published system it is an instance of, e.g. "EDM".
        data: the data set it was trained on.
        kind: "denoiser" (a generative model), "classifier", or what else it is.
        licence: the licence of the weights, and of the data where that binds them.
        command: the exact command that trained it.
        time: how long that took, on what.
        resolution: pixels along a side; 0 where there are none (points).
        params: the number of parameters.
        labels: the values of every label axis that it can be conditioned on.
        scores: measured figures by name, each name saying with what it was measured.
        sampling: settings of ``sfumato sample`` that suit it: solver, grid, steps, guidance.
        source: the paper.
        note: what to know before drawing conclusions.
    """

    name: str
    system: str
    data: str
    kind: str = "denoiser"
    licence: str = ""
    command: str = ""
    time: str = ""
    resolution: int = 0
    params: int = 0
    labels: Mapping[str, list[str]] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    note: str = ""

    @classmethod
    def read(cls, folder: Path) -> ModelCard:
        """The card in ``folder``.

        Raises SfumatoError when it cannot be read, lacks name, system or data, or has a field of
        another type. Fields that are not known (from a newer version) are passed over.
        """
        path = folder / "card.json"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SfumatoError(f"cannot read the card {path}: {error}") from None
        if not isinstance(raw, dict):
            raise SfumatoError(f"{path}: expected a JSON object, got {type(raw).__name__}")
        known = {f.name: f for f in fields(cls)}
        if missing := [n for n in ("name", "system", "data") if n not in raw]:
            raise SfumatoError(f"{path} lacks {', '.join(missing)}")
        for name, value in raw.items():
            if name in known and not isinstance(value, _TYPES[str(known[name].type)]):
                raise SfumatoError(
                    f"{path}: {name!r} should be {known[name].type}, got {type(value).__name__}"
                )
        return cls(**{n: v for n, v in raw.items() if n in known})


SHIPPED = Path(__file__).parents[1] / "zoo"
"""Where the shipped models are."""


def shipped() -> dict[str, Path]:
    """The folders of the models that come with this copy of sfumato, by name, sorted."""
    return _in(SHIPPED)


def folders() -> dict[str, Path]:
    """The folders of all models by name, sorted: shipped, or in SFUMATO_ZOO."""
    found = shipped()
    for root in filter(None, os.environ.get("SFUMATO_ZOO", "").split(os.pathsep)):
        found = {**_in(Path(root)), **found}
    return dict(sorted(found.items()))


def _in(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        return {}
    entries = [e for e in sorted(root.iterdir()) if not e.name.startswith(".")]
    return {e.name: e for e in entries if (e / "card.json").is_file()}


def cards() -> list[ModelCard]:
    """The cards of all shipped models, by name. Raises SfumatoError for a broken one."""
    return [ModelCard.read(folder) for folder in folders().values()]


def card(name: str) -> ModelCard:
    """The card of one model. Raises UsageError with the nearest names for an unknown one."""
    found = folders()
    if name not in found:
        raise unknown("model", name, found)
    return ModelCard.read(found[name])


def find(name: str) -> Path:
    """The folder that ``name`` means: a shipped model's, a checkpoint's, a run's, or one that
    `sfumato.files.hub.download` fetched.

    Raises:
        UsageError: none of these; with the nearest names of shipped models.
        SfumatoError: a folder that holds no checkpoint.
    """
    shipped = folders()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.is_dir():
        if not (path / "model.json").is_file() and not (path / "checkpoints").is_dir():
            raise SfumatoError(f"{path} is not a model: no model.json and no checkpoints/ in it")
        return path
    if path.exists():
        raise UsageError(f"expected the folder of a model, but {path} is a file")
    if is_hub_id(name):
        return cached(name)
    if os.sep in name:
        raise UsageError(f"there is no folder {name!r}")
    raise unknown("model", name, shipped)

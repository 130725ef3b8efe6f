"""Networks that judge, in folders: weights, what they belong to, a card, checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_tensors
from torch import nn

from sfumato.errors import SfumatoError
from sfumato.files.store import read_folder, write_folder

FORMAT = 1


def write_network(
    path: str | Path,
    kind: str,
    network: nn.Module,
    description: Mapping[str, Any],
    card: Mapping[str, Any],
    *,
    replace: bool = False,
) -> Path:
    """Writes the folder, atomically. Raises SfumatoError if it exists (unless ``replace``)."""
    state = network.state_dict()
    weights = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    files = {
        "model.safetensors": save_tensors(weights),
        "model.json": _json({"format_version": FORMAT, "kind": kind, **description}),
        "card.json": _json(card),
    }
    return write_folder(path, files, replace=replace)


def read_network(path: str | Path, kind: str) -> tuple[dict[str, Any], bytes]:
    """The description and the weights of a folder, every checksum verified.

    Raises:
        SfumatoError: damaged, from a newer version, or of another kind.
    """
    files = read_folder(path)
    missing = [n for n in ("model.json", "model.safetensors") if n not in files]
    if missing:
        raise SfumatoError(f"{path} is not a {kind}: it has no {missing[0]}")
    try:
        raw = json.loads(files["model.json"])
        found, version = raw.get("kind"), raw["format_version"]
    except (ValueError, KeyError, AttributeError) as error:
        raise SfumatoError(f"{path}/model.json does not describe a model: {error}") from error
    if not isinstance(version, int) or version > FORMAT:
        raise SfumatoError(
            f"{path} has format {version}, this sfumato reads up to {FORMAT}; install a newer one"
        )
    if found != kind:
        raise SfumatoError(f"{path} is not a {kind} but {found or 'another kind of model'}")
    return raw, files["model.safetensors"]


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()

"""From a run to a folder that can be shipped: averaged weights, description, card, checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.files.store import write_folder
from sfumato.model.load import SavedModel, read_saved
from sfumato.system import resolve, systems
from sfumato.train import checkpoint as ck


def export(
    source: Path | str,
    out: Path | str,
    card: Mapping[str, Any],
    *,
    half: bool = False,
    replace: bool = False,
) -> Path:
    """Write a model folder from a run's newest checkpoint, or from one checkpoint.

    Args:
        source: a run folder or a checkpoint folder.
        out: the folder to make: ``model.safetensors`` (the averaged weights), ``model.json``,
            ``card.json``, ``SHA256SUMS``; of a private run also its ledger and promise.
        card: what a person should know; the number of parameters and the trained steps are
            added as ``params`` and ``steps``.
        half: keep the weights in float16, half the size; they are float32 again when loaded.
        replace: write over an older folder.

    Raises:
        UsageError: the source holds no averaged weights, or they overflow float16.
        SfumatoError: damaged files, ``out`` exists, or the disk refuses.
    """
    kept = read_saved(source)
    model, weights = kept.model.shipped(load_tensors(kept.averaged))
    state = ck.parse_json(kept.files, ck.STATE, kept.folder)
    described = {**kept.described, "model": model.to_json()}
    files = pack_model(weights, described, card, state["step"], half)
    return write_folder(Path(out), files | companions(kept), replace=replace)


def companions(saved: SavedModel) -> dict[str, bytes]:
    """The files that weights must not be passed on without, such as a private model's ledger.

    Raises:
        UsageError, SfumatoError: they are missing, or do not belong to the weights.
    """
    files: dict[str, bytes] = {}
    for system in systems():
        if system.beside:
            files |= resolve(system.beside)(saved)
    return files


def pack_model(
    weights: Mapping[str, Tensor],
    described: Mapping[str, Any],
    card: Mapping[str, Any],
    steps: int,
    half: bool,
) -> dict[str, bytes]:
    """The files of a model folder, without its checksums: see `export`.

    Raises:
        UsageError: weights overflow float16 (``half``).
    """
    params = sum(w.numel() for w in weights.values())
    if half:
        weights = {k: w.to(torch.float16) for k, w in weights.items()}
        if bad := [k for k, w in weights.items() if not w.isfinite().all()]:
            raise UsageError(f"{bad[0]} does not fit float16; export in float32")
    full = {**card, "params": params, "steps": steps}
    return {
        ck.MODEL: ck.pack_tensors(weights),
        ck.DESCRIPTION: ck.pack_json(described),
        "card.json": (json.dumps(full, indent=2, ensure_ascii=False) + "\n").encode(),
    }

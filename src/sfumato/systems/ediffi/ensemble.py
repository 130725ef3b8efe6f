"""Ensembles of experts whose weights are read when they are first used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.model.load import read_saved
from sfumato.systems.ediffi.experts import Experts, Split
from sfumato.systems.ediffi.model import PromptedModel
from sfumato.train import checkpoint as ck


def open_experts(
    folder: Path | str, keep: int = 1, device: torch.device | str = "cpu"
) -> tuple[Denoiser, PromptedModel]:
    """An ensemble whose experts are read when they are first asked, from a model folder.

    The files are checked once, here. Other models of prompts are loaded whole.

    Args:
        folder: see `sfumato.model.load.load_model`.
        keep: at most so many experts are in memory at once; 0 keeps all.
        device: where they go.

    Raises:
        SfumatoError, UsageError: see `load_model`; or a model that is not told by prompts.
    """
    kept = read_saved(folder)
    model, name = kept.model, kept.weights()
    if not isinstance(model, PromptedModel):
        raise UsageError(f"{folder} draws without prompts; use sfumato {model.command} for it")
    path = kept.folder / name
    if not model.split:
        return kept.build().to(device), model
    split = Split(model.split)
    experts = [_loader(model, path, i, device) for i in range(split.experts)]
    return Experts(experts, split.route(model.law), model.process, keep).eval(), model


def _loader(
    model: PromptedModel, path: Path, i: int, device: torch.device | str
) -> Callable[[], Denoiser]:
    prefix = f"always.{i}."

    def load() -> Denoiser:
        try:
            with safe_open(path, framework="pt") as file:
                own = [k for k in file.keys() if k.startswith(prefix)]  # noqa: SIM118
                weights = {k.removeprefix(prefix): file.get_tensor(k) for k in own}
        except (OSError, SafetensorError) as error:
            raise SfumatoError(f"could not read expert {i} from {path}: {error}") from error
        expert = model.one()
        ck.load_tensors_into(expert, weights, f"{path}, expert {i}")
        return expert.eval().to(device)

    return load

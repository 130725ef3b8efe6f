"""Joins experts that were trained in runs of their own into one model folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from safetensors.torch import load as load_tensors
from torch import Tensor

from sfumato.console.again import read_run
from sfumato.errors import UsageError
from sfumato.files.store import write_folder
from sfumato.model.export import pack_model
from sfumato.model.load import read_saved
from sfumato.systems.ediffi import recipe as imagine
from sfumato.systems.ediffi.experts import Split
from sfumato.systems.ediffi.model import PromptedModel
from sfumato.systems.ediffi.options import Node
from sfumato.train import checkpoint as ck


@final
@dataclass(frozen=True, eq=False)
class ExpertRun:
    """A run of the recipe ``imagine`` and its newest averaged weights.

    Args:
        run: the folder.
        config: its options; ``expert`` is -1 for a model of all noise levels.
        model: one network.
        weights: averaged, by parameter name.
        step: of the checkpoint.
        described: the rest of its ``model.json``.
    """

    run: Path
    config: imagine.Config
    model: PromptedModel
    weights: Mapping[str, Tensor]
    step: int
    described: Mapping[str, Any]


def read_expert_run(run: Path | str) -> ExpertRun:
    """The newest checkpoint of a run folder.

    Raises:
        UsageError: a run of another recipe, or without averaged weights.
        SfumatoError: no run there, or damaged files.
    """
    run = Path(run)
    kept = read_saved(run)
    _, config = read_run(run)
    if not isinstance(config, imagine.Config) or not isinstance(kept.model, PromptedModel):
        raise UsageError(f"{run} was not made by sfumato train imagine")
    weights = load_tensors(kept.averaged)
    return ExpertRun(run, config, kept.model, weights, kept.step, kept.described)


def match_experts(runs: Sequence[Path | str]) -> tuple[Split, tuple[ExpertRun, ...]]:
    """The split, and for each of its experts the run that trained it.

    A run of all noise levels stands for every expert that has no run of its own.

    Raises:
        UsageError: runs of different models or splits, two runs of one expert, or an expert that
            no run is.
        SfumatoError: a run cannot be read.
    """
    found = [read_expert_run(run) for run in runs]
    if not found:
        raise UsageError("expected the runs of experts, got none")
    for one in found[1:]:
        wrong = ck.differences(found[0].model.to_json(), one.model.to_json())
        if wrong:
            raise UsageError(
                f"{one.run} is another model than {found[0].run}: " + "; ".join(wrong[:3])
            )
    splits = {one.config.nodes: one.run for one in found if one.config.expert >= 0}
    if len(splits) != 1:
        names = ", ".join(f"{run}: {_named(nodes)}" for nodes, run in splits.items())
        raise UsageError(f"expected experts of one split, got {names or 'none'}")
    split = Split(next(iter(splits)))
    parts: dict[int, ExpertRun] = {}
    for one in found:
        if one.config.expert in parts:
            raise UsageError(
                f"{one.run} and {parts[one.config.expert].run} are both "
                + (f"expert {one.config.expert}" if one.config.expert >= 0 else "for all levels")
            )
        parts[one.config.expert] = one
    whole = parts.pop(-1, None)
    missing = [i for i in range(split.experts) if i not in parts]
    if whole is None and missing:
        raise UsageError(
            f"expected runs of experts 0 to {split.experts - 1} of the split "
            f"{_named(split.nodes)}; {', '.join(map(str, missing))} is missing: give its run, or "
            "that of the model that all went on from"
        )
    if whole is not None:
        if not missing:
            raise UsageError(f"every expert has a run, so {whole.run} is not needed")
        parts |= dict.fromkeys(missing, whole)
    return split, tuple(parts[i] for i in range(split.experts))


def _named(nodes: Sequence[Node]) -> str:
    return " ".join(f"{n.level}.{n.index}" for n in nodes)


def join(
    runs: Sequence[Path | str],
    out: Path | str,
    card: Mapping[str, Any],
    *,
    half: bool = False,
    replaces: bool = False,
) -> Path:
    """Write the model folder of an ensemble from the runs of its experts.

    Args:
        runs: see `match_experts`.
        out: the folder to make, as `sfumato.model.export.export` makes one.
        card: what a person should know; the name, the system, the kind and the data are added
            where it does not say them.
        half: keep the weights in float16.
        replaces: write over an older folder.

    Raises:
        UsageError, SfumatoError: see `match_experts` and `export`.
    """
    split, parts = match_experts(runs)
    model = replace(parts[0].model, split=split.nodes)
    weights = {
        f"always.{i}.{name}": w for i, one in enumerate(parts) for name, w in one.weights.items()
    }
    described = {**parts[0].described, "model": model.to_json()}
    steps = max(one.step for one in parts)
    usual = {
        "name": Path(out).absolute().name,
        "system": "eDiff-I",
        "kind": "prompted model",
        "data": model.data,
    }
    files = pack_model(weights, described, {**usual, **card}, steps, half)
    return write_folder(Path(out), files, replace=replaces)

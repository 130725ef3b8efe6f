"""Go on with what a run folder's ``config.json`` says was run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfumato.console.options import parse_recipe
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.atomic import probe
from sfumato.model.codec import allowed_types, decode, encode
from sfumato.system import RecipeEntry, find, recipes

_FREE = {
    "out", "resume", "train.quiet", "train.tensorboard", "train.keep", "train.log_every",
    "train.checkpoint_every", "train.sheet_every", "train.cpu", "train.compile",
}  # fmt: skip
"""Settings that change nothing about what a run ends with."""


def read_run(folder: Path | str) -> tuple[RecipeEntry, Any]:
    """The recipe and the configuration that a run folder was made with.

    Raises:
        SfumatoError: no readable ``config.json`` in it.
        UsageError: a recipe or a setting that this version does not know.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise SfumatoError(f"there is no run in {folder}: it has no config.json")
    try:
        about = json.loads(path.read_text("utf-8"))
        name, config = about["recipe"], dict(about["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SfumatoError(f"{path} does not say what was run: {error!r}") from error
    recipe = find("recipe", str(name), recipes())
    source = about.get("source")
    data = config.get("path")
    known = isinstance(source, dict) and "path" in source
    if known and isinstance(data, str) and not Path(data).exists():
        config["path"] = source["path"]  # begun in another working folder
    before = getattr(recipe.config, "before", {})  # what older runs did not say
    config = {**before, **config, "type": recipe.config.__name__}  # the type had another name
    return recipe, decode(config, recipe.config, allowed_types(config), str(path))


def named_run(argv: Sequence[str]) -> Path | None:
    """The run of ``--resume RUN``, which may stand in place of everything else."""
    if argv[:1] == ["--resume"] and len(argv) > 1 and not argv[1].startswith("-"):
        return Path(argv[1])
    return None


def settings(
    recipe: RecipeEntry,
    command: str,
    argv: Sequence[str],
    default: Any = None,
    about: str | None = None,
) -> Any:
    """The options of a recipe that a command line means.

    With ``--resume RUN``, or ``--resume`` and ``--out RUN``, what is not given is as the run has
    it. What is given and is not as the run has it needs ``--change``, unless nothing that the run
    ends with depends on it.

    Args:
        recipe: whose options.
        command: the words after ``sfumato``, up to the recipe.
        argv: the words after those.
        default: see `parse_recipe`.
        about: see `parse_recipe`.

    Raises:
        UsageError: something is in the run folder and ``--resume`` is not given, or the run is
            another recipe's, or settings differ and ``--change`` is not given.
        SfumatoError: the run folder cannot be written.
    """
    words = [word for word in argv if word != "--change"]
    for at in [i for i, word in enumerate(words[:-1]) if word == "--resume"]:
        if not words[at + 1].startswith("-"):
            words[at : at + 2] = ["--resume", "--out", words[at + 1]]
            break
    config = parse_recipe(recipe.config, command, words, default, about)
    if not (hasattr(config, "out") and hasattr(config, "resume")):
        return config  # a recipe that does not keep a run
    from sfumato.train.run import refuse_used

    refuse_used(config.out, config.resume)
    probe(config.out)
    if not config.resume or not (config.out / "config.json").is_file():
        return config
    try:
        theirs, run = read_run(config.out)
    except SfumatoError as error:
        warnings.warn(f"{error}; going on with the options of this command", stacklevel=2)
        return config
    if theirs.name != recipe.name:
        raise UsageError(
            f"{config.out} is a run of the recipe {theirs.name!r}, not {recipe.name!r}"
        )
    from sfumato.train.checkpoint import differences

    run = replace(run, out=config.out, resume=True)
    config = parse_recipe(recipe.config, command, words, run, about)
    changed = [
        line
        for line in differences(encode(run), encode(config))
        if line.partition(":")[0] not in _FREE
    ]
    if changed and "--change" not in argv:
        raise UsageError(
            f"the run in {config.out} was made with other settings: {'; '.join(changed)}. Leave "
            "these options out to go on as it began, or add --change to go on with the new ones"
        )
    return config

"""Run again what a run folder's ``config.json`` says was run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sfumato.errors import SfumatoError
from sfumato.model.codec import allowed_types, decode
from sfumato.system import RecipeEntry, find, recipes


def read_run(folder: Path | str) -> tuple[RecipeEntry, Any]:
    """The recipe and the configuration that a run folder was made with.

    Raises:
        SfumatoError: no readable ``config.json`` in it.
        UsageError: a recipe or a setting that this version does not know.
    """
    path = Path(folder) / "config.json"
    try:
        about = json.loads(path.read_text("utf-8"))
        name, config = about["recipe"], about["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SfumatoError(f"{path} does not say what was run: {error!r}") from error
    recipe = find("recipe", str(name), recipes())
    config = {**config, "type": recipe.config.__name__}  # older runs have it by another name
    return recipe, decode(config, recipe.config, allowed_types(config), str(path))

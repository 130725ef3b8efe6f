"""Run again what a run folder's ``config.json`` says was run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from sfumato.errors import SfumatoError, unknown
from sfumato.model.codec import decode
from sfumato.nn import UNetConfig
from sfumato.systems.cld import points as cld_points
from sfumato.systems.cld import recipe as cld
from sfumato.systems.ddgan import recipe as ddgan
from sfumato.systems.ddo import recipe as fields
from sfumato.systems.ddo.nn.operator import FNOConfig, UNOConfig
from sfumato.systems.dpdm import recipe as private
from sfumato.systems.dsno import recipe as dsno
from sfumato.systems.ediffi import recipe as imagine
from sfumato.systems.edm import avatars, digits, fashion, images, points
from sfumato.systems.genie import recipe as genie
from sfumato.systems.i2sb import recipe as i2sb
from sfumato.train import TrainConfig


@final
@dataclass(frozen=True)
class Recipe:
    """A recipe's configuration and what trains it."""

    config: type
    run: Callable[[Any], Path]


RECIPES = {
    "avatars": Recipe(avatars.Config, avatars.run),
    "cld": Recipe(cld.Config, cld.run),
    "cld-points": Recipe(cld_points.Config, cld_points.run),
    "ddgan": Recipe(ddgan.Config, ddgan.run),
    "digits": Recipe(digits.Config, digits.run),
    "dsno": Recipe(dsno.Config, dsno.run),
    "fashion": Recipe(fashion.Config, fashion.run),
    "fields": Recipe(fields.Config, fields.run),
    "genie": Recipe(genie.Config, genie.run),
    "images": Recipe(images.Config, images.run),
    "imagine": Recipe(imagine.Config, imagine.run),
    "points": Recipe(points.Config, points.run),
    "i2sb": Recipe(i2sb.Config, i2sb.run),
    "private": Recipe(private.Config, private.run),
}


def read_run(folder: Path | str) -> tuple[Recipe, Any]:
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
    if name not in RECIPES:
        raise unknown("recipe", str(name), RECIPES)
    recipe = RECIPES[name]
    parts = (UNetConfig, UNOConfig, FNOConfig, TrainConfig)
    return recipe, decode(config, recipe.config, parts, str(path))

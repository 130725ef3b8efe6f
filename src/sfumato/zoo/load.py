"""From what a user types to a model that can be called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfumato.cards import card, find, folders
from sfumato.errors import SfumatoError, UsageError

if TYPE_CHECKING:
    from sfumato.denoise import Denoiser
    from sfumato.recipes.model import Model


def load(name: str) -> tuple[Denoiser, Model]:
    """Load the model that ``name`` means (see :func:`find`), its checksums verified.

    Of a run, its newest readable checkpoint is taken; of a checkpoint, the averaged weights.

    Raises:
        UsageError: ``name`` means nothing.
        SfumatoError: damaged files, files of a newer sfumato, or weights of another model.
    """
    folder = find(name)
    if name in folders() and (kind := card(name).kind) != "denoiser":
        raise UsageError(f"{name!r} is a {kind}, expected a generative model")
    from sfumato.recipes.load import load_model

    try:
        return load_model(folder)
    except KeyError as error:
        raise SfumatoError(f"{folder} is not a generative model: no {error} in it") from error
    except UsageError as error:  # what is wrong is the files, not how they were asked for
        raise SfumatoError(str(error)) from error

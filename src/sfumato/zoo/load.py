"""From what a user types to a model that can be called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfumato.errors import SfumatoError, UsageError
from sfumato.files.cards import card, find, folders

if TYPE_CHECKING:
    from sfumato.denoise import Denoiser
    from sfumato.model.description import ModelDescription

_CALLED = {"denoiser": "a generative model", "field model": "a model of fields"}


def load(name: str, kind: str = "denoiser") -> tuple[Denoiser, ModelDescription]:
    """Load the model that ``name`` means (see :func:`find`), its checksums verified.

    Of a run, its newest readable checkpoint is taken; of a checkpoint, the averaged weights.

    Raises:
        UsageError: ``name`` means nothing, or a shipped model of another ``kind``.
        SfumatoError: damaged files, files of a newer sfumato, or weights of another model.
    """
    folder = find(name)
    if name in folders() and (found := card(name).kind) != kind:
        raise UsageError(f"{name!r} is a {found}, expected {_CALLED.get(kind, kind)}")
    from sfumato.model.load import load_model

    try:
        return load_model(folder)
    except KeyError as error:
        raise SfumatoError(f"{folder} is not a generative model: no {error} in it") from error
    except UsageError as error:  # what is wrong is the files, not how they were asked for
        raise SfumatoError(str(error)) from error

"""Which model restores what: a shipped one for each task, or one that was named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfumato.console.options import DTypeName, torch_dtype
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.cards import find

if TYPE_CHECKING:
    import torch

    from sfumato.systems.i2sb.restorer import Restorer

MIXTURE = "restore"
"""The shipped model that knows several tasks."""
SHIPPED = {"inpaint": "restore-inpaint"}
"""The shipped models of other tasks."""


def load_restorer(
    name: str,
    *,
    task: str,
    device: torch.device,
    dtype: DTypeName = DTypeName.FLOAT32,
    overlap: int = 16,
) -> Restorer:
    """The model ``name``, or the one that is shipped for the task, ready to restore.

    Args:
        name: a shipped model, the folder of a checkpoint or of a run, or "".
        task: what it is for, where no name is given.
        device: where it runs.
        dtype: what the network computes in.
        overlap: pixels that neighbouring tiles share.

    Raises:
        UsageError: the name means nothing, or a model that restores nothing.
        SfumatoError: damaged files.
    """
    from sfumato.model.load import load_model
    from sfumato.systems.i2sb.restorer import Restorer

    folder = find(name or SHIPPED.get(task, MIXTURE))
    try:
        denoiser, model = load_model(folder)
    except KeyError as error:
        raise SfumatoError(f"{folder} is no generative model: no {error} in it") from error
    except UsageError as error:  # what is wrong is the files, not how they were asked for
        raise SfumatoError(str(error)) from error
    return Restorer(denoiser, model, device=device, precision=torch_dtype(dtype), overlap=overlap)

"""Which model restores what: a shipped one for each task, or one that was named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfumato.console.options import DTypeName, torch_dtype

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
    from sfumato.model.load import load
    from sfumato.systems.i2sb.restorer import Restorer

    restorer = load(name or SHIPPED.get(task, MIXTURE), Restorer).to(device)
    return restorer.tiled(overlap, precision=torch_dtype(dtype))

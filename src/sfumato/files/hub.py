"""Model folders on the Hugging Face hub: fetched when asked for, never on the way."""

from __future__ import annotations

import re
from pathlib import Path

from sfumato.errors import SfumatoError, UsageError, require

FILES = (
    "model.safetensors", "model.json", "card.json", "SHA256SUMS", "privacy.json", "ledger.jsonl",
)  # fmt: skip
"""What is fetched of a repository."""


def is_hub_id(name: str) -> bool:
    """Whether a name has the form ORG/NAME."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None


def cached(name: str) -> Path:
    """The folder of a model that `download` fetched before.

    Raises:
        UsageError: it was not fetched, or not whole; the message says how.
    """
    fetch = f"sfumato models {name} --download"
    try:
        hub = require("huggingface_hub", "hub")
        folder = Path(hub.snapshot_download(name, allow_patterns=FILES, local_files_only=True))
    except (ImportError, OSError, ValueError) as error:
        raise UsageError(
            f"there is no folder {name!r}; a model of that name on the Hugging Face hub is fetched "
            f"with: {fetch} (in Python: sfumato.download({name!r}))"
        ) from error
    if not (folder / "model.json").is_file():
        raise UsageError(f"{name} was fetched only in part; fetch it again with: {fetch}")
    return folder


def download(name: str) -> Path:
    """Fetch a model folder from the Hugging Face hub, with a bar for each file.

    The files land in the hub's cache (``HF_HOME``); checksums are verified when it is loaded.

    Args:
        name: ORG/NAME of a repository that holds what `Model.save` writes.

    Raises:
        UsageError: another form of name.
        MissingExtra: huggingface_hub is not installed.
        SfumatoError: no such repository, no network, or it holds no model of sfumato.
    """
    if not is_hub_id(name):
        raise UsageError(f"expected the name of a repository, ORG/NAME, got {name!r}")
    hub = require("huggingface_hub", "hub")
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=FILES))
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        raise SfumatoError(f"could not fetch {name} from the hub: {error}") from error
    if missing := [f for f in FILES[:4] if not (folder / f).is_file()]:
        raise SfumatoError(f"{name} on the hub is no model of sfumato: no {', '.join(missing)}")
    return folder

"""The studio's tab for text to image."""

from __future__ import annotations

from collections.abc import Callable

from sfumato.studio.limits import Limits
from sfumato.studio.tab import Tab, TabOptions
from sfumato.systems.ediffi.commands import prompted


def open_tab(options: TabOptions, limits: Limits) -> Callable[[], Tab]:
    """Checks the options, and returns what loads the models; torch is imported by the latter.

    Raises:
        UsageError: no model, or one that there is not.
    """
    found = prompted.folders(options.model, options.enlarge)

    def opened() -> Tab:
        from sfumato.console.options import torch_device
        from sfumato.systems.ediffi.studio.tab import ImagineTab

        device, threads = options.device, options.threads
        cascade = prompted.opened(found, device, threads, download=options.download)
        # Two at a time cost a CPU a quarter more than all at once, and show what is done.
        batch = 2 if torch_device(device).type == "cpu" else limits.n
        return ImagineTab(cascade, found[0].name, batch)

    return opened

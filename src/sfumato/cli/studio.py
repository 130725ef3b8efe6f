"""``sfumato studio``: a small local page that draws what a sentence says."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import final

from sfumato.console.options import Device, DeviceName, at_least, parse
from sfumato.errors import UsageError

_ABOUT = """A small page in the browser that draws what a sentence says.

Words of the sentence are painted where they are to be; a picture shows the style. The page is for
this machine alone unless --host is given, asks nobody else for anything, and keeps nothing. One
request is drawn at a time; the others wait.

examples:
  sfumato studio
  sfumato studio --model runs/imagine --enlarge runs/enlarge --port 8000
"""


@final
@dataclass(frozen=True)
class StudioConfig:
    """Which models draw, where the page is, and what it allows."""

    model: str = ""
    """A shipped model, or the folder of a checkpoint or of a run (sfumato train imagine); by
    default scenes, enlarged by scenes-64."""
    enlarge: tuple[str, ...] = ()
    """Models that enlarge what the one before has drawn, in order; none for small pictures."""
    host: str = "127.0.0.1"
    """The address to listen on; whoever can reach it can draw."""
    port: int = 7860
    """The port; 0 takes a free one."""
    queue: int = 16
    """How many requests may wait while one is drawn."""
    max_n: int = 8
    """The most pictures of one request."""
    max_pixels: int = 24_000_000
    """The most pixels of a picture that is shown."""
    device: Device = DeviceName.AUTO
    """Where the network runs; auto takes CUDA, then Apple's GPU, then the CPU."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch."""
    download: bool = False
    """Ask the Hugging Face hub for encoders that are not here."""


def main(argv: list[str]) -> None:
    """Run ``sfumato studio``."""
    run(parse(StudioConfig, "studio", argv, _ABOUT))


def run(config: StudioConfig) -> None:
    """Open the models and run the page until it is interrupted.

    Raises UsageError for options that make no sense, MissingExtra without the extra `studio`,
    SfumatoError for a model that cannot be loaded.
    """
    at_least("threads", config.threads, 0)
    if not 0 <= config.port < 65536:
        raise UsageError(f"--port must be 0 to 65535, got {config.port}")
    from sfumato.studio.limits import Limits
    from sfumato.studio.serve import gradio, listening, loopback, serve
    from sfumato.studio.tab import TabOptions
    from sfumato.system import resolve, systems

    limits = Limits(config.queue, config.max_n, pixels=config.max_pixels)
    options = TabOptions(
        config.model, config.enlarge, config.device, config.threads, config.download
    )
    openers = [resolve(system.tab)(options, limits) for system in systems() if system.tab]

    gradio()
    with listening(config.host, config.port) as place:
        if not loopback(place.getsockname()[0]):
            print(
                f"sfumato: {config.host} is not this machine alone: whoever reaches the port can "
                "draw here, and what is sent is not encrypted",
                file=sys.stderr,
            )
        tabs = [opened() for opened in openers]
        try:
            serve(tabs, limits, place, ready)
        except KeyboardInterrupt:
            print("stopped")


def ready(address: str) -> None:
    """Say where the page is."""
    print(f"sfumato studio: {address} (Ctrl+C stops it)", flush=True)

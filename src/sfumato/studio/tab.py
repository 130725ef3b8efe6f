"""What a system adds to the studio: a tab with its models, its request and its style sheet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any, ClassVar, TypeAlias, final

from sfumato.console.options import DeviceName
from sfumato.errors import SfumatoError
from sfumato.studio import results
from sfumato.studio.limits import Limits


@final
@dataclass(frozen=True)
class TabOptions:
    """How a tab opens its models.

    Args:
        model: a shipped model or a folder; "" for the system's usual one.
        enlarge: models that enlarge its pictures, in order.
        device: where networks run.
        threads: CPU threads; 0 leaves the choice to PyTorch.
        download: allow models to be fetched from the hub.
    """

    model: str = ""
    enlarge: tuple[str, ...] = ()
    device: DeviceName = DeviceName.AUTO
    threads: int = 0
    download: bool = False


class Tab(ABC):
    """The part of the page that belongs to one system, its models in memory.

    Attributes:
        title: shown where there are several tabs.
        endpoint: ``api_name`` of its event in gradio, a word of letters; the gate lets requests
            to the endpoints of the tabs pass and no others.
    """

    title: ClassVar[str]
    endpoint: ClassVar[str]

    @property
    def css(self) -> str:
        """Rules beside those of `serve`'s own sheet."""
        return ""

    @abstractmethod
    def build(self, limits: Limits) -> None:
        """Adds its components to the `gradio.Blocks` that is open.

        What belongs to one visitor is kept in `gradio.State`, never in the tab. Scripts are given
        to ``js_on_load`` of a `gradio.HTML`.
        """


OpenTab: TypeAlias = Callable[[TabOptions, Limits], Callable[[], Tab]]
"""What a system declares: checks the options (UsageError), and returns what loads the models."""


def pieces_of(pieces: Iterator[str], error: Any) -> Iterator[str]:
    """Pieces of the page as they come; errors become gradio's ``error`` with one sentence."""
    begun = ""
    try:
        for begun in pieces:
            yield begun
    except Exception as found:
        if begun:
            yield results.EMPTY
        if isinstance(found, SfumatoError):
            text = escape(str(found), quote=False)
            raise error(text, duration=20, print_exception=False) from found
        text = "this failed unexpectedly; the terminal in which the studio runs says where"
        raise error(text, duration=20) from found

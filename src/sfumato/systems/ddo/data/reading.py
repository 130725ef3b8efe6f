"""How a file of fields is to be read, and what messages call the options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

__all__ = ["NONE", "FieldFileOptions", "text_of"]

NONE = "none"
"""The sample_dim of a file that holds one field."""


@final
@dataclass(frozen=True)
class FieldFileOptions:
    """How a file is read; see `ddo.data.files.read_fields`.

    Args:
        variables: all when empty.
        domain, fill, sample_dim, group: "" for what `read_fields` does by itself; several axes of
            samples with commas between them; "none" where there is no axis of samples.
        missing: values that stand for missing ones.
        regrid: interpolate to uniform coordinates where they are not.
        command: the options came from the command line, and messages call them so.
    """

    variables: tuple[str, ...] = ()
    domain: Literal["", "periodic", "reflecting"] = ""
    fill: Literal["", "mean", "harmonic"] = ""
    sample_dim: str = ""
    group: str = ""
    missing: tuple[float, ...] = ()
    regrid: bool = False
    command: bool = True

    def option(self, name: str, value: Any = None) -> str:
        """An option with a value as one writes it: sample_dim='time', or --sample-dim time."""
        if self.command:
            word = "" if value is None or value is True else f" {value}"
            return f"--{name.replace('_', '-')}{word}"
        if name == "sample_dim" and value == NONE:
            value = ""
        return f"{name}=" + ("..." if value is None else repr(value))


def text_of(value: Any) -> str:
    """An attribute as a text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

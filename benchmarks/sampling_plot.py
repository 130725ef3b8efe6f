"""The picture of `sampling.py`."""

from __future__ import annotations

from pathlib import Path


def draw(found: dict[str, Path], out: Path) -> None:
    """Nothing yet."""

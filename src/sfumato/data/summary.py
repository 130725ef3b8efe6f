"""What was read from a folder of pictures, in figures and in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from sfumato.files.words import many

_SHOWN: Final = 12


@final
@dataclass(frozen=True)
class ReadSummary:
    """What was read from a folder or zip file of pictures.

    Args:
        path: of the folder, absolute.
        digest: of the names and sizes of all its pictures.
        layout: how it is arranged, in words.
        split: the part that was read.
        n: pictures of that part.
        others: number of pictures of each other part.
        held_out: share that is held out for test by the pictures' names.
        classes: of each label axis the number of pictures of each value.
        sizes: least width and height, greatest width and height of the pictures as they were.
        resolution, channels, fit, image_width: what was made of them; width 0 is square.
        left_out: number of files that are no pictures, by ending.
        broken: pictures that cannot be used.
        notes: sentences on what was found and is not used.
        options: what tells the same pictures again, beside the path and the part.
        cache: the folder of the decoded pictures, which only its owner can read.
    """

    path: Path
    digest: str
    layout: str
    split: str
    n: int
    others: Mapping[str, int]
    held_out: float
    classes: Mapping[str, Mapping[str, int]]
    sizes: tuple[tuple[int, int], tuple[int, int]]
    resolution: int
    channels: int
    fit: str
    image_width: int
    left_out: Mapping[str, int]
    broken: int
    notes: tuple[str, ...]
    options: Mapping[str, Any]
    cache: Path

    def lines(self) -> list[str]:
        """For people: what, how many, classes, sizes, what was left out."""
        said = [f"{self.path}: {many(self.n, 'picture')}, {self.layout}{self._part()}"]
        for axis, counts in self.classes.items():
            shown = [f"{value} {n:,}" for value, n in list(counts.items())[:_SHOWN]]
            if len(counts) > _SHOWN:
                least, most = min(counts.values()), max(counts.values())
                shown.append(f"... ({len(counts):,} values with {least:,} to {most:,} each)")
            said.append(f"  {axis}: {', '.join(shown)}")
        low, high = ("x".join(map(str, size)) for size in self.sizes)
        was = low if low == high else f"{low} to {high}"
        width = self.image_width or self.resolution
        fitting = all(w * self.resolution == h * width for w, h in self.sizes)
        how = {
            "crop": "the middle, resized" if self.image_width else "the middle square, resized",
            "pad": "whole, with black bars, resized",
            "stretch": "stretched" if self.image_width else "made square by stretching",
        }[self.fit]
        said.append(
            f"  {was} pixels, now {width}x{self.resolution} "
            f"{'grey' if self.channels == 1 else 'colour'} ({'resized' if fitting else how})"
        )
        if self.left_out or self.broken:
            kinds = [f"{n:,} {kind}" for kind, n in self.left_out.items()]
            kinds += [f"{many(self.broken, 'picture')} that cannot be used"] * bool(self.broken)
            said.append(f"  not read: {', '.join(kinds)}")
        return said + [f"  {note}" for note in self.notes]

    def _part(self) -> str:
        if self.split == "all":
            return ""
        if not self.others:
            return "; none held out for test"
        rest = ", ".join(f"{n:,} for {part}" for part, n in self.others.items())
        how = f": {self.held_out:.0%} are held out, by name" if self.held_out else ""
        return f"; the part for {self.split} (beside it {rest}{how})"

    def record(self, secret: bool = False) -> dict[str, Any]:
        """JSON-able: where the pictures are and how the same are read again.

        With ``secret`` without their number, and without a digest of their names and sizes.
        """
        facts = {"digest": self.digest, "pictures": self.n + sum(self.others.values())}
        return {
            "path": str(self.path),
            **({} if secret else facts),
            "resolution": self.resolution,
            "channels": self.channels,
            **self.options,
        }


def announce(data: Any, quiet: bool = False) -> None:
    """Say on stderr what was read, if ``data`` was a folder; only in the first of processes."""
    summary: ReadSummary | None = getattr(data, "summary", None)
    if summary is not None and not quiet and os.environ.get("RANK", "0") == "0":
        print("\n".join(summary.lines()), file=sys.stderr)

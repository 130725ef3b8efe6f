"""Draw docs/img/studio.webp: the page in a browser, with the shipped models.

    python tools/studio_picture.py

Presses an example, which brings its paint along, shows a scene by one vendor as the style, and
draws. Needs Chromium and what the tests need.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from sfumato.files.cards import find
from sfumato.studio.limits import Limits
from sfumato.systems.ediffi.data import Scenes
from sfumato.systems.ediffi.pipeline import open_cascade

ROOT = Path(__file__).resolve().parents[1]
VENDOR, SCENE = "openmoji", 11


def main() -> None:
    """Write the picture."""
    sys.path.insert(0, str(ROOT / "tests"))  # which drive a browser
    from chromium import chromium
    from toy_studio import served

    cascade = open_cascade([str(find(name)) for name in ("scenes", "scenes-64")])
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        (here / "downloads").mkdir()
        shown = Scenes("test", 64, vendor=VENDOR)[[SCENE]][0].transpose(1, 2, 0)
        Image.fromarray(shown).resize((256, 256)).save(here / "style.png")
        with (
            served(cascade, Limits(), "scenes, scenes-64") as address,
            chromium(here / "profile", here / "downloads") as tab,
        ):
            tab.open(address, 1120, 900)
            tab.until("!!(window.sfumato && document.querySelector('#sf-draw'))")
            tab.click(".sf-examples button:nth-of-type(2)")
            tab.until("document.querySelector('textarea').value.length > 0")
            tab.choose(".sf-chooser", here / "style.png")
            tab.until("!document.querySelector('.sf-shown').hidden")
            tab.click("#sf-draw")
            tab.until("!!document.querySelector('.sf-file')", seconds=300)
            picture = Image.open(tab.picture(here / "page.png", whole=True)).convert("RGB")
    picture.save(ROOT / "docs" / "img" / "studio.webp", quality=82, method=6)
    print(f"docs/img/studio.webp: {picture.size}")


if __name__ == "__main__":
    main()

"""Scenes of one to three emoji on a textured ground, with sentences, boxes and masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, final

import numpy as np
from PIL import Image

from sfumato.data.decode import drawn
from sfumato.data.emoji import (
    VENDORS,
    _collections,
    _folder,
    emoji_licence,
    emoji_source,
    svg_of_icon,
)
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, Lazy, Split, check_between, check_split
from sfumato.errors import SfumatoError, require, unknown
from sfumato.systems.ediffi.data.base import Captioned, LazySequence
from sfumato.systems.ediffi.data.drawings import in_style
from sfumato.systems.ediffi.data.grounds import GROUNDS, draw_ground
from sfumato.systems.ediffi.data.layout import GRID, THINGS, SceneLayout, plan, sentences

_DEFAULT_N: Final = {"train": 50_000, "test": 2_000}
_FINE: Final = 256


@final
@dataclass(frozen=True, eq=False)
class Scene:
    """One scene and everything that is known about it.

    Args:
        index: its number.
        image: uint8 (3, R, R).
        captions: sentences, all true.
        things: what is in it, K of them, in the words of the sentences: "red apple".
        boxes: int64 (K, 4), pixels (x0, y0, x1, y1) of each thing: columns x0..x1-1 and rows
            y0..y1-1, the smallest box around its pixels in the mask.
        mask: uint8 (R, R): 0 where the ground is, k where thing number k - 1 covers half of the
            pixel or more.
        vendor: who drew the things.
        ground: the name of the ground.
    """

    index: int
    image: np.ndarray
    captions: tuple[str, ...]
    things: tuple[str, ...]
    boxes: np.ndarray
    mask: np.ndarray
    vendor: str
    ground: str


@final
class Scenes(Lazy):
    """N scenes, uint8 (N, 3, R, R), each drawn when it is asked for.

    What is where in scene i, and its ground, depend on (seed, split, i) alone: it is the same
    scene at every resolution and by every vendor.

    Args:
        split: "train" or "test". Test scenes of several things hold at least one pair of things
            that no train scene holds (about a tenth of the pairs), and test scenes of one thing
            show it on a ground that it is never alone on in train. So no sentence of a test
            scene is ever one of a train scene.
        resolution: R, 32..128.
        n: N; 50,000 for train and 2,000 for test when None.
        vendor: one of "noto", "twemoji", "openmoji", "fluent"; each scene's own draw when None.
        seed: of all draws.
        style: say the vendor in the sentences.
        root: the data folder; `data_root()` when None.

    Raises:
        UsageError: an unknown split or vendor, or a number out of range.
        MissingExtra: the rasteriser is not installed.
        SfumatoError: the emoji are not there; the message says what to run.
    """

    def __init__(
        self,
        split: Split = "train",
        resolution: int = 32,
        n: int | None = None,
        *,
        vendor: str | None = None,
        seed: int = 0,
        style: bool = False,
        root: Path | None = None,
    ) -> None:
        check_split(split)
        if vendor is not None and vendor not in VENDORS:
            raise unknown("vendor", vendor, VENDORS)
        n = _DEFAULT_N[split] if n is None else n
        check_between("scenes: resolution", resolution, GRID, 128)
        check_between("scenes: n", n, 1, 1_000_000_000)
        require("resvg_py", "data")
        self.root = data_root() if root is None else root
        for name in VENDORS:
            _folder(name, self.root)
        self.split, self.resolution, self.n = split, resolution, n
        self.vendor, self.seed, self.style = vendor, seed, style

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """See `Lazy`."""
        return self.n, 3, self.resolution, self.resolution

    def take(self, index: np.ndarray) -> np.ndarray:
        """See `Lazy`."""
        images = np.empty((len(index), *self.shape[1:]), np.uint8)
        for k, i in enumerate(index.tolist()):
            made = self.plan(i)
            images[k] = _as_uint8(self._drawn(made)[0])
        return images

    def plan(self, index: int) -> SceneLayout:
        """The layout of a scene, without drawing it."""
        return plan(index, self.split, self.seed)

    def captions(self, index: int) -> tuple[str, ...]:
        """The sentences of a scene, made without drawing it."""
        made = self.plan(index)
        plain = sentences(made)
        if not self.style:
            return plain
        return tuple(in_style(s, self.vendor or made.vendor) for s in plain)

    def drawn_by(self, index: int) -> str:
        """The vendor of a scene."""
        return self.vendor or self.plan(index).vendor

    def ground(self, index: int) -> np.ndarray:
        """The ground of a scene without its things, uint8 (3, R, R)."""
        made = self.plan(index)
        return _as_uint8(draw_ground(made.ground, made.ground_seed, self.resolution))

    def scene(self, index: int) -> Scene:
        """A scene with everything that is known about it. Raises IndexError: not one of 0..N-1."""
        if not 0 <= index < self.n:
            raise IndexError(f"scene {index} is out of range for {self.n} scenes")
        made = self.plan(index)
        picture, mask = self._drawn(made)
        boxes = []
        for k in range(1, len(made.things) + 1):
            y, x = np.nonzero(mask == k)
            boxes.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
        return Scene(
            index, _as_uint8(picture), self.captions(index),
            tuple(thing.words for thing in made.things), np.array(boxes, np.int64), mask,
            self.vendor or made.vendor, made.ground.name,
        )  # fmt: skip

    def _drawn(self, made: SceneLayout) -> tuple[np.ndarray, np.ndarray]:
        """The picture, float32 (R, R, 3) in 0..1, and the mask."""
        size, vendor = self.resolution, self.vendor or made.vendor
        picture = draw_ground(made.ground, made.ground_seed, size)
        mask = np.zeros((size, size), np.uint8)
        for k, (thing, (left, top, side)) in enumerate(zip(made.things, made.cells), 1):
            x0, x1 = (round(v * size / GRID) for v in (left, left + side))
            y0, y1 = (round(v * size / GRID) for v in (top, top + side))
            side = min(x1 - x0, y1 - y0)
            cut = sprite(self.root, vendor, thing.icon, side) * np.float32(1 / 255)
            y, x = (y0 + y1 - side) // 2, (x0 + x1 - side) // 2
            here = (slice(y, y + side), slice(x, x + side))
            alpha = cut[..., 3:]
            picture[here] *= 1 - alpha
            picture[here] += cut[..., :3]
            mask[here][alpha[..., 0] >= 0.5] = k
        return picture, mask


def _as_uint8(picture: np.ndarray) -> np.ndarray:
    """From float (R, R, 3) in 0..1 to uint8 (3, R, R)."""
    return np.ascontiguousarray(np.rint(picture * 255).astype(np.uint8).transpose(2, 0, 1))


def scene_card(n: int, resolution: int, split: Split) -> DataCard:
    """Source, licence and size of n scenes."""
    return DataCard(
        name="scenes",
        source=f"composed by sfumato of emoji ({emoji_source()}) on grounds drawn from noise",
        licence=emoji_licence(),
        size=f"{n:,} {split} images, {resolution}x{resolution} RGB, of {len(THINGS)} things on "
        f"{len(GROUNDS)} grounds, 3 or more sentences each",
        note="Drawings on procedural grounds, made when asked for. Sentences are true by "
        "construction. Test scenes hold pairs of things that train scenes never do.",
    )


def scenes(images: Scenes) -> Captioned:
    """Scenes with sentences such as "a red apple left of a blue book on grass".

    Returns:
        a set whose ``images`` they are, made when asked for; `Scenes.scene` has boxes,
        masks and things.
    """
    card = scene_card(len(images), images.resolution, images.split)
    n = len(images)
    return Captioned(
        "scenes", images, LazySequence(n, images.captions), card, LazySequence(n, images.drawn_by)
    )


@lru_cache(maxsize=1024)
def _fine(root: Path, vendor: str, icon: str) -> Image.Image:
    """An icon in the middle of the smallest square that holds it, colours times alpha ("RGBa").

    What it covers by less than half at this size does not count, and is cut off.
    """
    icons = _collections(root)[vendor]
    try:
        whole = drawn(svg_of_icon(icons, icon), _FINE, "RGBA")
    except (KeyError, ValueError) as error:  # not there, or what the rasteriser raises
        raise SfumatoError(f"'{icon}' of {vendor} cannot be drawn: {error}") from error
    covered = np.asarray(whole)[..., 3] >= 128
    if not covered.any():
        raise SfumatoError(f"'{icon}' of {vendor} is an empty drawing")
    y, x = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    box = (int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1)
    cut = whole.crop(box).convert("RGBa")
    side = max(cut.size) + max(cut.size) % 2
    square = Image.new("RGBa", (side, side))
    square.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
    return square


@lru_cache(maxsize=16_384)
def sprite(root: Path, vendor: str, icon: str, side: int) -> np.ndarray:
    """An icon, as large as fits into a square of `side` pixels and in the middle of it.

    Rendered at 256 pixels, cut along its outline and averaged over areas: without aliasing, and
    at twice the size the same picture, finer.

    Args:
        root: the data folder with the emoji.
        vendor, icon: which, by the names of the packages.
        side: in pixels, 1 or more.

    Returns:
        uint8 (side, side, 4), read-only: red, green and blue times alpha, and alpha.

    Raises:
        MissingExtra: the rasteriser is not installed.
        SfumatoError: the packages are not there (the message says what to run), are damaged, or
            have no such icon.
    """
    fine = _fine(root, vendor, icon)
    made = np.array(fine.resize((side, side), Image.Resampling.BOX))
    made.setflags(write=False)
    return made

"""One picture: grey stays grey, alpha passes, samples have a spread, and what is shown of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from odd_pictures import SRGB
from restorers import Fake
from sfumato.errors import SfumatoError, UsageError
from sfumato.seeds import fold
from sfumato.systems.i2sb.picture import Picture
from sfumato.systems.i2sb.work import (
    RestorationRequest,
    check_task,
    heat_map,
    luma,
    restore_picture,
    side_by_side,
)


def picture(channels: int = 3, height: int = 6, width: int = 9, **more: object) -> Picture:
    g = torch.Generator().manual_seed(0)
    return Picture(torch.rand(channels, height, width, generator=g) - 0.5, **more)  # type: ignore[arg-type]


def test_a_fake_is_a_restorer() -> None:
    restorer = Fake()
    assert restorer.tasks


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [8, 16])
def test_grey_goes_in_as_rgb_and_comes_back_grey(channels: int, depth: int) -> None:
    fake = Fake(step=0.25, noise=0)
    alpha = torch.rand(1, 6, 9)
    about = Image.Exif()
    about[0x010F] = "a camera"
    exif = about.tobytes()
    given = picture(channels, alpha=alpha, depth=depth, icc=SRGB, exif=exif, dpi=(3.0, 4.0))
    got = restore_picture(fake, given, RestorationRequest("deblur", steps=7))
    assert fake.calls == [((3, 6, 9), "deblur", 7, (fold(0, "restore", 0),))]
    torch.testing.assert_close(got.after.pixels, given.pixels - 0.25)
    assert got.after.alpha is alpha
    assert (got.after.depth, got.after.icc, got.after.exif) == (depth, SRGB, exif)
    assert got.after.dpi == (3, 4)
    assert got.spread is None
    assert got.before.pixels.equal(given.pixels)
    assert got.seconds >= 0


def test_a_restorer_of_grey_pictures() -> None:
    got = restore_picture(Fake(noise=0, out=1), picture(1), RestorationRequest("deblur"))
    assert got.after.pixels.equal(picture(1).pixels)
    got = restore_picture(Fake(noise=0, out=1), picture(3, icc=SRGB), RestorationRequest("deblur"))
    torch.testing.assert_close(got.after.pixels, luma(picture(3).pixels))
    assert got.before.pixels.equal(got.after.pixels)
    assert got.after.icc is None


def test_colourising() -> None:
    """Grey in, colours out; a coloured picture loses its colours first; no profile for grey."""
    for channels in (1, 3):
        given = picture(channels, icc=SRGB)
        got = restore_picture(Fake(noise=0), given, RestorationRequest("colourise"))
        grey = given.pixels if channels == 1 else luma(given.pixels)
        want = grey + torch.tensor([0.2, 0.0, -0.2])[:, None, None]
        torch.testing.assert_close(got.after.pixels, want)
        assert got.after.icc == (SRGB if channels == 3 else None)
        assert got.before.pixels.equal(grey)


def test_super_resolution_enlarges_alpha_too() -> None:
    alpha = torch.ones(1, 6, 9)
    alpha[:, :, 5:] = 0
    got = restore_picture(Fake(noise=0), picture(alpha=alpha), RestorationRequest("sr4x"))
    assert got.after.size == (24, 36)
    assert got.after.alpha is not None
    assert got.after.alpha.shape == (1, 24, 36)
    assert float(got.after.alpha.min()) >= 0
    assert float(got.after.alpha.max()) <= 1
    assert float(got.after.alpha[0, :, :16].mean()) > 0.99
    assert float(got.after.alpha[0, :, 24:].mean()) < 0.01


def test_what_the_mask_leaves_comes_back_exactly() -> None:
    for channels in (1, 3):
        mask = torch.zeros(1, 6, 9)
        mask[:, 2:4, 3:] = 1
        given = picture(channels)
        got = restore_picture(Fake(), given, RestorationRequest("inpaint", samples=3), mask)
        kept = mask.expand(channels, -1, -1) == 0
        assert got.after.pixels[kept].equal(given.pixels[kept])
        assert not got.after.pixels[~kept].equal(given.pixels[~kept])
        assert got.spread is not None
        assert not got.spread[mask[0] == 0].any()
        assert bool((got.spread[mask[0] > 0] > 0).all())
        assert got.before.pixels[kept].equal(given.pixels[kept])
        assert not got.before.pixels[~kept].any()


def test_samples_their_mean_and_spread() -> None:
    """Noise of deviation 0.1 in [-1, 1] is 12.75 levels; sample i depends on seed and i alone."""
    given = picture(height=40, width=50)
    first = restore_picture(Fake(), given, RestorationRequest("deblur", seed=3))
    several = restore_picture(Fake(), given, RestorationRequest("deblur", seed=3, samples=40))
    assert several.after.pixels.equal(first.after.pixels)
    assert several.spread is not None
    assert several.spread.shape == (40, 50)
    assert float(several.spread.mean()) == pytest.approx(12.75, rel=0.02)
    mean = restore_picture(
        Fake(), given, RestorationRequest("deblur", seed=3, samples=40, average=True)
    )
    error = float((mean.after.pixels - given.pixels).std())
    assert error == pytest.approx(0.1 / 40**0.5, rel=0.05)
    assert mean.spread is not None
    assert mean.spread.equal(several.spread)
    other = restore_picture(Fake(), given, RestorationRequest("deblur", seed=4))
    assert not other.after.pixels.equal(first.after.pixels)


def test_progress_is_passed_on() -> None:
    told: list[tuple[int, int]] = []
    restore_picture(
        Fake(), picture(), RestorationRequest("deblur"), progress=lambda i, n: told.append((i, n))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_values_are_clipped() -> None:
    got = restore_picture(Fake(step=5, noise=0), picture(), RestorationRequest("deblur"))
    assert bool((got.after.pixels == -1).all())


class Wrong(Fake):
    """Answers of a wrong shape, or no numbers."""

    def __call__(self, picture: Tensor, task: str, *, seeds: Sequence[int], **_: object) -> Tensor:
        if task == "deblur":
            return torch.zeros(len(seeds), 3, 5, 5)
        return torch.full((len(seeds), 3, *picture.shape[1:]), torch.nan)


def test_wrong_answers_are_noticed() -> None:
    with pytest.raises(ValueError, match=r"expected samples \(1, 3, 6, 9\).*got \(1, 3, 5, 5\)"):
        restore_picture(Wrong(), picture(), RestorationRequest("deblur"))
    with pytest.raises(SfumatoError, match="not numbers"):
        restore_picture(Wrong(), picture(), RestorationRequest("colourise"))


def test_wishes_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="did you mean 'deblur'"):
        check_task(Fake(), "deblurr", False)
    with pytest.raises(UsageError, match="task 'inpaint' needs a mask"):
        check_task(Fake(), "inpaint", False)
    with pytest.raises(UsageError, match="a mask was given, but the task 'deblur' takes none"):
        check_task(Fake(), "deblur", True)
    with pytest.raises(UsageError, match="got 0 and None"):
        RestorationRequest("deblur", samples=0)
    with pytest.raises(UsageError, match="got 1 and 0"):
        RestorationRequest("deblur", steps=0)
    with pytest.raises(UsageError, match="--samples 2"):
        RestorationRequest("deblur", average=True)


@pytest.mark.parametrize("size", [(1, 1), (40, 300), (300, 40)], ids=str)
def test_heat_maps(size: tuple[int, int]) -> None:
    spread = torch.zeros(size)
    spread[-1, -1] = 20.0
    image = heat_map(spread)
    assert image.mode == "RGB"
    assert image.width >= size[1]
    assert image.height > size[0]
    left = (image.width - size[1]) // 2
    bright = np.asarray(image)[size[0] - 1, left + size[1] - 1].astype(int)
    assert bright.sum() > 550  # the end of the scale
    if size != (1, 1):
        assert np.asarray(image)[0, left].astype(int).sum() < 10
    ink = np.asarray(image)[size[0] :]
    assert (ink != 255).any()  # a scale below


def test_little_spread_is_dark() -> None:
    image = np.asarray(heat_map(torch.full((10, 200), 0.01)))
    assert int(image[:10].astype(int).sum(-1).max()) < 20


def test_before_beside_after() -> None:
    before = Picture(torch.full((1, 50, 100), -1.0))
    after = Picture(torch.full((3, 200, 400), 1.0), torch.ones(1, 200, 400))
    image = side_by_side(before, after)
    assert 800 <= image.width <= 820
    assert 200 <= image.height <= 230
    array = np.asarray(image)
    assert (array[100, 200] == 0).all()
    assert (array[100, 600] == 255).all()


@pytest.mark.parametrize("size", [(3000, 4000), (5000, 10), (10, 5000), (1, 1)], ids=str)
def test_comparisons_are_not_larger_than_a_screen(size: tuple[int, int]) -> None:
    image = side_by_side(Picture(torch.zeros(1, *size)), Picture(torch.zeros(1, *size)))
    assert isinstance(image, Image.Image)
    assert image.width <= 1600
    assert image.height <= 1640
    assert image.width >= 192  # room for the labels


def test_grey_is_the_luma_of_bt_601() -> None:
    primaries = torch.eye(3).reshape(3, 3, 1, 1)
    assert luma(primaries).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])

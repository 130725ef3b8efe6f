"""What is sent, checked: pictures, texts, numbers, and paint on the words of a sentence."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.errors import UsageError
from sfumato.studio import limits as checks
from sfumato.studio import uploads
from sfumato.studio.limits import Limits
from sfumato.systems.ediffi.pipeline import Cascade, open_cascade
from sfumato.systems.ediffi.studio.colours import PALETTE
from sfumato.systems.ediffi.studio.requests import (
    RawRequest,
    drawn,
    painted,
    parse_request,
    phrases_of,
)
from toy_studio import painting, png, url, write_toy

BLUE, ORANGE = PALETTE[0].rgb, PALETTE[1].rgb
LIMITS = Limits(pixels=10_000, bytes=50_000)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


# ----------------------------------------------------------------------------------------- pictures


def test_the_middle_square_of_a_style_upright() -> None:
    found = uploads.square(url(png(NOISE)), "style", LIMITS)
    assert found is not None
    assert np.array_equal(found, NOISE[:, 10:50].transpose(2, 0, 1))
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    Image.fromarray(NOISE).save(turned, "PNG", exif=exif)
    found = uploads.square(url(turned.getvalue()), "style", LIMITS)
    assert found is not None
    assert np.array_equal(found, np.rot90(NOISE, -1)[10:50].transpose(2, 0, 1))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_three_kinds_are_taken(form: str) -> None:
    found = uploads.square(url(png(NOISE, form), "application/octet-stream"), "style", LIMITS)
    assert found is not None and found.shape == (3, 40, 40)
    clear = np.zeros((8, 8, 4), np.uint8)
    if form != "JPEG":
        white = uploads.square(url(png(clear, form)), "style", LIMITS)
        assert white is not None and (white == 255).all()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims a picture of side x side."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("/etc/passwd", "expected a picture as a data URL"),
        ("file:///etc/passwd", "expected a picture as a data URL"),
        ("http://127.0.0.1/a.png", "expected a picture as a data URL"),
        ("data:image/png,abc", "expected a picture as a data URL"),
        ({"path": "/etc/passwd"}, "expected a picture as a data URL"),
        (7, "expected a picture as a data URL"),
        ("data:image/png;base64,a b!", "the file arrived damaged"),
        ("data:image/png;base64," + "A" * 70_000, "the file is too large; 0.05 MB are the most"),
        (url(b"#!/bin/sh\nrm -rf /\n"), "not a picture of a kind that is read here"),
        (url(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not a picture of a kind that is read"),
        (url(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "not a picture of a kind that is read here"),
        (url(png(NOISE, "GIF")), "expected PNG, JPEG or WEBP, got GIF"),
        (url(png(NOISE, "BMP")), "expected PNG, JPEG or WEBP, got BMP"),
        (url(png(NOISE, "TIFF")), "expected PNG, JPEG or WEBP, got TIFF"),
        (url(png(NOISE)[:900]), "style: "),
        (url(png(NOISE).replace(b"IDAT", b"IDAT\xff", 1)), "style: "),
        (url(bomb(101)), "101x101 pixels, more than 10,000"),
        (url(bomb(60_000)), "more than 10,000"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_everything_else_is_refused(sent: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        uploads.square(sent, "style", LIMITS)
    assert str(error.value).startswith("style: ") and "\n" not in str(error.value)


def test_a_painting_is_a_small_square() -> None:
    assert uploads.painting("", LIMITS) is None and uploads.painting(None, LIMITS) is None
    assert uploads.painting(url(painting()), LIMITS) is None  # nothing on it
    found = uploads.painting(url(painting((slice(0, 9), slice(3, 5), BLUE))), LIMITS)
    assert found is not None and found.shape == (64, 64, 4)
    assert (found[0:9, 3:5] == (*BLUE, 255)).all() and found[..., 3].sum() == 18 * 255
    for sent, said in (
        (url(png(NOISE)), "expected a square picture, got 60x40"),
        (url(png(NOISE[:40, :40], "JPEG")), "in which colours stay as they are"),
        (url(bomb(1025)), "1025x1025 pixels, more than 1,048,576"),
    ):
        with pytest.raises(UsageError, match=f"painting: .*{said}"):
            uploads.painting(sent, Limits(bytes=50_000))


# -------------------------------------------------------------------------------- texts and numbers


def test_numbers_and_texts() -> None:
    assert checks.whole(3.0, "steps", 1, 5) == 3
    assert checks.number(1, "guidance", 0, 2) == 1.0
    for value in (0, 6, 2.5, float("nan"), float("inf"), "3", None, True, [3]):
        with pytest.raises(UsageError, match="steps: expected"):
            checks.whole(value, "steps", 1, 5)
    for value in (-0.1, 2.1, float("nan"), float("inf"), "1", None, False):
        with pytest.raises(UsageError, match="guidance: expected 0 to 2"):
            checks.number(value, "guidance", 0, 2)
    assert checks.sentence("  a fox \n", "sentence", LIMITS) == "a fox"
    assert checks.sentence(None, "sentence", LIMITS) == ""
    assert checks.sentence("a" * 500, "sentence", LIMITS) == "a" * 500
    with pytest.raises(UsageError, match="501 letters are too many; 500 are the most"):
        checks.sentence("a" * 501, "sentence", LIMITS)
    with pytest.raises(UsageError, match="sentence: expected a text"):
        checks.sentence({"a": 1}, "sentence", LIMITS)
    assert (
        phrases_of(["fox"], LIMITS) == ("fox", "", "", "") == phrases_of(["fox ", "", None], LIMITS)
    )
    assert phrases_of(None, LIMITS) == ("",) * 4
    for value in ("fox", 3, {"a": "fox"}, ["a"] * 5, [3]):
        with pytest.raises(UsageError, match="phrase"):
            phrases_of(value, LIMITS)


@pytest.mark.parametrize(("field", "option"), [("queue", "queue"), ("n", "max-n"),
                                               ("pixels", "max-pixels")])  # fmt: skip
def test_limits_are_at_least_one(field: str, option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} must be at least 1, got 0"):
        Limits(**{field: 0})


# -------------------------------------------------------------------------------------------- paint


def test_masks_are_means_over_areas() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:32, :20] = (*BLUE, 255)  # two and a half columns of eight pixels
    pixels[60:, 60:] = (*ORANGE, 255)
    fox, bell = painted(("fox", "bell", "", ""), pixels, 8)
    want = torch.zeros(8, 8)
    want[:4, :2], want[:4, 2] = 1, 0.5
    assert fox.phrase == "fox" and torch.equal(fox.where, want)
    want = torch.zeros(8, 8)
    want[7, 7] = 0.25
    assert bell.phrase == "bell" and torch.equal(bell.where, want)


def test_paint_and_words_belong_together() -> None:
    blue = np.zeros((64, 64, 4), np.uint8)
    blue[:9] = (*BLUE, 255)
    assert painted(("",) * 4, None, 8) == ()
    with pytest.raises(UsageError, match="say beside blue which words"):
        painted(("", "bell", "", ""), blue, 8)
    with pytest.raises(UsageError, match="paint where 'bell' is to be, in orange, or leave"):
        painted(("fox", "bell", "", ""), blue, 8)
    with pytest.raises(UsageError, match="paint where 'fox' is to be, in blue"):
        painted(("fox", "", "", ""), None, 8)


# ------------------------------------------------------------------------------------- with a model


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Cascade:
    pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")
    return open_cascade([str(write_toy(tmp_path_factory.mktemp("toy")))])


def test_a_wish_as_it_was_sent(toy: Cascade) -> None:
    file = url(painting((slice(0, 32), slice(0, 32), BLUE)))
    sent = RawRequest("a red square", "blue", ["red"], file, url(png(NOISE)), 2, 3, 2, 1.5, 0.25, 7)
    ask = parse_request(sent, toy, Limits())
    assert (ask.n, ask.steps, ask.seed, ask.image.prompt) == (2, 3, 7, "a red square")
    (paint,) = ask.image.paint
    assert paint.where.shape == (16, 16) and float(paint.where.sum()) == 64
    assert ask.image.style is not None
    want = torch.from_numpy(NOISE[:, 10:50].transpose(2, 0, 1).copy()).float() / 127.5 - 1
    assert torch.equal(ask.image.style, want)
    assert (ask.image.guidance, ask.image.style_guidance, ask.image.strength) == (2, 1.5, 0.25)
    assert ask.about["paint"] == ["red"] and ask.about["style"] is True
    steps = list(drawn(toy, ask, 1))
    assert [len(some.pixels) for some in steps] == [0, 1, 2]
    assert np.array_equal(steps[1].pixels[0], steps[2].pixels[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": " "}, "say what the picture shows"),
        ({"prompt": "a" * 501}, "sentence: 501 letters"),
        ({"negative": "a" * 501}, "what to keep away from: 501 letters"),
        ({"n": 9}, "pictures: expected 1 to 8, got 9"),
        ({"steps": 101}, "steps: expected 1 to 100, got 101"),
        ({"seed": -1}, "seed: expected 0 to"),
        ({"strength": 21}, "strength of the paint: expected 0 to 20"),
        ({"guidance": "3"}, "guidance: expected 0 to 20"),
        ({"style_guidance": float("nan")}, "guidance by style: expected 0 to 20"),
        ({"phrases": ["dog"]}, "'dog' is not in 'a red square'; paint words that the sentence has"),
        ({"prompt": "red and red", "phrases": ["red"]}, "2 times; say which with 'red #1'"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_wish_that_cannot_be(toy: Cascade, change: dict[str, Any], said: str) -> None:
    file = url(painting((slice(0, 32), slice(0, 32), BLUE)))
    plain: dict[str, Any] = {"prompt": "a red square"}
    if "phrases" in change:
        plain["painting"] = file
    with pytest.raises(UsageError, match=said):
        parse_request(RawRequest(**{**plain, **change}), toy, Limits())


def test_a_style_for_a_model_that_sees_none(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")
    deaf = open_cascade([str(write_toy(tmp_path, pictures=False))])
    ask = parse_request(
        RawRequest("a red square", style=url(png(NOISE)), n=1, steps=1), deaf, Limits()
    )
    with pytest.raises(UsageError, match="leave out the style"):
        list(drawn(deaf, ask, 1))

"""A person's path in a browser: type, paint, draw, download; on a wide and on a narrow window.

Pictures of the window are left in the folder that SFUMATO_SHOTS names, to be looked at.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chromium import CHROMIUM, Tab, chromium
from sfumato.data import to_uint8
from sfumato.files import pictures
from sfumato.studio.limits import Limits
from sfumato.systems.ediffi.pipeline import Cascade, imagine, open_cascade
from sfumato.systems.ediffi.studio import requests
from toy_studio import png, served, write_toy

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")
pytest.importorskip("gradio", reason="pip install 'sfumato[studio]'")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here"),
    pytest.mark.filterwarnings("ignore::Warning:gradio.*"),
]

READY = "!!(window.sfumato && document.querySelector('#sf-draw'))"
DONE = "!!document.querySelector('.sf-file')"
TOAST = "document.querySelector('[data-testid=toast-text]')?.textContent.trim()"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Cascade:
    return open_cascade([str(write_toy(tmp_path_factory.mktemp("toy"), 32))])


@pytest.fixture(scope="module")
def address(toy: Cascade) -> Iterator[str]:
    with served(toy, Limits()) as found:
        yield found


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    (tmp_path / "downloads").mkdir()
    with chromium(tmp_path / "profile", tmp_path / "downloads") as found:
        yield found


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The wishes that the page has sent."""
    seen, plain = [], requests.parse_request

    def watched(*words: Any) -> Any:
        seen.append(plain(*words))
        return seen[-1]

    monkeypatch.setattr("sfumato.systems.ediffi.studio.tab.parse_request", watched)
    return seen


def shoot(tab: Tab, name: str, whole: bool = True) -> None:
    if "SFUMATO_SHOTS" in os.environ:
        folder = Path(os.environ["SFUMATO_SHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        tab.picture(folder / f"{name}.png", whole)


def on(tab: Tab, *points: tuple[float, float]) -> list[tuple[float, float]]:
    """Points of the painting, as fractions of its side, in the window."""
    left, top, width, height = tab.place(".sf-canvas canvas")
    assert abs(width - height) < 1
    return [(left + x * width, top + y * height) for x, y in points]


def downloaded(folder: Path, name: str) -> bytes:
    end = time.monotonic() + 30
    while not (folder / name).is_file():
        assert time.monotonic() < end, list(folder.iterdir())
        time.sleep(0.1)
    return (folder / name).read_bytes()


def again(tab: Tab) -> None:
    """Draw once more."""
    tab.js("document.querySelectorAll('.sf-file').forEach((e) => e.remove())")
    tab.click("#sf-draw")
    tab.until(DONE)


def alone(tab: Tab) -> None:
    """Nothing was asked of another machine, and nothing went wrong in the page."""
    asked = {e["request"]["url"] for e in tab.happened("Network.requestWillBeSent")}
    assert not [u for u in asked if not u.startswith(("http://127.0.0.1:", "data:", "blob:"))]
    assert not [
        e["entry"] for e in tab.happened("Log.entryAdded") if e["entry"]["level"] == "error"
    ]
    assert not tab.happened("Runtime.exceptionThrown")


def test_type_paint_draw_download(
    tab: Tab, toy: Cascade, address: str, asks: list[Any], tmp_path: Path
) -> None:
    tab.open(address, 1200, 900)
    tab.until(READY)
    shoot(tab, "wide-empty")
    tab.type("textarea", "a red square and a blue square")
    rows = ".sf-row:nth-of-type({}) .sf-phrase"
    tab.type(rows.format(1), "red square")
    tab.drag(on(tab, (5 / 32, 0.2), (5 / 32, 0.8)))
    tab.type(rows.format(2), "blue square")
    tab.drag(on(tab, (0.7, 0.3), (0.9, 0.3), (0.9, 0.5)))
    tab.drag(on(tab, (0.5, 0.5), (0.5, 0.6)))
    tab.click(".sf-undo")  # the last stroke was a mistake
    Image.fromarray(np.full((90, 120, 3), (200, 80, 10), np.uint8)).save(tmp_path / "style.png")
    tab.choose(".sf-chooser", tmp_path / "style.png")
    tab.until("!document.querySelector('.sf-shown').hidden")
    tab.click("#sf-draw")
    tab.until(DONE)
    shoot(tab, "wide-drawn")

    (ask,) = asks
    assert ask.image.prompt == "a red square and a blue square" and ask.n == 4
    red, blue = ask.image.paint
    assert (red.phrase, blue.phrase) == ("red square", "blue square")
    # A brush of 56 of 384 pixels is 4.7 of 32: columns 3 to 6 and a third of those beside them.
    assert float(red.where[7:25, 3:7].min()) > 0.999
    assert red.where[7:25, [2, 7]].numpy() == pytest.approx(1 / 3, abs=0.03)
    assert float(red.where[:, :2].max()) < 1e-3 > float(red.where[:, 8:].max())
    assert float(blue.where[:, :17].max()) < 1e-3 and float(blue.where[9, 21:30].min()) > 0.99
    assert ask.image.style is not None and tuple(ask.image.style.shape) == (3, 90, 90)
    want = to_uint8(imagine(toy, ask.image, 0, range(4), ask.steps, batch=1).x).numpy()

    tab.click(".sf-file:nth-of-type(1)")
    sheet = downloaded(tmp_path / "downloads", "seed-0.png")
    assert Image.open(io.BytesIO(sheet)).convert("RGB").tobytes() == pictures.sheet(want).tobytes()
    about = json.loads(pictures.described(tmp_path / "downloads" / "seed-0.png"))
    assert about["prompt"] == ask.image.prompt and about["paint"] == ["red square", "blue square"]
    tab.click(".sf-file:nth-of-type(2)")
    with zipfile.ZipFile(io.BytesIO(downloaded(tmp_path / "downloads", "seed-0.zip"))) as archive:
        assert len(archive.namelist()) == 5
    tab.click(".sf-grid a:nth-of-type(2)")
    one = np.asarray(Image.open(io.BytesIO(downloaded(tmp_path / "downloads", "seed-0-1.png"))))
    assert np.array_equal(one.transpose(2, 0, 1), want[1])
    alone(tab)


def test_what_is_wrong_is_said_and_nothing_is_lost(
    tab: Tab, address: str, asks: list[Any], tmp_path: Path
) -> None:
    tab.open(address, 1200, 900)
    tab.until(READY)
    tab.click("#sf-draw")
    assert tab.until(TOAST) == "say what the picture shows; the sentence is empty"
    tab.click("[data-testid=toast-close]")
    tab.until(f"!{TOAST}")
    tab.type("textarea", "a red square")
    tab.type(".sf-phrase", "dog")
    tab.drag(on(tab, (0.2, 0.2), (0.8, 0.8)))
    tab.click("#sf-draw")
    said = tab.until(TOAST)
    assert said == "'dog' is not in 'a red square'; paint words that the sentence has"
    shoot(tab, "wide-wrong", whole=False)
    values = (
        "[document.querySelector('textarea').value, document.querySelector('.sf-phrase').value]"
    )
    assert tab.js(values) == ["a red square", "dog"] and not asks
    tab.js("document.querySelector('.sf-phrase').value = ''")
    tab.type(".sf-phrase", "red")
    tab.click("#sf-draw")  # the paint is still there
    tab.until(DONE)
    assert [p.phrase for p in asks[0].image.paint] == ["red"]
    tab.click(".sf-clear")
    tab.js("document.querySelector('.sf-phrase').value = ''")
    again(tab)
    assert asks[1].image.paint == ()

    wrong = "document.querySelector('.sf-wrong').textContent"
    files = {
        "notes.txt": (b"a text", "notes.txt is no PNG, JPEG or WEBP"),
        "text.png": (b"a text", "text.png cannot be read; it may be damaged"),
        "cut.png": (png(np.zeros((9, 9, 3), np.uint8))[:40], "cut.png cannot be read; it may be"),
        "large.png": (b"\0" * 64_000_001, "large.png is too large; 64 MB are the most"),
    }
    for name, (data, sentence) in files.items():
        (tmp_path / name).write_bytes(data)
        tab.choose(".sf-chooser", tmp_path / name)
        assert sentence in tab.until(wrong)
        tab.click("#sf-tools .sf-title")
        tab.js("document.querySelector('.sf-wrong').textContent = ''")
        assert tab.js("document.querySelector('.sf-shown').hidden")
    # A large picture is made smaller by the browser.
    Image.fromarray(np.full((1500, 3000, 3), 99, np.uint8)).save(tmp_path / "wide.jpg")
    tab.choose(".sf-chooser", tmp_path / "wide.jpg")
    tab.until("!document.querySelector('.sf-shown').hidden")
    again(tab)
    assert tuple(asks[2].image.style.shape) == (3, 512, 512)
    alone(tab)


def test_stop(tab: Tab, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def slow(cascade: Cascade, wish: Any, seed: int, here: range, *a: Any, **k: Any) -> Any:
        time.sleep(0.7)
        drawn.extend(here)
        return imagine(cascade, wish, seed, here, 1, **k)

    monkeypatch.setattr(requests, "imagine", slow)
    tab.open(address, 1200, 900)
    tab.until(READY)
    tab.type("textarea", "a red square")
    tab.click("#sf-draw")
    tab.until("document.querySelector('.sf-said')?.textContent.includes('1 of 4 done')")
    shoot(tab, "wide-waiting")
    tab.click("#sf-stop")
    tab.until("document.querySelector('.sf-said')?.textContent === 'stopped'")
    time.sleep(2)
    assert len(drawn) <= 3 and tab.js("document.querySelectorAll('.sf-grid img').length") >= 1
    monkeypatch.undo()
    tab.click("#sf-draw")
    tab.until(DONE)


def test_a_full_queue_is_said(tab: Tab, toy: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    go = threading.Event()

    def slow(*words: Any, **more: Any) -> Any:
        assert go.wait(60)
        return imagine(*words, **more)

    monkeypatch.setattr(requests, "imagine", slow)
    with served(toy, Limits(queue=1)) as address:
        tab.open(address, 1200, 900)
        tab.until(READY)
        wish = {"data": ["a red square", "", [], "", "", 1, 1, 3, 3, 0.5, 0]}
        for pause in (1.0, 0.0):  # one is drawn, one waits
            sent = httpx.post(f"{address}/gradio_api/call/draw", json=wish)
            assert sent.status_code == 200
            time.sleep(pause)
        tab.type("textarea", "a red square")
        tab.click("#sf-draw")
        assert tab.until(TOAST) == "the queue is full (1); try again when some are done"
        go.set()
        time.sleep(1)
        tab.click("#sf-draw")
        tab.until(DONE)


def test_on_a_phone(tab: Tab, address: str, asks: list[Any]) -> None:
    tab.open(address, 390, 844, phone=True)
    tab.until(READY)
    assert tab.js("document.documentElement.scrollWidth <= innerWidth")
    tab.click(".sf-examples button:nth-of-type(2)")  # an example, and more paint by a finger
    tab.until("document.querySelector('textarea').value === 'a fox and a bell on sand'")
    points = on(tab, *((0.1, 0.45 - 0.04 * k) for k in range(10)))
    scrolled = tab.js("scrollY")
    for k, (x, y) in enumerate(points):
        kind = "touchMove" if k else "touchStart"
        tab.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
    tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert tab.js("scrollY") == scrolled  # painting does not move the page
    tab.click("#sf-more button")
    tab.click("#sf-dice")
    shoot(tab, "phone-filled")
    tab.click("#sf-draw")
    tab.until(DONE)
    shoot(tab, "phone-drawn")
    (ask,) = asks
    fox, bell = ask.image.paint
    assert (fox.phrase, bell.phrase) == ("fox", "bell")
    assert float(fox.where[3:14, 3].min()) > 0.99 and float(fox.where[20, 9]) == 1
    assert float(bell.where[11, 23]) == 1 and float(bell.where[20, 9]) == 0
    assert tab.js("document.documentElement.scrollWidth <= innerWidth")
    alone(tab)

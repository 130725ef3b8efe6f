"""The page as a server: what arrives, how wishes wait, and all that is refused."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.data import to_uint8
from sfumato.errors import UsageError
from sfumato.files import pictures
from sfumato.model.walk import Drawn
from sfumato.studio.gate import addresses
from sfumato.studio.limits import Limits
from sfumato.studio.serve import listening, loopback
from sfumato.systems.ediffi.pipeline import Cascade, imagine, open_cascade
from sfumato.systems.ediffi.studio import requests
from sfumato.systems.ediffi.studio.colours import PALETTE
from sfumato.systems.ediffi.studio.requests import RawRequest, parse_request
from toy_studio import painting, png, served, url, write_toy

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")
pytest.importorskip("gradio", reason="pip install 'sfumato[studio]'")
httpx = pytest.importorskip("httpx", reason="pip install 'sfumato[studio]'")

pytestmark = pytest.mark.filterwarnings("ignore::Warning:gradio.*")

LIMITS = Limits(queue=7, bytes=200_000, request=400_000)
STYLE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
PLAIN: dict[str, Any] = {
    "prompt": "a red square", "negative": "", "phrases": ["red"],
    "painting": url(painting((slice(0, 32), slice(0, 32), PALETTE[0].rgb))),
    "style": url(png(STYLE)), "n": 3, "steps": 3, "guidance": 2, "style_guidance": 1.5,
    "strength": 0.5, "seed": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Cascade:
    return open_cascade([str(write_toy(tmp_path_factory.mktemp("toy")))])


@pytest.fixture(scope="module")
def address(toy: Cascade) -> Iterator[str]:
    with served(toy, LIMITS) as found:
        yield found


def join(address: str, **changes: Any) -> str:
    """Hand in a wish; the number by which its drawing is asked for."""
    answer = httpx.post(
        f"{address}/gradio_api/call/draw", json={"data": list({**PLAIN, **changes}.values())}
    )
    if answer.status_code != 200:
        raise UsageError(f"{answer.status_code}: {answer.json()['detail']}")
    return str(answer.json()["event_id"])


def follow(address: str, event: str) -> list[str]:
    """The pieces of the page that come, until the drawing is done; or the sentence that says no."""
    pieces, kind = [], ""
    with httpx.stream("GET", f"{address}/gradio_api/call/draw/{event}", timeout=60) as lines:
        for line in lines.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                if kind == "error":
                    raise UsageError(data["error"] if isinstance(data, dict) else str(data))
                if kind in ("generating", "complete"):
                    pieces.append(data[0])
    return pieces


def draw(address: str, **changes: Any) -> str:
    return follow(address, join(address, **changes))[-1]


def files(page: str) -> dict[str, bytes]:
    """The files that a piece of the page offers, by their names."""
    found = re.findall(r'href="data:[\w/]+;base64,([^"]*)" *download="([^"]*)"', page)
    return {name: base64.b64decode(data) for data, name in found}


def read(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data))).transpose(2, 0, 1)


# --------------------------------------------------------------------------------------- a drawing


def test_a_drawing_is_that_of_imagine(toy: Cascade, address: str, tmp_path: Path) -> None:
    pieces = follow(address, join(address))
    ask = parse_request(RawRequest(**PLAIN), toy, LIMITS)
    want = to_uint8(imagine(toy, ask.image, 5, range(3), 3, batch=1).x).numpy()
    offered = files(pieces[-1])
    assert list(offered) == [f"seed-5-{i}.png" for i in range(3)] + ["seed-5.png", "seed-5.zip"]
    for i in range(3):
        assert np.array_equal(read(offered[f"seed-5-{i}.png"]), want[i])
    (tmp_path / "one.png").write_bytes(offered["seed-5-1.png"])
    about = json.loads(pictures.described(tmp_path / "one.png"))
    assert about == {**ask.about, "picture": 1}
    assert about["prompt"] == "a red square" and about["paint"] == ["red"] and about["seed"] == 5
    sheet = Image.open(io.BytesIO(offered["seed-5.png"])).convert("RGB")
    assert sheet.tobytes() == pictures.sheet(want).tobytes()
    with zipfile.ZipFile(io.BytesIO(offered["seed-5.zip"])) as archive:
        names = [f"seed-5-{i}.png" for i in range(3)]
        assert archive.namelist() == [*names, "seed-5.json"]
        assert all(archive.read(name) == offered[name] for name in names)
        assert json.loads(archive.read("seed-5.json")) == ask.about
    said = ["beginning", "1 of 3 done", "2 of 3 done"]
    assert [s for s in said if any(s in p for p in pieces)] == said
    assert "3 pictures of 16x16, " in pieces[-1] and ", seed 5</div>" in pieces[-1]


def test_paint_style_and_seed_matter(address: str) -> None:
    plain = files(draw(address, n=1))["seed-5-0.png"]
    assert files(draw(address, n=2))["seed-5-0.png"] == plain  # of the seed and the number alone
    for change in (
        {"phrases": [], "painting": ""},
        {"style": ""},
        {"negative": "blue"},
        {"prompt": "a red pink square"},
        {"strength": 0},
    ):
        assert not np.array_equal(
            read(files(draw(address, n=1, **change))["seed-5-0.png"]), read(plain)
        )
    assert "seed-6-0.png" in files(draw(address, n=1, seed=6))


def test_texts_are_not_markup(address: str) -> None:
    page = draw(address, prompt='red <img onerror="a()">', n=1)
    assert "onerror" not in page
    with pytest.raises(UsageError, match="'<b>dog</b>'|&lt;b&gt;dog&lt;/b&gt;") as error:
        draw(address, phrases=["<b>dog</b>"])
    assert "<b>" not in str(error.value)


# --------------------------------------------------------------------------------------- the queue


class Held:
    """A stand-in for `imagine` that waits until it is told to go on, and says what it drew."""

    def __init__(self) -> None:
        self.go, self.entered = threading.Semaphore(0), threading.Semaphore(0)
        self.drawn: list[int] = []
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, cascade: Cascade, wish: Any, seed: int, here: range, *a: Any, **k: Any
                 ) -> Drawn:  # fmt: skip
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.entered.release()
        assert self.go.acquire(timeout=60)
        with self.lock:
            self.now -= 1
            self.drawn.append(seed)
        return imagine(cascade, wish, seed, here, *a, **k)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    made = Held()
    monkeypatch.setattr(requests, "imagine", made)
    return made


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_eight_at_once_are_served_in_turn_and_a_ninth_is_told(address: str, held: Held) -> None:
    events = [join(address, seed=0, n=1)]
    assert held.entered.acquire(timeout=30)  # it is being drawn, so it waits no more
    events += [join(address, seed=k, n=1) for k in range(1, 8)]
    with pytest.raises(UsageError, match=r"429: the queue is full \(7\); try again when"):
        join(address, seed=8, n=1)
    with ThreadPoolExecutor(8) as pool:
        pages = [pool.submit(lambda e: follow(address, e)[-1], event) for event in events]
        for _ in events:
            held.go.release()
        names = [next(iter(files(page.result(60)))) for page in pages]
    assert names == [f"seed-{k}-0.png" for k in range(8)]
    assert held.drawn == list(range(8)) and held.most == 1
    held.go.release()
    assert "seed-9-0.png" in files(draw(address, seed=9, n=1))  # there is room again


def test_eight_clients_that_all_press_at_once(address: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda k: draw(address, seed=k, n=1), range(8)))
    assert [next(iter(files(page))) for page in done] == [f"seed-{k}-0.png" for k in range(8)]


def test_who_leaves_is_not_drawn_for(address: str, held: Held) -> None:
    events = [join(address, seed=k, n=2) for k in (10, 11, 12)]
    assert held.entered.acquire(timeout=30)
    streams = [
        httpx.Client().send(
            httpx.Request("GET", f"{address}/gradio_api/call/draw/{event}"), stream=True
        )
        for event in events[:2]
    ]
    time.sleep(0.5)
    for stream in streams:
        stream.close()  # one that is drawn, and one that waits
    time.sleep(0.5)
    with ThreadPoolExecutor(1) as pool:
        page = pool.submit(lambda: follow(address, events[2])[-1])
        for _ in range(6):
            held.go.release()
        assert "seed-12-1.png" in files(page.result(60))
    assert held.drawn.count(10) <= 1 and 11 not in held.drawn and held.drawn.count(12) == 2


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": ""}, "say what the picture shows"),
        ({"prompt": "a" * 501}, "sentence: 501 letters are too many; 500"),
        ({"n": 9}, "pictures: expected 1 to 8, got 9"),
        ({"n": "4"}, "pictures: expected a whole number, got '4'"),
        ({"steps": 1000}, "steps: expected 1 to 100, got 1000"),
        ({"n": 1.5}, "pictures: expected a whole number"),
        ({"seed": 2**31}, "seed: expected 0 to 2147483647, got "),
        ({"guidance": 1e9}, "guidance: expected 0 to 20, got 1000000000.0"),
        ({"phrases": ["dog"]}, "'dog' is not in 'a red square'"),
        ({"prompt": ["a"]}, "sentence: expected a text"),
        ({"phrases": "dog"}, "phrases: expected a list"),
        ({"phrases": ["", ""]}, "say beside blue which words of the sentence it stands for"),
        ({"style": url(b"#!/bin/sh\n")}, "style: not a picture of a kind that is read here"),
        ({"style": url(png(STYLE)[:900])}, "style: "),
        ({"style": url(png(STYLE, "GIF"))}, "style: expected PNG, JPEG or WEBP, got GIF"),
        ({"style": url(b"A" * 200_001)}, "style: the file is too large; 0.2 MB are the most"),
        ({"style": "http://127.0.0.1:1/a.png"}, "style: expected a picture as a data URL"),
        ({"painting": url(png(STYLE))}, "painting: expected a square picture, got 60x40"),
        ({"painting": {"path": "/etc/passwd"}}, "painting: expected a picture as a data URL"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refused_with_a_sentence(address: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        draw(address, **change)
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


def test_what_fails_unexpectedly_is_a_sentence_too(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(requests, "imagine", broken)
    with pytest.raises(UsageError, match="failed unexpectedly; the terminal in which") as error:
        draw(address)
    assert "secret" not in str(error.value)


def test_a_request_that_is_too_large(address: str) -> None:
    with pytest.raises(UsageError, match="413: the request is too large; 0.4 MB are the most"):
        join(address, style="A" * 400_000)
    piece = b"x" * 100_000
    answer = httpx.post(f"{address}/gradio_api/call/draw", content=iter([piece] * 5))  # no length
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=pyproject.toml", "/file=/etc/passwd",
        "/gradio_api/file%3D/etc/passwd", "/gradio_api/file/etc/passwd",
        "/static/../../../../../../etc/passwd", "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2fetc/passwd", "/static//etc/passwd", "//etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/", "/monitoring", "/monitoring/summary", "/docs",
        "/openapi.json", "/gradio_api/openapi.json", "/gradio_api/runs", "/pwa_icon",
        "/gradio_api/upload_progress", "/custom_component/a/b/c/d", "/login", "/gradio_api/token",
    ],
)  # fmt: skip
def test_no_other_address_is_there(address: str, path: str) -> None:
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as line:
        line.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404") and b"there is nothing here" in answer
    assert b"root:" not in answer


@pytest.mark.parametrize("path", ["upload", "run/draw", "api/draw", "component_server",
                                  "stream/a", "vibe-edit", "process_recording"])  # fmt: skip
def test_nothing_else_can_be_asked(address: str, path: str) -> None:
    sent = {"files": ("a.png", png(STYLE))}
    assert httpx.post(f"{address}/gradio_api/{path}", files=sent).status_code == 404
    sent = {"data": list(PLAIN.values()), "fn_index": 0}
    assert httpx.post(f"{address}/gradio_api/{path}", json=sent).status_code == 404


def test_the_gate_knows_what_the_page_needs() -> None:
    api = "/gradio_api"
    read, asked = addresses(["draw", "edit"])
    for path in (
        "/", "/config", "/theme.css", "/assets/index-a_b.js", "/static/img/a.svg",
        f"{api}/queue/data", f"{api}/heartbeat/abc", f"{api}/info", f"{api}/call/draw/abc",
        f"{api}/call/edit/abc",
    ):  # fmt: skip
        assert read.fullmatch(path)
    for path in ("/gradio_api/queue/join", "/gradio_api/call/draw", "/gradio_api/cancel"):
        assert asked.fullmatch(path) and not read.fullmatch(path)


def test_other_names_and_origins_are_refused(address: str) -> None:
    for host in ("example.org", "127.0.0.1.example.org", "localhost.example.org", ""):
        assert httpx.get(address, headers={"Host": host}).status_code == 421
    for host in ("127.0.0.1", "localhost:1", "[::1]:7860"):
        assert httpx.get(f"{address}/config", headers={"Host": host}).status_code == 200
    answer = httpx.get(address)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "connect-src 'self'" in policy
    assert answer.headers["referrer-policy"] == "no-referrer"


# ------------------------------------------------------------------------------------- the address


def test_the_server_is_on_loopback_unless_told() -> None:
    def reached(port: int, by: str) -> bool:
        with socket.socket() as line:
            line.settimeout(5)
            return line.connect_ex((by, port)) == 0

    with listening("127.0.0.1", 0) as place:
        host, port = place.getsockname()
        assert host == "127.0.0.1" and reached(port, "127.0.0.1")
        assert not reached(port, "127.0.0.2")  # the machine's, but another one
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1 port {port}"):
            listening("127.0.0.1", port)
    with listening("0.0.0.0", 0) as place:  # told so: every address
        assert reached(place.getsockname()[1], "127.0.0.2")
    with pytest.raises(UsageError, match="cannot listen on nowhere.invalid"):
        listening("nowhere.invalid", 0)
    assert all(map(loopback, ("127.0.0.1", "127.3.2.1", "::1", "localhost")))
    assert not any(map(loopback, ("0.0.0.0", "::", "example.org", "8.8.8.8")))

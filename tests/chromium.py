"""A headless Chromium, driven by its DevTools protocol over a pair of pipes: nothing to install."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), ""
)

# The browser reads from 3 and writes to 4.
_NUMBERED = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3]]
for number, pipe in zip((3, 4), pipes):
    os.dup2(pipe, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


@dataclass
class Tab:
    """One page: `call` is any command of the protocol, the others are what a person does."""

    process: subprocess.Popen[bytes]
    to: int
    back: int
    session: str = ""
    number: int = 0
    left: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that arrive meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(60)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def _next(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self.left:
            ready, _, _ = select.select([self.back], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("Chromium does not answer")
            data = os.read(self.back, 1 << 20)
            if not data:
                raise EOFError("Chromium has ended")
            self.left += data
        one, _, self.left = self.left.partition(b"\0")
        return dict(json.loads(one))

    def js(self, code: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        done = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(json.dumps(done["exceptionDetails"])[:1000])
        return done["result"].get("value")

    def until(self, code: str, seconds: float = 60) -> Any:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + seconds
        while not (value := self.js(code)):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {code}")
            time.sleep(0.1)
        return value

    def open(self, address: str, width: int, height: int, phone: bool = False) -> None:
        """Go to an address in a window of that size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        if phone:
            self.call("Emulation.setTouchEmulationEnabled", enabled=True)
        self.call("Page.navigate", url=address)

    def place(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height in the window of an element, scrolled into view."""
        self.until(f"!!document.querySelector({json.dumps(selector)})", 20)
        box = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
        )
        return tuple(box)  # type: ignore[return-value]

    def mouse(self, kind: str, x: float, y: float, down: bool = False) -> None:
        """One event of the mouse: Pressed, Moved or Released."""
        self.call(
            "Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, button="left",
            buttons=int(down), clickCount=0 if kind == "Moved" else 1,
        )  # fmt: skip

    def click(self, selector: str) -> None:
        """Press the middle of an element."""
        left, top, width, height = self.place(selector)
        self.mouse("Pressed", left + width / 2, top + height / 2, True)
        self.mouse("Released", left + width / 2, top + height / 2)

    def type(self, selector: str, text: str) -> None:
        """Press into a box and type."""
        self.click(selector)
        self.call("Input.insertText", text=text)

    def drag(self, points: list[tuple[float, float]]) -> None:
        """A stroke of the mouse through points of the window."""
        self.mouse("Moved", *points[0])
        self.mouse("Pressed", *points[0], True)
        for (x, y), (u, v) in zip(points, points[1:], strict=False):
            for k in range(1, 6):
                self.mouse("Moved", x + (u - x) * k / 5, y + (v - y) * k / 5, True)
        self.mouse("Released", *points[-1])

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a box for files, as a person does in the system's window."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(f) for f in files])

    def picture(self, path: Path, whole: bool = False) -> Path:
        """A screenshot of the window, or of the whole page."""
        done = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(done["data"]))
        return path

    def happened(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all events of a kind so far."""
        self.js("0")
        return [e["params"] for e in self.events if e.get("method") == method]


@contextlib.contextmanager
def chromium(profile: Path, downloads: Path) -> Iterator[Tab]:
    """A browser with one tab that reaches no other name or address than those of this machine."""
    read_to, to = os.pipe()
    back, write_back = os.pipe()
    words = [
        sys.executable, "-c", _NUMBERED, str(read_to), str(write_back), CHROMIUM,
        "--headless=new", "--remote-debugging-pipe", "--no-sandbox",
        "--disable-gpu", "--no-first-run", "--disable-extensions",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--hide-scrollbars", "--mute-audio",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(words, pass_fds=(read_to, write_back), stdout=log, stderr=log)
        os.close(read_to)
        os.close(write_back)
        tab = Tab(process, to, back)
        try:
            tab.call(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads),
                eventsEnabled=True,
            )  # fmt: skip
            target = tab.call("Target.createTarget", url="about:blank")["targetId"]
            tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)[
                "sessionId"
            ]
            for domain in ("Page", "Runtime", "Network", "Log"):
                tab.call(f"{domain}.enable")
            yield tab
        finally:
            tab.session = ""
            with contextlib.suppress(Exception):
                tab.call("Browser.close")
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(to)
            os.close(back)

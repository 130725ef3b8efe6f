"""`sfumato studio` as a command: refusals, and a run that asks nobody and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.cli import main, studio
from sfumato.errors import MissingExtra
from toy_studio import painting, png, url, write_toy

# Says on stderr which other machines are looked for, or called.
WATCHED = """
import sys
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        what = args[1] if event != "socket.getaddrinfo" else args[0]
        host = what[0] if isinstance(what, tuple) else what
        if str(host) not in ("127.0.0.1", "localhost", "::1"):
            print("CALLED", event, what, file=sys.stderr, flush=True)
sys.addaudithook(hook)
from sfumato.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["studio", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_options_that_make_no_sense(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.files.cards.SHIPPED", tmp_path / "nothing")
    assert "give the folder of a model by --model" in refused([], capsys)
    model = ["--model", str(tmp_path)]
    assert "--port must be 0 to 65535, got 65536" in refused([*model, "--port", "65536"], capsys)
    assert "--threads must be at least 0" in refused([*model, "--threads", "-1"], capsys)
    for option in ("queue", "max-n", "max-pixels"):
        words = [*model, f"--{option}", "0"]
        assert f"--{option} must be at least 1, got 0" in refused(words, capsys)


def test_without_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before the model is opened."""
    from sfumato.studio import serve

    def absent(module: str, extra: str) -> Any:
        raise MissingExtra(f"pip install 'sfumato[{extra}]'")

    monkeypatch.setattr(serve, "require", absent)
    (tmp_path / "model.json").write_text("nothing that is read")
    assert main(["studio", "--model", str(tmp_path), "--port", "0"]) == 1
    assert capsys.readouterr().err == "sfumato studio: pip install 'sfumato[studio]'\n"


def test_a_run_that_asks_nobody_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")
    pytest.importorskip("gradio", reason="pip install 'sfumato[studio]'")
    import httpx

    model, temporary = write_toy(tmp_path / "toy"), tmp_path / "temporary"
    temporary.mkdir()
    words = [sys.executable, "-c", WATCHED, "studio", "--model", str(model), "--port", "0"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(temporary), "GRADIO_ANALYTICS_ENABLED": "True"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("sfumato studio: http://127.0.0.1:"), process.communicate()
        address = said.split()[2]
        client = httpx.Client(timeout=60)
        assert "sfumato studio" in client.get(address).text
        data = [
            "a red square", "", ["red"],
            url(painting((slice(0, 9), slice(0, 9), (0, 114, 178)), side=64)),
            url(png(np.full((30, 20, 3), 90, np.uint8))), 2, 2, 3, 3, 0.5, 0,
        ]  # fmt: skip
        event = client.post(f"{address}/gradio_api/call/draw", json={"data": data}).json()
        page = client.get(f"{address}/gradio_api/call/draw/{event['event_id']}").text
        assert "event: complete" in page and "seed-0.zip" in page
        kept = [p for p in temporary.rglob("*") if p.is_file()]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        watchdog.cancel()
        process.kill()
    assert not kept, "nothing is written while it runs"
    assert process.returncode == 0 and out == "stopped\n"
    assert err == "", "no call to another machine, no warning, nothing of gradio's own"
    assert not list(temporary.iterdir()) and {p.name for p in tmp_path.iterdir()} == {
        "toy", "temporary"
    }  # fmt: skip


def test_the_default_is_loopback() -> None:
    assert studio.StudioConfig().host == "127.0.0.1"

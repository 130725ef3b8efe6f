"""A page of several tabs: titles, requests to each of them and to no other, errors as sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sfumato.errors import UsageError
from sfumato.studio.limits import Limits
from sfumato.studio.tab import Tab, pieces_of
from sfumato.system import resolve, systems
from toy_studio import served_tabs

gr: Any = pytest.importorskip("gradio", reason="pip install 'sfumato[studio]'")
httpx = pytest.importorskip("httpx", reason="pip install 'sfumato[studio]'")

pytestmark = pytest.mark.filterwarnings("ignore::Warning:gradio.*")


class Shout(Tab):
    title, endpoint, css = "Loud", "shout", ".shout { color: red; }"

    def change(self, text: str) -> str:
        return text.upper()

    def build(self, limits: Limits) -> None:
        def answer(text: str) -> Iterator[str]:
            yield from pieces_of(self.pieces(text, limits), gr.Error)

        text, out = gr.Textbox(), gr.HTML()
        press = gr.Button(self.title)
        press.click(answer, text, out, api_name=self.endpoint, concurrency_limit=1)

    def pieces(self, text: str, limits: Limits) -> Iterator[str]:
        if len(text) > limits.letters:
            raise UsageError(f"expected at most {limits.letters} letters")
        yield self.change(text)


class Whisper(Shout):
    title, endpoint, css = "Soft", "whisper", ".whisper { color: grey; }"

    def change(self, text: str) -> str:
        return text.lower()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served_tabs([Shout(), Whisper()], Limits(letters=5)) as found:
        yield found


def ask(address: str, endpoint: str, text: str) -> str:
    call = f"{address}/gradio_api/call/{endpoint}"
    event = httpx.post(call, json={"data": [text]}).json()["event_id"]
    return str(httpx.get(f"{call}/{event}", timeout=30).text)


def test_each_tab_answers_its_own_requests(address: str) -> None:
    assert 'data: ["ABC"]' in ask(address, "shout", "aBc")
    assert 'data: ["abc"]' in ask(address, "whisper", "aBc")
    sent = {"data": ["abc"]}
    assert httpx.post(f"{address}/gradio_api/call/draw", json=sent).status_code == 404
    assert "expected at most 5 letters" in ask(address, "shout", "too long")


def test_every_tab_has_its_title_and_its_style(address: str) -> None:
    config = httpx.get(f"{address}/config").json()
    tabs = [c["props"]["label"] for c in config["components"] if c["type"] == "tabitem"]
    assert tabs == ["Loud", "Soft"]
    page = httpx.get(address).text + json.dumps(config)
    assert ".shout" in page and ".whisper" in page and ".sf-results" in page


def test_every_declared_tab_can_be_found() -> None:
    declared = [system.tab for system in systems() if system.tab]
    assert declared and all(callable(resolve(tab)) for tab in declared)

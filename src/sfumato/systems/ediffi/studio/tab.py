"""The studio's tab for text to image: a sentence, painted words, a style, what was drawn."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files
from typing import Any, Final, final

from sfumato.errors import require
from sfumato.files.words import many
from sfumato.studio import results
from sfumato.studio.limits import Limits
from sfumato.studio.tab import Tab, pieces_of
from sfumato.systems.ediffi.model import Modality
from sfumato.systems.ediffi.pipeline import Cascade
from sfumato.systems.ediffi.studio.colours import PALETTE
from sfumato.systems.ediffi.studio.requests import MAX_SEED, RawRequest, drawn, parse_request


@final
@dataclass(frozen=True)
class Spot:
    """An ellipse of paint for a phrase, as fractions of the side."""

    phrase: str
    x: float
    y: float
    across: float
    down: float


@final
@dataclass(frozen=True)
class Example:
    """A sentence and its paint."""

    prompt: str
    paint: tuple[Spot, ...] = ()


EXAMPLES: Final = (
    Example("a red apple left of a blue book on grass"),
    Example(
        "a fox and a bell on sand",
        (Spot("fox", 0.28, 0.62, 0.18, 0.18), Spot("bell", 0.74, 0.35, 0.16, 0.16)),
    ),
    Example("an owl in a night sky", (Spot("owl", 0.5, 0.42, 0.24, 0.26),)),
)

SIDE: Final = 384
"""Side of the painting, in pixels."""
SHOWN: Final = 1024
"""Larger pictures are made smaller by the browser before they are sent."""


@final
class ImagineTab(Tab):
    """Text to image, with painted words and an example of the style.

    Args:
        cascade: the models that draw.
        name: of the model, as it is shown.
        batch: pictures drawn together.
    """

    title = "Text to image"
    endpoint = "draw"

    def __init__(self, cascade: Cascade, name: str, batch: int = 1) -> None:
        self.cascade, self.name, self.batch = cascade, name, batch

    @property
    def css(self) -> str:
        """Rules for the painting and the slot for a style."""
        return _read("tab.css")

    def build(self, limits: Limits) -> None:
        """See `Tab`."""
        gr = require("gradio", "studio")
        cascade = self.cascade

        def draw(*values: Any) -> Iterator[str]:
            pieces = progress(cascade, RawRequest(*values), limits, self.batch)
            yield from pieces_of(pieces, gr.Error)

        usual = cascade.stages[0].model.sampling.steps
        sees = any(
            one.modality is Modality.PICTURE for s in cascade.stages for one in s.encoder.configs
        )
        gr.HTML(head(self.name, cascade.side), apply_default_css=False)
        with gr.Row():
            with gr.Column(min_width=320):
                prompt = gr.Textbox(
                    label="What the picture shows",
                    placeholder="a fox and a bell on sand",
                    lines=2,
                    max_length=limits.letters,
                )
                with gr.Row(elem_classes="sf-examples"):
                    chips = [gr.Button(e.prompt, size="sm", min_width=120) for e in EXAMPLES]
                gr.HTML(
                    tools(sees),
                    js_on_load=script(limits),
                    elem_id="sf-tools",
                    apply_default_css=False,
                )
            with gr.Column(min_width=320):
                with gr.Row():
                    press = gr.Button("Draw", variant="primary", elem_id="sf-draw", scale=3)
                    stop = gr.Button("Stop", elem_id="sf-stop", scale=1, min_width=80)
                out = gr.HTML(
                    results.EMPTY, elem_id="sf-results", min_height=120, apply_default_css=False
                )
                n = gr.Slider(1, limits.n, min(4, limits.n), step=1, label="Pictures")
                with gr.Accordion("More settings", open=False, elem_id="sf-more"):
                    negative = gr.Textbox(
                        label="Keep away from", max_length=limits.letters, placeholder="nothing"
                    )
                    most = limits.steps
                    steps = gr.Slider(1, most, min(usual, most), step=1, label="Steps")
                    top = min(10.0, limits.scale)
                    guidance = gr.Slider(
                        0, top, min(3.0, top), step=0.1, label="Guidance by the sentence"
                    )
                    by_style = gr.Slider(
                        0, top, min(6.0, top), step=0.1, label="Guidance by the style", visible=sees
                    )
                    strength = gr.Slider(0, 2, 0.5, step=0.05, label="Strength of the paint")
                    with gr.Row():
                        seed = gr.Number(
                            0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, scale=3
                        )
                        dice = gr.Button(
                            "Another seed", size="sm", scale=1, min_width=110, elem_id="sf-dice"
                        )
        # What the script of the page fills in when the button is pressed.
        phrases = gr.JSON(visible=False)
        painting, style = gr.Textbox(visible=False), gr.Textbox(visible=False)
        event = gr.on(
            [press.click, prompt.submit],
            draw,
            [prompt, negative, phrases, painting, style, n, steps, guidance, by_style, strength,
             seed],
            out,
            js="(...values) => window.sfumato.send(values)",
            api_name=self.endpoint,
            preprocess=False,  # `parse_request` checks what came, in sentences of its own
            concurrency_limit=1,
            show_progress="full",
            trigger_mode="once",
        )  # fmt: skip
        stop.click(None, cancels=[event], api_visibility="private")
        stop.click(None, js="() => window.sfumato.stopped()", api_visibility="private")
        dice.click(
            None, None, seed, js=f"() => Math.floor(Math.random() * {MAX_SEED})",
            api_visibility="private",
        )  # fmt: skip
        for k, chip in enumerate(chips):
            chip.click(
                None, None, prompt, js=f"() => window.sfumato.example({k})",
                api_visibility="private",
            )  # fmt: skip


def progress(cascade: Cascade, raw: RawRequest, limits: Limits, batch: int) -> Iterator[str]:
    """HTML of the pictures so far, after each batch; the last has the files.

    Raises:
        UsageError: the request is not valid.
        SfumatoError: the pictures are not finite.
    """
    request = parse_request(raw, cascade, limits)
    began = time.perf_counter()
    for some in drawn(cascade, request, batch):
        if len(some.pixels) < request.n:
            yield results.waiting(len(some.pixels), request.n, some.pixels)
            continue
        spent = time.perf_counter() - began
        pictures = many(request.n, "picture")
        summary = (
            f"{pictures} of {cascade.side}x{cascade.side}, "
            f"{many(some.nfe, 'network evaluation')} each, "
            f"{spent:.1f} s, seed {request.seed}"
        )
        yield results.finished(some.pixels, request.about, summary)


def head(name: str, side: int) -> str:
    """Title, name of the model and side of its pictures."""
    return (
        '<div class="sf-head"><h1>sfumato studio</h1>'
        f"<p>Say what a picture shows, and paint where its words are to be. {escape(name)}, "
        f"{side}x{side} pixels.</p></div>"
    )


def tools(sees: bool) -> str:
    """The painting and the slot for a style, which is hidden from models that see no pictures."""
    rows = "".join(
        f'<div class="sf-row" style="--c: {c.hex}">'
        f'<input type="radio" class="sf-colour" name="sf-colour" aria-label="paint in {c.name}"'
        f"{' checked' if k == 0 else ''}>"
        f'<input type="text" class="sf-phrase" aria-label="words painted in {c.name}" '
        f'placeholder="{"words of the sentence" if k == 0 else ""}" autocomplete="off"></div>'
        for k, c in enumerate(PALETTE)
    )
    text = _read("tab.html").replace("ROWS", rows).replace("SIDE", str(SIDE))
    return text.replace("HIDDEN", "" if sees else "hidden")


def script(limits: Limits) -> str:
    """The script of `tools`."""
    settings = {
        "palette": [c.hex for c in PALETTE], "kinds": ["image/png", "image/jpeg", "image/webp"],
        "side": SHOWN, "bytes": limits.bytes, "most": 8 * limits.bytes,
        "examples": [asdict(e) for e in EXAMPLES],
    }  # fmt: skip
    return _read("tab.js").replace("SETTINGS;", json.dumps(settings) + ";", 1)


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")

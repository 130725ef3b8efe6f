"""One self-contained HTML page: text, pictures inlined as data, no script, no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from PIL import Image

from sfumato.files import pictures

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #23211e; --soft: #6d6861;
  --line: #e2ddd3; --accent: #8a4b2a; --tile: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --paper: #17161a; --ink: #e6e2da;
  --soft: #9b958b; --line: #34313a; --accent: #e0a07c; --tile: #201f24; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55;
  font: 1.06rem/1.6 "Iowan Old Style", Charter, "Palatino Linotype", Palatino, Georgia, serif; }
main { max-width: 62rem; margin: 0 auto; padding: 5vw 1.4rem 6rem; }
header { margin: 2.5rem 0 3.5rem; }
h1 { font-size: clamp(3rem, 9vw, 5.6rem); line-height: 1; margin: 0 0 1.2rem; font-weight: 500;
  letter-spacing: -0.03em; }
@supports (background-clip: text) { h1 { color: transparent; background-clip: text;
  background-image: linear-gradient(90deg, var(--ink) 5%, var(--accent) 22%, transparent 42%); } }
header p { font-size: 1.25rem; max-width: 38rem; margin: 0; color: var(--soft); }
h2 { font-size: 1.7rem; font-weight: 500; letter-spacing: -0.01em; margin: 0 0 .5rem; }
h3 { font-size: 1.1rem; font-weight: 600; margin: 2rem 0 .4rem; }
section { border-top: 1px solid var(--line); padding: 2.6rem 0 1.2rem; }
section > p, li { max-width: 42rem; }
p { margin: 0 0 1rem; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: .15em; }
nav { columns: 2; column-gap: 2rem; margin: 2.2rem 0 0; font-size: .98rem; }
nav a { display: block; text-decoration: none; padding: .12rem 0; }
figure { margin: 1.4rem 0 1.8rem; }
figure img, figure svg { display: block; max-width: 100%; height: auto; }
figure img { image-rendering: pixelated; border-radius: 3px; }
figure img.smooth { image-rendering: auto; background: #fff; padding: .4rem; }
figcaption, .rows, table, .note, footer { font-family: ui-sans-serif, system-ui, -apple-system,
  "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
figcaption { color: var(--soft); font-size: .88rem; line-height: 1.5; max-width: 44rem;
  margin-top: .7rem; }
.rows { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .35rem .9rem;
  align-items: center; font-size: .86rem; }
.rows img { justify-self: start; }
.rows > span { text-align: right; color: var(--soft); }
.rows > b { font-weight: 500; color: var(--soft); font-size: .8rem; }
.side { display: flex; flex-wrap: wrap; gap: 1.6rem; }
.side figure { margin: .6rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; margin: 1rem 0 1.4rem; }
th, td { text-align: left; padding: .34rem 1.3rem .34rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font: .86em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
pre { overflow-x: auto; border: 1px solid var(--line); border-radius: 4px; padding: .8rem 1rem;
  background: var(--tile); line-height: 1.45; }
.note { border-left: 3px solid var(--accent); padding: .2rem 0 .2rem .9rem; color: var(--soft);
  font-size: .92rem; max-width: 42rem; }
footer { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1.2rem;
  color: var(--soft); font-size: .85rem; }
.grid { gap: .5rem .9rem; }
@media (max-width: 34rem) { nav { columns: 1; }
  .rows:not(.grid) { grid-template-columns: 1fr; } .rows:not(.grid) > span { text-align: left; } }
@media print { body { background: #fff; } figure { break-inside: avoid; } }
"""


@final
@dataclass
class Section:
    """A section of the page, built from top to bottom."""

    title: str
    parts: list[str] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """The fragment that links to it."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower()).strip("-")

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs of plain text; ``code`` in backticks is set as code."""
        self.parts.extend(f"<p>{_inline(p)}</p>" for p in paragraphs)

    def heading(self, title: str) -> None:
        """Add a smaller heading."""
        self.parts.append(f"<h3>{html.escape(title)}</h3>")

    def note(self, text: str) -> None:
        """Add a remark, such as why something is missing here."""
        self.parts.append(f'<p class="note">{_inline(text)}</p>')

    def picture(self, picture: Image.Image, caption: str, *, smooth: bool = False) -> None:
        """Add one picture with its caption."""
        self.parts.append(_figure(inline_image(picture, caption, smooth), caption))

    def side(self, shown: Sequence[tuple[Image.Image, str]], *, smooth: bool = False) -> None:
        """Add pictures side by side, each with its caption."""
        figures = (_figure(inline_image(p, c, smooth), c) for p, c in shown)
        self.parts.append(f'<div class="side">{"".join(figures)}</div>')

    def rows(self, rows: Sequence[tuple[str, Image.Image]], caption: str, head: str = "") -> None:
        """Add rows of pictures with a label before each; ``head`` is written above them."""
        cells = [f"<span></span><b>{html.escape(head)}</b>"] if head else []
        for label, picture in rows:
            image = inline_image(picture, f"{label}: {caption}", False)
            cells.append(f"<span>{html.escape(label)}</span>{image}")
        self.parts.append(_figure(f'<div class="rows">{"".join(cells)}</div>', caption))

    def grid(
        self,
        rows: Sequence[str],
        columns: Sequence[str],
        cells: Sequence[Sequence[Image.Image]],
        caption: str,
    ) -> None:
        """Add a table of pictures with a label before each row and above each column."""
        head = "".join(f"<b>{html.escape(c)}</b>" for c in columns)
        parts = [f"<span></span>{head}"]
        for label, pictured in zip(rows, cells, strict=True):
            parts.append(f"<span>{html.escape(label)}</span>")
            for column, picture in zip(columns, pictured, strict=True):
                parts.append(inline_image(picture, f"{label}, {column}", False))
        style = f"grid-template-columns:max-content repeat({len(columns)},minmax(0,max-content))"
        self.parts.append(
            _figure(f'<div class="rows grid" style="{style}">{"".join(parts)}</div>', caption)
        )

    def drawing(self, svg: str, caption: str) -> None:
        """Add a drawing that is SVG text already."""
        self.parts.append(_figure(svg, caption))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table; cells that look like numbers are aligned as such."""
        top = "".join(f"<th>{html.escape(h)}</th>" for h in head)
        body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
        self.parts.append(f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>')

    def code(self, text: str) -> None:
        """Add lines of code or commands."""
        self.parts.append(f"<pre><code>{html.escape(text)}</code></pre>")

    def html(self) -> str:
        """The section as HTML."""
        title = html.escape(self.title)
        return f'<section id="{self.anchor}"><h2>{title}</h2>{"".join(self.parts)}</section>\n'


def page(title: str, lead: str, sections: Sequence[Section], footer: str) -> str:
    """The whole page as HTML text."""
    links = "".join(f'<a href="#{s.anchor}">{html.escape(s.title)}</a>' for s in sections)
    body = "".join(s.html() for s in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body><main>\n"
        f"<header><h1>{html.escape(title)}</h1><p>{_inline(lead)}</p><nav>{links}</nav></header>\n"
        f"{body}<footer>{_inline(footer)}</footer>\n</main></body>\n</html>\n"
    )


def inline_image(picture: Image.Image, alt: str, smooth: bool) -> str:
    """An ``<img>`` whose picture is inside the page, as lossless WebP."""
    data = base64.b64encode(pictures.encode(picture, "WEBP")).decode("ascii")
    kind = ' class="smooth"' if smooth else ""
    return (
        f'<img{kind} alt="{html.escape(alt)}" width="{picture.width}" height="{picture.height}" '
        f'src="data:image/webp;base64,{data}">'
    )


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{_inline(caption)}</figcaption></figure>\n"


def _inline(text: str) -> str:
    pieces = html.escape(text, quote=False).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))


def _cell(text: str) -> str:
    number = text.replace(",", "").replace(".", "").replace("-", "").replace("%", "").strip()
    return f"<td{' class=n' if number.isdigit() else ''}>{_inline(text)}</td>"

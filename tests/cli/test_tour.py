"""``sfumato tour``: one page that needs nothing else, also where little is there."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from sfumato.cli import main
from sfumato.cli.tour.functions import functions
from sfumato.cli.tour.page import Section
from sfumato.cli.tour.plot import lines, ticks
from sfumato.cli.tour.prompts import SAID, prompts
from sfumato.console import datasets
from sfumato.errors import SfumatoError
from sfumato.files.store import write_folder
from sfumato.train.checkpoint import pack_json, pack_tensors


class Reader(HTMLParser):
    """Collects tags with their attributes, and checks that they are closed in order."""

    VOID = {"meta", "img", "line", "circle", "polyline"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def no_data(name: str, wish: datasets.DataRequest) -> None:
    raise SfumatoError(f"{name} is not here")


@pytest.fixture
def page(
    zoo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Path:
    """The page of a zoo of three, without real data."""
    for name in ("tiny-faces", "tiny-phase", "tiny-points"):
        shutil.copytree(zoo_folder / name, tmp_path / "zoo" / name)
    monkeypatch.setenv("SFUMATO_ZOO", str(tmp_path / "zoo"))
    monkeypatch.setattr("sfumato.files.cards.SHIPPED", tmp_path / "nothing")
    monkeypatch.setattr(datasets, "load", no_data)
    assert main(["tour", "--out", "here", "--seconds", "1"]) == 0
    path = Path("here/index.html")
    said = capsys.readouterr().out
    assert str(path.resolve()) in said and re.search(r"in \d+ s", said)
    return path


@pytest.mark.slow
def test_the_page_is_self_contained_and_complete(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text and "@import" not in text
    reader = read(page)
    tags = [tag for tag, _ in reader.found]
    assert not {"script", "link", "iframe", "object", "base"} & set(tags)
    sources = [attrs["src"] for tag, attrs in reader.found if tag == "img"]
    assert len(sources) > 30
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/webp;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            picture.load()
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles == [
        "Samples", "Out of the haze", "Solvers and steps", "Fewer evaluations", "Guidance",
        "Attributes", "Inpainting", "Interpolation", "Points in the plane", "The models",
    ]  # fmt: skip
    targets = {attrs["id"] for _, attrs in reader.found if "id" in attrs}
    links = {attrs["href"] for tag, attrs in reader.found if tag == "a"}
    assert links == {f"#{target}" for target in targets}
    for name in ("tiny-faces", "tiny-phase", "tiny-points"):
        assert name in text
    assert re.search(r"CLD: \d+ evaluations, \d+ ms an image", text)


def test_a_zoo_with_a_damaged_model_still_gives_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zoo_folder: Path
) -> None:
    monkeypatch.setattr(datasets, "load", no_data)
    root = tmp_path / "zoo"
    shutil.copytree(zoo_folder / "tiny-points", root / "tiny-points")
    shutil.copytree(zoo_folder / "tiny-grey", root / "tiny-grey")
    (root / "tiny-grey" / "model.safetensors").write_bytes(b"damaged")
    monkeypatch.setenv("SFUMATO_ZOO", str(root))
    monkeypatch.setattr("sfumato.files.cards.SHIPPED", tmp_path / "nothing")
    assert main(["tour", "--seconds", "1"]) == 0
    text = Path("tour/index.html").read_text(encoding="utf-8")
    read(Path("tour/index.html"))
    assert "<code>tiny-grey</code> is missing here" in text and "checksum" in text
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Points in the plane", "The models"]


def test_an_empty_zoo_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_ZOO", "")
    monkeypatch.setattr("sfumato.files.cards.SHIPPED", tmp_path / "nothing")
    assert main(["tour", "--seconds", "1"]) == 0
    text = Path("tour/index.html").read_text(encoding="utf-8")
    assert "No weights were found" in text and "sfumato train" in text


def test_plots_keep_their_points_inside() -> None:
    svg = lines({"a": [(4, 10.0), (16, 2.5)], "b": [(4, 9.9), (16, 2.4), (8, 0.0)]}, "x", "y < z")
    assert "y &lt; z" in svg and svg.count("<polyline") == 2 and svg.count("<circle") == 4
    for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg):
        assert 64 <= float(x) <= 720 - 128 and 16 <= float(y) <= 380 - 46
    names = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*style=', svg)]
    assert abs(names[0] - names[1]) >= 14  # close curves, but their names do not overlap
    with pytest.raises(ValueError, match="at least one point"):
        lines({"a": [(1, -1.0)]}, "x", "y")
    assert ticks(3, 60) == [5, 10, 20, 50]


def test_the_section_on_words_draws_with_the_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row for each sentence and a painted one, as far as there is time; nothing without it."""
    pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")
    from tiny_prompted import filled, tiny_model

    monkeypatch.setattr("sfumato.files.cards.SHIPPED", tmp_path)
    section = Section("Words")
    prompts(section, [], 60.0)
    assert section.parts == []
    model = tiny_model("bert")
    card = {"name": "scenes", "system": "eDiff-I", "data": "scenes", "kind": "prompted model"}
    files = {
        "model.safetensors": pack_tensors(filled(model.build()).state_dict()),
        "model.json": pack_json({"model": model.to_json()}),
        "card.json": json.dumps(card).encode(),
    }
    write_folder(tmp_path / "scenes", files)
    for seconds, rows in ((60.0, 5), (0.0, 1)):
        section = Section("Words")
        prompts(section, [], seconds)
        text = " ".join(section.parts)
        assert text.count("<img") == rows
        assert SAID[0] in text and ("painted" in text.split("<div")[1]) == (rows == 5)
        assert "sfumato imagine" in text and "8 x 8 pixels" in text


def test_the_section_on_functions_names_the_model_that_it_shows() -> None:
    """A 1-D model, and one that has to be told something, come before it in the zoo."""
    section = Section("Functions")
    functions(section, [], 0.0)
    shown = re.findall(r"([\w-]+), trained on", " ".join(section.parts))
    named = re.findall(r"fields sample ([\w-]+)", " ".join(section.parts))
    assert shown and set(named) == set(shown[:1])

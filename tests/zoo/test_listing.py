"""Cards and how models are found; and every model that is shipped."""

import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load as load_tensors

from sfumato import zoo
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.store import read_folder
from sfumato.model.load import load, load_model
from sfumato.systems.ediffi.model import PromptedModel


def write(root: Path, /, **card: object) -> Path:
    folder = root / str(card["name"])
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def test_folders_of_the_environment_come_after_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFUMATO_ZOO", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    monkeypatch.setattr("sfumato.files.cards.SHIPPED", tmp_path / "c")
    for root, data in (("a", "from a"), ("b", "from b")):
        write(tmp_path / root, name="same", system="s", data=data)
    write(tmp_path / "b", name="other", system="s", data="from b", later="field")
    write(tmp_path / "b", name=".hidden", system="s", data="d")
    assert [(c.name, c.data) for c in zoo.cards()] == [("other", "from b"), ("same", "from a")]
    write(tmp_path / "c", name="same", system="s", data="from c")
    assert zoo.card("same").data == "from c"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read the card"),
        ("[]", "expected a JSON object, got list"),
        ('{"name": "x", "system": "s"}', "lacks data"),
        ('{"name": "x", "system": "s", "data": 3}', "'data' should be str, got int"),
        ('{"name": "x", "system": "s", "data": "d", "labels": []}', "'labels' should be"),
    ],
)
def test_broken_cards_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(SfumatoError, match=message.replace("[", r"\[")):
        zoo.ModelCard.read(tmp_path)


def test_what_a_name_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_ZOO", str(tmp_path / "zoo"))
    shipped = write(tmp_path / "zoo", name="mine", system="s", data="d")
    assert zoo.find("mine") == shipped
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    assert zoo.find(str(run)) == run
    with pytest.raises(UsageError, match="did you mean 'mine'"):
        zoo.find("mien")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        zoo.find(str(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SfumatoError, match="not a model"):
        zoo.find(str(tmp_path / "empty"))


def test_a_classifier_is_not_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_ZOO", str(tmp_path))
    write(tmp_path, name="judge", system="s", data="d", kind="classifier")
    with pytest.raises(UsageError, match="'judge' is a classifier, expected a generative model"):
        load("judge")


@pytest.mark.parametrize("name", sorted(p.name for p in zoo.shipped().values()))
def test_shipped_models_are_whole_small_and_have_a_full_card(name: str) -> None:
    folder = zoo.shipped()[name]
    files = read_folder(folder)  # every checksum
    described = "config.json" if zoo.card(name).kind == "dual encoder" else "model.json"
    assert {"model.safetensors", described, "card.json"} <= set(files)
    experts = len(json.loads(files[described]).get("model", {}).get("split", [])) + 1
    assert sum(map(len, files.values())) < 10_000_000 * experts
    card = zoo.ModelCard.read(folder)
    assert card.name == name
    for field in ("system", "data", "licence", "command", "time"):
        assert getattr(card, field), f"the card of {name} lacks {field}"
    assert card.scores and card.params > 0
    if card.kind == "prompted model":
        denoiser, model = load_model(folder)
        assert all(bool(p.isfinite().all()) for p in denoiser.parameters())
        assert isinstance(model, PromptedModel) and len(model.split) + 1 == experts
        assert {one.source for one in model.encoders} <= {"minilm", *zoo.shipped()}
    if card.kind == "denoiser":
        model = load(name)
        denoiser, config = model.denoiser, model.description
        shipped = load_tensors(files["model.safetensors"])  # a head comes without its backbone
        assert sum(w.numel() for w in shipped.values()) == card.params
        assert all(bool(p.isfinite().all()) for p in denoiser.parameters())
        assert {a.name: list(a.values) for a in config.axes} == dict(card.labels)


def test_all_that_draws_from_prompts_is_small_together() -> None:
    """The models and the CLIP that they listen to; what else they hear is fetched."""
    every = [zoo.shipped()[name] for name in ("scenes", "scenes-64", "scenes-clip")]
    assert sum(f.stat().st_size for folder in every for f in folder.iterdir()) < 25_000_000

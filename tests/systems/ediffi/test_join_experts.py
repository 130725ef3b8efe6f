"""Experts put together: the same weights in their slots, what does not fit, reading them lazily."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sfumato as sf
from sfumato.cli import main
from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.cards import ModelCard
from sfumato.model.load import load_model
from sfumato.systems.ediffi import recipe
from sfumato.systems.ediffi.ensemble import open_experts
from sfumato.systems.ediffi.experts import Experts, Node
from sfumato.systems.ediffi.join_experts import join, match_experts
from sfumato.systems.ediffi.model import PromptedModel
from sfumato.systems.ediffi.pipeline import ImageRequest, imagine, open_cascade
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder
from sfumato.train import TrainConfig
from tiny_prompted import captioned_squares, encoder, filled, save_model, tiny_model, unet

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

NODES = ("3.7", "3.0")
TRAIN = TrainConfig(
    steps=2, batch=4, lr=5e-3, warmup=1, sheet_every=0, checkpoint_every=10_000,
    tensorboard=False, quiet=True, ema_half_life=50, cpu=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base, the three experts that went on from it, one of another split, another base."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("runs")
        patch.setenv("SFUMATO_DATA", str(root / "data"))
        folder = captioned_squares(root / "mine", ("red", "blue", "green", "yellow"))

        def run(name: str, **settings: Any) -> None:
            given = {
                "out": root / name, "path": folder, "resolution": 8, "context": 16, "hide": (0.1,),
                "encoders": (f"sentence:{encoder('bert')}",), "network": unet(), "train": TRAIN,
            }  # fmt: skip
            recipe.run(recipe.Config(**{**given, **settings}))

        run("base")
        run("other", sigma_data=0.25)
        for i, name in enumerate(("high", "low", "rest")):
            train = replace(TRAIN, seed=i + 1, steps=2 + i)
            run(name, start=root / "base", split=NODES, expert=i, train=train)
        run("high again", start=root / "base", split=NODES, expert=0)
        run("half", start=root / "base", split=("1.1",), expert=0)
        yield root


def card(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "card.json").read_text())
    return read


def parts(denoiser: Denoiser) -> list[dict[str, torch.Tensor]]:
    assert isinstance(denoiser, Experts)
    n = 1 + max(denoiser.route.experts)
    return [denoiser.expert(i).state_dict() for i in range(n)]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_experts_are_put_into_their_slots_in_any_order(runs: Path, tmp_path: Path) -> None:
    """Each slot has the averaged weights of its own run, bit for bit, and its noise levels."""
    out = join([runs / n for n in ("rest", "high", "low")], tmp_path / "all", {"name": "all"})
    denoiser, model = load_model(out)
    assert isinstance(model, PromptedModel) and model.split == (Node(3, 7), Node(3, 0))
    for own, name in zip(parts(denoiser), ("high", "low", "rest"), strict=True):
        trained, one = load_model(runs / name)
        assert same(own, trained.state_dict()), name
        assert replace(model, split=()) == one
    assert not same(parts(denoiser)[0], parts(denoiser)[1])
    about = card(out)
    assert about["name"] == "all" and about["steps"] == 4
    assert about["params"] == sum(w.numel() for own in parts(denoiser) for w in own.values())
    quantiles = model.law.quantile(torch.tensor([1 / 8, 7 / 8], dtype=torch.float64)).tolist()
    assert isinstance(denoiser, Experts)
    assert denoiser.route.experts == (1, 2, 0)
    assert denoiser.route.edges == pytest.approx(quantiles, rel=1e-12)


def test_the_base_stands_for_experts_without_a_run(runs: Path, tmp_path: Path) -> None:
    out = join([runs / "base", runs / "low"], tmp_path / "two", {}, half=True)
    denoiser, _ = load_model(out)
    for own, name in zip(parts(denoiser), ("base", "low", "base"), strict=True):
        trained = {k: w.half().float() for k, w in load_model(runs / name)[0].state_dict().items()}
        assert same(own, trained), name
    assert (out / "model.safetensors").stat().st_size < 0.7 * (
        join([runs / "base", runs / "low"], tmp_path / "single", {}) / "model.safetensors"
    ).stat().st_size


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "got none"),
        (("base",), "experts of one split, got none"),
        (("high", "low"), r"experts 0 to 2 of the split 3\.7 3\.0; 2 is missing"),
        (("low",), r"0, 2 is missing.*that all went on from"),
        (("high", "low", "rest", "base"), "base is not needed"),
        (("high", "high again", "base"), "high again and .*high are both expert 0"),
        (("high", "base", "base"), "are both for all levels"),
        (("high", "half", "base"), r"one split, got .*high: 3\.7 3\.0, .*half: 1\.1"),
        (("high", "other"), r"other is another model than .*high: .*sigma_data: .* there, 0\.25"),
    ],
)
def test_runs_that_do_not_fit(runs: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        match_experts([runs / n for n in names])


def test_folders_that_are_no_runs_of_it(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(SfumatoError, match="no folder"):
        match_experts([tmp_path / "nothing"])
    made = join([runs / "base", runs / "low"], tmp_path / "made", {})
    with pytest.raises(SfumatoError, match=r"it has no config\.json"):
        match_experts([made])
    with pytest.raises(SfumatoError, match="exists already"):
        join([runs / "base", runs / "low"], made, {})
    join([runs / "base", runs / "low"], made, {"again": 1}, replaces=True)
    assert card(made)["again"] == 1


# ---------------------------------------------------------------------------------- reading lazily


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_experts_read_when_asked_draw_the_same(runs: Path, tmp_path: Path, keep: int) -> None:
    """The same pictures, bit for bit; never more than so many networks in memory."""
    out = str(join([runs / n for n in ("rest", "high", "low")], tmp_path / "all", {}))
    whole, model = load_model(out)
    assert isinstance(model, PromptedModel)
    lazy, read = open_experts(out, keep)
    assert read == model and isinstance(lazy, Experts) and not lazy.training
    assert list(lazy.parameters()) == [] and not lazy.loaded
    prompt = PromptEncoder(model.encoders).prompt(["a red square", "a blue square"])
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    times = sf.times.karras(whole.process, 8)
    for t in times[:-1].float():
        with torch.no_grad():
            want, got = whole(x, t, prompt), lazy(x, t, prompt)
        assert torch.equal(want, got)
        assert len(lazy.loaded) <= (keep or 3)
    assert list(lazy.loaded) == {0: [0, 2, 1], 1: [1], 2: [2, 1]}[keep]
    assert all(not e.training for e in lazy.loaded.values())
    wish = ImageRequest("a red square")
    a = imagine(open_cascade([out]), wish, 0, range(2), 4)
    cascade = open_cascade([out], keep=keep)
    mixed = cascade.stages[0].denoiser
    assert isinstance(mixed, Experts) and mixed.keep == keep
    b = imagine(cascade, wish, 0, range(2), 4)
    assert len(mixed.loaded) <= (keep or 3)
    assert torch.equal(a.x, b.x) and a.nfe == b.nfe == 8  # guided


def test_experts_go_where_they_are_told(runs: Path, tmp_path: Path) -> None:
    out = join([runs / "base", runs / "low"], tmp_path / "all", {})
    lazy, _ = open_experts(out, device="meta")
    whole, _ = open_experts(runs / "base", device="meta")
    assert isinstance(lazy, Experts)
    for found in lazy.expert(2), whole:
        assert {w.device.type for w in found.parameters()} == {"meta"}


def test_one_network_is_opened_whole(tmp_path: Path, runs: Path) -> None:
    for folder in (runs / "base", runs / "base" / "checkpoints" / "step-00000002"):
        denoiser, model = open_experts(folder)
        again, known = load_model(folder)
        assert model == known and same(denoiser.state_dict(), again.state_dict())
        assert not denoiser.training


def test_what_cannot_be_read_is_told(runs: Path, tmp_path: Path) -> None:
    out = join([runs / "base", runs / "low"], tmp_path / "all", {})
    lazy, _ = open_experts(out)
    assert isinstance(lazy, Experts)
    (out / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(SfumatoError, match=r"could not read expert 1 from .*model\.safetensors"):
        lazy.expert(1)
    with pytest.raises(SfumatoError, match="does not match its checksum"):
        open_experts(out)
    model = tiny_model("bert", split=(Node(1, 1),))
    mine = save_model(tmp_path / "other", model, filled(replace(model, split=()).build()))
    lazy, _ = open_experts(mine)
    assert isinstance(lazy, Experts)
    with pytest.raises(SfumatoError, match=r"expert 0 holds the weights of another model"):
        lazy.expert(0)
    with pytest.raises(ValueError, match="keep >= 0"):
        open_experts(mine, -1)


# -------------------------------------------------------------------------------- the command line


def test_the_commands(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    where = [str(runs / n) for n in ("rest", "high", "low")]
    assert main(["experts", "join", *where, "--out", "all"]) == 0
    assert "sfumato imagine SENTENCE --model all" in capsys.readouterr().out
    about = ModelCard.read(Path("all"))  # as `sfumato models` reads those of SFUMATO_ZOO
    assert (about.name, about.system, about.kind) == ("all", "eDiff-I", "prompted model")
    assert about.data == load_model(Path("all"))[1].data
    assert card(Path("all"))["runs"] == ["rest", "high", "low"]
    assert main(["experts", "join", *where, "--out", "all"]) == 2
    assert "--force writes over a model folder" in capsys.readouterr().err
    whole = Path("all/model.safetensors").stat().st_size
    assert main(["experts", "join", *where, "--out", "all", "--force", "--half", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert Path("all/model.safetensors").stat().st_size < 0.7 * whole
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("dear")
    assert main(["experts", "join", *where, "--out", "mine", "--force"]) == 2
    assert "which is not a model folder" in capsys.readouterr().err
    assert Path("mine/notes.txt").read_text() == "dear"
    kept = next((runs / "half" / "checkpoints").iterdir())
    assert main(["experts", "join", *where, "--out", str(kept), "--force"]) == 2
    assert "which is not a model folder" in capsys.readouterr().err
    assert (kept / "optimizer.safetensors").is_file()
    said = ["imagine", "a red square", "--model", "all", "--n", "2", "--steps", "4", "--quiet"]
    assert main([*said, "--out", "a.npz"]) == 0
    assert main([*said, "--out", "b.npz", "--keep", "1"]) == 0
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()
    assert main([*said, "--keep", "-1"]) == 2
    assert "keep" in capsys.readouterr().err
    assert main(["experts", "join"]) == 2
    assert "run folders of experts" in capsys.readouterr().err


def rows(text: str) -> list[list[str]]:
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in text.splitlines()]
    return [row for row in cells if row]


def test_a_plan_shows_the_published_split(capsys: pytest.CaptureFixture[str]) -> None:
    """The paper's experts: sigma > 9.61 and < .0757; 25 steps from 80 split 9, 11, 5."""
    assert main(["experts", "plan", "9.511", "3.0"]) == 0
    assert rows(capsys.readouterr().out) == [
        ["1", "3.0", "0 to 0.125", "0 to 0.0757", "5"],
        ["2", "the rest", "0.125 to 0.998", "0.0757 to 9.61", "11"],
        ["0", "9.511", "0.998 to 1", "9.61 to inf", "9"],
    ]


def test_a_plan_for_a_model_and_other_laws(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The median of the law divides it in two halves, and every step is counted once."""
    assert main(["experts", "plan", "1.1", "--mean", "0", "--std", "2", "--steps", "10"]) == 0
    low, high = rows(capsys.readouterr().out)
    assert low[:4] == ["1", "the rest", "0 to 0.5", "0 to 1"] and high[3] == "1 to inf"
    assert int(low[4]) + int(high[4]) == 10
    _, model = load_model(runs / "base")
    assert isinstance(model, PromptedModel)
    assert main(["experts", "plan", "1.1", "--model", str(runs / "base")]) == 0
    edge = float(model.law.quantile(torch.tensor(0.5, dtype=torch.float64)))
    assert rows(capsys.readouterr().out)[0][3] == f"0 to {edge:.3g}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected nodes"),
        (("3.7", "2.3"), "do not overlap"),
        (("3.9",), "3.9"),
        (("x",), "LEVEL.INDEX"),
        (("1.1", "--steps", "0"), "steps"),
        (("1.1", "--std", "0"), "--std"),
        (("1.1", "--model", "fashion"), "draws without prompts"),
    ],
)
def test_plans_that_cannot_be(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experts", "plan", *words]) == 2
    assert message in capsys.readouterr().err

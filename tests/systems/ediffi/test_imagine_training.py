"""Training text to image: the loss by hand, experts, sheets, and that the sentence is heard."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import sfumato as sf
from sfumato.cli import main
from sfumato.condition import NOTHING, Condition, ImageCondition
from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.loss import LogNormal, edm_times
from sfumato.model.load import load_model
from sfumato.systems.ediffi import recipe
from sfumato.systems.ediffi.data import Captioned
from sfumato.systems.ediffi.experts import Node
from sfumato.systems.ediffi.model import PromptedModel, sized
from sfumato.systems.ediffi.pipeline import ImageRequest, imagine, open_cascade
from sfumato.systems.ediffi.prompt_data import (
    DEGRADATION,
    PictureBatch,
    PromptData,
    downsampled,
    upsampled,
)
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder, encoder_config
from sfumato.systems.ediffi.recipe import Config, imagine_loss, imagine_sheet
from sfumato.train import Microbatch, TrainConfig, read_log
from tiny_prompted import (
    captioned_squares,
    encoder,
    filled,
    save_model,
    tiny_model,
    unet,
)
from toy_captioned import COLOURS, squares

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

QUICK = TrainConfig(
    steps=2, batch=8, lr=5e-3, warmup=10, sheet_every=0, checkpoint_every=10_000,
    tensorboard=False, quiet=True, ema_half_life=500, cpu=True,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _its_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "data"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return captioned_squares(tmp_path / "mine", ("red", "blue", "green", "yellow"))


def config(folder: Path, out: Path, steps: int = 2, **settings: Any) -> Config:
    given = {
        "out": out, "path": folder, "resolution": 8, "encoders": (f"sentence:{encoder('bert')}",),
        "hide": (0.1,), "context": 16, "network": unet(), "train": replace(QUICK, steps=steps),
    }  # fmt: skip
    return Config(**{**given, **settings})


# ----------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("low", [0, 4])
def test_the_loss_is_edm_s_given_prompt_and_worsened_picture(low: int) -> None:
    """(σ² + σ_d²)/(σ σ_d)² |x̂ - x_0|², with every draw made again by hand, in its order."""
    model = tiny_model("bert", "clip", low=low, sigma_data=0.6)
    denoiser, data, n = filled(model.build()), squares(10, 16), 6
    said = PromptData(data, PromptEncoder(model.encoders), (0.2, 0.5))
    index, hidden = torch.tensor([3, 1, 0, 9, 3, 5]), torch.arange(n) == 1
    x16 = data.batch(index.numpy())[0] * torch.rand(n, 3, 16, 16)
    t = torch.linspace(0.001, 0.5, n, dtype=torch.float64)
    batch = PictureBatch(x16, index)
    got = imagine_loss(model, said)(
        denoiser, Microbatch(x16, t, None, sf.generators(5, range(n)), batch, hidden[:, None])
    )

    g = sf.generators(5, range(n))
    prompt = said.prompt(index, g, hidden)
    x0 = downsampled(x16, 8)
    cond = Condition(prompt=prompt)
    if low:
        cond = ImageCondition(upsampled(DEGRADATION(downsampled(x0, 4), g), 8), prompt)
    noise = sf.seeds.randn(x0.shape, g, dtype=torch.float32, device=torch.device("cpu"))
    sigma = (80 * t).reshape(-1, 1, 1, 1)
    error = denoiser(x0 + sigma.float() * noise, t, cond).double() - x0
    weight = (sigma**2 + 0.6**2) / (sigma * 0.6) ** 2
    want = (weight * error**2).mean((1, 2, 3))
    torch.testing.assert_close(got.double(), want, rtol=2e-3, atol=1e-5)
    other = cond.unlabelled()
    deaf = (denoiser(x0 + sigma.float() * noise, t, other).double() - x0) ** 2 * weight
    assert torch.equal(deaf.mean((1, 2, 3))[1:2], want[1:2])  # its prompt is hidden
    assert not torch.allclose(deaf.mean((1, 2, 3)), want, rtol=2e-3)


class Told(Denoiser):
    """Keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.process = sf.Scheduled(sf.EDM())
        self.cond: list[Condition] = []

    def forward(
        self, x_t: Tensor, t: Any, cond: Condition = NOTHING, generator: Any = None
    ) -> Tensor:
        self.cond.append(cond)
        return torch.zeros_like(x_t)


def test_prompts_go_where_the_pictures_are() -> None:
    """The encoders are on the CPU; here the pictures are on a device that holds nothing."""
    model, net = tiny_model("bert", "clip", low=4), Told()
    said = PromptData(squares(10, 8), PromptEncoder(model.encoders), (0.0, 0.0))
    x0 = torch.zeros(2, 3, 8, 8, device="meta")
    batch = PictureBatch(x0, torch.tensor([0, 1]))
    part = Microbatch(x0, torch.tensor([0.1, 0.2]), None, sf.generators(0, range(2)), batch)
    imagine_loss(model, said)(net, part)
    (cond,) = net.cond
    assert cond.image is not None and cond.prompt is not None
    assert cond.image.device.type == "meta"
    for e in cond.prompt.encoded:
        assert e.tokens.device.type == e.mask.device.type == e.pooled.device.type == "meta"


def test_the_sentence_is_heard(folder: Path, tmp_path: Path) -> None:
    """150 steps: of four plain squares each is drawn when it is asked for."""
    train = replace(QUICK, steps=150, batch=16)
    made = recipe.run(config(folder, tmp_path / "run", 150, train=train, log_noise=-1.2))
    cascade = open_cascade([str(made)])
    colours = {}
    for name in ("red", "blue", "green", "yellow"):
        drawn = imagine(cascade, ImageRequest(f"a {name} square", guidance=2.0), 0, range(8))
        colours[name] = drawn.x.mean((0, 2, 3))
        truth = torch.tensor(COLOURS[name]) / 127.5 - 1
        assert torch.equal(colours[name].sign(), truth.sign())
    assert float(colours["red"][0] - colours["blue"][0]) > 1
    assert float(colours["blue"][2] - colours["red"][2]) > 1
    log = read_log(made)
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]


def recorded(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The times that are trained on, and the weights before each step."""
    times: list[Tensor] = []
    weights: list[dict[str, Tensor]] = []
    plain: Callable[..., Tensor] = recipe.denoising_loss

    def watched(denoiser: Denoiser, x0: Tensor, t: Tensor, **more: Any) -> Tensor:
        times.append(t.detach().clone())
        weights.append({k: v.clone() for k, v in denoiser.state_dict().items()})
        return plain(denoiser, x0, t, **more)

    monkeypatch.setattr(recipe, "denoising_loss", watched)
    return times, weights


def with_weights_of_now(model: PromptedModel) -> PromptedModel:
    """What a training makes of a model: it knows which weights its encoders had."""
    heard = tuple(encoder_config(one.name) for one in model.encoders)
    assert all(one.weights for one in heard)
    return replace(model, encoders=heard)


def test_a_model_goes_on_with_an_encoder_that_has_changed(folder: Path, tmp_path: Path) -> None:
    """It is refused by all else."""
    (bert,) = tiny_model("bert").encoders
    model = replace(tiny_model("bert"), encoders=(replace(bert, weights="0" * 16),))
    save_model(tmp_path / "given", model, filled(model.build()))
    with pytest.raises(SfumatoError, match="other weights"):
        open_cascade([str(tmp_path / "given")])
    out = recipe.run(config(folder, tmp_path / "run", start=tmp_path / "given"))
    assert load_model(out)[1] == with_weights_of_now(model)
    assert open_cascade([str(out)]).stages[0].encoder.configs != model.encoders


@pytest.mark.parametrize("expert", [0, 1, 2])
def test_an_expert_goes_on_with_its_part_of_the_noise(
    expert: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the given weights, bit for bit; the model's law of noise is split, not another one."""
    law = edm_times(0.9)
    model = tiny_model(sigma_data=0.9, law=law)
    given = filled(model.build())
    save_model(tmp_path / "given", model, given)
    times, weights = recorded(monkeypatch)
    start = {"start": tmp_path / "given", "split": ("3.7", "2.0"), "expert": expert}
    settings = replace(QUICK, steps=3, batch=32)
    out = recipe.run(config(folder, tmp_path / "run", train=settings, **start))
    first = given.state_dict()
    assert all(torch.equal(first[k], weights[0][k]) for k in first)
    assert any(not torch.equal(first[k], weights[1][k]) for k in first)
    low, high = {0: (7 / 8, 1.0), 1: (0.0, 1 / 4), 2: (1 / 4, 7 / 8)}[expert]
    share = torch.special.ndtr(((80 * torch.cat(times)).log() - law.mean) / law.std)
    assert len(share) == 96 and float(share.min()) >= low and float(share.max()) <= high
    assert float(share.max() - share.min()) > 0.8 * (high - low)
    # one network still; its file does not say which part
    assert load_model(out)[1] == with_weights_of_now(model)


def test_without_an_expert_all_noise_is_trained_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And σ_d is measured on the pictures as they are trained on."""
    times, weights = recorded(monkeypatch)
    out = recipe.run(config(folder, tmp_path / "run", train=replace(QUICK, steps=3, batch=64)))
    model = load_model(out)[1]
    assert isinstance(model, PromptedModel) and model.data == "mine/"
    assert model.sigma_data == 1.0  # every colour is at ±1
    assert model.law == LogNormal(-0.5 + math.log(2), 1.2) and model.split == () and model.low == 0
    share = torch.special.ndtr(((80 * torch.cat(times)).log() - model.law.mean) / model.law.std)
    gap = (share.sort().values - torch.arange(1, 193) / 192).abs().max()
    assert float(gap) < 1.95 / 192**0.5
    fresh = model.build(0).state_dict()
    assert all(torch.equal(fresh[k], weights[0][k]) for k in fresh)
    assert len(read_log(out)) == 1


def test_sizes_that_do_not_fit_are_refused_before_anything_is_held(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "imagine_data", lambda *_: pytest.fail("looked for data"))
    wrong = config(folder, tmp_path / "run", low=32, resolution=64, network=Config().network)
    with pytest.raises(UsageError, match=r"--resolution 64 does not go .*which are \(32, 16\)"):
        recipe.run(wrong)
    sizes = replace(Config().network, multipliers=(1, 2, 2), blocks=1, attention=(8,))
    assert sized(sizes, 64, 32).sides == (32, 16, 8) and sized(sizes, 64, 32).in_channels == 6


def test_the_noise_of_training_is_chosen(folder: Path, tmp_path: Path) -> None:
    out = recipe.run(config(folder, tmp_path / "run", log_noise=-1.2))
    assert load_model(out)[1].law == edm_times(1.0)
    with pytest.raises(UsageError, match="--log-noise: expected -5 to 5, got 6"):
        config(folder, tmp_path / "run", log_noise=6.0)


def test_the_model_that_is_gone_on_with_decides(folder: Path, tmp_path: Path) -> None:
    """Its sizes and encoders count, not those of the options (here the defaults)."""
    model = tiny_model("t5", "clip", side=16, low=4)
    save_model(tmp_path / "given", model, filled(model.build()))
    more = {"start": tmp_path / "given", "resolution": 32, "low": 0}
    with pytest.raises(UsageError, match="--hide: expected a number for each of sentence:.*t5"):
        recipe.run(config(folder, tmp_path / "run", **more))
    assert not (tmp_path / "run").exists()
    out = recipe.run(config(folder, tmp_path / "run", encoders=("a:b", "c:d"), hide=(0, 0), **more))
    assert load_model(out)[1] == with_weights_of_now(model)
    assert (tmp_path / "data" / "folders").is_dir()
    assert {p.name.partition("-")[0] for p in (tmp_path / "data" / "folders").iterdir()} == {"16px"}


def test_only_one_network_can_be_gone_on_with(folder: Path, tmp_path: Path) -> None:
    split = tiny_model(split=(Node(1, 0),))
    save_model(tmp_path / "split", split, split.build())
    with pytest.raises(UsageError, match="split is not one network that draws what a prompt says"):
        recipe.run(config(folder, tmp_path / "run", start=tmp_path / "split"))


def test_the_scale_is_that_of_the_pictures_as_they_are_trained_on(folder: Path) -> None:
    """Of noise, whose mean over four pixels has half the deviation; to three digits."""
    data = squares(10, 16)
    noise = np.random.default_rng(0).integers(0, 256, (200, 3, 16, 16), np.uint8)
    some = Captioned("noise", noise, data.captions * 20, data.card)
    x = noise / 127.5 - 1
    want = np.sqrt((x.reshape(200, 3, 8, 2, 8, 2).mean((3, 5)) ** 2).mean())
    assert recipe._scale(some, config(folder, folder)) == float(f"{want:.3g}")


def test_so_many_pictures_are_held(folder: Path, tmp_path: Path) -> None:
    """Drawn by the seed; fewer than there are, or all."""
    assert recipe._some(10, 0, 0).tolist() == recipe._some(10, 99, 3).tolist() == list(range(10))
    some = [recipe._some(10, 4, seed).tolist() for seed in (0, 0, 1)]
    assert some[0] == some[1] != some[2] and some[0] == sorted(set(some[0])) and len(some[0]) == 4


def test_a_sheet_has_real_pictures_beside_those_drawn(folder: Path) -> None:
    """The same noise each time; a data set of fewer than eight pictures; an enlarging model."""
    data = squares(3, 16)
    for low in (0, 4):
        model = tiny_model("bert", "clip", low=low)
        denoiser = filled(model.build())
        draw = imagine_sheet(model, PromptEncoder(model.encoders), data)
        first, again = (np.asarray(draw(denoiser)) for _ in range(2))
        assert np.array_equal(first, again)
        scale, tile = 96 // 8, 96 + 2
        assert first.shape == (2 * tile + 2, 10 * tile + 2, 3)  # two sentences in a row
        for i, name in enumerate(("red", "green", "blue")):
            y, x = 2 + (i // 2) * tile, 2 + (i % 2) * 5 * tile
            assert (first[y : y + 96, x : x + 96] == COLOURS[name]).all()
            others = first[y : y + 96, x + tile : x + 5 * tile]
            assert len(np.unique(others[::scale].reshape(-1, 3), axis=0)) > 20
        silent = np.asarray(
            imagine_sheet(model, PromptEncoder(model.encoders), data, 0.0)(denoiser)
        )
        assert not np.array_equal(silent, first)


# --------------------------------------------------------------------------------- the command line


def test_from_the_command_line_and_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped half way and gone on with, the weights are those of a run in one go."""
    assert main(["train", "imagine", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--expert" in said and "sentence:SOURCE or picture:SOURCE" in " ".join(said.split())

    def run(out: str, *more: str) -> int:
        words = ["train", "imagine", "--out", str(tmp_path / out), "--path", str(folder)]
        words += ["--encoders", f"sentence:{encoder('bert')}", f"picture:{encoder('clip')}"]
        words += ["--hide", ".1", ".5", "--resolution", "8", "--context", "16"]
        words += ["--network.channels", "16", "--network.multipliers", "1", "--network.attention"]
        words += ["8", "--network.head-channels", "16", "--network.resolution", "8"]
        words += ["--network.blocks", "1", "--network.patch", "1", "--train.optimizer", "adam"]
        words += ["--train.batch", "8", "--train.steps", "6"]
        words += ["--train.decay", "constant", "--train.lr", ".005", "--train.warmup", "0"]
        words += ["--train.quiet", "--train.cpu"]
        return main([*words, "--train.no-tensorboard", "--train.sheet-every", "3", *more])

    assert run("whole") == 0
    assert capsys.readouterr().out.strip() == f"run folder: {tmp_path / 'whole'}"
    assert run("half", "--train.steps", "3") == 0
    assert run("half") == 2
    assert "already holds something; go on with a run by --resume" in capsys.readouterr().err
    before = load_model(tmp_path / "half", ema=False)[0].state_dict()
    assert run("half", "--resume", "--change") == 0
    whole, half = (
        load_model(tmp_path / name, ema=False)[0].state_dict() for name in ("whole", "half")
    )
    for name in whole:  # a step moves weights by .005
        torch.testing.assert_close(whole[name], half[name], rtol=0, atol=1e-4)
    assert max(float((whole[k] - before[k]).abs().max()) for k in whole) > 0.01
    about = json.loads((tmp_path / "half" / "config.json").read_text())
    assert about["recipe"] == "imagine" and about["config"]["hide"] == [0.1, 0.5]
    sheets = sorted(p.name for p in (tmp_path / "half" / "sheets").iterdir())
    assert sheets == ["step-00000003.png", "step-00000006.png"]
    with Image.open(tmp_path / "half" / "sheets" / sheets[1]) as sheet:
        assert sheet.size == (10 * 98 + 2, 2 * 98 + 2)
    assert run("half", "--resume", "--change", "--context", "12") == 2
    assert "belongs to another model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--expert", "0"], "an expert needs --split, and --start"),
        (["--split", "3.7", "--expert", "0"], "an expert needs --split, and --start"),
        (["--split", "3.9", "--expert", "0", "--start", "m"], "such as 3.7, got '3.9'"),
        (["--encoders", "ear:minilm", "--hide", ".1"], "such as sentence:minilm or picture:FOLDER"),
        (["--encoders", "sentence:nowhere", "--hide", ".1"], "there is no folder 'nowhere'"),
        (["--hide", ".1"], "--hide: expected a number in [0, 1] for each of the 3 encoders"),
        (["--low", "32"], "--low: expected less than 32, got 32"),
        (["--path", "nowhere"], "nowhere"),
        (["--start", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_trained(
    words: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "imagine", "--path", str(folder), *words]) in (1, 2)
    err = capsys.readouterr().err
    said = " ".join(err.translate({ord(c): " " for c in "│─╭╮╰╯"}).split())
    assert message in said and "bug" not in said and "Traceback" not in said
    assert not (tmp_path / "runs").exists()

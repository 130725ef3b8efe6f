"""The kind of a model that listens to prompts: its file, what does not fit, experts alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sfumato as sf
from sfumato.condition import ImageCondition
from sfumato.damped import CriticallyDamped
from sfumato.denoise import Preconditioned
from sfumato.errors import SfumatoError, UsageError
from sfumato.loss import LogNormal
from sfumato.model.description import Sampling
from sfumato.model.load import load_model, read_model
from sfumato.nn import EncoderWidths
from sfumato.process import Scheduled
from sfumato.schedule import RectifiedFlow
from sfumato.solve import DEIS
from sfumato.systems.ediffi.experts import Experts, Node, Split
from sfumato.systems.ediffi.model import EncoderConfig, Modality, PromptedModel
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder
from sfumato.times import karras
from tiny_prompted import configs, filled, save_model, tiny_model, unet

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

NODES = (Node(3, 7), Node(3, 0))
LAW = LogNormal(-0.7, 1.1)


def models() -> dict[str, PromptedModel]:
    return {
        "base": tiny_model("bert", "clip", sigma_data=0.43, law=LAW),
        "enlarging": tiny_model("t5", side=16, low=8),
        "split": tiny_model("clip", "t5", split=NODES, law=LAW),
        "other process": tiny_model(process=Scheduled(RectifiedFlow())),
    }


@pytest.mark.parametrize("name", ["base", "enlarging", "split", "other process"])
def test_a_model_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    """The description as it was; the weights bit for bit, experts in their own slots."""
    model = models()[name]
    assert read_model(json.loads(json.dumps(model.to_json()))) == model
    denoiser = filled(model.build())
    save_model(tmp_path / "m", model, denoiser)
    again, read = load_model(tmp_path / "m")
    assert read == model and not again.training
    assert isinstance(again, Experts) == (name == "split")
    mine, theirs = denoiser.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    assert again.process == denoiser.process


def test_what_a_model_says_of_itself() -> None:
    base, enlarging = models()["base"], models()["enlarging"]
    assert base.labels == () and base.axes == () and base.command == "imagine"
    assert base.shape == (3, 8, 8) and enlarging.shape == (3, 16, 16)
    assert base.sampling == Sampling("deis", "auto", 25) and enlarging.sampling.steps == 10
    assert base.encoders[1].modality is Modality.PICTURE
    assert base.encoders[1].name == f"picture:{base.encoders[1].source}"
    assert base.encoders[0].name == f"sentence:{base.encoders[0].source}"


def test_parts_that_do_not_fit() -> None:
    good, enlarging = models()["base"], models()["enlarging"]
    with pytest.raises(UsageError, match="the network was made for none, but the encoders have"):
        replace(good, network=unet())
    with pytest.raises(UsageError, match="the network was made for .*16.*, but the encoders have"):
        replace(good, encoders=good.encoders[:1])
    with pytest.raises(UsageError, match="but the encoders have"):  # the order counts
        replace(good, encoders=good.encoders[::-1])
    other = EncoderConfig(Modality.SENTENCE, "elsewhere", EncoderWidths(17, 16))
    with pytest.raises(UsageError, match="tokens=17"):
        replace(good, encoders=(other, good.encoders[1]))
    with pytest.raises(UsageError, match="from 6 to 3 channels, got one from 3"):
        replace(good, low=4)
    with pytest.raises(UsageError, match="from 3 to 3 channels, got one from 6"):
        replace(enlarging, low=0)
    for low in (16, 32, -8):
        with pytest.raises(UsageError, match=rf"less than 16 pixels, got {low}"):
            replace(enlarging, low=low)
    with pytest.raises(UsageError, match="expected nodes that do not overlap"):
        replace(good, split=(Node(1, 1), Node(3, 7)))


def test_a_file_with_other_parts_is_refused() -> None:
    written = models()["split"].to_json()
    for key, value, message in (
        ("loudness", 3, "PromptedModel has no loudness"),
        ("low", "8", "low: expected int"),
        ("split", [{"type": "Node", "level": 1}], "Node needs index"),
        ("encoders", [{"type": "Path"}], "unknown type in model.encoders"),
    ):
        with pytest.raises(UsageError, match=message):
            read_model({**written, key: value})
    broken = json.loads(json.dumps(written))
    broken["encoders"][0]["modality"] = "NOSE"
    with pytest.raises(UsageError, match="unknown model.encoders.*'NOSE'"):
        read_model(broken)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    """Those of one network for a split one."""
    split = models()["split"]
    one = replace(split, split=())
    save_model(tmp_path / "m", split, one.build())
    with pytest.raises(SfumatoError, match="more weights than its file holds"):
        load_model(tmp_path / "m")


def test_weights_follow_from_the_seed_and_nothing_else() -> None:
    model = models()["base"]
    first = model.one(3).state_dict()
    torch.rand(5)
    before = torch.random.get_rng_state()
    again, other, built = (m.state_dict() for m in (model.one(3), model.one(4), model.build(3)))
    assert torch.equal(before, torch.random.get_rng_state())  # torch's own goes on undisturbed
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert all(torch.equal(first[k], built[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)
    made = model.one(0)
    assert isinstance(made, Preconditioned) and made.sigma_data == 0.43
    assert made.predicts is sf.Prediction.EDM


def test_experts_begin_alike_but_are_not_one() -> None:
    model = models()["split"]
    made = model.build(2)
    assert isinstance(made, Experts) and len(made.always) == 3
    assert made.route == Split(NODES).route(LAW)  # by the model's own law
    assert made.route.experts == (1, 2, 0)
    one = model.one(2).state_dict()
    for i in range(3):
        mine = made.expert(i).state_dict()
        assert all(torch.equal(one[k], mine[k]) for k in one)
    with torch.no_grad():
        next(made.expert(0).parameters()).add_(1)
    assert not torch.equal(next(made.expert(0).parameters()), next(made.expert(1).parameters()))


@pytest.mark.parametrize("low", [0, 4])
def test_one_network_in_every_slot_is_the_one_model(low: int) -> None:
    """Bit for bit, over a whole walk that crosses both edges."""
    model = tiny_model("bert", "clip", low=low)
    one, several = filled(model.build()), replace(model, split=NODES).build()
    assert isinstance(several, Experts)
    for expert in several.always.values():
        expert.load_state_dict(one.state_dict())
    times = karras(one.process, 12)
    assert {several.indices(t)[0] for t in times[:-1]} == {0, 1, 2}
    said = PromptEncoder(configs("bert", "clip")).prompt(["a red square", "blue squares"])
    cond = ImageCondition(torch.rand(2, 3, 8, 8), said) if low else said
    x = one.process.prior_sample((2, 3, 8, 8), sf.generators(0, range(2)))
    want = sf.sample(one, DEIS(), times, x, cond=cond)
    got = sf.sample(several.eval(), DEIS(), times, x, cond=cond)
    assert torch.equal(got.x, want.x) and got.nfe == want.nfe == 12
    silent = sf.sample(one, DEIS(), times, x, cond=ImageCondition(cond.image) if low else None)
    assert not torch.equal(silent.x, want.x)  # the prompt was heard


def test_a_process_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        tiny_model(process=CriticallyDamped()).build()

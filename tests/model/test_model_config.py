"""Models as data: there and back through JSON, the same network, clear refusals."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from sfumato.damped import CriticallyDamped
from sfumato.data import LabelAxis
from sfumato.denoise import Prediction
from sfumato.errors import UsageError
from sfumato.model.codec import allowed_types, decode, digest, encode
from sfumato.model.description import ModelConfig
from sfumato.model.load import read_model
from sfumato.nn import MLPConfig, UNetConfig
from sfumato.process import Scheduled
from sfumato.schedule import EDM, VE, RectifiedFlow, Shifted, VPCosine, VPLinear
from sfumato.system import recipes
from sfumato.systems.ddo.field import GaussianField
from sfumato.systems.ddo.kernel import Matern

AXIS = LabelAxis("class", ("a", "b"))
POINTS = MLPConfig(width=8, blocks=1)
PHASE = MLPConfig(in_features=4, width=8, blocks=1, labels=(2,))
UNET = UNetConfig(1, 1, channels=16, multipliers=(1, 2), blocks=(1, 1), attention=(), resolution=8)
MODELS = [
    ModelConfig("p", POINTS),
    ModelConfig("p", POINTS, Scheduled(EDM(sigma_max=40.0))),
    ModelConfig("p", POINTS, Scheduled(VPLinear(0.2, 15.0)), Prediction.V),
    ModelConfig("p", POINTS, Scheduled(VPCosine()), Prediction.EPSILON),
    ModelConfig("p", POINTS, Scheduled(Shifted(VPLinear(), 0.5)), Prediction.V),
    ModelConfig("p", POINTS, Scheduled(VE(0.02, 30.0)), Prediction.X0, 0.1 + 0.2),
    ModelConfig("p", POINTS, Scheduled(RectifiedFlow()), Prediction.FLOW),
    ModelConfig("p", PHASE, CriticallyDamped(), Prediction.VELOCITY_NOISE, axes=(AXIS,)),
    ModelConfig(
        "p",
        replace(PHASE, labels=()),
        CriticallyDamped(5.0),
        Prediction.VELOCITY_NOISE,
        mixed=True,
    ),
    ModelConfig("i", UNET, Scheduled(EDM(), GaussianField(Matern(0.2, 1.5)))),
    ModelConfig("i", replace(UNET, labels=(2, 2)), axes=(AXIS, LabelAxis("x", ("c", "d")))),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{m.process}"[:30])
def test_there_and_back(model):
    text = json.dumps(model.to_json())
    assert read_model(json.loads(text)) == model


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{m.process}"[:30])
def test_the_built_model_denoises(model):
    """A denoiser of the right shapes, the same for the same seed; global randomness untouched."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a, b = model.build(1), model.build(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    other = model.build(2)
    assert any(not torch.equal(x, y) for x, y in zip(a.parameters(), other.parameters()))
    x = a.process.prior_sample((3, *model.shape), torch.Generator().manual_seed(0))
    cond = torch.zeros(3, len(model.axes), dtype=torch.int64) if model.axes else None
    with torch.no_grad():
        assert a(x, 0.5, cond).shape == (3, *model.shape)


def test_labels_must_fit_the_axes():
    with pytest.raises(UsageError, match=r"labels \(2,\), but the axes have \(\)"):
        ModelConfig("p", PHASE, CriticallyDamped(), Prediction.VELOCITY_NOISE)


def test_what_is_not_known_is_refused_by_name():
    good = MODELS[1].to_json()
    bad = json.loads(json.dumps(good))
    bad["process"]["schedule"]["type"] = "EMD"
    with pytest.raises(UsageError, match=r"'EMD'; did you mean 'EDM'"):
        read_model(bad)
    with pytest.raises(UsageError, match="ModelConfig has no colour"):
        read_model({**good, "colour": 1})
    with pytest.raises(UsageError, match="needs data"):
        read_model({k: v for k, v in good.items() if k != "data"})
    with pytest.raises(UsageError, match="sigma_data: expected float, got 'x'"):
        read_model({**good, "sigma_data": "x"})
    with pytest.raises(UsageError, match=r"prediction 'EDN'; did you mean 'EDM'"):
        read_model({**good, "prediction": "EDN"})


def test_a_file_cannot_name_a_class_of_its_own():
    bad = MODELS[0].to_json()
    bad["network"] = {"type": "Path", "parts": []}
    with pytest.raises(UsageError):
        read_model(bad)


@pytest.mark.parametrize("recipe", recipes().values(), ids=lambda recipe: recipe.name)
def test_recipe_configurations_there_and_back(recipe):
    config = recipe.config()
    told = json.loads(json.dumps(encode(config)))
    assert decode(told, recipe.config, allowed_types(told)) == config
    assert callable(recipe.run)


def test_a_digest_outlives_the_renaming_of_types():
    """Ledgers of private runs hold it: that of a description as it was first written."""
    then = {"type": "ScheduledConfig", "schedule": {"type": "EDM"}, "more": [{"type": "Drift"}]}
    now = {"type": "Scheduled", "schedule": {"type": "EDM"}, "more": [{"type": "PowerCorrection"}]}
    known = hashlib.sha256(json.dumps(then, sort_keys=True).encode()).hexdigest()
    assert digest(then) == digest(now) == known != digest({**now, "more": []})

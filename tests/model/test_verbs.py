"""`restore`, `imagine` and `sample` of the shipped models, as `sfumato.load` gives them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import sfumato as sf
from sfumato.data.download import sentence_encoder_folder
from sfumato.errors import SfumatoError, UsageError
from sfumato.seeds import fold
from sfumato.systems.ediffi.pipeline import ImageRequest, imagine, open_cascade


def test_a_restorer_takes_tensors_and_files(tmp_path: Path) -> None:
    model = sf.load("restore", sf.Restorer)
    picture = torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = model.restore(picture, "jpeg", n=2, seed=5, steps=1)
    assert made.shape == (2, 3, 20, 24) and made.abs().max() <= 1
    assert torch.equal(made, model(picture, "jpeg", seeds=[fold(5, "restore", i) for i in (0, 1)],
                                   steps=1))  # fmt: skip
    grey = Image.linear_gradient("L").resize((16, 12))
    grey.save(tmp_path / "grey.png")
    assert model.restore(tmp_path / "grey.png", "denoise", steps=1).shape == (1, 1, 12, 16)
    with pytest.raises(UsageError, match="did you mean 'jpeg'"):
        model.restore(picture, "jpg")
    with pytest.raises(ValueError, match="1 or 3, H, W"):
        model.restore(picture[:2])


def test_fields_at_any_resolution() -> None:
    model = sf.load("mixture", sf.FieldSampler)
    x = model.sample(2, resolution=(20, 24), seed=1, steps=2)
    assert x.shape == (2, 1, 20, 24) and x.isfinite().all()
    assert model.sample(1, steps=2).shape == (1, *model.description.shape)
    assert torch.allclose(model.sample(1, resolution=(20, 24), seed=1, steps=2), x[:1], atol=1e-4)
    with pytest.raises(UsageError, match="did you mean .*'deis'"):
        model.sample(1, solver="dies")
    with pytest.raises(UsageError, match="2 numbers of points of at least 4"):
        model.sample(1, resolution=3)


def test_sentences_are_drawn_as_by_the_cascade() -> None:
    try:
        sentence_encoder_folder()
    except SfumatoError as error:
        pytest.skip(str(error))
    pytest.importorskip("transformers")
    model = sf.load("scenes", sf.TextToImage)
    said, side = "a fox on snow", model.description.shape[-1]
    made = model.imagine(said, 1, seed=3, steps=2)
    cascade = open_cascade([str(sf.zoo.find("scenes"))])
    want = imagine(cascade, ImageRequest(said), 3, [0], 2).x.clamp(-1, 1)
    assert made.shape == (1, 3, side, side)
    torch.testing.assert_close(made, want, rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="'bear' is not in"):
        model.imagine(said, paint={"bear": torch.ones(4, 4)})

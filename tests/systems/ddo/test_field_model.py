"""What a model of functions remembers: units, scales, laws, the lengths of the box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from kernels import closed_form
from sfumato.data import DataCard
from sfumato.denoise import Prediction
from sfumato.errors import SfumatoError, UsageError
from sfumato.model.load import read_model
from sfumato.systems.ddo import recipe as fields
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity
from sfumato.systems.ddo.datasets import NAMED, FieldFileOptions, load_fields
from sfumato.systems.ddo.model import FieldModel, field_model
from sfumato.systems.ddo.nn.harmonic import Domain as Box
from sfumato.systems.ddo.nn.operator import UNOConfig
from sfumato.systems.ddo.sampling import FieldSolver, draw_fields, field_walk
from small_fields import LAW_OF, SMALL, built, columns, gaussian_set, standard, weather


def test_a_model_remembers_units_scales_and_laws() -> None:
    data = gaussian_set(200)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["depth"])
    assert model.network.in_channels == 4 and model.network.out_channels == 1
    assert model.scales[0].mean == pytest.approx(5, abs=0.5)
    assert model.scales[0].deviation == pytest.approx(3, rel=0.1)
    assert model.frame.axes[0].units == "km" and model.given == (Quantity("depth", "m"),)
    again = read_model(model.to_json())
    assert again == model and isinstance(again, FieldModel)
    x = torch.from_numpy(data.values)
    z = model.normalised(x)
    assert float(z.mean()) == pytest.approx(0, abs=1e-4)
    torch.testing.assert_close(model.in_units(z), x, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("drawn", "given"),
    [(("T", "q"), ("year", "h")), (("h", "T"), ("q", "depth")), (("q",), ("T", "year", "h"))],
)
def test_each_quantity_has_its_own_scale(drawn: tuple[str, ...], given: tuple[str, ...]) -> None:
    """Whatever comes first in the set: drawn in the set's order, told in the order asked for."""
    data = weather(100)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), given)
    assert tuple(q.name for q in model.frame.quantities) == drawn
    assert tuple(q.name for q in model.given) == given
    x, told = columns(data, *drawn), columns(data, *given)
    want, beside = standard(x), standard(told)
    close = {"atol": 1e-3, "rtol": 1e-4}  # scales are kept with 6 digits
    torch.testing.assert_close(model.normalised(x), want, **close)
    torch.testing.assert_close(model.normalised(model.in_units(want)), want, atol=1e-9, rtol=0)
    for c in range(len(drawn)):
        part = model.in_units(want)[:, c]
        assert float((part - x[:, c]).abs().max() / x[:, c].std()) < 1e-3
    seen = model.condition(told)
    assert seen is not None
    torch.testing.assert_close(seen.image, beside, **close)
    trained = fields.normalised(data, model).values.double()
    torch.testing.assert_close(trained, torch.cat([want, beside], 1), **close)


def test_each_quantity_has_its_own_law() -> None:
    """That of normalised fields: powers of the mean and of long waves, within 4 of their errors."""
    data = weather(400)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), ["h"])
    at = ([0, 0, 1, 1, 0], [0, 1, 0, 2, 3])
    found = []
    for quantity, law in zip(model.frame.quantities, model.spectra, strict=True):
        want = sf.GaussianField(LAW_OF[quantity.name], 2, extent=(0.5, 1.0)).power((8, 16))
        found.append(law.power((8, 16)))
        torch.testing.assert_close(found[-1][at], want[at], rtol=0.3, atol=0)
    assert float((found[0] / found[1])[0, 5]) < 0.1


def test_the_noise_of_a_model_has_the_lengths_of_its_box() -> None:
    """Along 1 km and along 2 km: at one distance the same correlation, the kernel's own."""
    kernel = sf.Matern(0.03, 1.5)  # of the longest axis
    noise = field_model(weather(20), SMALL, kernel, ["h"]).process.noise
    assert isinstance(noise, sf.GaussianField)
    row = torch.fft.fftn(noise.power((32, 64))).real
    want = closed_form(kernel, torch.arange(5, dtype=torch.float64) / 64, 2)
    for along in (row[:5, 0], row[0, :5]):
        torch.testing.assert_close(along, want, atol=1e-4, rtol=0)


def test_parameters_become_constant_fields() -> None:
    data = gaussian_set(5)
    told = data.select(["depth", "T"])
    assert told.shape == (5, 2, 16, 16)
    assert torch.equal(told[:, 0, 3, 4], torch.linspace(0, 1, 5))
    assert torch.equal(told[:, 1], torch.from_numpy(data.values[:, 0]))


def test_known_sets_have_names_and_files_a_split(tmp_path: Path) -> None:
    mixture = load_fields("mixture", "test", (16,))
    assert mixture.grid == (16, 16) and len(NAMED) == 6
    with pytest.raises(UsageError, match="data set or file"):
        load_fields("mixtur")
    from sfumato.systems.ddo.data.files import write_fields

    path = tmp_path / "own.npz"
    data = gaussian_set(30)
    write_fields(path, data)
    train, test = (load_fields(str(path), split) for split in ("train", "test"))
    assert len(train) == 27 and len(test) == 3
    np.testing.assert_array_equal(test.values, data.values[9::10])
    one = load_fields(str(path), "train", how=FieldFileOptions(domain="reflecting"))
    assert one.frame.domain is Box.REFLECTING
    small = tmp_path / "few.npz"
    write_fields(small, data.subset(range(4)))
    with pytest.raises(UsageError, match="holds 4 fields; expected at least 10"):
        load_fields(str(small))


def test_misfits_are_refused(tmp_path: Path) -> None:
    data = gaussian_set(40)
    with pytest.raises(UsageError, match="no speed; it has T, depth"):
        field_model(data, SMALL, sf.Matern(), ["speed"])
    with pytest.raises(UsageError, match="nothing is left to draw"):
        field_model(data, SMALL, sf.Matern(), ["T"])
    with pytest.raises(UsageError, match="white noise has no Wiener"):
        fields.Config(white=True)
    with pytest.raises(UsageError, match="needs --estimate"):
        fields.Config(blur=0.2)
    with pytest.raises(UsageError, match="leave out --white"):
        fields.Config(blur=0.2, white=True, estimate="v")
    with pytest.raises(UsageError, match="not white noise"):
        mirrored = gaussian_set(40, domain=Box.REFLECTING)
        field_model(mirrored, SMALL, None, (), Prediction.V, 0.2)
    with pytest.raises(UsageError, match="only periodic fields"):
        fields.train_fields(
            fields.Config(out=tmp_path / "run", translate=True),
            gaussian_set(20, domain=Box.REFLECTING),
        )
    with pytest.raises(UsageError, match="box with mirrors"):
        field_model(data, SMALL, sf.Matern(), (), Prediction.V, 0.2)
    denoiser, model = built()
    for grid in ((16,), (3, 16), (16, 16, 16)):
        with pytest.raises(UsageError, match="2 numbers of points of at least 4"):
            draw_fields(denoiser, model, grid, 0, [0])
    with pytest.raises(UsageError, match="at least 2 noise levels"):
        field_walk(FieldSolver.LANGEVIN, denoiser.process, 1)
    with pytest.raises(UsageError, match="with 1 axes"):
        line = Frame(Box.PERIODIC, (Axis("x"),), (Quantity("u"),))
        values = np.zeros((12, 1, 16), np.float32)
        fields.sized_for(
            UNOConfig(1, 1, (16, 32)), FieldSet("l", values, line, DataCard("l", "", "", ""))
        )
    with torch.no_grad():
        next(denoiser.parameters()).fill_(float("nan"))
    with pytest.raises(SfumatoError, match="not finite"):
        draw_fields(denoiser, model, (16, 16), 0, [0])

"""``sfumato fields``: files with units, resolutions, observations, and bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from rainfall import fill, rain
from sfumato.cli import main
from sfumato.errors import UsageError
from sfumato.systems.ddo.commands.shared import grid_of
from sfumato.systems.ddo.data.files import read_fields, write_fields


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("fields"))


@pytest.fixture(autouse=True)
def models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_ZOO", str(folder))


@pytest.mark.parametrize("ending", ["npz", "nc", "h5", "zarr"])
def test_samples_carry_units_and_coordinates(ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"drawn.{ending}"
    words = ["fields", "sample", "tiny-rain", "--n", "3", "--resolution", "24x20", "--steps", "4"]
    assert main([*words, "--out", str(out), "--quiet"]) == 0
    read = read_fields(out)
    assert read.grid == (24, 20) and len(read) == 3
    assert read.frame == rain().frame
    assert float(read.values.mean()) == pytest.approx(10, abs=2.5)
    with Image.open(tmp_path / f"drawn.{ending}.png") as picture:
        assert picture.width > 100


def test_a_field_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    words = ["fields", "sample", "tiny-rain", "--steps", "4", "--quiet", "--n"]
    for n, name in (("3", "a"), ("5", "b")):
        assert main([*words, n, "--out", str(tmp_path / f"{name}.npz")]) == 0
    a, b = (read_fields(tmp_path / f"{name}.npz").values for name in "ab")
    np.testing.assert_allclose(a, b[:3], atol=1e-4)
    assert main([*words, "3", "--seed", "1", "--out", str(tmp_path / "c.npz")]) == 0
    assert np.abs(read_fields(tmp_path / "c.npz").values - a).max() > 1


def test_a_picture_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    words = ["fields", "sample", "tiny-rain", "--n", "2", "--steps", "3", "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 fields of 16x16 points, 3 network evaluations each" in said
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]
    before = out.read_bytes()
    assert main(words) == 2
    assert "exists; choose another name, or add --force" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main([*words, "--force", "--solver", "langevin", "--inner", "2"]) == 0
    assert out.read_bytes() != before


def test_observations_are_met(tmp_path: Path) -> None:
    (tmp_path / "wells.csv").write_text("lat,lon,rain\n45,5,16\n41,9,4\n")
    out = tmp_path / "drawn.npz"
    words = ["fields", "sample", "tiny-rain", "--n", "4", "--steps", "8", "--out", str(out)]
    words += ["--observations", str(tmp_path / "wells.csv"), "--noise", "0.05", "--quiet"]
    assert main([*words, "--resolution", "20"]) == 0
    values = read_fields(out).values[:, 0]
    # (45, 5) is the corner of four cells; (41, 9) likewise
    assert np.abs(values[:, 9:11, 9:11].mean((1, 2)) - 16).max() < 1.2
    assert np.abs(values[:, 1:3, 17:19].mean((1, 2)) - 4).max() < 1.2


def test_what_a_model_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fields", "sample", "tiny-told", "--n", "2", "--steps", "3", "--quiet", "--out"]
    assert main([*words, str(tmp_path / "a.npz")]) == 2
    assert "this model is told height: say where from with --given" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "b.npz"), "--given", str(folder / "rain.npz")]) == 0
    # all the fields of a file are told, also of one too small to be split
    write_fields(tmp_path / "own.npz", rain().subset([0, 1]))
    assert (
        main([*words, str(tmp_path / "own-drawn.npz"), "--given", str(tmp_path / "own.npz")]) == 0
    )
    drawn = [read_fields(tmp_path / f"{name}.npz") for name in ("b", "own-drawn")]
    np.testing.assert_array_equal(drawn[0].values, drawn[1].values)
    assert f"given: {tmp_path / 'own.npz'}" in drawn[1].card.note
    other = ["fields", "sample", "tiny-rain", "--given", "mixture", "--out", "c.png"]
    assert main(other) == 2
    assert "told nothing: leave out --given" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "d.npz"), "--given", "mixture"]) == 2
    assert "mixture has no height; it has value" in capsys.readouterr().err


def test_training_from_a_file_and_going_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["fields", "train", "--data", str(folder / "rain.npz"), "--out", str(run)]
    words += ["--train.batch", "4", "--train.sheet-every", "3", "--train.cpu", "--train.quiet"]
    words += ["--uno.grid", "16", "16", "--uno.channels", "8", "--uno.multipliers", "1", "2"]
    assert main([*words, "--train.steps", "3"]) == 0
    assert f"next: sfumato fields sample {run}" in capsys.readouterr().out
    assert (run / "sheets" / "step-00000003.png").is_file()
    assert main([*words, "--train.steps", "5"]) == 2  # there is something already
    capsys.readouterr()
    assert main(["fields", "train", "--resume", str(run), "--train.steps", "5"]) == 2
    assert "train.steps: 3 there, 5 here" in capsys.readouterr().err
    assert main([*words, "--train.steps", "5", "--resume", "--change"]) == 0
    assert main(["fields", "sample", str(run), "--n", "1", "--steps", "2", "--quiet"]) == 0


def test_data_is_listed_shown_and_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fields", "data"]) == 0
    assert "vorticity" in capsys.readouterr().out
    out = tmp_path / "some.nc"
    assert main(["fields", "data", str(folder / "rain.npz"), "--n", "5", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "rain [mm]" in said and "along lat: 40 to 50 degrees_north" in said
    np.testing.assert_array_equal(read_fields(out).values, read_fields(
        folder / "rain.npz").values[[i for i in range(60) if i % 10 != 9]][:5])  # fmt: skip
    assert main(["fields", "data", "mixture", "--out", str(tmp_path / "sheet.png")]) == 0
    assert main(["fields", "data", "mixture", "--out", str(tmp_path / "sheet.png")]) == 2


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["smaple"], 2, "unknown verb 'smaple'; did you mean 'sample'?"),
        (["--n", "3"], 2, "expected one of train, sample, calibrate, evaluate, data before '--n'"),
        (["sample", "tiny-rian"], 2, "did you mean 'tiny-rain'"),
        (["sample", "tiny-rain", "--resolution", "24x"], 2, "expected --resolution as 128x128"),
        (["sample", "tiny-rain", "--resolution", "2"], 2, "at least 4 points"),
        (["sample", "tiny-rain", "--resolution", "8x8x8"], 2, "each of 2 axes; got '8x8x8'"),
        (["sample", "tiny-rain", "--solver", "hun"], 2, "did you mean 'heun'"),
        (["sample", "tiny-rain", "--steps", "0"], 2, "--steps must be at least 1"),
        (["sample", "tiny-rain", "--observations", "no.csv"], 2, "cannot read the observations"),
        (["sample", "tiny-rain", "--noise", "-1"], 2, "--noise must be at least 0"),
        (["sample", "tiny-rain", "--noise", "1"], 2, "say which with --observations"),
        (
            ["sample", "tiny-rain", "--out", "a.jpg"],
            2,
            "--out a.jpg: expected a name that ends in "
            ".png, .webp, .npz, .h5, .hdf5, .nc, .nc4, .zarr, got '.jpg'",
        ),
        (["sample", "tiny-rain", "--out", "a"], 2, "got 'no ending'"),
        (["sample", "tiny-rain", "--resolution", "99999"], 2, "lower --n or --resolution"),
        (["evaluate", "tiny-rain", "--picture", "a.jpg"], 2, "--picture a.jpg: expected a name"),
        (
            ["evaluate", "tiny-rain"],
            2,
            "learned from 'rain', a file that is not here: say with --data where it is",
        ),
        (["evaluate", "nope.nc", "--data", "mixture"], 2, "there is no file 'nope.nc'"),
        (["data", "mixture", "--out", "a.jpg"], 2, "--out a.jpg: expected a name that ends in"),
        (["data", "mixture", "--split", "dev"], 2, "--split must be train or test"),
        (["evaluate", "tiny-rain", "--data", "nope"], 2, "unknown data set or file 'nope'"),
        (["evaluate", "tiny-rain", "--split", "dev"], 2, "--split must be train or test"),
        (["train", "--data", "nope"], 2, "unknown data set or file 'nope'"),
        (["data", "vortcity"], 2, "did you mean 'vorticity'"),
    ],
)
def test_mistakes_are_explained(
    words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fields", *words]) == status
    assert message in capsys.readouterr().err


def test_other_models_are_not_of_fields(
    zoo_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFUMATO_ZOO", str(zoo_folder))
    assert main(["fields", "sample", "tiny-grey"]) == 2
    assert (
        "'tiny-grey' is a generative model, expected a model of fields" in capsys.readouterr().err
    )


def test_models_of_fields_are_not_for_other_commands(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", "tiny-rain"]) == 2
    assert (
        "'tiny-rain' is a model of fields, expected a generative model" in capsys.readouterr().err
    )
    assert main(["sample", str(folder / "tiny-rain")]) == 2
    assert "see sfumato fields sample --help" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["sample", "evaluate", "data"])
def test_help_does_not_wait_for_torch(verb: str) -> None:
    text = f"import sys\nfrom sfumato.cli import main\nmain(['fields', {verb!r}, '--help'])\n"
    text += "print(*(m for m in ('torch', 'xarray', 'scipy', 'matplotlib') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout and done.stdout.splitlines()[-1] == ""


def test_what_follows_from_the_data_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fields", "train", "--help"]) == 0
    said = capsys.readouterr().out
    own = {word.strip(",") for word in said.split() if word.startswith(("--uno.", "--fno."))}
    assert own == {
        "--uno.grid", "--uno.channels", "--uno.multipliers", "--uno.blocks", "--uno.modes",
        "--uno.local", "--uno.coordinates", "--uno.no-coordinates", "--fno.channels",
        "--fno.layers", "--fno.modes", "--fno.coordinates", "--fno.no-coordinates",
    }  # fmt: skip
    assert "grid: points along each axis of" in said  # what the sizes mean
    assert main(["fields", "train", "--uno.in-channels", "3"]) == 2
    assert "--uno.in-channels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n", "-3"], "--n: expected 0 (all) or more fields, got -3"),
        (["--blur", "-1"], "--blur: expected 0 (none) or about 0.25, got -1.0"),
        (["--blur", "inf", "--estimate", "v"], "or about 0.25, got inf"),
        (["--time-std", "0"], "--time-std: expected more than 0, such as 1.6, got 0.0"),
        (["--time-mean", "nan"], "--time-mean: expected a number, such as -1, got nan"),
        (["--grid", "2", "2"], "--grid: expected 4 or more points an axis, got (2, 2)"),
        (["--grid", "8"], "--grid: expected a grid with 2 axes (lat, lon), such as 32 32, got 8"),
        (
            ["--uno.grid", "16", "16", "16"],
            "--uno.grid: expected a grid with 2 axes (lat, lon), such as 32 32, got 16 16 16",
        ),
    ],
)
def test_training_that_makes_no_sense_is_refused_at_once(
    folder: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["fields", "train", "--data", str(folder / "rain.npz"), "--out", str(tmp_path / "run")]
    assert main([*start, *words]) == 2
    err = capsys.readouterr().err
    (line,) = (line for line in err.splitlines() if "got" in line)  # all in one line
    assert message in line
    assert not (tmp_path / "run").exists()


def test_what_never_varies_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, path = rain(), tmp_path / "x.npz"
    sea, still = np.full_like(x.values[:, 0], 3.5), np.full(60, 2.0)
    np.savez(path, rain=x.values[:, 0], sea=sea, still=still, height=np.linspace(0, 1, 60))
    words = ["fields", "train", "--data", str(path), "--out", str(tmp_path / "run"), *TINY]
    words += ["--train.steps", "2", "--train.sheet-every", "0"]
    for more, message in (
        ([], "x: 'sea' is 3.5 everywhere in the 54 fields to train on, and there is nothing in it "
         "to learn: name others with --variables"),
        (["--grid", "8", "8"], "'sea' is 3.5 everywhere"),  # what rounding makes of it varies
        (["--given", "sea"], "'sea' is 3.5 everywhere in the 54 fields, which tells the network "
         "nothing: leave it out of --given"),
        (["--variables", "rain", "still", "--given", "still"], "'still' is 2 everywhere"),
        (["--n", "1", "--variables", "rain", "height", "--given", "height"], "'height' is 0 every"),
    ):  # fmt: skip
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err
    # a parameter that nobody asked for may be what it is
    assert main([*words, "--variables", "rain", "still"]) == 0


def days(n: int = 40) -> xr.Dataset:
    """Rain as others store it: days, latitudes from north to south, a mask beside it."""
    values = np.random.default_rng(0).gamma(2, 3, (n, 9, 13)).astype(np.float32)
    values[:, 0] += 20  # in the north
    return xr.Dataset(
        {
            "rain": (("time", "lat", "lon"), values, {"units": "mm", "long_name": "daily rain"}),
            "land": (("lat", "lon"), np.ones((9, 13)), {"units": "1"}),
        },
        {
            "time": ("time", np.arange(n), {"units": "days since 2000-01-01"}),
            "lat": ("lat", np.linspace(60, 50, 9), {"units": "degrees_north"}),
            "lon": ("lon", np.linspace(0, 12, 13), {"units": "degrees_east"}),
        },
    )


TINY = ["--train.batch", "4", "--train.cpu", "--train.quiet", "--uno.grid", "8", "8"]
TINY += ["--uno.channels", "8", "--uno.multipliers", "1", "2", "--uno.modes", "3"]


def test_a_file_that_has_to_be_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was said in training is known to evaluate; other files are explained by options."""
    monkeypatch.chdir(tmp_path)
    days().to_netcdf("days.nc")
    assert main(["fields", "data", "days.nc"]) == 2
    assert "counts the samples? Say so with --sample-dim time" in capsys.readouterr().err
    assert main(["fields", "data", "days.nc", "--sample-dim", "time"]) == 2
    assert "land (lat, lon); choose some of them with --variables" in capsys.readouterr().err
    how = ["--variables", "rain", "--sample-dim", "time"]
    assert main(["fields", "data", "days.nc", *how, "--n", "12", "--out", "some.nc"]) == 0
    said = capsys.readouterr().out
    assert "days: 40 fields of 9x13 points, reflecting (mirrors at the border)" in said
    assert "along lat: 49.375 to 60.625 degrees_north, points from 50 to 60" in said
    assert "every tenth field (4) is kept for tests" in said

    train = ["fields", "train", "--data", "days.nc", *how, "--out", "run", *TINY]
    assert main([*train, "--train.steps", "2"]) == 0
    assert main(["fields", "evaluate", "run", "--n", "20", "--steps", "2", "--quiet"]) == 0
    assert "n=20, 9x13 against 4 real" in " ".join(capsys.readouterr().out.split())
    drawn = ["fields", "sample", "run", "--n", "1", "--steps", "2", "--quiet", "--out", "drawn.nc"]
    assert main(drawn) == 0
    with xr.open_dataset("drawn.nc") as seen:
        assert seen.rain.attrs == {"units": "mm", "long_name": "daily rain"}
    words = ["fields", "evaluate", "some.nc", "--data", "days.nc", "--out", "s.json"]
    assert main(words) == 2
    assert "--sample-dim time" in capsys.readouterr().err
    words += ["--sample-dim", "time"]
    assert main(words) == 0
    before = (tmp_path / "s.json").read_bytes()
    assert main(words) == 2
    assert "s.json exists; choose another name, or add --force" in capsys.readouterr().err
    assert (tmp_path / "s.json").read_bytes() == before
    (tmp_path / "days.nc").unlink()
    assert main(["fields", "evaluate", "run", "--n", "20"]) == 2
    assert "run learned from 'days.nc', a file that is not here" in capsys.readouterr().err


def test_observations_in_other_units_are_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wells.csv").write_text("lat, lon, rain\n45, 5, 283\n41, 9, 10\n")
    words = ["fields", "sample", "tiny-rain", "--n", "1", "--steps", "2", "--quiet"]
    words += ["--observations", str(tmp_path / "wells.csv"), "--out", str(tmp_path / "a.png")]
    assert main(words) == 0
    err = capsys.readouterr().err
    assert "1 of 2 observations of rain [mm] are more than 8 deviations" in err
    assert "the first 283; are they in these units?" in err
    for text, message in (
        ("lat lon rain\n45 5 283\n", "with commas between them"),
        ("lat;lon;rain\n45;5,5;x\n", "line 2: expected numbers"),
        ("", "got no rows"),
        ("lat,lon,rain\n45,5,wet\n", "line 2: expected numbers"),
        ("lat,lon,rain\n45,5,\n", "has no observation of rain"),
        ("lat,lon,rain\n45,15,3\n", "lie outside the box"),
    ):
        (tmp_path / "wells.csv").write_text(text)
        assert main([*words, "--force"]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "wells.csv").write_bytes(b"\xff\xfe\x00")
    assert main([*words, "--force"]) == 2
    assert "expected a text in UTF-8" in capsys.readouterr().err


def test_a_file_says_how_it_was_drawn(tmp_path: Path) -> None:
    out = tmp_path / "drawn.nc"
    words = ["fields", "sample", "tiny-rain", "--n", "1", "--steps", "3", "--seed", "7", "--quiet"]
    assert main([*words, "--solver", "heun", "--out", str(out)]) == 0
    with xr.open_dataset(out) as said:
        about = {k: said.attrs[k] for k in ("model", "seed", "solver", "steps")}
        assert about == {"model": "tiny-rain", "seed": "7", "solver": "heun", "steps": "3"}
        assert said.rain.attrs["units"] == "mm" and said.lat.attrs["units"] == "degrees_north"
        np.testing.assert_allclose(said.lat[[0, -1]], [40 + 10 / 32, 50 - 10 / 32])


def test_few_fields_and_a_constant_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "few.npz", u=np.ones((3, 8, 8)))
    assert main(["fields", "data", str(tmp_path / "few.npz")]) == 0
    said = capsys.readouterr().out
    assert "few: 3 fields" in said and "at least 10 are needed" in said
    assert "u: the same everywhere, 1; there is nothing in it to learn" in said
    assert main(["fields", "train", "--data", str(tmp_path / "few.npz")]) == 2
    assert "holds 3 fields; expected at least 10" in capsys.readouterr().err
    np.savez(tmp_path / "huge.npz", u=np.random.default_rng(0).normal(size=(3, 8, 8)) * 1e30)
    assert main(["fields", "data", str(tmp_path / "huge.npz")]) == 0
    assert "inf" not in capsys.readouterr().out


def test_resolutions() -> None:
    assert grid_of("", 2, (32, 16)) == (32, 16)
    assert grid_of("64", 3, (8, 8, 8)) == (64, 64, 64)
    assert grid_of("64X48", 2, (8, 8)) == (64, 48)
    assert grid_of("64", 2, (16, 32)) == (32, 64)  # the aspect of the grid
    with pytest.raises(UsageError, match="got '16', which is 2x16"):
        grid_of("16", 2, (8, 64))
    with pytest.raises(UsageError, match="got '64,48'"):
        grid_of("64,48", 2, (8, 8))

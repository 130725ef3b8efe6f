"""`sfumato restore`: files in, files out, with a restorer that needs no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from odd_pictures import SRGB, animation, bomb, deep_png, levels, put, saved
from restorers import Fake
from sfumato.cli import main
from sfumato.console.options import DTypeName
from sfumato.errors import SfumatoError
from sfumato.systems.i2sb.picture import read_picture

ARRAY = levels(12, 20, 3)
PNG = saved(Image.fromarray(ARRAY), "PNG", icc_profile=SRGB)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What `load_restorer` was asked for, and the restorer that it gives."""
    seen = SimpleNamespace(fake=Fake(step=0.25, noise=0), asked=[])

    def load_restorer(name: str, **how: Any) -> Fake:
        seen.asked.append((name, how))
        return seen.fake

    module = ModuleType("sfumato.systems.i2sb.commands.restorers")
    module.load_restorer = load_restorer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sfumato.systems.i2sb.commands.restorers", module)
    return seen


def test_one_picture(
    loaded: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "a.png", PNG)
    words = ["restore", "a.png", "b.png", "--task", "deblur", "--steps", "5", "--model", "mine"]
    assert main([*words, "--dtype", "bfloat16", "--overlap", "32", "--device", "cpu"]) == 0
    ((name, how),) = loaded.asked
    assert name == "mine"
    assert str(how.pop("device")) == "cpu"
    assert how == {"task": "deblur", "dtype": DTypeName.BFLOAT16, "overlap": 32}
    assert loaded.fake.calls[0][:3] == ((3, 12, 20), "deblur", 5)
    got = read_picture(tmp_path / "b.png")
    want = np.clip(ARRAY.astype(float) - 0.25 * 127.5, 0, 255)
    np.testing.assert_allclose((got.pixels.numpy().transpose(1, 2, 0) + 1) * 127.5, want, atol=0.51)
    assert got.icc == SRGB
    assert (tmp_path / "a.png").read_bytes() == PNG
    out = capsys.readouterr()
    assert out.out.startswith("wrote b.png (20x12, ")
    assert out.err == ""


def test_quiet_says_nothing(
    loaded: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "a.png", PNG)
    assert main(["restore", "a.png", "b.png", "--task", "deblur", "--quiet"]) == 0
    out = capsys.readouterr()
    assert out.out + out.err == ""


def test_deep_pictures_stay_deep(loaded: SimpleNamespace, tmp_path: Path) -> None:
    loaded.fake.step = 0
    for channels in (1, 3, 4):
        array = levels(6, 7, channels, 65535)
        put(tmp_path, "a.png", deep_png(array))
        assert main(["restore", "a.png", "b.png", "--task", "deblur", "--force"]) == 0
        before, after = read_picture(tmp_path / "a.png"), read_picture(tmp_path / "b.png")
        assert after.depth == 16
        assert float((after.pixels - before.pixels).abs().max()) < 1 / 65535
        if before.alpha is not None:
            assert after.alpha is not None
            assert after.alpha.equal(before.alpha)


def test_uncertainty_average_and_comparison(loaded: SimpleNamespace, tmp_path: Path) -> None:
    put(tmp_path, "a.png", PNG)
    loaded.fake.noise = 0.1
    words = ["restore", "a.png", "b.png", "--task", "deblur", "--samples", "4", "--average"]
    assert main([*words, "--uncertainty", "--compare", "--seed", "9"]) == 0
    assert len(set(loaded.fake.calls[0][3])) == 4
    with Image.open("b.png.spread.png") as spread, Image.open("b.png.compare.png") as compare:
        assert spread.width >= 20
        assert compare.width > 40
    assert main([*words, "--uncertainty"]) == 2  # all of them exist
    assert main([*words, "--uncertainty", "--compare", "--force"]) == 0


def test_inpainting(
    loaded: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "a.png", PNG)
    hole = np.zeros((12, 20), np.uint8)
    hole[3:6, 4:9] = 255
    put(tmp_path, "hole.png", saved(Image.fromarray(hole), "PNG"))
    put(tmp_path, "wrong.png", saved(Image.new("L", (20, 13), 255), "PNG"))
    words = ["restore", "a.png", "b.png", "--task", "inpaint"]
    assert main([*words, "--mask", "hole.png"]) == 0
    kept = hole == 0
    made = np.asarray(Image.open("b.png"))
    assert np.array_equal(made[kept], ARRAY[kept])
    assert (made[~kept] != ARRAY[~kept]).any()
    assert main([*words, "--mask", "wrong.png", "--force"]) == 1
    assert "the mask wrong.png has 20x13 pixels" in capsys.readouterr().err
    assert main([*words, "--force"]) == 2
    assert "'inpaint' needs a mask" in capsys.readouterr().err
    assert main([*words, "--mask", "none.png", "--force"]) == 2
    assert "--mask none.png does not exist" in capsys.readouterr().err


def test_a_folder_with_broken_files(
    loaded: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every kind of bad input is named; the rest is done; the status says so."""
    cmyk = saved(Image.new("CMYK", (8, 8)), "JPEG")
    good = {"a.png": PNG, "sub/grey.jpg": saved(Image.fromarray(ARRAY[..., 0]), "JPEG"),
            "one.png": saved(Image.new("RGB", (1, 1)), "PNG"),
            "palette.png": saved(Image.fromarray(ARRAY).quantize(7), "PNG", transparency=0),
            "still.gif": animation("GIF", 1)}  # fmt: skip
    bad = {"cut.png": PNG[: len(PNG) // 2], "sub/bomb.png": bomb(), "cmyk.jpg": cmyk,
           "moving.gif": animation("GIF"), "moving.webp": animation("WEBP"),
           "empty.png": b"", "text.png": b"hello"}  # fmt: skip
    for name, data in (good | bad).items():
        put(tmp_path / "in", name, data)
    assert main(["restore", "in", "out", "--task", "deblur"]) == 1
    out = capsys.readouterr()
    lines = out.err.splitlines()
    assert len(lines) == len(bad)
    for name, words in (
        ("cut.png", ""), ("sub/bomb.png", "more than 64,000,000 pixels"), ("empty.png", "damaged"),
        ("cmyk.jpg", "CMYK without a colour profile"), ("moving.gif", "3 frames"),
        ("moving.webp", "3 frames"), ("text.png", "not a picture"),
    ):  # fmt: skip
        (line,) = (x for x in lines if x.startswith(f"sfumato restore: {name}: "))
        assert words in line
    assert out.out.startswith("5 restored (")
    assert out.out.endswith(", 7 failed\n")
    made = {p.relative_to("out").as_posix() for p in Path("out").rglob("*") if p.is_file()}
    assert made == {"a.png", "sub/grey.jpg", "one.png", "palette.png", "still.png"}
    assert read_picture("out/palette.png").alpha is not None
    assert len(read_picture("out/sub/grey.jpg").pixels) == 1
    for name, data in (good | bad).items():
        assert (tmp_path / "in" / name).read_bytes() == data


def test_a_folder_goes_on(
    loaded: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "in", "a.png", PNG)
    put(tmp_path / "in", "b.png", PNG)
    words = ["restore", "in", "out", "--task", "deblur"]
    assert main(words) == 0
    assert "2 restored" in capsys.readouterr().out
    assert main(words) == 2
    assert "a.png and 1 more exist already" in capsys.readouterr().err
    assert main([*words, "--skip-existing"]) == 0
    assert capsys.readouterr().out == "nothing to do: all 2 results exist\n"
    for name in ("c.png", "d.png"):
        put(tmp_path / "in", name, PNG)
    assert main([*words, "--skip-existing"]) == 0
    assert capsys.readouterr().out.endswith("0 failed, 2 left out\n")


def test_in_place(loaded: SimpleNamespace, tmp_path: Path) -> None:
    put(tmp_path / "in", "a.png", PNG)
    assert main(["restore", "in", "in", "--task", "deblur", "--force"]) == 2
    assert (tmp_path / "in" / "a.png").read_bytes() == PNG
    assert main(["restore", "in", "in", "--task", "deblur", "--in-place"]) == 0
    assert (tmp_path / "in" / "a.png").read_bytes() != PNG


def test_places_that_cannot_be_written(
    loaded: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before there is any work to lose."""
    put(tmp_path, "a.png", PNG)
    put(tmp_path, "file", b"x")
    assert main(["restore", "a.png", "file/b.png", "--task", "deblur"]) == 1
    assert "file/b.png cannot be written" in capsys.readouterr().err
    assert not loaded.fake.calls
    array = levels(6, 7, 4)
    put(tmp_path, "clear.png", saved(Image.fromarray(array), "PNG"))
    assert main(["restore", "clear.png", "b.jpg", "--task", "deblur"]) == 1
    assert "JPEG keeps no transparency" in capsys.readouterr().err
    assert not loaded.fake.calls


def test_what_is_lost_is_said(
    loaded: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "a.png", deep_png(levels(6, 7, 3, 65535)))
    assert main(["restore", "a.png", "b.jpg", "--task", "deblur"]) == 0
    assert capsys.readouterr().err == "warning: b.jpg does not keep 16 bits; .png does\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "deblurr"], "unknown task 'deblurr'; did you mean 'deblur'?"),
        (["--task", "deblur", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["--task", "deblur", "--samples", "0"], "--samples must be at least 1, got 0"),
        (["--task", "deblur", "--average"], "--average is of several samples: give --samples 2"),
        (["--task", "deblur", "--uncertainty"], "--uncertainty is of several samples"),
        (["--task", "deblur", "--quality", "101"], "--quality must be at most 100, got 101"),
        (["--task", "deblur", "--overlap", "-1"], "--overlap must be at least 0, got -1"),
        (["--task", "deblur", "--max-pixels", "0"], "--max-pixels must be at least 1, got 0"),
        (["--task", "deblur", "--mask", "a.png"], "the task 'deblur' takes none"),
        (["--task", "deblur", "--in-place"], "so OUT must be IN, got b.png"),
        (["--task", "deblur", "--force", "--skip-existing"], "contradict each other"),
    ],
)
def test_wrong_usage(
    loaded: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    put(tmp_path, "a.png", PNG)
    assert main(["restore", "a.png", "b.png", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "b.png").exists()


def test_no_such_file_and_no_task(
    loaded: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["restore", "none.png", "b.png", "--task", "deblur"]) == 2
    assert "none.png does not exist" in capsys.readouterr().err
    assert main(["restore", "none.png", "b.png"]) == 2
    assert "--task" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded(
    loaded: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load_restorer(name: str, **how: Any) -> Fake:
        raise SfumatoError("no such weights")

    monkeypatch.setattr(
        sys.modules["sfumato.systems.i2sb.commands.restorers"], "load_restorer", load_restorer
    )
    put(tmp_path, "a.png", PNG)
    assert main(["restore", "a.png", "b.png", "--task", "deblur"]) == 1
    assert capsys.readouterr().err == "sfumato restore: no such weights\n"


def test_the_help_has_examples_and_does_not_wait_for_torch() -> None:
    code = (
        "import sys\nfrom sfumato.cli import main\nassert main(['restore', '--help']) == 0\n"
        "print(sorted({'torch', 'PIL', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sfumato restore blurred.jpg sharp.jpg --task deblur" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"

"""`sfumato degrade`: what it writes is what the operators make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.cli import main


def picture(path: Path, size: tuple[int, int] = (21, 34), mode: str = "RGB") -> np.ndarray:
    channels = {"RGB": 3, "L": 1, "RGBA": 4}[mode]
    pixels = np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)
    return pixels


def degrade(folder: Path, task: str) -> int:
    return main(["degrade", str(folder / "a.png"), str(folder / "b.png"), "--task", task])


def test_fewer_pixels(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert (
        main(["degrade", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--task", "sr4x-pool"])
        == 0
    )
    made = np.asarray(Image.open(tmp_path / "b.png")).astype(float)
    whole = np.asarray(Image.open(tmp_path / "a.png"))[:20, :32].astype(float)
    want = whole.reshape(5, 4, 8, 4, 3).mean((1, 3))
    assert np.abs(made - want).max() <= 0.5001


def test_lost_parts_and_their_mask(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png", (64, 80))
    words = ["degrade", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--task", "inpaint"]
    assert main(words) == 0
    made = np.asarray(Image.open(tmp_path / "b.png"))
    mask = np.asarray(Image.open(tmp_path / "b.mask.png").convert("L")) > 127
    assert mask.shape == (64, 80) and 0.1 <= mask.mean() <= 0.4
    assert (made[~mask] == pixels[~mask]).all()
    assert (np.abs(made[mask].astype(int) - 128) <= 1).all()
    assert main(words) != 0  # not over what is there
    assert main([*words, "--force"]) == 0
    assert (np.asarray(Image.open(tmp_path / "b.png")) == made).all()
    assert main([*words, "--force", "--seed", "1"]) == 0
    assert (np.asarray(Image.open(tmp_path / "b.png")) != made).any()


def test_colour_and_transparency(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png", mode="RGBA")
    assert (
        main(["degrade", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--task", "colourise"])
        == 0
    )
    made = Image.open(tmp_path / "b.png")
    assert made.mode == "LA"
    grey, alpha = np.asarray(made).transpose(2, 0, 1)
    assert (alpha == pixels[..., 3]).all()
    luma = pixels[..., :3] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey - luma).max() <= 0.51


def test_a_folder_goes_on_past_what_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    picture(tmp_path / "in" / "a.png", mode="L")
    (tmp_path / "in" / "b.png").write_bytes(b"nothing")
    assert main(["degrade", str(tmp_path / "in"), str(tmp_path / "out"), "--task", "denoise"]) == 1
    assert "b.png" in capsys.readouterr().err
    assert Image.open(tmp_path / "out" / "a.png").mode == "L"


def test_unknown_tasks_are_answered_with_near_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    assert degrade(tmp_path, "jpg") == 2
    assert "jpeg" in capsys.readouterr().err

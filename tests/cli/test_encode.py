"""``sfumato encode``: latents, round trips, refusals."""

import re
from pathlib import Path

import numpy as np
import pytest

from sfumato.cli import main


def test_points_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--solver", "heun", "--steps", "60"]
    assert main(["encode", "tiny-points", "swiss-roll", "--n", "40", *words]) == 0
    found = re.search(r"40 encoded in 60 steps; round trip: rms (\S+)", capsys.readouterr().out)
    assert found is not None and float(found[1]) < 0.02
    decode = ["encode", "tiny-points", "latents.npz", "--decode", "--out", "back.npz"]
    assert main([*decode, *words]) == 0
    with np.load("latents.npz") as latents, np.load("back.npz") as back:
        z, x = latents["latents"], back["points"]
        assert z.shape == x.shape == (40, 2) and z.dtype == np.float32
        assert z.std() > 20  # a state at sigma = 80, not the data
    from sfumato.data import points

    real = points("swiss-roll", 40, 1).points  # the test split of seed 0
    assert np.sqrt(np.mean((x - real) ** 2)) == pytest.approx(float(found[1]), rel=0.05)


def test_images_take_their_labels_along() -> None:
    assert main(["sample", "tiny-faces", "--n", "5", "--steps", "2", "--out", "a.npz"]) == 0
    assert main(["encode", "tiny-faces", "a.npz", "--steps", "3", "--out", "z.npz"]) == 0
    with np.load("a.npz") as a, np.load("z.npz") as z:
        assert (a["labels"] == z["labels"]).all()
        assert z["latents"].shape == (5, 3, 8, 8)
    words = ["encode", "tiny-faces", "a.npz", "--steps", "3", "--label", "any", "--out", "z.npz"]
    assert main(words) == 0
    with np.load("z.npz") as z:
        assert (z["labels"] == [3, 2]).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-data"], "unknown data set"),
        (["missing.npz"], "unknown data set 'missing.npz'"),
        (["a.npz", "--out", "z.png"], "latents are written as .npz"),
        (["a.npz", "--decode", "--out", "x.png"], "expected latents float32 (N, 3, 8, 8)"),
        (["small.npz"], "takes data of shape (3, 8, 8), got (3, 4, 4)"),
        (["a.npz", "--steps", "1"], "--steps must be at least 2"),
    ],
)
def test_refusals(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("a.npz", images=np.zeros((2, 3, 8, 8), np.uint8))
    np.savez("small.npz", images=np.zeros((2, 3, 4, 4), np.uint8))
    assert main(["encode", "tiny-faces", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("latents.npz").exists()

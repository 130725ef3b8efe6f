"""The shipped restorers on photographs that they never saw."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from sfumato.cli import main
from sfumato.cli.tour.restoring import photograph
from sfumato.data import to_uint8
from sfumato.data.degrade import TASKS, Blur, BlurKernel, FreeForm, Grey, Jpeg, Noisy, Task, posed
from sfumato.files.cards import folders
from sfumato.metrics import detail, psnr
from sfumato.model.load import load
from sfumato.seeds import generators
from sfumato.systems.i2sb.restorer import BLIND, Restorer

SOFT = Blur(BlurKernel.GAUSSIAN, 13, (1.5, 1.5))
WORK = {
    "sr4x": (TASKS["sr4x"].degradation, 1.0),
    "deblur": (SOFT, 1.0),
    "jpeg": (Jpeg((8, 8)), 0.5),
    "denoise": (Noisy((0.3, 0.3)), 8.0),
    "colourise": (Grey(), 0.0),
}
"""What is done to the photographs, and by how many dB one evaluation must come nearer."""


@cache
def restorer(name: str) -> Restorer:
    if name not in folders():
        pytest.skip(f"the model {name} is not shipped here")
    return load(name, Restorer)


def truth() -> Tensor:
    return torch.stack([photograph(n)[:, 32:160, 48:208] for n in ("chelsea", "astronaut")])


def bad(task: str) -> Tensor:
    x = posed(Task(task, WORK[task][0]), truth(), generators(0, [0, 1])).beside.clamp(-1, 1)
    scale = WORK[task][0].scale
    return x[:, :, ::scale, ::scale]


def restored(task: str, steps: int, asked: str = "") -> Tensor:
    work = restorer("restore")
    with torch.inference_mode():
        return torch.cat([work(x, asked or task, steps=steps) for x in bad(task)])


def lifted(task: str) -> Tensor:
    return WORK[task][0].lift(bad(task))


@pytest.mark.parametrize("task", [t for t in WORK if t != "colourise"])
def test_one_evaluation_comes_nearer_to_the_truth(task: str) -> None:
    made = restored(task, 1)
    gain = psnr(made, truth()).mean() - psnr(lifted(task), truth()).mean()
    assert float(gain) > WORK[task][1]


@pytest.mark.parametrize("task", ["sr4x", "deblur"])
def test_more_evaluations_are_sharper(task: str) -> None:
    """The mean of all answers has less detail than one of them."""
    assert detail(restored(task, 6), truth()) > 1.15 * detail(restored(task, 1), truth())


def test_the_usual_answer_is_the_mean_where_there_is_one() -> None:
    """Defaults: nearer to the truth than a sample, also of files that are good already."""
    work = restorer("restore")
    assert [work.usual_steps(t) for t in work.tasks] == [1, 1, 1, 1, 10, 1]
    assert [work.usual_steps(t, crisp=True) for t in work.tasks] == [10] * 6
    assert work.best_quality == 60 and restorer("restore-inpaint").best_quality == 100
    assert restorer("restore-inpaint").usual_steps("inpaint") > 1
    for quality in (20, 50, 80):
        x = posed(Task("jpeg", Jpeg((quality, quality))), truth(), generators(0, [0, 1])).beside
        mean, sample = (
            torch.cat([work.restore(picture, "jpeg", crisp=crisp) for picture in x])
            for crisp in (False, True)
        )
        assert psnr(mean, truth()).mean() > psnr(sample, truth()).mean() + 0.5
    alone = work.restore(bad("deblur")[0], "deblur")
    torch.testing.assert_close(alone, restored("deblur", 1)[:1], rtol=0, atol=1e-5)
    several = work.restore(bad("deblur")[0], "deblur", n=2)
    assert float((several[0] - several[1]).abs().max()) > 0.02  # samples, so they differ


def test_being_told_the_task_is_of_use_but_not_needed() -> None:
    blind = restored("denoise", 1, asked=BLIND)
    gain = psnr(blind, truth()).mean() - psnr(lifted("denoise"), truth()).mean()
    assert float(gain) > 6


def test_colour_appears_and_brightness_stays() -> None:
    made, grey = restored("colourise", 4), lifted("colourise")
    spread = (made.amax(1) - made.amin(1)).mean()
    assert float(spread) > 0.05  # all three channels are equal in the input
    luma = Grey().observe(made)
    assert float((luma - grey).abs().mean()) < 0.06


def test_tiles_leave_no_seam() -> None:
    """Moving every tile changes the picture by less than another seed does."""
    usual = restorer("restore")
    moved = Restorer(usual.denoiser, usual.description).tiled(shift=(16, 32))
    x = bad("jpeg")[0]
    with torch.inference_mode():
        a, other = usual(x, "jpeg", seeds=(0, 1), steps=5)
        (b,) = moved(x, "jpeg", seeds=(0,), steps=5)
    assert not torch.equal(a, b)
    assert float((a - b).square().mean().sqrt()) < 0.7 * float((a - other).square().mean().sqrt())


def test_what_is_painted_is_nearer_than_the_mean_colour() -> None:
    work = restorer("restore-inpaint")
    problem = posed(Task("inpaint", FreeForm(0.1, 0.2)), truth(), generators(3, [0, 1]))
    hole = 1 - problem.known
    with torch.inference_mode():
        made = torch.cat([
            work(x, "inpaint", mask=m, steps=4)
            for x, m in zip(problem.beside, hole, strict=True)
        ])  # fmt: skip
    torch.testing.assert_close(made * problem.known, truth() * problem.known)
    known = problem.known.sum((2, 3))
    mean = ((truth() * problem.known).sum((2, 3)) / known)[:, :, None, None].expand_as(made)
    flat = torch.where(hole > 0, mean, truth())
    gain = psnr(made, truth(), hole).mean() - psnr(flat, truth(), hole).mean()
    assert float(gain) > 2


def test_jpeg_files_better_than_were_learned_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restorer("restore")
    pixels = to_uint8(truth()[0][:, :32, :48]).permute(1, 2, 0).numpy()
    for quality in (40, 60, 61, 95):
        Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=quality)
        words = ["restore", str(tmp_path / "a.jpg"), str(tmp_path / "b.png"), "--task", "jpeg"]
        assert main([*words, "--force"]) == 0
        said = capsys.readouterr().err
        assert (f"a JPEG file of quality {quality}; the model learned" in said) == (quality > 60)

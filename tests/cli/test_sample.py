"""``sfumato sample``: outputs, and that sample i depends on the seed and i alone."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.cli import main
from sfumato.console.drawing import stream
from sfumato.console.how import SamplingOptions
from sfumato.console.writers import Memory, Npz, Parts
from sfumato.damped import CriticallyDamped
from sfumato.files import pictures
from sfumato.model.description import Sampling
from sfumato.model.labels import Labelled
from sfumato.model.load import load
from sfumato.model.plan import make_plan, make_times
from sfumato.model.sampler import Drawer, Sampler
from sfumato.nn import MLPConfig
from sfumato.process import Scheduled
from sfumato.schedule import RectifiedFlow
from sfumato.solve import Ancestral, Euler
from sfumato.systems.ddgan.model import ImplicitModel
from sfumato.times import offset, uniform

IMPLICIT = ImplicitModel("p", MLPConfig(width=8, blocks=1, latent=4), steps=2)


def drawer(name: str, how: SamplingOptions, steps: int = 4) -> Drawer:
    return how.prepare(load(name, Sampler), steps, seed=3)


def labelled(n: int, *sizes: int) -> Labelled:
    axes = tuple((f"axis{a}", tuple(map(str, range(size)))) for a, size in enumerate(sizes))
    return Labelled(np.stack([np.arange(n) % size for size in sizes], 1), axes)


SOLVERS = [
    SamplingOptions(solver="dpmpp2m"),
    SamplingOptions(solver="heun"),
    SamplingOptions(solver="ancestral"),
    SamplingOptions(solver="euler-maruyama"),
    SamplingOptions(solver="heun", churn=4),
    SamplingOptions(solver="ddim", eta=0.7, guidance=2.0),
]


@pytest.mark.parametrize("how", SOLVERS, ids=lambda how: f"{how.solver}-{how.churn:g}")
def test_a_sample_alone_is_the_sample_in_a_batch(how: SamplingOptions) -> None:
    d = drawer("tiny-faces", how)
    labels = labelled(64, 3, 2).labels
    together = d.solve(range(64), labels).x
    for i in (0, 17, 63):
        alone = d.solve([i], labels[i : i + 1]).x
        assert torch.allclose(alone[0], together[i], atol=1e-4, rtol=1e-4)
    assert together.std(0).mean() > 1e-2  # not all the same


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_streams_do_not_depend_on_the_batch(batch: int) -> None:
    labels = labelled(20, 3, 2)
    whole, cut = Memory(Path("whole")), Memory(Path("cut"))
    stream(drawer("tiny-faces", SamplingOptions(solver="ancestral")), labels, whole, {}, 64)
    how = SamplingOptions(solver="ancestral")
    stream(drawer("tiny-faces", how), labels, cut, {}, batch)
    assert whole.x.shape == cut.x.shape == (20, 3, 8, 8)
    assert np.abs(whole.x.astype(int) - cut.x.astype(int)).max() <= 1
    assert not list(Path().glob(".*.parts"))


def test_npz_holds_images_labels_and_how_they_were_made() -> None:
    words = ["--n", "9", "--steps", "3", "--batch", "4", "--quiet"]
    assert main(["sample", "tiny-faces", *words, "--label", "glasses=yes", "--out", "a.npz"]) == 0
    with np.load("a.npz", allow_pickle=False) as a:
        assert a["images"].shape == (9, 3, 8, 8) and a["images"].dtype == np.uint8
        assert a["labels"].shape == (9, 2) and (a["labels"][:, 1] == 1).all()
        assert a["values_style"].tolist() == ["lorelei", "micah", "pixel-art"]
        about = json.loads(str(a["about"]))
    assert (about["model"], about["steps"], about["seed"]) == ("tiny-faces", 3, 0)
    first = Path("a.npz").read_bytes()
    assert main(["sample", "tiny-faces", *words, "--label", "glasses=yes", "--out", "a.npz"]) == 0
    assert Path("a.npz").read_bytes() == first


def test_npz_is_written_in_chunks(tmp_path: Path) -> None:
    held = []

    def chunks():
        for i in range(5):
            held.append(i)
            (part,) = tmp_path.iterdir()  # beside it, under a hidden name
            if i:  # what came before is on the disk already, not in a list
                assert part.stat().st_size > i * 200_000 * 0.9
            yield np.full((100, 1, 40, 50), i, np.uint8)

    Npz(tmp_path / "big.npz").write(chunks(), (500, 1, 40, 50), labelled(500, 2), {"sfumato": "x"})
    assert held == [0, 1, 2, 3, 4]
    with np.load(tmp_path / "big.npz") as read:
        assert read["images"][:, 0, 0, 0].tolist() == [i for i in range(5) for _ in range(100)]
    assert [path.name for path in tmp_path.iterdir()] == ["big.npz"]


def test_folder_of_pictures_and_labels() -> None:
    words = ["sample", "tiny-grey", "--steps", "2", "--quiet", "--label", "b+d", "--out", "pics"]
    assert main([*words, "--n", "5"]) == 0
    assert sorted(os.listdir("pics")) == [
        *[f"{i:06}.png" for i in range(5)], "labels.csv", "sample.json",
    ]  # fmt: skip
    assert Path("pics/labels.csv").read_text().splitlines() == [
        "file,class", "000000.png,b", "000001.png,d", "000002.png,b", "000003.png,d",
        "000004.png,b",
    ]  # fmt: skip
    with Image.open("pics/000000.png") as picture:
        assert (picture.mode, picture.size) == ("L", (28, 28))
    assert main([*words, "--n", "3"]) == 0  # ours: may be made again, and old pictures go
    assert not Path("pics/000003.png").exists()


def test_foreign_files_are_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (3, 3)).save("mine.png")
    before = Path("mine.png").read_bytes()
    words = ["sample", "tiny-points", "--n", "5", "--steps", "1", "--quiet", "--out"]
    assert main([*words, "mine.png"]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("mine.png").read_bytes() == before
    assert main([*words, "mine.png", "--force"]) == 0
    assert main([*words, "mine.png"]) == 0
    Path("folder").mkdir()
    Path("folder/letter.txt").write_text("dear")
    assert main(["sample", "tiny-grey", "--out", "folder"]) == 2


def test_sheet_reports_nfe_and_keeps_how_it_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sample", "tiny-grey", "--n", "6", "--steps", "5", "--solver", "heun"]
    assert main([*words, "--columns", "3", "--out", "sheet.webp"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("6 images, 9 network evaluations each (heun), ") and "images/s" in out
    assert json.loads(pictures.described("sheet.webp"))["solver"] == "heun"
    with Image.open("sheet.webp") as picture:
        assert picture.width == 3 * (2 * 28 + 2) + 2


def test_an_interrupted_run_goes_on() -> None:
    d = drawer("tiny-faces", SamplingOptions())
    labels, done = labelled(12, 3, 2), []

    def stop(count: int) -> None:
        done.append(count)
        if len(done) == 2:
            raise KeyboardInterrupt

    whole = Memory(Path("whole"))
    stream(d, labels, whole, {}, 4)
    out = Memory(Path("out"))
    with pytest.raises(KeyboardInterrupt):
        stream(d, labels, out, {"plan": "a"}, 4, stop)
    assert stream(d, labels, out, {"plan": "a"}, 4).samples == 4  # only the third batch
    assert (out.x == whole.x).all()


def test_parts_of_another_plan_are_thrown_away(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "a.npz", {"seed": 0})
    parts.prepare()
    parts.write(range(4), np.zeros(4))
    again = Parts(tmp_path / "a.npz", {"seed": 0})
    again.prepare()
    assert again.has(range(4))
    other = Parts(tmp_path / "a.npz", {"seed": 1})
    other.prepare()
    assert not other.has(range(4))


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


@pytest.mark.slow
def test_two_processes_write_what_one_does(zoo_folder: Path) -> None:
    words = ["sample", "tiny-faces", "--n", "20", "--steps", "3", "--batch", "4", "--quiet"]
    words += ["--solver", "ancestral", "--device", "cpu"]
    assert main([*words, "--out", "one.npz"]) == 0
    env = {
        **os.environ,
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "sfumato", *words, "--out", "two.npz"],
            env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=180)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    with np.load("one.npz") as one, np.load("two.npz") as two:
        assert (one["labels"] == two["labels"]).all()
        difference = np.abs(one["images"].astype(int) - two["images"].astype(int))
    assert difference.max() <= 1  # threads may differ between the two, rounding with them
    assert (difference > 0).mean() < 1e-3
    assert not list(Path().glob(".*.parts"))


def test_grids_suit_the_process() -> None:
    flow = Scheduled(RectifiedFlow())
    assert torch.equal(make_times("auto", flow, 4), make_times("uniform", flow, 4))
    damped = CriticallyDamped()
    assert torch.equal(make_times("auto", damped, 4), make_times("quadratic", damped, 4))
    with pytest.raises(ValueError, match="uniform or quadratic"):
        make_times("karras", damped, 4)


def test_a_model_says_how_it_is_sampled() -> None:
    """Nothing asked: what suits the model; a model made for its own steps takes no others."""
    flow = Scheduled(RectifiedFlow())
    usual = Sampling("heun", "quadratic", 5)
    plan = make_plan(flow, usual)
    assert (plan.name, plan.grid, plan.steps) == ("heun", "quadratic", 5)
    plan = make_plan(flow, usual, solver="euler", grid="uniform", steps=3)
    assert isinstance(plan.solver, Euler) and torch.equal(plan.times, uniform(3))
    fixed = Sampling("ancestral", times=(1.0, 0.4, 0.0))
    plan = make_plan(flow, fixed, steps=2)
    assert isinstance(plan.solver, Ancestral) and plan.times.tolist() == [1.0, 0.4, 0.0]
    for asked in ({"steps": 3}, {"solver": "heun"}, {"grid": "uniform"}):
        with pytest.raises(ValueError, match="its own 2 steps of ancestral"):
            make_plan(flow, fixed, **asked)


def test_a_generator_of_few_steps_walks_its_own_times() -> None:
    plan = make_plan(IMPLICIT.build().process, IMPLICIT.sampling)
    assert isinstance(plan.solver, Ancestral) and torch.equal(plan.times, offset(2))
    drawer = Sampler(IMPLICIT.build().eval(), IMPLICIT).prepare(seed=3)
    empty = np.empty((4, 0), np.int64)
    together = drawer.draw(range(4), empty)
    assert together.nfe == 2
    alone = drawer.draw(range(4), empty, batch=1)
    np.testing.assert_allclose(alone.x, together.x, atol=1e-5)

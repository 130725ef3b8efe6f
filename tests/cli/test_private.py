"""`sfumato private`: from images to a data set with a certificate, and what is refused."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import stat
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("opacus", reason="the extra 'private' is not installed")

from sfumato.cli import main
from sfumato.data import folder
from sfumato.model.export import export
from sfumato.systems.dpdm.accounting import Accountant, epsilon
from sfumato.systems.dpdm.certificate import seal
from sfumato.systems.dpdm.commands.train import RECIPES
from sfumato.systems.dpdm.ledger import Ledger
from sfumato.systems.dpdm.options import presets

QUICK = ["--train.steps", "4", "--train.batch", "16", "--train.sheet-every", "0", "--train.cpu"]
QUICK += ["--train.checkpoint-every", "2", "--train.quiet", "--network.channels", "4"]
QUICK += ["--privacy.epsilon", "5", "--privacy.multiplicity", "2", "--privacy.delta", "1e-4"]


def write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


@pytest.fixture(scope="module")
def clothes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("clothes")
    rng = np.random.default_rng(0)
    for stem in ("train", "t10k"):
        write_idx(
            root / f"{stem}-images-idx3-ubyte.gz",
            rng.integers(0, 255, (200, 28, 28)).astype(np.uint8),
        )
        write_idx(root / f"{stem}-labels-idx1-ubyte.gz", (np.arange(200) % 10).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def run(clothes, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["private", "train", "fashion", "--out", str(out), "--root", str(clothes), *QUICK]
    assert main(words) == 0
    return out


@pytest.fixture
def exported(run, tmp_path) -> Path:
    out = tmp_path / "made.npz"
    words = ["private", "export", str(run), "--n", "25", "--steps", "3", "--out", str(out)]
    assert main([*words, "--quiet"]) == 0
    return out


def test_the_certificate_says_what_the_ledger_costs(run, exported, capsys) -> None:
    told = json.loads(exported.with_name("made.certificate.json").read_text())
    assert told["steps"] == 4
    made = told["mechanism"]
    assert (made["rate"], made["records"], made["multiplicity"]) == (16 / 200, 200, 2)
    for name in ("rdp", "prv"):
        anew = epsilon(made["noise"], 16 / 200, 4, 1e-4, Accountant(name))
        assert told["epsilon_by"][name] == pytest.approx(anew)
    assert told["epsilon"] == told["epsilon_by"]["prv"] <= 5
    assert told["epsilon"] > 4.9  # the noise is no larger than it need be
    labels = np.load(exported)["labels"][:, 0]
    assert np.bincount(labels, minlength=10).tolist() == [3] * 5 + [2] * 5
    assert main(["private", "check", str(exported.with_name("made.certificate.json"))]) == 0
    said = capsys.readouterr().out
    assert "holds: epsilon" in said and "hyper-parameters" in said and "FAIL" not in said
    assert "secure mode" not in said


def test_a_folder_is_certified_file_by_file(run, tmp_path, capsys) -> None:
    out = tmp_path / "made"
    words = ["private", "export", str(run), "--n", "6", "--sampler", "churn", "--steps", "2"]
    assert main([*words, "--out", str(out), "--quiet"]) == 0
    assert main([*words, "--out", str(out), "--quiet"]) == 0  # again, over its own
    assert main(["private", "check", str(out)]) == 0
    picture = out / "000003.png"
    data = picture.read_bytes()
    picture.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert main(["private", "check", str(out)]) == 1
    assert "but not 000003.png" in capsys.readouterr().out
    picture.write_bytes(data)
    (out / "000099.png").write_bytes(data)
    assert main(["private", "check", str(out)]) == 1
    assert "but 000099.png" in capsys.readouterr().out
    assert main(["private", "check", str(out), "--no-data"]) == 0


def test_every_byte_of_the_certificate_counts(exported, capsys) -> None:
    path = exported.with_name("made.certificate.json")
    data = path.read_bytes()
    for i in range(0, len(data), 7):
        path.write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        assert main(["private", "check", str(path)]) == 1, i
    path.write_bytes(data + b"\n")
    assert main(["private", "check", str(path)]) == 1
    assert "was changed" in capsys.readouterr().err


def test_every_byte_of_the_ledger_counts(exported, capsys) -> None:
    path = exported.with_name("made.ledger.jsonl")
    data = path.read_bytes()
    certificate = str(exported.with_name("made.certificate.json"))
    for i in range(0, len(data), 5):
        path.write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        assert main(["private", "check", certificate]) == 1, i
    path.unlink()
    assert main(["private", "check", certificate]) == 2
    assert "say where it is with --ledger" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epsilon": 1.0}, "1 claimed"),
        ({"steps": 3}, "3 claimed, 4 counted"),
        ({"delta": 0.02}, "delta 0.02 is below"),
        ({"epsilon_by": {"rdp": 0.1, "prv": 0.1}}, "0.1 told"),
        ({"ledger": {"run": "x", "head": "y"}}, "the ledger is the one it names"),
    ],
)
def test_a_forged_claim_with_a_right_digest_is_found(exported, capsys, change, said) -> None:
    """Whoever edits the certificate can renew its digest, but not what follows from the ledger."""
    path = exported.with_name("made.certificate.json")
    path.write_bytes(seal({**json.loads(path.read_text()), **change}))
    assert main(["private", "check", str(path)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "FAIL" in line]
    assert any(said in line for line in lines), lines


def test_mechanism_and_data_must_be_the_ones(exported, capsys) -> None:
    path = exported.with_name("made.certificate.json")
    told = json.loads(path.read_text())
    path.write_bytes(seal({**told, "mechanism": {**told["mechanism"], "noise": 99.0}}))
    assert main(["private", "check", str(path)]) == 1
    path.write_bytes(seal(told))
    exported.write_bytes(exported.read_bytes() + b"x")
    assert main(["private", "check", str(path)]) == 1
    exported.unlink()
    assert main(["private", "check", str(path)]) == 1
    assert "is not there" in capsys.readouterr().err


def test_a_shipped_private_model_carries_its_ledger(run, tmp_path, monkeypatch, capsys) -> None:
    card = {"name": "mine", "system": "DPDM", "data": "fashion-mnist", "kind": "denoiser"}
    export(run, tmp_path / "zoo" / "mine", card)
    monkeypatch.setenv("SFUMATO_ZOO", str(tmp_path / "zoo"))
    out = tmp_path / "made.npz"
    words = ["private", "export", "mine", "--n", "4", "--steps", "2", "--out", str(out)]
    assert main([*words, "--label", "3"]) == 0
    assert main(["private", "check", str(tmp_path / "made.certificate.json")]) == 0
    assert "chosen by --label" in capsys.readouterr().out
    assert np.load(out)["labels"].tolist() == [[3]] * 4


def test_what_gets_no_certificate(run, clothes, tmp_path, capsys) -> None:
    plain = tmp_path / "plain"
    words = ["train", "fashion", "--out", str(plain), "--root", str(clothes), "--train.steps", "1"]
    words += ["--train.batch", "4", "--train.quiet", "--train.cpu", "--train.sheet-every", "0"]
    assert main(words) == 0
    out = ["--n", "2", "--out", str(tmp_path / "x.npz")]
    assert main(["private", "export", str(plain), *out]) == 2
    assert "was not trained privately" in capsys.readouterr().err
    seeded = tmp_path / "seeded"
    words = ["private", "train", "fashion", "--out", str(seeded), "--root", str(clothes), *QUICK]
    assert main([*words, "--privacy.randomness", "REPRODUCIBLE"]) == 0
    assert main(["private", "export", str(seeded), *out]) == 2
    assert "not private and gets no certificate" in capsys.readouterr().err
    lost = tmp_path / "lost"
    shutil.copytree(run, lost)
    (lost / "ledger.jsonl").unlink()
    assert main(["private", "export", str(lost), *out]) == 1
    assert "no readable ledger" in capsys.readouterr().err
    assert main(["private", "export", str(run), "--n", "2", "--out", str(tmp_path / "x.png")]) == 2
    assert "not a picture" in capsys.readouterr().err
    assert not (tmp_path / "x.npz").exists()
    alone = ["--solver", "heun", "--churn-min", "0.1"]
    assert main(["private", "export", str(run), *out, *alone]) == 2
    assert "belong to --churn" in capsys.readouterr().err
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("kept")
    assert main(["private", "export", str(run), "--n", "2", "--out", str(full), "--force"]) == 2
    assert "the certificate must not cover" in capsys.readouterr().err
    assert [p.name for p in full.iterdir()] == ["mine.txt"]
    both = ["--sampler", "ddim", "--solver", "heun"]
    assert main(["private", "export", str(run), *out, *both]) == 2
    assert "give --sampler or --solver, not both" in capsys.readouterr().err


def test_the_verbs_and_recipes(capsys) -> None:
    assert set(RECIPES) == set(presets())
    assert main(["private", "--help"]) == 0 and "export" in capsys.readouterr().out
    assert main(["private", "chekc"]) == 2 and "'check'" in capsys.readouterr().err
    assert main(["private", "train", "fashoin"]) == 2
    assert "'fashion'" in capsys.readouterr().err
    code = "import sys\nfrom sfumato.cli import main\nmain(['private', 'train', '--help'])\n"
    code += "main(['private', '--help'])\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_resume_goes_on_and_the_budget_ends_it(run, clothes, tmp_path, capsys) -> None:
    again = tmp_path / "again"
    shutil.copytree(run, again)
    words = ["private", "train", "fashion", "--out", str(again), "--root", str(clothes), *QUICK]
    assert main(words) == 2 and "--resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0  # all steps are done: nothing to do
    assert Ledger.read(again / "ledger.jsonl").steps == 4
    more = [*words, "--resume", "--train.steps", "9", "--change"]
    assert main(more) == 2
    assert "the budget is spent: 4 steps" in capsys.readouterr().err
    assert main([*more, "--privacy.epsilon", "6"]) == 0
    assert 4 < Ledger.read(again / "ledger.jsonl").steps <= 9


def test_copies_of_the_records_are_the_owners_and_can_be_deleted(tmp_path, capsys) -> None:
    """Decoded pictures and their names: mode 0700, said, deleted if asked; no count in the run."""
    (tmp_path / "scans").mkdir()
    rng = np.random.default_rng(0)
    for i in range(60):
        pixels = rng.integers(0, 255, (20, 20)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "scans" / f"patient-{i}.png")
    cache, out = tmp_path / "cache", tmp_path / "run"
    words = ["private", "train", "images", "--path", str(tmp_path / "scans"), *QUICK]
    words += ["--train.no-quiet", "--resolution", "16", "--channels", "1", "--cache", str(cache)]
    words += ["--privacy.population", "50", "--train.batch", "8", "--privacy.delta", "1e-3"]
    words += ["--privacy.epsilon", "8"]
    assert main([*words, "--out", str(out)]) == 0
    (decoded,) = cache.iterdir()
    assert stat.S_IMODE(decoded.stat().st_mode) == 0o700
    assert f"decoded copies of the records, with their names: {decoded}" in capsys.readouterr().out
    scans = {"channels": 1, "held_out": 0.1, "root": tmp_path / "other", "progress": False}
    n = len(folder(tmp_path / "scans", 16, split="train", **scans))
    assert 50 <= n < 60
    for path in out.rglob("*.json*"):  # nobody learns from the run how many there are, or who
        text = path.read_text()
        assert "patient" not in text and not re.search(rf"\b({n}|60)\b", text), path
    assert main([*words, "--out", str(tmp_path / "again"), "--delete-cache"]) == 0
    assert not list(cache.iterdir())


def test_a_budget_that_allows_no_step_says_so(clothes, tmp_path, capsys) -> None:
    words = ["private", "train", "fashion", "--out", str(tmp_path / "x"), "--root", str(clothes)]
    words += [*QUICK, "--privacy.noise", "0.3", "--privacy.epsilon", "0.5"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "the budget allows no step: one with noise multiplier 0.3 costs epsilon" in said
    assert "are the result" not in said and "sfumato private plan" in said

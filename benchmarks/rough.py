"""What a run and an output survive: kills, two writers, a full disk, a place that refuses, damage.

    python benchmarks/rough.py

1. A training is killed at random moments and resumed, again and again; its weights at the end are
   those of an undisturbed one, bit by bit, and no line of its log is lost.
2. A second process that writes into a live run is refused by a sentence, and the run is unharmed.
3. Every command that writes meets a disk that is full before it begins, one that becomes full, and
   a place that refuses: exit status, sentence, and what was left behind. The disk is a small tmpfs
   in a mount namespace (Linux, and the right to mount).
4. Model folders with a value changed, checksums redone: each loads, or one error names it.
"""

from __future__ import annotations

import copy
import ctypes
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from written import write

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "tests" / "model")]
from every_output import QUICK, SLOWER, inputs, words  # noqa: E402

TRAIN = "points --n 300 --width 16 --train.steps 600 --train.log-every 1 --train.sheet-every 0"
TRAIN += " --train.checkpoint-every 20 --train.no-tensorboard --train.cpu --train.quiet"
_NEWNS, _PRIVATE = 0x20000, 0x44000


@dataclass(frozen=True)
class Options:
    """How much.

    kills: of one training.  damaged: model folders.  seed: of the moments and the damage.
    out: the result.
    """

    kills: int = 40
    damaged: int = 1000
    seed: int = 0
    out: Path = HERE / "results" / "rough.json"


def begin(*argv: str, **more: Any) -> subprocess.Popen[str]:
    """A process of the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "sfumato", *argv], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, start_new_session=True, **more,
    )  # fmt: skip


def forked(*argv: str) -> Any:
    """The command line in a process forked from this one, which has imported torch."""
    from sfumato.cli import main as command

    def quietly() -> None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        sys.exit(command(argv))

    process = multiprocessing.get_context("fork").Process(target=quietly)
    process.start()
    return process


def finish(*argv: str) -> None:
    """A command that must succeed."""
    process = forked(*argv)
    process.join()
    if process.exitcode:
        raise SystemExit(f"{argv} ended with {process.exitcode}")


def weights(run: Path) -> dict[str, bytes]:
    """The files of its last checkpoint."""
    last = sorted((run / "checkpoints").iterdir())[-1]
    return {p.name: p.read_bytes() for p in last.iterdir()}


def steps_of(run: Path) -> list[int]:
    """The steps in its log."""
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def written(run: Path) -> int:
    """Bytes of its log."""
    return (run / "log.jsonl").stat().st_size if (run / "log.jsonl").is_file() else 0


def kills(place: Path, count: int, seed: int) -> dict[str, Any]:
    """Kill a training at random moments, one in four before its first step, and resume it."""
    draw = random.Random(seed)
    whole, run = place / "whole", place / "killed"
    began = time.monotonic()
    process = forked("train", *TRAIN.split(), "--out", str(whole))
    while not written(whole):
        time.sleep(0.01)
    start = time.monotonic() - began
    process.join()
    loop = time.monotonic() - began - start
    new = ["train", *TRAIN.split(), "--out", str(run)]
    done = last = lost = finished = different = 0
    while done < count:
        before = written(run)
        process = forked(*([*new, "--resume"] if before else new))
        if draw.random() < 0.25:
            time.sleep(draw.uniform(0, start))
        else:
            while process.is_alive() and written(run) == before:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.4 * loop))
        if process.is_alive():
            process.kill()
        process.join()
        done += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:  # it was quicker: compare, and begin another
            finished += 1
            different += weights(run) != weights(whole)
            shutil.rmtree(run)
            last = 0
            continue
        saved = sorted((run / "checkpoints").glob("step-*")) if run.exists() else []
        step = int(saved[-1].name.partition("-")[2]) if saved else 0
        lost += step < last
        last = step
        print(f"kill {done}: at step {step}", flush=True)
    finish(*([*new, "--resume"] if run.exists() else new))
    return {
        "kills": done,
        "checkpoints lost": lost,
        "came to their end between kills": finished,
        "of these, with other weights": different,
        "bit-identical to an undisturbed run": weights(run) == weights(whole),
        "log has every step once": steps_of(run) == list(range(1, 601)),
        "temporary files left": [str(p) for p in run.rglob("*.tmp-*")],
    }


def writers(place: Path) -> dict[str, Any]:
    """A second process resumes a run that is alive; then the first is stopped in good order."""
    run = place / "alive"
    first = begin("train", *TRAIN.replace("600", "100000").split(), "--out", str(run))
    while not list(run.glob("checkpoints/step-*")):
        time.sleep(0.1)
    _, said = (second := begin("train", "--resume", str(run))).communicate()
    lived = first.poll() is None
    first.terminate()
    _, told = first.communicate()
    steps = steps_of(run)
    return {
        "second": {"status": second.returncode, "said": said.strip().replace(str(place), "")},
        "first lived on": lived,
        "first": {"status": first.returncode, "said": told.strip().replace(str(place), "")},
        "log has every step once": steps == list(range(1, len(steps) + 1)),
    }


def mounted(at: Path, flags: int = 0) -> None:
    """A tmpfs of 1 MB for this process alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWNS) or libc.mount(b"none", b"/", None, _PRIVATE, None):
        raise OSError(ctypes.get_errno(), "cannot make a mount namespace; run it as root")
    if libc.mount(b"tmpfs", str(at).encode(), b"tmpfs", flags, b"size=1m"):
        raise OSError(ctypes.get_errno(), "cannot mount a tmpfs; run it as root")


def filled(disk: Path, left: int) -> None:
    """Leave so many bytes of the disk."""
    with open(disk / ".filler", "wb", buffering=0) as out:
        try:
            while out.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass
        os.ftruncate(out.fileno(), out.tell() - left)


ROOMS = {"full": 0, "8 kB left": 8192, "refuses": None}


def one(command: str, given: Path, disk: Path, room: int | None, told: int) -> None:
    """In a forked process: the command, with what it says and leaves written to ``told``."""
    mounted(disk)
    out = disk / "out"
    if room is None:
        (disk / "file").write_text("in the way")
        out = disk / "file" / "out"
    else:
        filled(disk, room)
    before = {p: p.read_bytes() for p in disk.iterdir()}
    argv, cache = words(command, given, given / "elsewhere" if command[:5] == "CACHE" else out)
    if cache:
        os.environ["SFUMATO_DATA"] = str(out)
    from sfumato.cli import main

    with open(given / "said", "w+", buffering=1) as said, open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = nowhere, said
        os.dup2(said.fileno(), 2)
        os.dup2(nowhere.fileno(), 1)
        began = time.monotonic()
        status = main(argv)
        spent = time.monotonic() - began
        said.seek(0)
        text = said.read()
    left = [p for p in sorted(disk.rglob("*")) if p not in before]
    row = {
        "status": status,
        "seconds": round(spent, 1),
        "said": text.replace(str(disk), "DISK").replace(str(given), "IN").strip().splitlines(),
        "left": [str(p.relative_to(disk)) for p in left],
        "unharmed": all(p.read_bytes() == data for p, data in before.items()),
    }
    os.write(told, json.dumps(row).encode())


def disks(place: Path) -> list[dict[str, Any]]:
    """Every command in every room, each in a process forked from this one, which has torch."""
    given, disk = inputs(place / "in"), place / "disk"
    disk.mkdir()
    rows = []
    for command in (*QUICK, *SLOWER):
        for name, room in ROOMS.items():
            reading, writing = os.pipe()
            if not (pid := os.fork()):
                try:
                    one(command, given, disk, room, writing)
                except BaseException as error:
                    os.write(writing, json.dumps({"status": 99, "said": [repr(error)]}).encode())
                os._exit(0)
            os.close(writing)
            with open(reading, "rb") as pipe:
                answer = pipe.read()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            row = json.loads(answer) if answer else {"status": code, "said": ["(nothing)"]}
            rows.append({"command": command, "disk": name, **row})
            print(
                f"{name}: {command}: {row['status']}, {row['said'][-1:]}, {row.get('left')}",
                flush=True,
            )
    return rows


def damage(place: Path, count: int, seed: int) -> dict[str, Any]:
    """Change values of a model's description; what it says must name the folder."""
    from test_hostile import STRANGE, made, places

    import sfumato as sf
    from sfumato import zoo
    from sfumato.errors import SfumatoError

    source = zoo.find("fashion")
    every = list(places(json.loads((source / "model.json").read_text())))
    draw = random.Random(seed)
    found = {"folders": count, "refused, the folder named": 0, "loaded": 0, "other errors": 0}
    for _ in range(count):
        path, value = draw.choice(every), copy.deepcopy(draw.choice(STRANGE))
        folder = made(source, place / "damaged", path, value)
        try:
            sf.load(folder)
            found["loaded"] += 1
        except SfumatoError as error:
            named = str(folder) in str(error)
            found["refused, the folder named" if named else "other errors"] += 1
        except Exception:
            found["other errors"] += 1
    return found


def main() -> None:
    """Do all, print and write."""
    options = tyro.cli(Options, description=__doc__)
    import torch

    import sfumato.model.load  # noqa: F401

    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, do in {
            "kills": lambda: kills(place, options.kills, options.seed),
            "two writers": lambda: writers(place),
            "damaged folders": lambda: damage(place, options.damaged, options.seed),
            "disks": lambda: disks(place),
        }.items():
            began = time.monotonic()
            results[name] = do()
            spent[name] = round(time.monotonic() - began)
            if name != "disks":
                print(f"{name}: {json.dumps(results[name], indent=1)}", flush=True)
    write(options.out, options.seed, results, seconds=spent)


if __name__ == "__main__":
    main()

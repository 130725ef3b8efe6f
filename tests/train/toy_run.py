"""A tiny run on points: used by the tests in their own process and, as a script, in others.

``python toy_run.py train OUT STEPS``   one run, or one process of it under a launcher
``python toy_run.py kill REFERENCE OUT STEPS KILLS SEED``   kill and resume until it is done
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from sfumato.data import DataCard, LabelAxis, PointSet
from sfumato.denoise import Preconditioned
from sfumato.files.store import read_folder
from sfumato.loss import LogNormal
from sfumato.model.description import ModelConfig
from sfumato.nn import MLPConfig
from sfumato.train import (
    Data,
    TrainConfig,
    checkpoint_folders,
    diffusion,
    newest_checkpoint,
    train,
)

AXIS = LabelAxis("corner", ("left", "right", "top"))
SETTINGS = TrainConfig(
    steps=30,
    batch=16,
    lr=3e-3,
    warmup=5,
    ema_half_life=200,
    ema_ramp=0.5,
    log_every=4,
    checkpoint_every=5,
    keep=3,
    cpu=True,
    tensorboard=False,
    quiet=True,
)
LAW = LogNormal(-0.5, 1.2)


def three_points(n: int = 100) -> PointSet:
    """Three clouds, one per label; n is no multiple of the batch, so that epochs wrap inside."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    centres = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = (centres[labels] + 0.1 * rng.normal(size=(n, 2))).astype(np.float32)
    return PointSet(
        "three", points, labels[:, None], (AXIS,), DataCard("three", "made", "none", "100")
    )


class Poisoned:
    """A data set that does something when an example is asked for the k-th batch."""

    def __init__(self, data: PointSet, at: int, what: str) -> None:
        self.data, self.at, self.what, self.calls = data, at, what, 0

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor | None]:
        x, y = self.data.batch(indices)
        self.calls += len(x) > 1
        if self.calls == self.at and len(x) > 1:
            if self.what in ("signal", "kill"):
                os.kill(os.getpid(), signal.SIGTERM if self.what == "signal" else signal.SIGKILL)
            else:
                x[3] = float(self.what)
        return x, y


class Announced:
    """A data set that writes one byte to a pipe when the first real batch is asked for."""

    def __init__(self, data: PointSet, pipe: int) -> None:
        self.data, self.pipe = data, pipe

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor | None]:
        if self.pipe >= 0 and len(indices) > 1:
            os.write(self.pipe, b"x")
            self.pipe = -1
        return self.data.batch(indices)


def toy_model(width: int = 16) -> ModelConfig:
    return ModelConfig(
        data="three",
        network=MLPConfig(width=width, blocks=2, labels=(3,)),
        sigma_data=0.6,
        axes=(AXIS,),
    )


def toy_train(
    out: Path,
    settings: TrainConfig = SETTINGS,
    resume: bool = False,
    data: Data | None = None,
    model: ModelConfig | None = None,
    denoiser: Preconditioned | None = None,
) -> Path:
    model = model or toy_model()
    return train(
        settings,
        diffusion(settings, denoiser or model.build(settings.seed), LAW, labels=model.labels),
        data or three_points(),
        out,
        model=model.to_json(),
        about={"recipe": "toy"},
        resume=resume,
    )


def two_processes(
    script: Path, out: Path, steps: int, what: str = "train", status: int = 0
) -> None:
    """``script WHAT OUT STEPS`` in two processes, as accelerate's launcher starts them."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    # --multi_gpu is how accelerate's launcher starts several processes; here without any GPU.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", "2", "--num_machines", "1", "--main_process_port", str(port)]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    command += [str(script), what, str(out), str(steps)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode != 0) == (status != 0), done.stdout + done.stderr
    assert status or done.stdout.count("processes: 2") == 2, done.stdout + done.stderr


def kill_and_resume(reference: Path, out: Path, steps: int, kills: int, seed: int) -> None:
    """A run in one go, and one whose process is killed at random moments again and again."""
    import torch._dynamo  # noqa: F401 (optimizers import it at their first step: once, here)

    settings = replace(SETTINGS, steps=steps, checkpoint_every=2)
    rng = random.Random(seed)

    def child(folder: Path, resume: bool) -> tuple[int, int]:
        """Fork a run; returns its process and a pipe that speaks when its first step begins."""
        listen, speak = os.pipe()
        pid = os.fork()
        if pid:
            os.close(speak)
            return pid, listen
        try:
            toy_train(folder, settings, resume, Announced(three_points(), speak))
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)

    pid, pipe = child(reference, False)
    os.read(pipe, 1)
    began = time.monotonic()
    _, status = os.waitpid(pid, 0)
    whole = time.monotonic() - began
    if status:
        raise SystemExit("the uninterrupted run failed")
    done = life = leftovers = 0
    step = 0
    while True:
        pid, pipe = child(out, life > 0)
        life += 1
        if done < kills:
            if life % 5:  # every fifth kill may fall into the start of the process
                os.read(pipe, 1)
            left = whole * (1 - step / steps)
            time.sleep(rng.uniform(0, 1.7 * left / (kills - done + 1)))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(pipe)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise SystemExit("a resumed run failed")
            break
        done += 1
        leftovers += sum(1 for _ in out.glob("checkpoints/.*"))
        for folder in checkpoint_folders(out):
            read_folder(folder)  # raises if a kill ever leaves an unreadable checkpoint
        found, refused = newest_checkpoint(out)
        if refused:
            raise SystemExit(f"unreadable: {refused}")
        step = int(found.folder.name[5:]) if found else 0
        print(f"kill {done}: newest checkpoint after step {step}", flush=True)
    print(f"kills {done} leftovers {leftovers}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, *rest = sys.argv[1:]
    if what in ("train", "shard", "shard-killed"):
        whole = what == "train"
        settings = replace(SETTINGS, steps=int(rest[1]), cpu=False, shard=not whole)
        data = Poisoned(three_points(), 13, "kill") if what == "shard-killed" else None
        toy_train(Path(rest[0]), settings, resume=not whole, data=data)
        print(f"processes: {PartialState().num_processes}", flush=True)
    else:
        kill_and_resume(Path(rest[0]), Path(rest[1]), *(int(r) for r in rest[2:]))

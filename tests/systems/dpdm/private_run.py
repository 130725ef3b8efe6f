"""A tiny private run on points: used by the tests in their own process and, as a script, in others.

``python private_run.py train OUT STEPS``    one run, or one process of it under a launcher
``python private_run.py kill OUT KILLS SEED``  kill and resume, and compare ledger and truth
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState

from sfumato.systems.dpdm.accounting import Accountant, epsilon
from sfumato.systems.dpdm.descent import private
from sfumato.systems.dpdm.ledger import NAME, Ledger
from sfumato.systems.dpdm.options import PrivacyConfig
from sfumato.systems.dpdm.randomness import Randomness, RandomSource
from sfumato.train import diffusion, train

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from loading import load

toy = load(Path(__file__).resolve().parents[2] / "train" / "toy_run.py")
PRIVACY = PrivacyConfig(
    epsilon=3.0, delta=1e-3, multiplicity=3, physical=12, randomness=Randomness.REPRODUCIBLE
)


def private_train(out: Path, privacy=PRIVACY, settings=toy.SETTINGS, resume=False, **other):
    model = toy.toy_model()
    denoiser = other.pop("denoiser", None) or model.build(settings.seed)
    return train(
        settings,
        [*other.pop("others", ()), diffusion(settings, denoiser, toy.LAW, labels=model.labels)],
        other.pop("data", None) or toy.three_points(),
        out,
        model=model.to_json(),
        about={"recipe": "toy"},
        rule=private(privacy),
        resume=resume,
        **other,
    )


def kill_and_resume(out: Path, kills: int, seed: int) -> None:
    """Kill a private run at random moments; its ledger may never count less than was done."""
    import torch._dynamo  # noqa: F401 (optimizers import it at their first step: once, here)

    rng = random.Random(seed)
    steps = 400
    settings = replace(toy.SETTINGS, steps=steps, checkpoint_every=3, log_every=50)
    privacy = replace(
        PRIVACY, randomness=Randomness.FRESH, noise=1.0, epsilon=60.0, accountant=Accountant.RDP
    )
    cost = epsilon(1.0, settings.batch / 100, 1, privacy.delta)  # once here, and not in each life
    print(f"epsilon {cost:.3f} a step")
    done = out.with_name("executed")
    done.write_bytes(b"")
    real = RandomSource.normal

    def noted(self, step, like):
        """Note that noise is drawn now, whatever happens next; dawdle at times before it."""
        if random.random() < 0.2:
            time.sleep(0.004)
        file = os.open(done, os.O_WRONLY | os.O_APPEND)
        os.write(file, b"x")
        os.close(file)
        return real(self, step, like)

    RandomSource.normal = noted
    killed = lives = torn = ahead = 0
    while True:
        pid = os.fork()
        if not pid:
            random.seed(rng.random() + lives)
            try:
                private_train(out, privacy, settings, resume=lives > 0)
                os._exit(0)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(7 if "budget is spent" in str(error) else 1)
        lives += 1
        if killed < kills:
            before = done.stat().st_size
            patient = rng.random() < 0.9
            limit = time.monotonic() + 20
            while patient and done.stat().st_size == before and time.monotonic() < limit:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.06))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            code = os.WEXITSTATUS(status)
            if code not in (0, 7):
                raise SystemExit(f"a resumed run failed with {code}")
            break
        killed += 1
        if (out / NAME).exists() and (out / NAME).stat().st_size:
            copy = out.with_name("copy.jsonl")
            shutil.copy(out / NAME, copy)
            torn += not copy.read_bytes().endswith(b"\n")
            counted, executed = Ledger.read(copy, mend=True).steps, done.stat().st_size
            if counted < executed:
                raise SystemExit(f"kill {killed}: {executed} noisy steps, {counted} counted")
            ahead += counted > executed
    counted, executed = Ledger.read(out / NAME).steps, done.stat().st_size
    print(f"kills {killed} counted {counted} executed {executed} ahead {ahead} torn {torn}")
    if counted < executed:
        raise SystemExit("the ledger counts less than was done")


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, *rest = sys.argv[1:]
    if what == "train":
        settings = replace(toy.SETTINGS, steps=int(rest[1]), cpu=False)
        private_train(Path(rest[0]), settings=settings)
        print(f"processes: {PartialState().num_processes}", flush=True)
    else:
        kill_and_resume(Path(rest[0]), int(rest[1]), int(rest[2]))

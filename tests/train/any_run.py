"""The trainings of docs/training.md in a process that may be killed: ``any_run.py NAME OUT [AT]``.

NAME is that of the run in the page; AT the batch at which the process kills itself.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sfumato.train

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
REAL = sfumato.train.train


class Deadly:
    """A data set that kills the process when the k-th batch is asked for."""

    def __init__(self, data: Any, at: int) -> None:
        self.data, self.left = data, at

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray) -> Any:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.data.batch(indices)


def main(name: str, out: Path, at: int) -> None:
    """Run the page's blocks up to this training, and train as they say, in ``out``."""

    def train(config: Any, players: Any, data: Any, folder: str) -> None:
        if folder == f"runs/{name}":
            config = replace(config, steps=24, checkpoint_every=5, keep=9, log_every=4)
            REAL(config, players, Deadly(data, at), out, resume=True)
            sys.exit(0)

    sfumato.train.train = train  # type: ignore[assignment]
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace("assert", "#"), namespace)  # of what is not trained here
    raise SystemExit(f"no training runs/{name} in {PAGE}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else -1)

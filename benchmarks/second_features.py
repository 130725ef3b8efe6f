"""Fashion samples judged in features that no training used.

The tables of docs/fast-sampling.md are Fréchet distances in the features of ``fashion-classifier``,
whose layers also trained DSNO. Here the same models are judged by a plain convolutional network of
another architecture (no residual connection, no batch norm), trained in this script on the labels
of the training pictures, and by ImageNet's MobileNetV2. The reference are the first 5,000 test
pictures; the other 5,000 are the row of real pictures, which says what perfect samples score.

    python benchmarks/second_features.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from written import write

from sfumato.cli import main as sfumato
from sfumato.data import fashion_mnist, mobilenet_weights_path
from sfumato.metrics import (
    Features,
    MobileNet,
    compare_features,
    extract,
    shipped_features,
)
from sfumato.metrics.features import pixel_values

REFERENCE = 5_000
DRAWN = {  # row: network evaluations, and what follows "sfumato sample"
    "fashion, its default (18 steps)": (18, "fashion --steps 18"),
    "fashion, DEIS": (5, "fashion --solver deis --grid log-snr --steps 5"),
    "fashion, DPM-Solver++ 2M": (5, "fashion --solver dpmpp2m --grid karras --steps 5"),
    "fashion-genie": (5, "fashion-genie --solver genie --grid karras --steps 5"),
    "fashion-ddgan": (4, "fashion-ddgan"),
    "fashion-dsno": (1, "fashion-dsno"),
}


@final
class Plain(Features):
    """Two convolutions, two poolings, one hidden layer of 128 units, which are the features."""

    name, dim = "plain network", 128

    def __init__(self) -> None:
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(128, 10)

    def fit(self, images: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> None:
        """Adam with a falling rate on the cross entropy; pictures are mirrored at random."""
        rng = torch.Generator().manual_seed(seed)
        x, y = pixel_values(images), torch.from_numpy(labels[:, 0])
        parameters = [*self.body.parameters(), *self.head.parameters()]
        steps = epochs * (len(x) // 128)
        optimizer = torch.optim.Adam(parameters, 1e-3)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            pick = torch.randint(len(x), (128,), generator=rng)
            flip = torch.rand(128, 1, 1, 1, generator=rng) < 0.5
            batch = torch.where(flip, x[pick].flip(3), x[pick])
            hidden = F.dropout(self.body(batch), 0.3)
            loss = F.cross_entropy(self.head(hidden), y[pick])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            fall.step()
            if step % 200 == 0:
                print(f"step {step} of {steps}, loss {loss.item():.3f}", flush=True)

    def __call__(self, images: Tensor | np.ndarray) -> Tensor:
        with torch.inference_mode():
            return self.body(pixel_values(images)).clone()

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """How many of the labels it reads, in percent."""
        with torch.inference_mode():
            read = self.head(extract(self, images)).argmax(1)
        return 100 * float((read == torch.from_numpy(labels[:, 0])).float().mean())


def drawn(words: str, n: int, seed: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Samples as the command draws them: uint8 (n, 1, 28, 28) and labels (n, 1)."""
    out = folder / "samples.npz"
    more = ["--n", str(n), "--seed", str(seed), "--out", str(out), "--quiet", "--force"]
    if sfumato(["sample", *words.split(), *more]):
        raise SystemExit(f"sfumato sample {words} failed")
    with np.load(out) as file:
        return file["images"], file["labels"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2_000, help="samples of each row")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/second-features.json"))
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    training, test = fashion_mnist("train"), fashion_mnist("test")
    if training.labels is None or test.labels is None:
        raise SystemExit("Fashion-MNIST without labels")
    plain = Plain()
    plain.fit(np.asarray(training.images), training.labels, options.epochs, options.seed)
    spaces: dict[str, Features] = {
        "shipped": shipped_features("fashion-classifier"),
        "plain": plain,
        "imagenet": MobileNet(mobilenet_weights_path(), resolution=96),
    }
    reference = {key: extract(f, test.images[:REFERENCE]) for key, f in spaces.items()}
    real = test.images[REFERENCE:], test.labels[REFERENCE:]
    rows: list[dict[str, Any]] = []

    def judge(row: str, nfe: int | None, images: np.ndarray, labels: np.ndarray) -> None:
        found: dict[str, Any] = {
            "sampler": row,
            "nfe": nfe,
            "n": len(images),
            "labels": plain.accuracy(images, labels),
        }
        for key, space in spaces.items():
            scores = compare_features(reference[key], extract(space, images), space.name).scores
            found[key] = {score.metric.partition(" ")[0]: score.as_dict() for score in scores}
        rows.append(found)
        print(row, {k: round(found[k]["Fréchet"]["value"], 2) for k in spaces}, flush=True)
        write(options.out, options.seed, {"rows": rows}, accuracy=accuracy)

    accuracy = plain.accuracy(np.asarray(test.images), test.labels)
    judge("real pictures", None, np.asarray(real[0])[: options.n], real[1][: options.n])
    with tempfile.TemporaryDirectory(prefix="sfumato-") as folder:
        for row, (nfe, words) in DRAWN.items():
            judge(row, nfe, *drawn(words, options.n, options.seed, Path(folder)))


if __name__ == "__main__":
    main()

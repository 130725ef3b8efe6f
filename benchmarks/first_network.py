"""Which network and optimizer learn most of a folder of photographs in minutes of one core.

    python benchmarks/first_network.py --out benchmarks/results/first-network.json

Each trains by the recipe `images` at 64 pixels on the 500 photographs of `first_hour`, with as many
steps as fit into the same seconds of the processor (by the time of its first steps; what it took is
kept beside). Compared is EDM's loss on the part of the photographs that is held out, the mean of 16
draws of the noise, with the spread of these draws as its error.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from first_hour import photographs
from written import write

import sfumato as sf
from sfumato.data import folder
from sfumato.loss import edm_times
from sfumato.model.load import load_model
from sfumato.nn import UNetConfig
from sfumato.systems.edm.images import Images, run
from sfumato.train import TrainConfig

HERE = Path(__file__).parent
PLAIN: dict[str, Any] = {
    "head_channels": 0, "resample_blocks": False, "patch": 2, "narrow_upsampling": True,
    "blocks": (1, 1, 2), "attention": (8,), "resolution": 64,
}  # fmt: skip
BEFORE = UNetConfig(3, 3, channels=32, multipliers=(1, 2, 4), attention=(8,), resolution=32)
CONTENDERS: dict[str, tuple[UNetConfig, str, int]] = {
    "32 channels x (1, 2, 4), as it was": (BEFORE, "adam", 32),
    "32 channels x (1, 2, 4), patches of 2": (
        UNetConfig(3, 3, channels=32, multipliers=(1, 2, 4), **PLAIN), "adam", 32),
    "the same": (UNetConfig(3, 3, channels=32, multipliers=(1, 2, 4), **PLAIN), "muon", 32),
    "16 channels x (1, 2, 6), patches of 2": (
        UNetConfig(3, 3, channels=16, multipliers=(1, 2, 6), **PLAIN), "muon", 32),
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How long, and where to.

    seconds: of the processor, for each.  pictures: how many photographs.  out: the result.
    """

    seconds: float = 240.0
    pictures: int = 500
    seed: int = 0
    out: Path = HERE / "results" / "first-network.json"


def trained(name: str, photos: Path, out: Path, steps: int, seed: int) -> float:
    """Train so many steps; returns seconds of the processor."""
    network, optimizer, batch = CONTENDERS[name]
    settings = TrainConfig(
        steps=steps, batch=batch, optimizer=optimizer, warmup=min(100, steps // 10),  # type: ignore[arg-type]
        seed=seed, sheet_every=0, checkpoint_every=steps, cpu=True, tensorboard=False, quiet=True,
        label_dropout=0.0,
    )  # fmt: skip
    began = time.process_time()
    run(Images(out=out, path=photos, resolution=64, network=network, train=settings))
    return time.process_time() - began


def held_out_loss(out: Path, photos: Path, seed: int) -> tuple[float, float]:
    """Mean over 16 draws of the noise, and its standard error over them."""
    denoiser, described = load_model(out)
    data = folder(photos, 64, split="test", held_out=0.1, progress=False)
    x, _ = data.batch(range(len(data)))
    law = edm_times(described.sigma_data)  # type: ignore[attr-defined]
    g = torch.Generator().manual_seed(seed)
    losses = []
    with torch.inference_mode():
        for _ in range(16):
            t = law.draw(denoiser.process, len(x), g)
            losses.append(float(sf.denoising_loss(denoiser, x, t, generator=g).double().mean()))
    return statistics.mean(losses), statistics.stdev(losses) / 4


def main() -> None:
    """Train each, print and write."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        photographs(photos, options.pictures, options.seed)
        for i, (name, (_, optimizer, batch)) in enumerate(CONTENDERS.items()):
            trial = [trained(name, photos, Path(place) / f"t{i}-{n}", n, 0) for n in (2, 6)]
            steps = max(10, int(options.seconds / ((trial[1] - trial[0]) / 4)))
            out = Path(place) / f"run{i}"
            spent = trained(name, photos, out, steps, options.seed)
            loss, error = held_out_loss(out, photos, options.seed)
            params = sum(p.numel() for p in load_model(out)[0].parameters())
            rows.append(
                {"network": name, "params": params, "optimizer": optimizer, "batch": batch,
                 "steps": steps, "spent": round(spent), "loss": loss, "err": error}
            )  # fmt: skip
            print(rows[-1], flush=True)
    write(options.out, options.seed, rows)


if __name__ == "__main__":
    main()

"""The picture of docs/genie.md: walks of few steps on exact data, and distances measured on images.

    python benchmarks/genie_picture.py

Left: eight Gaussians on a circle, VP process. Right: `benchmarks/results/genie-distance.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

import sfumato as sf
from sfumato.solve import DDIM, Heun
from sfumato.systems.genie.taylor import Taylor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from analytic import F64  # noqa: E402
from ring import Ring  # noqa: E402

OUT = HERE.parent / "docs" / "img" / "genie.png"
COLOURS = {
    "DDIM": "#56B4E9",
    "GENIE": "#000000",
    "Taylor, exact derivative": "#009E73",
    "DPM-Solver++ 2M": "#0072B2",
    "DPM-Solver++ 3M": "#CC79A7",
    "Heun": "#E69F00",
}
STEPS = 8


def walks(axes: Any) -> None:
    """The same noise under the exact flow, DDIM and Taylor steps."""
    ring = Ring(sf.Scheduled(sf.VPLinear()))
    x = ring.process.prior_sample((10, 2), sf.generator(1), dtype=F64)
    fine, few = (sf.times.karras(ring.process, n, sigma_min=0.05) for n in (200, STEPS))
    exact = sf.ExactDerivative(ring)
    for name, solver, denoiser, times, style in (
        ("exact flow", Heun(), ring, fine, {"color": "#bbbbbb", "lw": 2.5}),
        ("DDIM", DDIM(), ring, few, {"color": COLOURS["DDIM"], "marker": "o", "ms": 3}),
        ("Taylor", Taylor(), exact, few, {"color": "#D55E00", "marker": "o", "ms": 3}),
    ):
        path = torch.stack(sf.sample(denoiser, solver, times, x, save_path=True).path)
        for i in range(path.shape[1]):
            label = name if i == 0 else None
            axes.plot(path[:, i, 0], path[:, i, 1], label=label, **{"lw": 1, **style})
    axes.scatter(ring.means[:, 0], ring.means[:, 1], s=260, color="#f2d9a6", zorder=0)
    axes.set_aspect("equal")
    axes.set_xlim(-1.7, 1.7)
    axes.set_ylim(-1.7, 1.7)
    axes.set_title(f"{STEPS} steps, exact noise estimate")
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    axes.set_xticks([])
    axes.set_yticks([])


def distances(axes: Any, model: str) -> None:
    """Root mean square distance over evaluations (steps, where a derivative is exact)."""
    record = json.loads((HERE / "results" / "genie-distance.json").read_text())
    for name, colour in COLOURS.items():
        rows = [
            r
            for r in record["results"]
            if (r["model"], r["grid"], r["solver"]) == (model, "karras", name)
        ]
        along = "steps" if "exact" in name else "nfe"
        rows.sort(key=lambda r: r[along])
        if rows:
            dashed = {"ls": ":"} if "exact" in name else {}
            label = f"{name} (by steps)" if dashed else name
            x, y = [r[along] for r in rows], [r["rms"] for r in rows]
            axes.plot(x, y, marker=".", color=colour, label=label, **dashed)
    axes.set_yscale("log")
    axes.set_title(f"{model}: distance to the exact flow")
    axes.set_xlabel("evaluations of the network")
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw and save."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), width_ratios=(1, 1.1, 1.1))
    walks(axes[0])
    distances(axes[1], "fashion")
    distances(axes[2], "avatars")
    axes[1].set_ylabel("root mean square, pixels in [−1, 1]")
    axes[2].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT, dpi=110)
    print(f"written to {OUT}: {OUT.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()

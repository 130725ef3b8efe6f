"""What `benchmarks/ddo.py` draws, and how it measures memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sfumato.systems.ddo.metrics.spectra import Spectrum


def plot_spectra(spectra: dict[str, Spectrum], path: Path) -> None:
    """Mean square per shell over the wave number."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(5.6, 3.4))
    low = 1e-8 * float(spectra["real"].power.max())
    own = sum("white" not in title for title in spectra) - 1  # a control has its model's colour
    for i, (title, spectrum) in enumerate(spectra.items()):
        k, power = spectrum.wave_numbers, spectrum.power[0]
        here = (k > 0) & (power > low)
        how: dict[str, Any] = {"color": f"C{(i - 1) % own}", "lw": 1.2}
        if title == "real":
            how = {"color": "black", "lw": 3, "alpha": 0.5}
        panel.loglog(k[here], power[here], "--" if "white" in title else "-", label=title, **how)
    panel.set_xlabel("waves per length")
    panel.set_ylabel("mean square per shell")
    panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_cost(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and memory per point over the number of points."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6))
    what = (("microseconds_per_point", "µs per point"), ("bytes_per_point", "bytes per point"))
    for panel, (key, title) in zip(axes, what, strict=True):
        panel.plot([r["points"] for r in rows], [r[key] for r in rows], "o-", color="C0")
        panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.set_ylabel(title)
        panel.set_xlabel("points")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def resident(what: str) -> int:
    """Memory of this process in kilobytes: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))

"""Gaussian fields in closed form: noise on all grids, every sampler, and kriging."""

from __future__ import annotations

from typing import Any

import torch
from rich.console import Console

import sfumato as sf
from sfumato.systems.ddo.nn.harmonic import Domain, evaluate, filtered
from sfumato.systems.ddo.observed import PointObservations
from sfumato.systems.ddo.sampling import FieldSolver, field_walk

NOISE, DATA = sf.Matern(0.1, 0.75), sf.Matern(0.15, 1.5)
GRIDS = (32, 64, 128, 256)
F64 = torch.float64


def noise(draws: int, seed: int) -> dict[str, Any]:
    """Fields on four grids, at the 16 points (16 x 16 in the plane) that all have."""
    rows = []
    for dims in (1, 2):
        field = sf.GaussianField(NOISE, dims)
        coarse = 16 if dims == 1 else 8
        lags = torch.fft.fftn(field.power([coarse] * dims)).real
        for n in GRIDS:
            like = torch.zeros(draws, 1, *[n] * dims, dtype=F64 if dims == 1 else torch.float32)
            parts = []
            for i in range(0, draws, 500):  # the plane at 256 is large
                g = sf.generator(seed, "noise", dims, n, i)
                x = field.sample(like[i : i + 500], g)
                every = slice(None, None, n // coarse)
                parts.append(x[:, 0, every] if dims == 1 else x[:, 0, every, every])
            x = torch.cat(parts).double()
            modes = torch.fft.fftn(x, dim=tuple(range(1, 1 + dims)))
            got = torch.fft.ifftn(modes.abs().square().mean(0)).real / x[0].numel()
            # each lag is averaged over the points and the draws; error from the draws' spread
            own = torch.fft.ifftn(modes.abs().square(), dim=tuple(range(1, 1 + dims))).real
            error = own.std(0) / x[0].numel() / draws**0.5
            rows.append(
                {
                    "dims": dims,
                    "n": n,
                    "std": float(x.std()),
                    "std_error": float(error.flatten()[0] / 2),
                    "worst": float(((got - lags) / error).abs().max()),
                    "worst_covariance": float((got - lags).abs().max()),
                }
            )
    return {"draws": draws, "rows": rows}


def walks(process: sf.Process) -> dict[str, Any]:
    """Every sampler, with the steps that it is given on every grid."""
    fine = sf.times.karras(process, 80, 1e-3)
    many = sf.times.karras(process, 600, 1e-3)
    langevin = field_walk(FieldSolver.LANGEVIN, process, 16, 60)
    return {
        "exponential, order 1": (sf.solve.DDIM(), many),
        "exponential, order 2": (sf.solve.DPMSolverPP(), sf.times.log_snr(process, 40)),
        "DEIS": (sf.solve.DEIS(), sf.times.log_snr(process, 20)),
        "Heun": (sf.solve.Heun(), fine),
        "ancestral": (sf.solve.Ancestral(), sf.times.karras(process, 1500, 1e-3)),
        "Langevin, averaged noise": (sf.AnnealedLangevin(60, 0.9), langevin.times),
        "Langevin, plain (published)": (sf.AnnealedLangevin(60, 0.3, False), langevin.times),
    }


def exact(draws: int, seed: int) -> dict[str, Any]:
    """Gaussian data, closed-form denoiser: variance over target in the first 20 modes."""
    rows = []
    data, rough = sf.GaussianField(DATA, 1), sf.GaussianField(NOISE, 1)
    process = sf.Scheduled(sf.EDM(), rough)
    for name, (solver, times) in walks(process).items():
        for n in GRIDS:
            denoiser = sf.Wiener(None, process, data, (32,))
            g = sf.generator(seed, "exact", n)
            x = process.prior_sample((draws, 1, n), g, t=float(times[0]), dtype=F64)
            made = sf.sample(denoiser, solver, times, x, generator=g)
            modes = torch.fft.fft(made.x[:, 0], norm="forward")
            power, target = modes.abs().square().mean(0), data.power((n,))
            last = min(20, n // 2)
            both = torch.stack([power[1:last], power.flip(0)[: last - 1]]).mean(0)
            ratio = torch.cat([power[:1] / target[:1], both / target[1:last]])
            rows.append(
                {
                    "solver": name,
                    "n": n,
                    "nfe": made.nfe,
                    "modes": last,
                    "least": float(ratio.min()),
                    "most": float(ratio.max()),
                    "mean": float(ratio.mean()),
                }
            )
            Console().print(rows[-1])
    return {"draws": draws, "error": draws**-0.5, "rows": rows}


def kriging(draws: int, seed: int) -> dict[str, Any]:
    """50 scattered observations of a Gaussian field in the plane, against the closed form."""
    n, tau, count = 32, 0.05, min(draws, 2000)
    data, rough = sf.GaussianField(sf.SquaredExponential(0.12)), sf.GaussianField(NOISE)
    process = sf.Scheduled(sf.EDM(), rough)
    law = sf.Wiener(None, process, data, (n, n))
    points = torch.rand(50, 2, dtype=F64, generator=sf.generator(seed, "points"))
    unit = torch.eye(n * n, dtype=F64).reshape(n * n, n, n)
    cov = filtered(unit, data.power((n, n)) * n * n, Domain.PERIODIC, 2).reshape(n * n, n * n)
    h = evaluate(unit, points, Domain.PERIODIC).T
    truth = data.sample(torch.zeros(1, 1, n, n, dtype=F64), sf.generator(seed, "truth"))
    y = evaluate(truth[0, 0], points, Domain.PERIODIC)
    y = y + tau * torch.randn(50, dtype=F64, generator=sf.generator(seed, "error"))
    gain = cov @ h.T @ torch.linalg.inv(h @ cov @ h.T + tau**2 * torch.eye(50, dtype=F64))
    mean, left = gain @ y, (cov - gain @ h @ cov).diagonal()
    guided = PointObservations(law, points, y, tau)
    rows = []
    for name, (solver, times) in walks(process).items():
        if "plain" in name or "order 1" in name:
            continue
        g = sf.generator(seed, "kriging")
        x = process.prior_sample((count, 1, n, n), g, t=float(times[0]))
        made = sf.sample(guided, solver, times, x, generator=g)
        drawn = made.x.flatten(1).double()
        off = (drawn.mean(0) - mean) / (left / count).sqrt()
        rows.append(
            {
                "solver": name,
                "nfe": made.nfe,
                "mean_off": float(off.square().mean().sqrt()),
                "mean_rms": float((drawn.mean(0) - mean).square().mean().sqrt()),
                "variance_ratio": float(drawn.var(0).sum() / left.sum()),
                "variance_rms": float((drawn.var(0) - left).square().mean().sqrt()),
            }
        )
        Console().print(rows[-1])
    return {
        "draws": count,
        "prior_variance": 1.0,
        "posterior_variance": float(left.mean()),
        "variance_error": float((2 / count) ** 0.5 * left.square().mean().sqrt()),
        "rows": rows,
    }

"""Training and sampling throughput of our U-Net against diffusers', and where our time goes.

    python benchmarks/throughput.py                 # a few minutes
    python benchmarks/throughput.py --compile       # many more: compilation
    python benchmarks/throughput.py --quick         # a check that it runs; its numbers are rough

All contenders have the same parameters and operations within 5 % (printed; refused otherwise).
They take turns: round r measures each of them once, in rotating order, and a ratio is the median
over rounds of the ratio within a round, so that a machine that slows down slows both. "Ceiling"
is the rate of the fastest single convolution found on this machine; a network's fraction of it is
its arithmetic (three times as much in training) over its time.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import tyro
from contenders import Contender, Diffusers, Settings, Sfumato, Work, best_candidates
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from sfumato.console.report import commit

HERE = Path(__file__).parent
TOLERANCE = 0.05
CLOCK = [time.perf_counter]
FAMILIES = {
    "convolution": ("conv",),
    "matrix product": ("mm", "linear", "matmul"),
    "attention": ("attention", "softmax"),
    "norm": ("norm",),
    "SiLU": ("silu",),
    "copy and cast": ("copy_", "cat", "contiguous", "clone", "fill_", "zero_"),
    "resampling": ("upsample", "pool"),
}


@dataclass(frozen=True)
class Options:
    """Options of the benchmark.

    quick: one short round of few settings.  compile: also torch.compile ours and the best other.
    batch: images per step.  steps: sampling steps timed.  rounds: how often each is timed.
    cpu_time: count the seconds this process computes, not those it waits: on a busy machine, with
        --threads 1, ratios can still be trusted.
    """

    quick: bool = False
    cpu_time: bool = False
    compile: bool = False
    batch: int = 64
    steps: int = 4
    rounds: int = 7
    threads: int = 0
    device: str = "cpu"
    seed: int = 0
    out: Path = HERE / "results" / "throughput.json"


def timed(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of one call, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = CLOCK[0]()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return CLOCK[0]() - start


def ceiling(dtype: torch.dtype, device: torch.device, training: bool, rounds: int) -> float:
    """FLOP/s of the fastest 3x3 convolution over a few shapes and both memory formats."""
    best = 0.0
    for channels, side in ((32, 28), (64, 28), (128, 14)):
        for memory in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(64, channels, side, side, device=device, dtype=dtype)
            w = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
            x = x.contiguous(memory_format=memory).requires_grad_(training)
            w = w.contiguous(memory_format=memory).requires_grad_(training)
            grad = torch.randn_like(x)
            flops = 2 * 9 * channels**2 * side**2 * 64 * (3 if training else 1)

            def work(x: torch.Tensor = x, w: torch.Tensor = w, grad: torch.Tensor = grad) -> None:
                y = F.conv2d(x, w, padding=1)
                if training:
                    torch.autograd.grad(y, (x, w), grad)

            work()
            seconds = min(timed(work, device) for _ in range(max(3, 2 * rounds)))
            best = max(best, flops / seconds)
    return best


def family(operation: str) -> str:
    """Which family of FAMILIES an operation belongs to."""
    for name, words in FAMILIES.items():
        if any(word in operation for word in words):
            return name
    return "other"


def shares(work: Callable[[], None]) -> dict[str, float]:
    """Fraction of the CPU's time in each family of operations, the largest first."""
    with profile(activities=[ProfilerActivity.CPU]) as p:
        work()
    total: dict[str, float] = {}
    for event in p.key_averages():
        name = family(event.key)
        total[name] = total.get(name, 0.0) + event.self_cpu_time_total
    whole = sum(total.values())
    return {k: v / whole for k, v in sorted(total.items(), key=lambda kv: -kv[1])}


def action(contender: Contender, mode: str, work: Work) -> Callable[[], None]:
    """What is timed."""
    if mode == "train":
        return lambda: contender.train_step(work)
    return lambda: contender.sample_loop(work)


def race(contenders: list[Contender], mode: str, work: Work, rounds: int) -> dict[str, list[float]]:
    """Network evaluations of one image per second (training: images/s), per round."""
    images = work.batch * (1 if mode == "train" else work.steps)
    rates: dict[str, list[float]] = {c.name: [] for c in contenders}
    for contender in contenders:
        action(contender, mode, work)()  # warm up, compile
    for r in range(rounds):
        turn = r % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            seconds = timed(action(contender, mode, work), work.device)
            rates[contender.name].append(images / seconds)
    return rates


def summary(rates: dict[str, list[float]], ours: str) -> dict[str, dict[str, float]]:
    """Median rate and the median over rounds of ours / theirs."""
    return {
        name: {
            "images_per_second": statistics.median(values),
            "slowest": min(values),
            "fastest": max(values),
            "ratio": statistics.median(a / b for a, b in zip(rates[ours], values, strict=True)),
        }
        for name, values in rates.items()
    }


def show(console: Console, title: str, rows: dict[str, dict[str, float]]) -> None:
    """A table of rates, ratios and fractions of the ceiling."""
    table = Table(title=title, title_justify="left")
    table.add_column("network")
    for head in ("images/s", "range", "sfumato is x times", "of ceiling"):
        table.add_column(head, justify="right")
    for name, row in rows.items():
        table.add_row(
            name,
            f"{row['images_per_second']:.0f}",
            f"{row['slowest']:.0f}-{row['fastest']:.0f}",
            "" if row["ratio"] == 1.0 else f"{row['ratio']:.2f}",
            f"{100 * row['of_ceiling']:.0f} %",
        )
    console.print(table)


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    models = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "amx": bool(probe()) if probe is not None else False,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "load_before": os.getloadavg()[0],
    }


def check_matched(ours: Contender, theirs: list[Contender], console: Console) -> dict[str, Any]:
    """Parameters and operations of all; stops if they differ by more than 5 %.

    Operations are compared as the networks are written; what is executed stands beside it.
    """
    sizes: dict[str, Any] = {}
    for c in (ours, *theirs):
        executed = c.flops()
        sizes[c.name] = {
            "parameters": c.parameters(),
            "flops": executed + c.saved(),
            "flops_executed": executed,
        }
    mine = sizes[ours.name]
    for name, size in sizes.items():
        p, f = (size[k] / mine[k] - 1 for k in ("parameters", "flops"))
        console.print(
            f"{name}: {size['parameters'] / 1e6:.3f} M parameters ({p:+.1%}), "
            f"{size['flops'] / 1e9:.3f} GFLOP per evaluation ({f:+.1%}), "
            f"{size['flops_executed'] / 1e9:.3f} executed"
        )
        if abs(p) > TOLERANCE or abs(f) > TOLERANCE:
            raise SystemExit(f"{name} is not matched within {TOLERANCE:.0%}")
    return sizes


def main(options: Options) -> None:
    """Measure, print, save."""
    console = Console(width=110)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.cpu_time:
        CLOCK[0] = time.process_time
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    rounds = 2 if options.quick else options.rounds
    report: dict[str, Any] = {
        "command": shlex.join(["python", "benchmarks/throughput.py", *sys.argv[1:]]),
        "commit": commit(HERE),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": options.seed,
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()},
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": rounds,
        "results": {},
    }
    report["options"].pop("out")
    ours = Sfumato(device)
    settings = [Settings(), *best_candidates(options.quick)]
    theirs: list[Contender] = [Diffusers(device, s) for s in settings]
    report["sizes"] = check_matched(ours, theirs, console)
    for dtype in (torch.float32, torch.bfloat16):
        work = Work(
            min(4, options.batch) if options.quick else options.batch, options.steps, dtype, device
        )
        for mode in ("train", "sample"):
            training = mode == "train"
            top = ceiling(dtype, device, training, rounds)
            rates = race([ours, *theirs], mode, work, rounds)
            rows = summary(rates, ours.name)
            if options.compile:
                others = [n for n in rows if n != ours.name]
                best = max(others, key=lambda n: rows[n]["images_per_second"])
                again: list[Contender] = [
                    Sfumato(device, compiled=True),
                    Diffusers(device, settings[others.index(best)], compiled=True),
                ]
                rows |= summary(race(again, mode, work, rounds), again[0].name)
                torch.compiler.reset()
            for name, row in rows.items():
                size = report["sizes"][name.removesuffix(", compiled")]["flops_executed"]
                done = row["images_per_second"] * size * (3 if training else 1)
                row["of_ceiling"] = done / top
            parts = shares(action(ours, mode, work))
            key = f"{mode} {str(dtype).removeprefix('torch.')}"
            report["results"][key] = {"ceiling_flops": top, "rows": rows, "our_time": parts}
            show(console, f"{key}, batch {work.batch}, ceiling {top / 1e9:.0f} GFLOP/s", rows)
            worst = ", ".join(f"{k} {100 * v:.0f} %" for k, v in list(parts.items())[:6])
            console.print(f"our time: {worst}\n")
    report["machine"]["load_after"] = os.getloadavg()[0]
    report["diffusers"] = __import__("diffusers").__version__
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"results in {options.out}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))

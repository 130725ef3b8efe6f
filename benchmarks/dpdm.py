"""What a private gradient costs, beside a plain one and others' ways.

    python benchmarks/dpdm.py cost           # some twenty minutes of one core
    python benchmarks/dpdm.py cost --quick   # a check that it runs, into build/

`cost`: draws per second of one private gradient: K draws of every record, its gradient, clipping,
the sum. All contenders get the same network, inputs, targets and clipping:

* ours: `sfumato.systems.dpdm.per_example`;
* plain: forward and backward pass of the mean loss of as many draws, nothing private;
* opacus: `GradSampleModule`'s hooks on records · K draws, then the mean over K;
* torch.func: vmap(grad) over the records, their K draws inside;
* one at a time: a backward pass for each record.

Opacus' hooks see the weights of modules only, and our U-Net calls some of its weights as plain
functions, so this is a U-Net without those (`HOOKED`); ours and plain run on the recipe's own one
too. Nobody is timed whose gradients of single records differ from ours by more than 1e-4 in
float32 (0.1 in bfloat16, which has 8 bits). Opacus 1.6 fails that as it is: it unfolds a
convolution's input as if it lay in memory row by row, and silently gets other gradients where it
lies with its channels last. It is timed with the input copied first where need be, with its own
rule for group norms applied to ours, and in the better of both memory formats.

Everyone takes the fastest of a few numbers of draws at once (`CHUNKS`, as far as `GRADIENTS`
allows), found by processor time; then all take turns. A ratio is the median over rounds of the
ratio within a round, by wall clock (`over_plain`) and by processor time (`over_plain_cpu`); where
the process `waited` for others much of the time, trust the latter. `mib` is the peak of a process
of its own at 64 draws at once, above what it had after building the network and one plain step of
one draw. `difference` is the largest relative distance of a record's gradient from ours, and for
ours from that of one at a time.
Results go to `benchmarks/results/dpdm-cost.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sfumato.nn import UNet

sys.path.insert(0, str(Path(__file__).parent))
from dpdm_contenders import (
    CHANNELS_LAST,
    CLIP,
    ROWS,
    SEED,
    Contender,
    Functional,
    OneAtATime,
    Opacus,
    OpacusAsItIs,
    Ours,
    Plain,
    Work,
    build,
    laid_out,
    networks,
)
from written import write

HERE = Path(__file__).parent
KS = (1, 8, 32)
CHUNKS = (32, 64, 128, 256, 512)
GRADIENTS = 2**30
"""Bytes that one float32 gradient for each draw of a chunk may take; bounds everyone's chunk."""
MEMORY_CHUNK = 64
LARGEST = {"float32": 1e-4, "bfloat16": 0.1}
"""Largest relative difference of one record's gradient from ours."""

HOOKED_RACE = (Plain, Ours, Opacus, Functional, OneAtATime)
OWN_RACE = (Plain, Ours)


def racers(name: str) -> tuple[type[Contender], ...]:
    """Who runs on a network."""
    return HOOKED_RACE if "hooked" in name else OWN_RACE


def difference(contender: Contender, ours: Contender, network: UNet) -> float:
    """Largest relative distance of a record's gradient from ours, for K below and at `MANY`."""
    worst = 0.0
    for k, records in ((1, 4), (8, 3)):
        work = Work.make(network, k * records)
        flat = []
        for c in (contender, ours):
            with laid_out(c.memory):
                flat.append(torch.cat([g.float().flatten(1) for g in c.per_record(work, k)], 1))
        gap = (flat[0] - flat[1]).norm(dim=1) / flat[1].norm(dim=1)
        worst = max(worst, float(gap.max()))
    return worst


def clocked(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of wall clock and of processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def fastest(call: Callable[[], Any], spend: float = 0.4, most: int = 5) -> float:
    """Fewest processor seconds of a few calls; of one if it takes long."""
    spent: list[float] = []
    while not spent or (sum(spent) < spend and len(spent) < most):
        spent.append(clocked(call)[1])
    return min(spent)


@dataclass
class Race:
    """The contenders on one network in one precision."""

    name: str
    precision: str
    network: UNet
    quick: bool
    contenders: list[Contender] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    refused: list[dict[str, Any]] = field(default_factory=list)
    chosen: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def bf16(self) -> bool:
        """Whether under autocast."""
        return self.precision == "bfloat16"

    def admit(self) -> None:
        """Everyone who gets our gradients, each in its fastest memory format."""
        ours = Ours(self.network, self.bf16)
        slow = OneAtATime(self.network, self.bf16)
        self.differences["ours"] = difference(slow, ours, self.network)
        if not self.differences["ours"] <= LARGEST[self.precision]:
            raise SystemExit(f"ours is wrong on {self.name}: {self.differences['ours']}")
        kinds = [*racers(self.name)]
        if Opacus in kinds:
            kinds.append(OpacusAsItIs)
        for kind in kinds:
            contender = kind(self.network, self.bf16)
            if isinstance(contender, Plain | Ours):
                self.contenders.append(contender)
                continue
            times: dict[torch.memory_format, float] = {}
            reasons = []
            for memory in contender.formats:
                contender.memory = memory
                try:
                    gap = difference(contender, ours, self.network)
                except RuntimeError as error:  # torch.func: no batching rule
                    reasons.append({"format": str(memory), "error": str(error)[:200]})
                    continue
                if not gap <= LARGEST[self.precision]:
                    reasons.append({"format": str(memory), "difference": gap})
                    continue
                self.differences[kind.name] = max(self.differences.get(kind.name, 0.0), gap)
                if len(contender.formats) > 1:
                    work = Work.make(self.network, 32)
                    times[memory] = fastest(lambda c=contender, w=work: c.gradient(w, 8, 32))
                else:
                    times[memory] = 0.0
            if reasons:
                about = {"network": self.name, "precision": self.precision, "contender": kind.name}
                self.refused += [{**about, **reason} for reason in reasons]
            if times and kind is not OpacusAsItIs:
                contender.memory = min(times, key=times.__getitem__)
                self.contenders.append(contender)

    def choose(self, contender: Contender, k: int) -> int:
        """Draws at once. Plain and Opacus do the same whatever K is, and choose once."""
        if not contender.chooses:
            return k
        key = (contender.name, 0 if isinstance(contender, Plain | Opacus) else k)
        if key not in self.chosen:
            most = GRADIENTS / (4 * sum(p.numel() for p in self.network.parameters()))
            works = [Work.make(self.network, n) for n in CHUNKS if n <= max(most, CHUNKS[0])]
            times: dict[int, float] = {}
            for turn in range(1 if self.quick else 4):
                for work in works[:1] if self.quick else works:
                    n = len(work)
                    _, cpu = clocked(lambda w=work, n=n: contender.gradient(w, k, n))
                    if turn or self.quick:  # whoever meets a shape first pays for its kernels
                        times[n] = min(cpu / n, times.get(n, math.inf))
            self.chosen[key] = min(times, key=times.__getitem__)
        return self.chosen[key]

    def run(self, k: int, rounds: int, least: int) -> list[dict[str, Any]]:
        """All in turn, at least ``least`` draws each time; a row for each."""
        plan = []
        for c in self.contenders:
            chunk = self.choose(c, k)
            work = Work.make(self.network, max(least, chunk))
            if not c.chooses:
                c.gradient(work.rows(0, k), k, k)  # the others are warm
            plan.append((c, chunk, work))
        taken: dict[str, list[tuple[float, ...]]] = {c.name: [] for c in self.contenders}
        for r in range(rounds):
            turn = r % len(plan)
            for c, chunk, work in plan[turn:] + plan[:turn]:
                call = lambda c=c, w=work, n=chunk: c.gradient(w, k, n)  # noqa: E731
                taken[c.name].append(tuple(s / len(work) for s in clocked(call)))
        rows = []
        for c, chunk, _ in plan:
            wall, cpu = zip(*taken[c.name], strict=True)
            row = {
                "network": self.name,
                "precision": self.precision,
                "k": k,
                "contender": c.name,
                "chunk": chunk,
                "records": chunk // k,
                "format": "channels last" if c.memory is CHANNELS_LAST else "rows",
                "draws_per_s": 1 / statistics.median(wall),
                "examples_per_s": 1 / (k * statistics.median(wall)),
                "draws_per_cpu_s": 1 / statistics.median(cpu),
                "waited": 1 - sum(cpu) / sum(wall),
                "over_plain": ratio(taken[c.name], taken["plain"], 0),
                "over_plain_cpu": ratio(taken[c.name], taken["plain"], 1),
            }
            if c.name in self.differences:
                row["difference"] = self.differences[c.name]
            if c.name == "ours" and "opacus" in taken:
                row["opacus_over_ours"] = ratio(taken["opacus"], taken["ours"], 0)
                row["opacus_over_ours_cpu"] = ratio(taken["opacus"], taken["ours"], 1)
            rows.append(row)
        return rows


def ratio(a: list[tuple[float, ...]], b: list[tuple[float, ...]], clock: int) -> float:
    """Median over rounds of a's time over b's."""
    return statistics.median(x[clock] / y[clock] for x, y in zip(a, b, strict=True))


def peak() -> float:
    """MiB that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(name: str, precision: str, rows: Sequence[str]) -> list[dict[str, Any]]:
    """Peak of everyone at `MEMORY_CHUNK` draws at once, each in a process forked for it.

    Those named in ``rows`` run in contiguous memory. To be called in a process that has computed
    nothing yet.
    """
    found = []
    for kind in racers(name):
        for k in KS[:1] if kind is Plain else KS:
            read, write = os.pipe()
            if (child := os.fork()) == 0:
                network = build(name)
                contender = kind(network, precision == "bfloat16")
                contender.memory = ROWS if kind.name in rows else CHANNELS_LAST
                work = Work.make(network, MEMORY_CHUNK)
                Plain(network, precision == "bfloat16").gradient(work.rows(0, 1), 1, 1)
                for p in network.parameters():
                    p.grad = None
                before = peak()
                contender.gradient(work, k, MEMORY_CHUNK)
                os.write(write, str(peak() - before).encode())
                os._exit(0)
            os.close(write)
            with os.fdopen(read) as pipe:
                text = pipe.read()
            os.waitpid(child, 0)
            found.append({"contender": kind.name, "k": k, "mib": float(text) if text else None})
    return found


def peaks(race: Race) -> dict[tuple[str, int], float | None]:
    """`memory`, in a fresh process."""
    words = [sys.executable, __file__, "memory", "--network", race.name]
    words += ["--precision", race.precision, "--rows"]
    words += [c.name for c in race.contenders if c.memory is ROWS]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout.splitlines()[-1])
    found = {(row["contender"], row["k"]): row["mib"] for row in rows}
    return found | {("plain", k): found["plain", KS[0]] for k in KS}


def cost(quick: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All rows, and who was refused."""
    rows, refused = [], []
    for name in networks():
        for precision in ("float32", "bfloat16"):
            start = time.perf_counter()
            race = Race(name, precision, build(name), quick)
            race.admit()
            refused += race.refused
            large = name.startswith("paper")
            rounds, least = (5, 32) if large else (9, 128)
            mib = peaks(race) if not quick else {}
            for k in KS:
                found = race.run(k, 1 if quick else rounds, 32 if quick else least)
                for row in found:
                    row["mib"] = mib.get((row["contender"], k))
                    print(line(row), flush=True)
                rows += found
            print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    for row in refused:
        print("refused:", row)
    return rows, refused


def line(row: dict[str, Any]) -> str:
    """One row for people."""
    mib = "" if row["mib"] is None else f"{row['mib']:7.0f} MiB"
    beside = row.get("opacus_over_ours")
    return (
        f"{row['network']:15s} {row['precision']:9s} K={row['k']:<3d} {row['contender']:14s} "
        f"{row['chunk']:4d} at once {row['draws_per_s']:8.1f} draws/s  "
        f"{row['over_plain']:5.2f} x plain ({row['over_plain_cpu']:5.2f} cpu) {mib}"
        + (f"  opacus/ours {beside:.2f}" if beside else "")
    )


def side_by_side(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each network, precision and K, with a column for each contender."""
    made: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in rows:
        key = (row["network"], row["precision"], row["k"])
        wide = made.setdefault(key, dict(zip(("network", "precision", "k"), key, strict=True)))
        name = row["contender"].replace("torch.func", "func").replace(" ", "_")
        keep = ("chunk", "draws_per_s", "over_plain", "over_plain_cpu", "mib")
        wide[name] = {k: row[k] for k in keep}
        if "opacus_over_ours" in row:
            wide["opacus_over_ours"] = row["opacus_over_ours"]
    return list(made.values())


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("cost", "memory"))
    parser.add_argument("--quick", action="store_true", help="little of everything, into build/")
    parser.add_argument("--network", choices=tuple(networks()), help="for memory")
    parser.add_argument("--precision", choices=tuple(LARGEST), help="for memory")
    parser.add_argument("--rows", nargs="*", default=[], help="for memory")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Opacus: first inputs need no gradient; vmap: slow attention
    out = HERE.parent / "build" if asked.quick else HERE / "results"
    if asked.what == "memory":
        print(json.dumps(memory(asked.network, asked.precision, asked.rows)))
    else:
        rows, refused = cost(asked.quick)
        settings = {
            "clip": CLIP, "chunks": CHUNKS, "gradients": GRADIENTS, "memory_chunk": MEMORY_CHUNK,
        }  # fmt: skip
        sizes = {n: sum(p.numel() for p in build(n).parameters()) for n in networks()}
        write(
            out / "dpdm-cost.json", SEED, rows, settings={**settings, "parameters": sizes},
            table=side_by_side(rows), refused=refused,
        )  # fmt: skip
        print(f"written to {out / 'dpdm-cost.json'}")


if __name__ == "__main__":
    main()

"""Where the randomness that privacy rests upon comes from.

Three kinds of numbers decide whether a record can be found out: which records take part in a
step, the noise on the sum, and, less so, the draws inside a record's own loss. A seed that
someone else may know or guess protects nobody, so unless a run is marked as not private its
secret comes from the operating system and is never stored.

* ``FRESH``: a 256-bit secret per process keys a counter-based generator (Philox) for every step.
  Good statistics and no seed to guess, but not a cipher.
* ``SECURE``: the operating system's cryptographic generator gives every single number, and each
  Gaussian is the normalised sum of four, against attacks on the low bits of floating-point noise
  (Holohan and Braghin 2021, arXiv 2107.10138). About ten times slower, still a small part of a
  step.
* ``REPRODUCIBLE``: everything follows from the seed. **Not private**; for tests and debugging.

torch's own CPU generator is not used for noise: it keeps 32 bits of a seed, which can be tried out.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterable
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.seeds import fold, generator
from sfumato.systems.dpdm.options import Randomness


@final
class RandomSource:
    """The random numbers of one process of a run.

    Args:
        kind: where they come from.
        seed: what they follow from if they are reproducible; not used otherwise.
    """

    def __init__(self, kind: Randomness, seed: int = 0) -> None:
        self.kind = kind
        self._secret = secrets.randbits(256) if kind.private else seed
        self._mark = seed if not kind.private else secrets.randbits(62)

    def _keyed(self, purpose: int, step: int) -> np.random.Generator:
        key = [self._secret, purpose, step]
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))

    def chosen(self, step: int, records: int, rate: float) -> NDArray[np.int64]:
        """Poisson sampling: each of ``records`` on its own with probability ``rate``; sorted."""
        if self.kind is Randomness.SECURE:
            u = _uniforms(records)
        else:
            u = self._keyed(0, step).random(records)
        return np.flatnonzero(u < rate)

    def normal(self, step: int, like: Iterable[Tensor]) -> list[Tensor]:
        """Standard normal float32 numbers, shaped and placed like these tensors."""
        rng = None if self.kind is Randomness.SECURE else self._keyed(1, step)
        made = []
        for p in like:
            if rng is None:
                z = _secure_normals(p.numel()).astype(np.float32)
            else:
                z = rng.standard_normal(p.numel(), dtype=np.float32)
            made.append(torch.from_numpy(z).reshape(p.shape).to(p.device))
        return made

    def record(self, step: int, record: int) -> torch.Generator:
        """The generator of a record's own draws: its times, its noise, whether its label hides.

        It depends on the record's number and not on its place in the batch, so that a record more
        or less leaves every other record's contribution as it was.
        """
        return generator(fold(self._mark, "private"), step, record)


def _uniforms(n: int) -> NDArray[np.float64]:
    """n numbers of 53 random bits in (0, 1), from the operating system."""
    bits = np.frombuffer(os.urandom(8 * n), dtype=np.uint64) >> np.uint64(11)
    return (bits.astype(np.float64) + 0.5) * 2.0**-53


def _secure_normals(n: int) -> NDArray[np.float64]:
    """n standard normals, each (z₁ + z₂ + z₃ + z₄)/2 of Box and Muller's."""
    total = np.zeros(n)
    for _ in range(2):  # a pair at a time keeps the memory small
        u, v = _uniforms(n), _uniforms(n)
        radius, angle = np.sqrt(-2 * np.log(u)), 2 * math.pi * v
        total += radius * (np.cos(angle) + np.sin(angle))
    return total / 2

"""Randomness by counters: what is drawn depends on a seed and a path, on nothing else.

A generator is derived by hashing ``(seed, *path)``. Sample *i* of a run uses
``generators(seed, [i])``, so that it never depends on the batch or the process that it is
drawn in; step *n* of a training uses ``generator(seed, "train", n)``, so that a resumed run
needs no stored generator state.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor


class NumberSource(ABC):
    """Numbers from elsewhere, wherever a generator may be given: in walks, noising and losses."""

    @abstractmethod
    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers of ``shape``, the batch first."""

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Uniform numbers in [0, 1) of ``shape``; by default those of torch's global generator."""
        return torch.rand(shape, dtype=torch.float64)


@final
class Replay(NumberSource):
    """Given draws, one after the other: those of another solver, or of one Brownian path.

    Args:
        draws: each as a step asks for it, (B, ...).

    Raises:
        ValueError: more draws are asked for than there are, or one of another shape.
    """

    def __init__(self, draws: Iterable[Tensor]) -> None:
        self.draws = iter(draws)
        self.count = 0

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """The next of the draws."""
        made = next(self.draws, None)
        if made is None or tuple(made.shape) != shape:
            have = "no more" if made is None else f"one of shape {tuple(made.shape)}"
            raise ValueError(f"expected draw {self.count} of shape {shape}, got {have}")
        self.count += 1
        return made


Generators = torch.Generator | Sequence[torch.Generator] | NumberSource | None
"""None (torch's global generator), one for the whole batch, one per sample, or other numbers."""


def fold(seed: int, *path: int | str) -> int:
    """A 63-bit integer that depends on the seed and on every element of the path."""
    text = "/".join([str(int(seed)), *(str(p) for p in path)])
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *path: int | str) -> torch.Generator:
    """A CPU generator for one purpose, e.g. ``generator(0, "train", step)``."""
    return torch.Generator().manual_seed(fold(seed, *path))


def generators(seed: int, indices: Iterable[int]) -> list[torch.Generator]:
    """One CPU generator per sample; the one of sample ``i`` depends on ``(seed, i)`` alone."""
    return [generator(seed, "sample", int(i)) for i in indices]


def children(n: int, generator: Generators) -> list[int]:
    """Seeds for n samples, one of each sample's own generator, or one for all of a common one.

    However much is drawn from generators that have these seeds, those they come from move by one
    number.

    Raises:
        ValueError: the number of generators is not n.
    """
    alone = generator is None or isinstance(generator, torch.Generator)
    return [int(u * 2**53) for u in rand((1 if alone else n, 1), generator)[:, 0].tolist()]


def rand(shape: Sequence[int], generator: Generators) -> Tensor:
    """Uniform numbers in [0, 1) of ``shape``, float64 on the CPU; its first axis is the batch.

    Args:
        shape: shape of the result, the batch first.
        generator: ``None``, one generator, one for each sample, or a `NumberSource`.

    Raises:
        ValueError: the number of generators is not the batch size.
    """
    if generator is None or isinstance(generator, torch.Generator):
        device = "cpu" if generator is None else generator.device
        made = torch.rand(tuple(shape), generator=generator, dtype=torch.float64, device=device)
        return made.cpu()
    if isinstance(generator, NumberSource):
        return generator.uniform(tuple(shape)).double().cpu()
    _one_each(shape, generator)
    rows = [
        torch.rand(tuple(shape[1:]), generator=g, dtype=torch.float64, device=g.device).cpu()
        for g in generator
    ]
    return torch.stack(rows)


def _one_each(shape: Sequence[int], generator: Sequence[torch.Generator]) -> None:
    if len(generator) != shape[0]:
        raise ValueError(
            f"expected one generator per sample, {shape[0]} of them, got {len(generator)}"
        )


def randn(
    shape: Sequence[int], generator: Generators, *, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Standard normal numbers of ``shape``; its first axis is the batch.

    Args:
        shape: shape of the result, the batch first.
        generator: ``None``, one generator, one for each sample, or a `NumberSource`.
        dtype: floating-point type of the result; numbers are drawn in float32 or wider.
        device: device of the result; numbers are drawn on the generator's own device.

    Raises:
        ValueError: the number of generators is not the batch size.
    """
    wide = dtype if dtype in (torch.float32, torch.float64) else torch.float32
    if generator is None:
        return torch.randn(tuple(shape), dtype=wide, device=device).to(dtype)
    if isinstance(generator, torch.Generator):
        z = torch.randn(tuple(shape), generator=generator, dtype=wide, device=generator.device)
        return z.to(device=device, dtype=dtype)
    if isinstance(generator, NumberSource):
        return generator.normal(tuple(shape)).to(device=device, dtype=dtype)
    _one_each(shape, generator)
    rows = [
        torch.randn(tuple(shape[1:]), generator=g, dtype=wide, device=g.device) for g in generator
    ]
    return torch.stack(rows).to(device=device, dtype=dtype)


def splitmix64(place: np.ndarray, start: int | np.uint64 = 0) -> np.ndarray:
    """Elements of the stream of SplitMix64 (Steele, Lea, Flood 2014), uint64, any on its own.

    Args:
        place: which elements, uint64, from 1 on.
        start: the generator's state before the first.
    """
    with np.errstate(over="ignore"):  # modulo 2^64
        z: np.ndarray = place * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

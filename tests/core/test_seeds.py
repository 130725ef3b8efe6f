"""Randomness by counters."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

import sfumato as sf
from sfumato.seeds import fold, randn


def normal(shape: tuple[int, ...], generator: object, dtype: torch.dtype = torch.float32) -> object:
    return randn(shape, generator, dtype=dtype, device=torch.device("cpu"))  # type: ignore[arg-type]


def test_a_sample_depends_on_its_seed_and_index_alone() -> None:
    whole = normal((6, 3), sf.generators(7, range(6)))
    part = normal((2, 3), sf.generators(7, [4, 1]))
    assert torch.equal(part, whole[[4, 1]])
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole, normal((6, 3), sf.generators(8, range(6))))


def test_a_path_decides_the_draw() -> None:
    one = torch.rand(3, generator=sf.generator(0, "train", 5))
    assert torch.equal(one, torch.rand(3, generator=sf.generator(0, "train", 5)))
    for other in (
        sf.generator(0, "train", 6),
        sf.generator(0, "data", 5),
        sf.generator(1, "train", 5),
    ):
        assert not torch.equal(one, torch.rand(3, generator=other))


@given(seed=st.integers(-(2**63), 2**64), step=st.integers(0, 10**9))
def test_folding_takes_any_seed(seed: int, step: int) -> None:
    number = fold(seed, "train", step)
    assert 0 <= number < 2**63
    assert number != fold(seed, "train", step + 1)


def test_folded_values_never_change() -> None:
    """Checkpoints rely on them: a new value here breaks every resumed run."""
    assert fold(0) == 4246866556266386882


def test_one_generator_draws_in_turn() -> None:
    g = torch.Generator().manual_seed(0)
    want = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(normal((2, 3), g), want)
    assert not torch.equal(normal((2, 3), g), want)


def test_low_precision_is_drawn_wide() -> None:
    g = lambda: sf.generators(0, range(2))  # noqa: E731
    half = normal((2, 5), g(), torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, normal((2, 5), g()).to(torch.bfloat16))  # type: ignore[attr-defined]

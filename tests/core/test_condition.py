"""One type for what a model is told: how it is made, and what becomes of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.condition import NOTHING, Condition, ImageCondition
from sfumato.nn import Encoded, Prompt

LABELS = torch.tensor([[1], [0], [2]])
TOKENS = torch.arange(6.0).reshape(3, 2, 1)
PROMPT = Prompt((Encoded(TOKENS, torch.ones(3, 2).bool(), torch.ones(3, 1)),))
IMAGE = torch.arange(3 * 2 * 2 * 2.0).reshape(3, 2, 2, 2)


def numbers(cond: Condition) -> Tensor:
    """What is told, as a tensor."""
    return cond.told.encoded[0].tokens if isinstance(cond.told, Prompt) else cond.told


def test_what_a_tensor_or_prompt_means() -> None:
    assert Condition.of(None).told is None and NOTHING.image is None
    assert Condition.of(LABELS).labels is LABELS is Condition.of(LABELS).told
    assert Condition.of(LABELS.float()).embedding is not None
    assert Condition.of(PROMPT).prompt is PROMPT is Condition.of(PROMPT).told
    both = ImageCondition(IMAGE, LABELS)
    assert Condition.of(both) is both and both.image is IMAGE and both.labels is LABELS
    assert both.unlabelled().told is None and both.unlabelled().image is IMAGE
    assert both.telling(PROMPT).prompt is PROMPT and both.telling(PROMPT).image is IMAGE


@pytest.mark.parametrize("told", [LABELS, LABELS.float(), PROMPT])
def test_rows_of_samples_and_of_one_for_all(told: Tensor | Prompt) -> None:
    rows = torch.tensor([2, 0])
    some = ImageCondition(IMAGE, told).rows(rows)
    assert torch.equal(some.image, IMAGE[rows])
    assert torch.equal(numbers(some), numbers(Condition.of(told))[rows])
    one = ImageCondition(IMAGE[:1], told[:1]).rows(rows)
    assert len(one.told) == 2 and len(one.image) == 1
    assert torch.equal(numbers(one)[0], numbers(one)[1])
    assert NOTHING.rows(rows).told is None
    moved = ImageCondition(IMAGE, told).to("meta")
    assert moved.image.device.type == numbers(moved).device.type == "meta"


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="labels, an embedding or a prompt, got 2"):
        Condition(labels=LABELS, prompt=PROMPT)
    with pytest.raises(ValueError, match=r"labels of integers, got torch\.float32"):
        Condition(labels=LABELS.float())


def test_verbs_and_denoisers_take_plain_tensors() -> None:
    """Labels as they are, and inside a condition."""
    seen: list[Condition] = []

    class Witness(sf.Denoiser):
        process = sf.Scheduled(sf.EDM())

        def forward(self, x_t, t, cond=NOTHING, generator=None):  # type: ignore[no-untyped-def]
            seen.append(cond)
            return torch.zeros_like(x_t)

    x, denoiser, times = torch.zeros(3, 2), Witness(), torch.tensor([0.5, 0.0])
    for cond in (LABELS, Condition(labels=LABELS)):
        denoiser(x, 0.5, cond)
        sf.sample(denoiser, sf.solve.Euler(), times, x, cond=cond)
        sf.denoising_loss(denoiser, x, 0.5, cond=cond)
    sf.sample(denoiser, sf.solve.Euler(), times, x)
    assert len(seen) == 7
    assert all(c.labels is LABELS for c in seen[:-1]) and seen[-1].told is None


def test_lists_and_arrays_mean_what_their_tensors_mean() -> None:
    for labels in ([3, 1], (3, 1), np.array([3, 1]), np.array([3, 1], np.int32)):
        for made in (Condition.of(labels), Condition(labels=labels)):  # type: ignore[arg-type]
            assert made.labels is not None and made.labels.tolist() == [3, 1]
    assert Condition.of([[0.5, 1.0]]).embedding.tolist() == [[0.5, 1.0]]  # type: ignore[union-attr]
    image = ImageCondition(torch.zeros(1, 1, 2, 2), [4])
    assert image.labels is not None and image.labels.tolist() == [4]
    for wrong in (["Sneaker"], "Sneaker", {"label": 3}, [None]):
        with pytest.raises(ValueError, match="expected (numbers as )?a condition"):
            Condition.of(wrong)  # type: ignore[arg-type]

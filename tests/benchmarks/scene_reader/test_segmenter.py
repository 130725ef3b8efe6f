"""The network that says of every pixel what it is: shapes, any resolution, nothing left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scene_reader.segmenter import Segmented, Segmenter, SegmenterConfig

CONFIG = SegmenterConfig(3, 5, (4, 2), channels=16, multipliers=(1, 2, 3))


def filled(config: SegmenterConfig = CONFIG) -> Segmenter:
    """With weights none of which is zero."""
    made = Segmenter(config).eval()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return made


def test_it_speaks_of_pixels_and_of_the_whole_at_any_resolution() -> None:
    network = filled()
    for h, w in ((8, 8), (16, 12)):
        said = network(torch.randn(2, 3, h, w))
        assert said.pixels.shape == (2, 5, h, w)
        assert [axis.shape for axis in said.labels] == [(2, 4), (2, 2)]
        assert said.present.shape == (2, 4)
        assert said.features.shape == (2, network.width) and network.width == 16 + 48


def test_a_picture_does_not_depend_on_its_batch() -> None:
    network, x = filled(), torch.randn(3, 3, 8, 8)
    whole, alone = network(x), network(x[1:2])
    torch.testing.assert_close(whole.pixels[1:2], alone.pixels, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole.features[1:2], alone.features, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_is_said_of_a_pixel_depends_on_far_ones_and_moves_with_the_picture() -> None:
    """The middle attends everywhere; fine detail comes through the skips of each level."""
    network, x = filled(), torch.randn(1, 3, 16, 16)
    before = network(x).pixels
    x[0, :, 15, 15] += 3
    gap = (network(x).pixels - before).abs().amax(1)[0]
    assert float(gap[15, 15]) > 10 * float(gap[0, 0]) > 0


def test_every_weight_is_trained() -> None:
    network = filled().train()
    said: Segmented = network(torch.randn(4, 3, 16, 16))
    parts = [said.pixels, *said.labels, said.present]
    torch.stack([p.square().mean() for p in parts]).sum().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None and bool(p.grad.abs().max() > 0), name


def test_the_labels_do_not_see_dropout_when_it_is_used() -> None:
    network = Segmenter(SegmenterConfig(3, 5, (4,), 16, (1, 2), dropout=0.5)).eval()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(x).labels[0], network(x).labels[0])
    network.train()
    assert not torch.equal(network(x).labels[0], network(x).labels[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"in_channels": 0}, "in_channels >= 1, got 0"),
        ({"classes": 1}, "classes >= 2, got 1"),
        ({"channels": 0}, "channels >= 1, got 0"),
        ({"labels": ()}, r"one or more labels, each >= 1, got \(\)"),
        ({"labels": (3, 0)}, r"labels, each >= 1, got \(3, 0\)"),
        ({"multipliers": ()}, r"one or more multipliers, each >= 1, got \(\)"),
        ({"dropout": 1.0}, "dropout < 1, got 1.0"),
    ],
)
def test_sizes_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"in_channels": 3, "classes": 5, "labels": (4,)}
    with pytest.raises(ValueError, match=message):
        SegmenterConfig(**right | settings)


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 6, 8), (2, 3, 8, 10), (3, 8, 8)])
def test_pictures_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(B, 3, H, W\), H and W divisible by 4, got"):
        Segmenter(CONFIG)(torch.zeros(shape))

"""What text to image is trained on: sizes, worsened pictures, sentences and examples of style."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.errors import UsageError
from sfumato.loss import LogNormal
from sfumato.nn import Prompt
from sfumato.systems.ediffi import recipe as imagine
from sfumato.systems.ediffi.data import Captioned
from sfumato.systems.ediffi.experts import Node
from sfumato.systems.ediffi.options import Config, node_of
from sfumato.systems.ediffi.prompt_data import DEGRADATION, PromptData, downsampled, upsampled
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder
from sfumato.systems.ediffi.recipe import part_of
from tiny_prompted import configs
from toy_captioned import COLOURS, squares
from toy_emoji import write_toy_emoji

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

# ----------------------------------------------------------------------------------------- pictures


def test_downsampled_is_the_mean_over_areas() -> None:
    x = torch.rand(2, 3, 12, 12)
    torch.testing.assert_close(
        downsampled(x, 4), x.unflatten(3, (4, 3)).unflatten(2, (4, 3)).mean((3, 5))
    )
    assert downsampled(x, 12) is x


def cubic(d: float) -> float:
    """Keys' kernel with a = -3/4 at a distance."""
    a, d = -0.75, abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def test_upsampled_is_bicubic_and_stays_in_range() -> None:
    """Pixels are areas: the centre of fine pixel k is at (k + 1/2)/2 - 1/2; the border repeats."""
    x = torch.rand(8, dtype=torch.float64, generator=sf.generator(3)) - 0.5
    centres = (torch.arange(16, dtype=torch.float64) + 0.5) / 2 - 0.5
    want = torch.tensor(
        [
            sum(cubic(c - i) * float(x[min(max(i, 0), 7)]) for i in range(-3, 11))
            for c in centres.tolist()
        ]
    )
    for picture in (x.expand(1, 1, 8, 8), x.expand(1, 1, 8, 8).mT):
        got = upsampled(picture, 16)[0, 0]
        got = got if picture.stride(-1) else got.mT
        torch.testing.assert_close(got, want.double().expand(16, 16))
    edge = torch.where(torch.arange(8) < 4, -1.0, 1.0).expand(1, 1, 8, 8)
    assert float(upsampled(edge, 16).abs().max()) == 1  # the kernel overshoots


def convolved(x: np.ndarray, width: float) -> np.ndarray:
    """(H, W) under a Gaussian of five by five pixels, mirrored at the border, by the sum itself."""
    at = np.arange(-2, 3)
    bell = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * width**2))
    bell /= bell.sum()
    wide = np.pad(x, 2, mode="symmetric")
    made = np.zeros_like(x)
    for i in range(5):
        for j in range(5):
            made += bell[i, j] * wide[i : i + x.shape[0], j : j + x.shape[1]]
    return made


def test_small_pictures_are_blurred_and_noisy_by_widths_of_their_own() -> None:
    """Against the sum over five by five pixels, and the very numbers that are drawn."""
    x = torch.rand(6, 3, 7, 9, dtype=torch.float64, generator=sf.generator(1)) * 2 - 1
    got = DEGRADATION(x, sf.generators(2, range(6)))
    for i in range(6):
        g = sf.generators(2, [i])
        u, v = sf.seeds.rand((1, 1), g), sf.seeds.rand((1, 1), g)[0, 0]
        noise = sf.seeds.randn((1, 3, 7, 9), g, dtype=x.dtype, device=x.device)[0]
        for c in range(3):
            blurred = convolved(x[i, c].numpy(), 0.1 * 8 ** float(u))
            want = torch.from_numpy(blurred) + 0.15 * v * noise[c]
            torch.testing.assert_close(got[i, c], want, rtol=1e-12, atol=1e-12)


def test_what_is_worse_follows_from_each_picture_s_generator() -> None:
    x = torch.rand(5, 3, 6, 6, generator=sf.generator(1))
    every = DEGRADATION(x, sf.generators(4, range(5)))
    assert torch.equal(every, DEGRADATION(x, sf.generators(4, range(5))))
    torch.testing.assert_close(every[[3, 1]], DEGRADATION(x[[3, 1]], sf.generators(4, [3, 1])))
    assert not torch.equal(every, DEGRADATION(x, sf.generators(5, range(5))))


def test_the_noise_of_worsened_pictures() -> None:
    """Deviations uniform on [0, .15]; a constant keeps its mean."""
    n, side = 1500, 16
    x = torch.full((n, 3, side, side), 0.4, dtype=torch.float64)
    rest = DEGRADATION(x, sf.generators(0, range(n))) - x
    deviation = rest.flatten(1).std(1)
    slack = 0.15 * 4 / (2 * 3 * side**2) ** 0.5  # four standard errors of one deviation
    assert float(deviation.min()) >= 0 and float(deviation.max()) < 0.15 + slack
    steps = torch.arange(1, n + 1, dtype=torch.float64) / n
    gap = (deviation.sort().values / 0.15 - steps).abs().max()
    assert float(gap) < 1.95 / n**0.5 + slack / 0.15  # Kolmogorov's distance from uniform, .1 %
    means = rest.mean((1, 2, 3)) * (3 * side**2) ** 0.5 / deviation
    assert abs(float(means.mean())) < 4 / n**0.5 and float(means.std()) == pytest.approx(1, abs=0.1)


# ------------------------------------------------------------------------------------ configuration


def test_nodes() -> None:
    assert node_of("3.7") == Node(3, 7) and node_of("0.0") == Node(0, 0)
    assert Config(start=Path("m"), split=("3.7", "3.0"), expert=2).nodes == (Node(3, 7), Node(3, 0))
    for text in ("3", "3.", ".7", "3.8", "-1.0", "3.7.1", "three.seven", "", "3,7"):
        with pytest.raises(UsageError, match="expected nodes LEVEL.INDEX such as 3.7, got") as e:
            node_of(text)
        assert repr(text) in str(e.value)


GOOD: dict[str, Any] = {"start": Path("m"), "split": ("3.7", "3.0"), "expert": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hide": (0.1,)}, r"--hide: expected a number in \[0, 1\] for each of the 3 encoders"),
        ({"hide": (0.1, 0.1, 1.1)}, r"--hide: .*got \(0.1, 0.1, 1.1\)"),
        ({"hide": (0.1, float("nan"), 0.1)}, "--hide"),
        ({"hide": (0.1, -0.1, 0.1)}, "--hide"),
        (
            {"hide": (), "encoders": ()},
            "--encoders: expected at least one, such as sentence:minilm",
        ),
        ({"n": -1}, r"--n: expected 0 \(all\) or more pictures, got -1"),
        ({"sigma_data": -0.5}, "--sigma-data: expected 0 or more, got -0.5"),
        ({"low": 32}, "--low: expected less than 32, got 32"),
        ({"low": -8}, "--low: expected less than 32, got -8"),
        ({"expert": 0}, "an expert needs --split, and --start"),
        ({**GOOD, "start": None}, "an expert needs --split, and --start"),
        ({**GOOD, "split": ()}, "an expert needs --split, and --start"),
        ({**GOOD, "expert": -1}, "--split needs --expert: 0, 1, ... of it; got -1"),
        ({"expert": -2}, "got -2"),
        ({**GOOD, "expert": 3}, "--split 3.7 3.0: expected an expert below 3, got 3"),
        ({**GOOD, "split": ("3.7", "1.1")}, "--split 3.7 1.1: expected nodes that do not overlap"),
        ({**GOOD, "split": ("3.8",)}, "such as 3.7, got '3.8'"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Config(**settings)


def test_which_noise_levels_are_trained_on() -> None:
    law = LogNormal(-0.5, 1.0)
    assert part_of(Config(), law) is law
    config = Config(**GOOD)
    assert part_of(config, law).ranges == ((0.0, 0.125),)  # type: ignore[attr-defined]
    assert part_of(replace(config, expert=0), law).ranges == ((0.875, 1.0),)  # type: ignore[attr-defined]
    rest = part_of(replace(config, expert=2), law)
    assert rest.ranges == ((0.125, 0.875),) and rest.law == law  # type: ignore[attr-defined]


def test_batches_have_pictures_and_their_indices() -> None:
    data = prompt_data()
    x, index = data.batch(np.array([7, 0, 7]))
    assert torch.equal(x, data.data.batch(np.array([7, 0, 7]))[0])
    assert index.tolist() == [7, 0, 7] and index.dtype == torch.int64 and len(data) == 10


# ------------------------------------------------------------------------------------------ prompts


def prompt_data(hide: tuple[float, ...] = (0.0, 0.0, 0.0), styles: bool = True) -> PromptData:
    """Ten squares with two sentences each, in the styles x (but one) and y; the last one alone."""
    plain = squares(10, 8)
    said = tuple((s, f"a square drawn {name}") for (s,), name in zip(plain.captions, COLOURS))
    kinds = (*["x", "y", "y"] * 3, "z") if styles else None
    data = Captioned("squares", plain.images, said, plain.card, kinds)
    return PromptData(data, PromptEncoder(configs("bert", "clip", "t5")), hide)


def asked(
    data: PromptData, numbers: torch.Tensor, seed: int = 0, hidden: torch.Tensor | None = None
) -> Prompt:
    return data.prompt(numbers, sf.generators(seed, range(len(numbers))), hidden)


def nearest(table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Which row of a table each is, exactly up to rounding."""
    gap, which = torch.cdist(rows.double(), table.double()).min(1)
    assert float(gap.max()) < 1e-4
    return which


def test_each_encoder_is_hidden_as_often_as_asked_on_its_own() -> None:
    """All eight combinations, as often as the product of their probabilities says."""
    n, hide = 4000, (0.2, 0.6, 0.35)
    prompt = asked(prompt_data(hide), torch.arange(n) % 10)
    there = torch.stack([e.present for e in prompt.encoded], 1)
    counts = torch.bincount((there.long() * torch.tensor([4, 2, 1])).sum(1), minlength=8)
    p = torch.tensor(hide, dtype=torch.float64)
    for k in range(8):
        heard = torch.tensor([bool(k & 4), bool(k & 2), bool(k & 1)])
        want = float(torch.where(heard, 1 - p, p).prod())
        assert int(counts[k]) / n == pytest.approx(want, abs=4.5 * (want * (1 - want) / n) ** 0.5)
    assert bool(
        torch.stack([e.present for e in asked(prompt_data(), torch.arange(10)).encoded]).all()
    )
    none = asked(prompt_data((1.0, 1.0, 1.0)), torch.arange(10))
    assert not bool(torch.stack([e.present for e in none.encoded]).any())


def test_a_prompt_can_be_hidden_as_a_whole() -> None:
    numbers, hidden = torch.tensor([3, 1, 0, 2, 9]), torch.tensor([0, 1, 0, 1, 0]).bool()
    prompt = asked(prompt_data(), numbers, hidden=hidden)
    for e in prompt.encoded:
        assert e.present.tolist() == (~hidden).tolist()


def test_sentences_are_drawn_among_the_picture_s_own() -> None:
    """Each as likely, whatever is hidden; all encoders hear the same one."""
    said, n = prompt_data((0.5, 0.0, 0.0)), 1200
    numbers = torch.arange(n) % 10
    prompt = asked(said, numbers)
    every = [s for group in said.data.captions for s in group]
    bert, t5 = (x.encoded for x in said.encoder.sentences(every))
    first = nearest(bert.pooled, prompt.encoded[0].pooled)
    means = (t5.tokens * t5.mask[..., None]).sum(1), prompt.encoded[2]
    second = nearest(means[0], (means[1].tokens * means[1].mask[..., None]).sum(1))
    assert torch.equal(first, second) and torch.equal(first // 2, numbers)
    hidden = ~prompt.encoded[0].present
    for some in (torch.ones(n, dtype=torch.bool), hidden, numbers == 4):
        share = float((first[some] % 2).double().mean())
        assert share == pytest.approx(0.5, abs=4.5 * 0.5 / int(some.sum()) ** 0.5)


def test_the_example_of_style_is_another_picture_of_the_style() -> None:
    """Uniformly; a picture that is alone in its style is its own."""
    said, n = prompt_data(), 3000
    (own,) = said.encoded
    prompt = asked(said, torch.full((n,), 1))
    shown = nearest(own.pooled, prompt.encoded[1].pooled)
    assert torch.equal(own.tokens[shown], prompt.encoded[1].tokens)
    counts = torch.bincount(shown, minlength=10).double()
    others = [2, 4, 5, 7, 8]
    assert set(counts.nonzero()[:, 0].tolist()) == set(others)
    squares_sum = float(((counts[others] - n / 5) ** 2 / (n / 5)).sum())
    assert squares_sum < 20.5  # chi-square of 4 degrees, 1 in 2500
    assert said.examples(np.full(50, 9), sf.generators(0, range(50))).tolist() == [9] * 50
    for i in (0, 8):
        found = set(said.examples(np.full(200, i), sf.generators(0, range(200))).tolist())
        assert found == ({3, 6} if i == 0 else {1, 2, 4, 5, 7})


def test_without_styles_the_example_is_the_picture_itself() -> None:
    said = prompt_data(styles=False)
    numbers = torch.tensor([4, 0, 9, 4])
    heard = asked(said, numbers).encoded[1]
    assert nearest(said.encoded[0].pooled, heard.pooled).tolist() == numbers.tolist()
    (want,) = said.encoder.pictures(said.data.batch(numbers.numpy())[0])
    torch.testing.assert_close(heard.pooled, want.pooled)


def test_a_prompt_depends_on_its_own_generator_alone() -> None:
    """Not on what else is in the batch, nor on what was asked before."""
    said = prompt_data((0.3, 0.3, 0.3))
    numbers, hidden = torch.tensor([3, 1, 0, 5, 9, 3]), torch.tensor([0, 1, 0, 0, 0, 0]).bool()
    every = asked(said, numbers, 8, hidden)
    rows = [5, 0, 3]
    some = prompt_data((0.3, 0.3, 0.3)).prompt(numbers[rows], sf.generators(8, rows))
    for a, b in zip(every.encoded, some.encoded, strict=True):
        length = b.tokens.shape[1]
        assert torch.equal(a.mask[rows][:, :length], b.mask) and not bool(
            a.mask[rows][:, length:].any()
        )
        there = b.mask[..., None]
        torch.testing.assert_close(a.tokens[rows][:, :length] * there, b.tokens * there)
        torch.testing.assert_close(a.pooled[rows], b.pooled)
    one = torch.full((40,), 3)
    apart = asked(said, one)
    assert len({tuple(row.tolist()) for row in apart.encoded[1].pooled}) == 2  # pictures 0 and 6


def test_a_number_for_each_encoder_of_the_model() -> None:
    with pytest.raises(UsageError, match=r"--hide: expected a number for each of sentence:.*clip"):
        prompt_data((0.1, 0.2))


def test_the_scenes_half_of_them_with_their_style(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path))
    write_toy_emoji(tmp_path)
    data = imagine.imagine_data(Config(resolution=32))
    assert data.images.shape[1:] == (3, 64, 64)  # as encoders of pictures saw them
    assert imagine.imagine_data(Config(resolution=128)).images.shape[1:] == (3, 128, 128)
    groups = data.captions[:40]
    styled = [all("in the style of" in s for s in group) for group in groups]
    assert sum(styled) == 20 and not any("in the style" in s for g in groups[::2] for s in g)
    assert data.styles is not None
    assert all(g[0].endswith(data.styles[i]) for i, g in enumerate(groups) if styled[i])
    test = imagine.imagine_data(Config(resolution=32), "test")
    assert not set(data.captions[:500]) & set(test.captions[:500])

"""Options of every recipe: the mistyped are named, and what follows from the data is no option."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pytest

from sfumato.cli import main
from sfumato.nn import UNet, UNetConfig
from sfumato.system import recipes
from sfumato.systems.dpdm.commands.train import RECIPES as PRIVATE
from sfumato.systems.dpdm.options import preset
from sfumato.systems.edm.options import Images

COMMANDS = [
    *(["train", name] for name, recipe in recipes().items() if recipe.summary),
    *(["private", "train", name] for name in PRIVATE),
    ["fields", "train"],
]


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    return re.sub(r"[│╭╮╰╯─\s]+", " ", capsys.readouterr().err)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_option_that_does_not_exist_is_named(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal([*command, "--batch", "3"], capsys)
    assert "Unrecognized options: --batch, 3 " in said
    assert re.search(r"Perhaps you meant: --(train|dual).batch INT", said)
    said = refusal([*command, "--resumed"], capsys)
    assert "Unrecognized options: --resumed " in said and "--resume" in said


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_lists_no_option_that_follows_from_the_data(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "COLUMNS", "200")
    assert main([*command, "--help"]) == 0
    said = capsys.readouterr().out
    assert "--out" in said and "--resume" in said
    assert not re.search(r"\.(in-channels|out-channels|labels|embedding|context)\b", said)
    assert "subcommand" not in said


@pytest.mark.parametrize("resolution", [*range(16, 65, 4), 72, 96, 100, 128, 160, 250, 252, 256])
def test_networks_of_images_follow_the_resolution(resolution: int) -> None:
    for default in (Images().network, preset("images").network, preset("fashion").network):
        network = default.at(resolution)
        assert network.sides[0] * network.patch == network.resolution == resolution
        assert network.sides[-1] * 2 ** (network.levels - 1) == network.sides[0]
        assert network.multipliers[-1] == default.multipliers[-1]  # as wide where it is coarsest
        assert all(side <= 32 for side in network.attention)
        further = [s for s in (resolution // network.patch / 2**i for i in range(8)) if s % 1 == 0]
        assert (network.multipliers, network.attention) == (
            default.multipliers,
            default.attention,
        ) or network.sides[-1] in sorted(further, key=lambda s: abs(s / default.sides[-1] - 1))[:2]


def test_a_network_for_another_resolution_as_worked_out_by_hand() -> None:
    default = UNetConfig(3, 3, channels=32, multipliers=(1, 2, 4), attention=(8,), resolution=32)
    assert default.at(32) == default
    four = default.at(64)
    assert four.multipliers == (1, 1, 2, 4) and four.attention == (8,)
    assert four.sides == (64, 32, 16, 8) and four.blocks_per_level == (2, 2, 2, 2)
    assert default.at(28).attention == (7,) and default.at(28).sides == (28, 14, 7)
    assert default.at(20).multipliers == (2, 4) and default.at(20).attention == (10,)
    assert default.at(250).attention == ()  # 125 pixels a side are too many to attend to
    uneven = UNetConfig(1, 1, 16, (1, 2, 6), (1, 1, 2), (7,), 0, 28)
    assert uneven.at(56).blocks == (1, 1, 1, 2) and uneven.at(14).multipliers == (2, 6)
    with pytest.raises(ValueError, match=r"divisible by 2, .* got 31; take 30 or 32"):
        preset("images").network.at(31)
    usual = Images().network
    assert usual.at(64) == replace(usual, resolution=64) and usual.at(64).sides == (32, 16, 8)
    assert usual.at(128).sides == (64, 32, 16, 8, 4) and usual.at(128).multipliers[-2:] == (2, 6)


@pytest.mark.parametrize("resolution", [16, 20, 24, 30, 48])
def test_such_a_network_runs(resolution: int) -> None:
    import torch

    network = UNet(Images().network.at(resolution))
    x = torch.zeros(1, 3, resolution, resolution)
    assert network(x, torch.zeros(1)).shape == x.shape

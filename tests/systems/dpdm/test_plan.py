"""What a private training would cost: worked out as it will be counted."""

from __future__ import annotations

import json
import math

import pytest
from opacus.accountants import PRVAccountant, RDPAccountant

from sfumato.cli import main


def plan(capsys: pytest.CaptureFixture[str], words: str) -> dict[str, float]:
    assert main(["private", "plan", *words.split(), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("made", [PRVAccountant, RDPAccountant])
def test_epsilon_is_that_of_the_accountants(made: type, capsys: pytest.CaptureFixture[str]) -> None:
    name = made.__name__.removesuffix("Accountant").lower()
    words = f"--records 60000 --batch 2048 --steps 600 --noise 1.2 --accountant {name}"
    found = plan(capsys, words)
    accountant = made()
    accountant.history = [(1.2, 2048 / 60000, 600)]
    assert found["delta"] == 1e-6
    assert found["epsilon"] == pytest.approx(accountant.get_epsilon(1e-6), rel=1e-6)
    assert found["epochs"] == pytest.approx(600 * 2048 / 60000)


def test_each_of_the_three_follows_from_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    base = "--records 5000 --batch 512 --delta 1e-5 --accountant rdp"
    noise = plan(capsys, f"{base} --epochs 60 --epsilon 3")
    assert noise["steps"] == math.ceil(60 * 5000 / 512) and 2.99 < noise["epsilon"] <= 3
    s = noise["noise multiplier"]
    cost = plan(capsys, f"{base} --steps {noise['steps']} --noise {s}")
    assert cost["epsilon"] == pytest.approx(noise["epsilon"])
    most = plan(capsys, f"{base} --noise {s} --epsilon 3")
    assert most["steps"] >= noise["steps"] and most["epsilon"] <= 3
    more = plan(capsys, f"{base} --noise {s} --steps {most['steps'] + 1}")
    assert more["epsilon"] > 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--records 5000 --batch 512 --noise .3 --epsilon .1", "the budget allows no step"),
        ("--records 5000 --batch 512 --epsilon 3", "give two of --noise, --steps"),
        ("--records 5000 --batch 512 --epsilon 3 --steps 9 --noise 1", "give two of"),
        ("--records 50 --batch 512 --epsilon 3 --steps 9", "cannot be larger than the data set"),
        ("--records 50 --batch 5 --epsilon 3 --steps 9 --delta .5", "--delta must be below one"),
        ("--records 50 --batch 5 --epsilon 3 --steps 9 --epochs 2", "give one"),
        ("--records 0 --batch 5 --epsilon 3 --steps 9", "--records must be at least 1"),
        ("--records 50 --batch 5 --epsilon -3 --steps 9", "--epsilon must be at least 0"),
    ],
)
def test_plans_that_make_no_sense(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["private", "plan", *words.split()]) == 2
    assert message in capsys.readouterr().err

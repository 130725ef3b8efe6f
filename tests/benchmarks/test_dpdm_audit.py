"""The audit of the private training in small; with the noise off it must convict."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from loading import load

pytest.importorskip("opacus", reason="the extra 'private' is not installed")
PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "dpdm_audit.py"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    return load(PATH)


@pytest.mark.slow
def test_the_claim_survives_and_falls_with_the_noise(audit) -> None:
    settings = audit.Audit(canaries=240, guesses=160, steps=150, multiplicity=2, epsilon=1.0)
    private = audit.attack(settings, noise=True)
    assert private["lower_bound"] < settings.epsilon, private
    convicted = audit.attack(settings, noise=False)
    assert convicted["lower_bound"] > 2.5 * settings.epsilon, convicted

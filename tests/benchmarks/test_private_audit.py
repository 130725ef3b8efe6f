"""The audit of the private training in small; with the noise off it must convict."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("opacus", reason="the extra 'private' is not installed")
PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "private_audit.py"


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("private_audit", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["private_audit"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_claim_survives_and_falls_with_the_noise(audit) -> None:
    settings = audit.Audit(canaries=240, guesses=160, steps=150, multiplicity=2, epsilon=1.0)
    private = audit.attack(settings, noise=True)
    assert private["lower_bound"] < settings.epsilon, private
    convicted = audit.attack(settings, noise=False)
    assert convicted["lower_bound"] > 2.5 * settings.epsilon, convicted

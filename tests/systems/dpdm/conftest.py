"""Loads the private toy run, which is also a script, for the tests here."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from loading import load


@pytest.fixture(scope="session")
def runs() -> ModuleType:
    pytest.importorskip("opacus", reason="the extra 'private' is not installed")
    return load(Path(__file__).parent / "private_run.py")

"""Loads the toy run, which is also a script, for the tests here."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from loading import load


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    return load(Path(__file__).parent / "toy_run.py")

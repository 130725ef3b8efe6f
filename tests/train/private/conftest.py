"""Loads the private toy run, which is also a script, for the tests here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def runs() -> ModuleType:
    pytest.importorskip("opacus", reason="the extra 'private' is not installed")
    name = "sfumato_private_run"
    if name not in sys.modules:
        path = Path(__file__).parent / "private_run.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]

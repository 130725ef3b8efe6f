"""Settings shared by all tests: one thread, no network, no display, reproducible draws."""

from __future__ import annotations

import os

# Before torch is imported, and inherited by the processes that tests start. The tensors here are
# small, so one thread is the fastest setting, and bit-for-bit tests want a fixed number.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NO_COLOR", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

settings.register_profile(
    "sfumato",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("sfumato")


@pytest.fixture(autouse=True)
def _same_state_for_every_test() -> None:
    """A test that forgets its generator still sees the same numbers, in any order of tests."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips, visibly, what this machine or the SFUMATO_FAST setting rules out."""
    fast = pytest.mark.skip(reason="slow test, and SFUMATO_FAST=1 is set")
    no_gpu = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "slow" in item.keywords and os.environ.get("SFUMATO_FAST") == "1":
            item.add_marker(fast)
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)

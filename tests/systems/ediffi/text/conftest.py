"""A tiny Stable Diffusion pipeline for the tests that paint on one."""

from __future__ import annotations

from typing import Any

import pytest

from tiny_diffusion import build, tiny_parts, tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def parts(tokenizer: Any) -> dict[str, Any]:
    return tiny_parts(tokenizer)


@pytest.fixture
def pipe(parts: dict[str, Any]) -> Any:
    return build(parts)

"""CLIP's tokens of a prompt, and the characters that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sfumato.errors import SfumatoError
from sfumato.systems.ediffi.text.phrases import tokens_of
from sfumato.systems.ediffi.text.stable_diffusion import tokenize
from tiny_diffusion import END, PROMPT, START, tiny_tokenizer

pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",  # of diffusers
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_which_tokens_are_painted(tokenizer: Any) -> None:
    """CLIP's sub-words: "apple" is "app" and "le"; the rest is filled up."""
    made = tokenize(tokenizer, PROMPT)
    fits = "a, " * 36 + "red apple"
    assert tokens_of(fits, "red apple", tokenize(tokenizer, fits).offsets) == (73, 74, 75)
    said = tokenizer.convert_ids_to_tokens(list(made.ids))
    assert said[:8] == [START, "a</w>", "red</w>", "app", "le</w>", "on</w>", "grass</w>", END]
    assert len(made.ids) == len(made.offsets) == 77 and made.offsets[7] == (0, 0)
    assert [PROMPT[a:b] for a, b in made.offsets[2:5]] == ["red", "app", "le"]


class Slow:
    """A tokeniser without offsets, as CLIP's before transformers 5."""

    is_fast, model_max_length = False, 77

    def __init__(self, fast: Any, change: int = 0) -> None:
        self.fast, self.change = fast, change

    def __call__(self, text: str, **how: Any) -> dict[str, list[int]]:
        ids = self.fast(text, **how)["input_ids"]
        return {"input_ids": [ids[0], ids[1] + self.change, *ids[2:]]}

    def save_pretrained(self, folder: str) -> None:
        self.fast.save_pretrained(folder)


class Strange(Slow):
    def save_pretrained(self, folder: str) -> None:
        Path(folder, "spiece.model").write_bytes(b"?")


def test_a_slow_tokeniser(tokenizer: Any) -> None:
    assert tokenize(Slow(tokenizer), PROMPT) == tokenize(tokenizer, PROMPT)
    with pytest.raises(SfumatoError, match="read different tokens"):
        tokenize(Slow(tokenizer, change=1), PROMPT)
    # Of other files some versions of transformers make a tokeniser without words, others fail.
    with pytest.raises(SfumatoError, match="Strange (and .* different|does not say where)"):
        tokenize(Strange(tokenizer), PROMPT)

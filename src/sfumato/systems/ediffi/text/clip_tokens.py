"""Prompts as the text encoder of Stable Diffusion reads them: tokens, and their characters."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any, final

from sfumato.errors import SfumatoError, UsageError, require
from sfumato.systems.ediffi.text.phrases import Offsets


@final
@dataclass(frozen=True)
class Sentence:
    """A prompt as the text encoder reads it: the numbers of its tokens, and their characters."""

    text: str
    ids: tuple[int, ...]
    offsets: Offsets


def read(tokenizer: Any, prompt: str) -> Sentence:
    """A prompt, cut or filled up to what the text encoder reads (77 tokens).

    A tokeniser of CLIP without offsets (`CLIPTokenizer` before transformers 5) is asked for the
    tokens and a fast one, made from it, for their characters; both must agree.

    Raises:
        UsageError: no sentence.
        SfumatoError: no fast tokeniser can be made, or it reads other tokens.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise UsageError(f"expected a prompt in words, got {prompt!r}")
    how = {
        "padding": "max_length",
        "truncation": True,
        "max_length": tokenizer.model_max_length,
    }
    ids = tuple(tokenizer(prompt, **how)["input_ids"])
    made = _fast(tokenizer)(prompt, return_offsets_mapping=True, **how)
    if tuple(made["input_ids"]) != ids:
        raise SfumatoError(
            f"{type(tokenizer).__name__} and the fast tokeniser made from it read different tokens "
            f"in {prompt!r}; give the pipeline a CLIPTokenizerFast"
        )
    return Sentence(prompt, ids, tuple((int(a), int(b)) for a, b in made["offset_mapping"]))


def _fast(tokenizer: Any) -> Any:
    """A tokeniser with offsets: itself, or one made from the files of a slow one of CLIP."""
    if tokenizer.is_fast:
        return tokenizer
    library = require("transformers", "text")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        try:
            return library.CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # whatever a package raises for files of another kind
            raise SfumatoError(
                f"{type(tokenizer).__name__} does not say where its tokens are, and no fast "
                f"tokeniser can be made from it: {error}"
            ) from error

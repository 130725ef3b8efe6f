"""Tiny encoders in true format, tiny models that listen to them, and tiny captioned folders."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from sfumato.denoise import Denoiser
from sfumato.files.store import write_folder
from sfumato.nn import ContextConfig, EncoderWidths, UNetConfig
from sfumato.systems.ediffi.model import EncoderConfig, Modality, PromptedModel
from sfumato.train.checkpoint import pack_json, pack_tensors
from toy_captioned import COLOURS

WORDS: Final = ["a", "square", "left", "right", "of", "drawn", "##s", ",", *COLOURS]
WIDTHS: Final = {
    "bert": EncoderWidths(16, 16), "t5": EncoderWidths(12), "clip": EncoderWidths(8, 8),
}  # fmt: skip
_HERE: Final = tempfile.TemporaryDirectory(prefix="tiny-encoders-")


@cache
def encoder(name: str) -> str:
    """The folder of an encoder with random weights: "bert", "t5" (sentences), "clip" (pictures)."""
    import transformers

    torch.manual_seed(1)
    folder = Path(_HERE.name) / name
    size: dict[str, Any] = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "initializer_range": 0.5,
    }  # fmt: skip
    if name == "bert":
        config = transformers.BertConfig(
            vocab_size=len(WORDS) + 4, max_position_embeddings=16, **size
        )
        model: Any = transformers.BertModel(config)
    elif name == "t5":
        model = transformers.T5EncoderModel(
            transformers.T5Config(
                vocab_size=len(WORDS) + 4, d_model=12, d_kv=6, d_ff=16, num_layers=1, num_heads=2
            )
        )
    else:
        vision = {**size, "image_size": 8, "patch_size": 4}
        model = transformers.CLIPVisionModelWithProjection(
            transformers.CLIPVisionConfig(**vision, projection_dim=8)
        )
    if name != "clip":
        model.get_input_embeddings().weight.data.mul_(4)  # words, more than places, are heard
        word_tokenizer(folder, WORDS)
    model.eval().save_pretrained(folder)
    return str(folder)


def word_tokenizer(folder: Path, words: Sequence[str]) -> None:
    """[CLS], a token for each of these words and pieces of words, [SEP]: WordPiece, as BERT's."""
    import tokenizers
    import transformers

    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip


def configs(*names: str) -> tuple[EncoderConfig, ...]:
    """Of the tiny encoders."""
    ears = {"clip": Modality.PICTURE}
    return tuple(
        EncoderConfig(ears.get(n, Modality.SENTENCE), encoder(n), WIDTHS[n]) for n in names
    )


def unet(side: int = 8, channels: int = 3, names: tuple[str, ...] = ()) -> UNetConfig:
    """One level that attends everywhere."""
    context = ContextConfig(tuple(WIDTHS[n] for n in names), 16) if names else None
    return UNetConfig(
        channels, 3, channels=16, multipliers=(1,), blocks=1, attention=(side,), head_channels=16,
        resolution=side, context=context, resample_blocks=False,
    )  # fmt: skip


def tiny_model(*names: str, side: int = 8, low: int = 0, **settings: Any) -> PromptedModel:
    """A model that listens to these encoders; to BERT unless told otherwise."""
    names = names or ("bert",)
    network = unet(side, 6 if low else 3, names)
    return PromptedModel("squares", network, configs(*names), low=low, **settings)


def filled(denoiser: Denoiser, seed: int = 0) -> Denoiser:
    """With weights none of which is zero: the output starts at zero, which would hide all."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g))
    return denoiser.eval()


def save_model(folder: Path, model: PromptedModel, denoiser: Denoiser) -> Path:
    """A model folder that `load_model` reads."""
    files: Mapping[str, bytes] = {
        "model.safetensors": pack_tensors(denoiser.state_dict()),
        "model.json": pack_json({"model": model.to_json()}),
    }
    return write_folder(folder, files)


def captioned_squares(folder: Path, names: tuple[str, ...], side: int = 8) -> Path:
    """Plain squares with a text beside each, in a folder."""
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (side, side), COLOURS[name]).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"a {name} square\n")
    return folder


def picture(name: str = "red", side: int = 8) -> torch.Tensor:
    """(3, H, H) in [-1, 1] of one colour."""
    colour = torch.from_numpy(np.array(COLOURS[name], np.float32)) / 127.5 - 1
    return colour[:, None, None].expand(3, side, side).clone()

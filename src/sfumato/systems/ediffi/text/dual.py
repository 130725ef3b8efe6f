"""A small dual encoder of pictures and sentences (CLIP): sizes, sub-words, vectors, files.

The model is a `CLIPModel` of transformers. `ediffi.text.dual_training` trains it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from sfumato.errors import UsageError, require
from sfumato.files.words import many, valid
from sfumato.seeds import fold
from sfumato.systems.ediffi.options import DualConfig
from sfumato.systems.ediffi.text.encoders import picture_values, quiet

START, END, PAD, UNKNOWN = "<start>", "<end>", "<pad>", "<unknown>"


def train_tokenizer(sentences: Iterable[str], config: DualConfig) -> Any:
    """Sub-words of sentences by byte-pair encoding, without case, as a fast tokeniser."""
    library, tokenizers = require("transformers", "text"), require("tokenizers", "text")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=UNKNOWN))
    made.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.NFKC(), tokenizers.normalizers.Lowercase()]
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = tokenizers.decoders.ByteLevel()
    # END must not be number 2: transformers then pools whichever token has the highest number.
    special = [PAD, UNKNOWN, START, END]
    made.train_from_iterator(
        sentences,
        tokenizers.trainers.BpeTrainer(
            vocab_size=config.vocabulary,
            special_tokens=special,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made.post_processor = tokenizers.processors.Sequence(
        [
            tokenizers.processors.ByteLevel(trim_offsets=True),
            tokenizers.processors.TemplateProcessing(
                single=f"{START} $A {END}",
                special_tokens=[(word, made.token_to_id(word)) for word in (START, END)],
            ),
        ]
    )
    return library.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=START, eos_token=END, pad_token=PAD, unk_token=UNKNOWN,
        model_max_length=config.length,
    )  # fmt: skip


def dual_model(config: DualConfig, tokenizer: Any) -> Any:
    """A `CLIPModel` with initial weights."""
    library = require("transformers", "text")
    both = {
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_attention_heads": config.heads,
        "projection_dim": config.shared,
    }
    text = library.CLIPTextConfig(
        vocab_size=len(tokenizer), num_hidden_layers=config.text_layers,
        max_position_embeddings=config.length, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **both,
    )  # fmt: skip
    picture = library.CLIPVisionConfig(
        image_size=config.side,
        patch_size=config.patch,
        num_hidden_layers=config.picture_layers,
        **both,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(config.seed, "init"))
        made = library.CLIPModel(
            library.CLIPConfig(
                text_config=text.to_dict(),
                vision_config=picture.to_dict(),
                projection_dim=config.shared,
            )
        )
    made.set_attn_implementation("eager")  # on AMX half the time of a step with PyTorch's fused one
    return made


def sub_words(tokenizer: Any, sentences: Sequence[str]) -> Any:
    """``input_ids`` and ``attention_mask``, (B, T) each, of B sentences."""
    return tokenizer(
        [valid(s, "the sentence") for s in sentences], padding=True, truncation=True,
        max_length=tokenizer.model_max_length, return_tensors="pt",
    )  # fmt: skip


def vectors(
    model: Any, tokenizer: Any, pictures: Tensor, sentences: Sequence[str], device: str
) -> tuple[Tensor, Tensor]:
    """Unit vectors of pictures (B, 3, R, R) in [-1, 1] and of sentences, each (B, D)."""
    read = sub_words(tokenizer, sentences).to(device)
    v = sentence_vectors(model, read["input_ids"], read["attention_mask"])
    return picture_vectors(model, pictures, device), v


def sentence_vectors(model: Any, words: Tensor, mask: Tensor) -> Tensor:
    """Unit vectors (B, D) of sentences as sub-words (B, T) and their mask."""
    text = model.text_model(input_ids=words, attention_mask=mask)
    return F.normalize(model.text_projection(text.pooler_output).float(), dim=1)


def picture_vectors(model: Any, pictures: Tensor, device: str) -> Tensor:
    """Unit vectors (B, D) of pictures (B, 3, R, R) in [-1, 1]."""
    values = picture_values(pictures.to(device), int(model.config.vision_config.image_size))
    u = model.visual_projection(model.vision_model(pixel_values=values).pooler_output)
    return F.normalize(u.float(), dim=1)


def save_dual(model: Any, tokenizer: Any, out: Path) -> None:
    """The folder that `Transformer` and `PictureEncoder` read, in half precision."""
    made = copy.deepcopy(model).half()
    for part in (made.config.text_config, made.config.vision_config):
        part.dtype = torch.float16
    made.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)


def load_dual(source: str | Path) -> tuple[Any, Any]:
    """The `CLIPModel` of a folder in float32, in evaluation mode, and its tokeniser.

    Raises:
        UsageError: there is no such folder, or no whole CLIPModel with its tokeniser in it.
        MissingExtra: transformers is not installed.
    """
    library = require("transformers", "text")
    folder, here = str(source), {"local_files_only": True}
    try:
        kind = library.AutoConfig.from_pretrained(folder, **here).model_type
        if kind != "clip":
            raise UsageError(f"{folder} is a {kind}; expected a CLIPModel, such as scenes-clip")
        with quiet(library):
            model, told = library.CLIPModel.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, **here
            )
            tokenizer = library.AutoTokenizer.from_pretrained(folder, **here)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{folder} cannot be read as a dual encoder: {error}") from error
    lacking, words = sorted(told["missing_keys"]), model.config.text_config.vocab_size
    if lacking:
        raise UsageError(f"{folder} lacks {many(len(lacking), 'weight')}, such as {lacking[0]}")
    if len(tokenizer) != words:
        raise UsageError(f"{folder} has a model of {words} sub-words and knows {len(tokenizer)}")
    for of_this_machine in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(of_this_machine, None)
    places = int(model.config.text_config.max_position_embeddings)
    tokenizer.model_max_length = min(tokenizer.model_max_length, places)
    model.set_attn_implementation("eager")  # as `dual_model`
    return model.eval(), tokenizer

"""A small dual encoder of pictures and sentences (CLIP): sizes, sub-words, vectors, files.

The model is a `CLIPModel` of transformers. `ediffi.text.dual_training` trains it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from sfumato.errors import UsageError, require
from sfumato.seeds import fold
from sfumato.systems.ediffi.text.encoders import picture_values, quiet

START, END, PAD, UNKNOWN = "<start>", "<end>", "<pad>", "<unknown>"


@final
@dataclass(frozen=True)
class DualConfig:
    """Sizes of a dual encoder, and how it is trained.

    Args:
        side, patch: of the pictures it sees, and of the squares that are its visual tokens.
        width, heads: of both transformers.
        picture_layers, text_layers: their depths.
        shared: width of the vectors that are compared.
        vocabulary: sub-words, at most.
        length: tokens of a sentence, at most.
        steps, batch, rate, decay: AdamW, with a warm-up over a twentieth and a cosine decay to 0.
        hold: train on so many of the pictures, chosen once and kept in memory; 0 for all.
        style: weight of the term of styles, where the data knows them; 0 for none.
        seed: of everything random.

    Raises:
        UsageError: a number out of range, or a size that the patch or the heads do not divide.
    """

    side: int = 64
    patch: int = 8
    width: int = 128
    heads: int = 4
    picture_layers: int = 6
    text_layers: int = 4
    shared: int = 128
    vocabulary: int = 4096
    length: int = 48
    steps: int = 2500
    batch: int = 160
    rate: float = 1e-3
    decay: float = 0.1
    hold: int = 0
    style: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        least = dict.fromkeys(("side", "patch", "width", "heads", "shared", "steps"), 1)
        least |= {"picture_layers": 1, "text_layers": 1, "hold": 0}
        least |= {"batch": 2, "vocabulary": 260, "length": 4}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise UsageError(f"expected {name} >= {value}, got {getattr(self, name)}")
        others = self.decay, self.style
        if not (0 < self.rate < math.inf and all(0 <= x < math.inf for x in others)):
            raise UsageError(
                "expected a rate above 0, and a decay and a weight of styles of 0 or more, got "
                f"{self.rate}, {self.decay} and {self.style}"
            )
        if self.side % self.patch or self.width % self.heads:
            raise UsageError(
                f"expected a side that {self.patch} divides and a width that {self.heads} divides, "
                f"got {self.side} and {self.width}"
            )


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
        list(sentences), padding=True, truncation=True, max_length=tokenizer.model_max_length,
        return_tensors="pt",
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
        raise UsageError(f"{folder} lacks {len(lacking)} weights, such as {lacking[0]}")
    if len(tokenizer) != words:
        raise UsageError(f"{folder} has a model of {words} sub-words and knows {len(tokenizer)}")
    for of_this_machine in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(of_this_machine, None)
    places = int(model.config.text_config.max_position_embeddings)
    tokenizer.model_max_length = min(tokenizer.model_max_length, places)
    model.set_attn_implementation("eager")  # as `dual_model`
    return model.eval(), tokenizer

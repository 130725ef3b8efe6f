r"""A small dual encoder of pictures and sentences, trained by contrast (CLIP).

With unit vectors u_i of pictures and v_i of their sentences, and a scale s that is learned,

.. math:: L = -\frac12 \sum_i \left[\log \frac{e^{s u_i \cdot v_i}}{\sum_j e^{s u_i \cdot v_j}}
          + \log \frac{e^{s u_i \cdot v_i}}{\sum_j e^{s u_j \cdot v_i}}\right]

(Radford et al. 2021, arXiv 2103.00020, figure 3). Pictures whose sentence is word for word that
of another one are not told apart: such pairs are left out of the sums.

Sentences say little of who drew a picture, which is what models that take a picture as an example
of style need. Where the data knows the style k_i of each picture, a linear reading of u_i
has to predict it: with W, b learned and thrown away afterwards, D values of u_i, and a weight c,

.. math:: L_{style} = -c \sum_i \log \mathrm{softmax}(\sqrt{D} W u_i + b)_{k_i} .

A trained one can go on with the image tower and s alone. The text tower is then locked (as in LiT:
Zhai et al. 2022, arXiv 2111.07991, with the towers exchanged), so its embeddings of sentences stay
valid for models that were trained with them; those of pictures change.

The model is a `CLIPModel` of transformers with its own sub-words.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from sfumato.errors import UsageError, require
from sfumato.files.progress import Progress
from sfumato.seeds import fold, generator
from sfumato.systems.ediffi.data import Captioned
from sfumato.systems.ediffi.text.encoders import picture_values, quiet
from sfumato.train import Part, Player, Task, small, train

SHARPEST: Final = math.log(100)
"""The largest ln s."""
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
        tokenizer_object=made,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=config.length,
    )


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
        vocab_size=len(tokenizer),
        num_hidden_layers=config.text_layers,
        max_position_embeddings=config.length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **both,
    )
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


def contrastive_loss(pictures: Tensor, texts: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """(B,) with the mean L / B, of unit vectors (B, D); ``same`` (B, B), which sentences are word
    for word the same."""
    logits = scale * pictures @ texts.T
    others = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = logits.masked_fill(others, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    ways = [F.cross_entropy(x, target, reduction="none") for x in (logits, logits.T)]
    return (ways[0] + ways[1]) / 2


class _Pairs(NamedTuple):
    """Pictures (B, 3, R, R), sub-words and their mask (B, T), whose sentences are the same (B, B),
    and the pictures' numbers (B,)."""

    pictures: Tensor
    words: Tensor
    mask: Tensor
    same: Tensor
    numbers: Tensor


@final
class _Held:
    """Captioned pictures and their numbers, for the loop."""

    def __init__(self, data: Captioned) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, R, R) in [-1, 1], and numbers (B,)."""
        return self.data.batch(indices)[0], torch.from_numpy(indices)


@final
class _Both(torch.nn.Module):
    """What is trained: the model, and the reading of styles."""

    def __init__(self, model: Any, styles: Styles) -> None:
        super().__init__()
        self.model, self.styles = model, styles


@final
class _Contrast(Task):
    """The loss of the module's text. Pictures are told apart within a process's part of a batch."""

    distinct = True

    def __init__(self, held: Captioned, tokenizer: Any, weight: float) -> None:
        self.held, self.tokenizer, self.weight = held, tokenizer, weight

    def prepare(self, part: Part) -> _Pairs:
        """With a sentence for each picture."""
        pictures, index = part.batch
        captions = self.held.draw_captions(index.numpy(), part.generators)
        read = _read(self.tokenizer, captions)
        same = torch.tensor([[a == b for b in captions] for a in captions])
        return _Pairs(pictures, read["input_ids"], read["attention_mask"], same, index)

    def losses(self, module: _Both, part: _Pairs) -> Tensor:
        """(B,)."""
        model, kind = module.model, part.pictures.device.type
        with torch.no_grad():
            model.logit_scale.clamp_(max=SHARPEST)
        v = sentence_vectors(model, part.words, part.mask)
        u = picture_vectors(model, part.pictures, kind)
        with torch.autocast(kind, enabled=False):
            loss = contrastive_loss(u, v, model.logit_scale.exp(), part.same)
            return loss + self.weight * module.styles.loss(u, part.numbers)


def train_dual(
    data: Captioned,
    config: DualConfig,
    *,
    start: tuple[Any, Any] | None = None,
    device: str = "cpu",
    run: Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    quiet: bool = True,
) -> tuple[Any, Any]:
    """A trained `CLIPModel`, in evaluation mode, and its tokeniser.

    Args:
        start: a trained model and its tokeniser, whose side of pictures goes on; sizes are its own.
        run: a folder of checkpoints and a log; None keeps none.
        resume: go on with what is in it.
        progress: called every 50 steps.
        quiet: no progress bar while pictures are made.

    Raises:
        UsageError: fewer pictures than a batch, or ``run`` holds something and ``resume`` is false.
        SfumatoError: the loss is no longer finite.
    """
    n = min(config.hold or len(data), len(data))
    if n < config.batch:
        raise UsageError(f"expected as many pictures as a batch, {config.batch}, got {n}")
    order = torch.randperm(len(data), generator=generator(config.seed, "held"))[:n].numpy()
    held = data.subset(np.sort(order), quiet=quiet)
    if start is None:
        tokenizer = train_tokenizer((s for group in held.captions for s in group), config)
        model = dual_model(config, tokenizer)
    else:
        model, tokenizer = copy.deepcopy(start[0]).float().requires_grad_(), start[1]
        for locked in (model.text_model, model.text_projection):
            locked.requires_grad_(requires_grad=False)
    styles = Styles(held.styles if config.style else None, model.config.projection_dim, config)
    settings = small(
        device, steps=config.steps, batch=config.batch, lr=config.rate, betas=(0.9, 0.98),
        weight_decay=config.decay, warmup=max(1, config.steps // 20), clip=1.0, seed=config.seed,
        mixed_precision="bf16",
    )  # fmt: skip
    player = Player(_Both(model, styles), _Contrast(held, tokenizer, config.style))
    train(
        settings, player, _Held(held), run, model={"dual": asdict(config)}, resume=resume,
        progress=progress,
    )  # fmt: skip
    model.logit_scale.data.clamp_(max=SHARPEST)
    return model.requires_grad_().eval(), tokenizer


@final
class Styles(torch.nn.Module):
    """A linear reading of pictures' unit vectors, which tells whose style each one has.

    Args:
        names: the style of each picture; None if they are not known, and nothing is to be told.
        width: D, of the vectors.
        config: its seed draws the initial weights.
    """

    def __init__(self, names: Sequence[str] | None, width: int, config: DualConfig) -> None:
        super().__init__()
        self.names = sorted(set(names or ()))
        number = {name: k for k, name in enumerate(self.names)}
        self.right = torch.tensor([number[name] for name in names or ()], dtype=torch.int64)
        g = generator(config.seed, "styles")
        self.weight = torch.nn.Parameter(torch.randn(len(number), width, generator=g) / width**0.5)
        self.bias = torch.nn.Parameter(torch.zeros(len(number)))

    def loss(self, u: Tensor, index: Tensor) -> Tensor:
        """(B,) with the mean L_style / (c B), of unit vectors (B, D) of these pictures."""
        if len(self.names) < 2:
            return u.new_zeros(len(u))
        right = self.right[index.cpu()].to(u.device)
        logits = F.linear(u * u.shape[1] ** 0.5, self.weight, self.bias)
        return F.cross_entropy(logits, right, reduction="none")


def _read(tokenizer: Any, sentences: Sequence[str]) -> Any:
    return tokenizer(
        list(sentences),
        padding=True,
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )


def vectors(
    model: Any, tokenizer: Any, pictures: Tensor, sentences: Sequence[str], device: str
) -> tuple[Tensor, Tensor]:
    """Unit vectors of pictures (B, 3, R, R) in [-1, 1] and of sentences, each (B, D)."""
    read = _read(tokenizer, sentences).to(device)
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

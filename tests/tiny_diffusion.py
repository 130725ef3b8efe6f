"""A tiny Stable Diffusion pipeline, and what painting it is: the formula written by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

START, END = "<|startoftext|>", "<|endoftext|>"
PROMPT = "a red apple on grass"
TOKENS = {"red apple": (2, 3, 4), "grass": (6,)}  # <start> a red app le on grass <end> ...
MERGES = [
    *("r e", "re d</w>", "a p", "ap p", "l e</w>", "o n</w>"),
    *("g r", "a s", "gr as", "gras s</w>"),
]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def tiny_tokenizer(folder: Path) -> Any:
    """CLIP's kind of tokeniser, with a few words."""
    letters = "abcdefghijklmnopqrstuvwxyz,.#"
    words = [*letters, *(c + "</w>" for c in letters), *(m.replace(" ", "") for m in MERGES)]
    words += [START, END]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    import transformers

    return transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def tiny_parts(tokenizer: Any) -> dict[str, Any]:
    """Random networks in float64, at two resolutions."""
    import diffusers
    import transformers

    torch.manual_seed(1)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=16, attention_head_dim=2,
    )  # fmt: skip
    with torch.no_grad():
        for name, p in unet.named_parameters():
            if "attn2.to_q" in name or "attn2.to_k" in name:
                p.mul_(4)  # so that tokens differ in attention
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4,) * 4, norm_num_groups=2, latent_channels=4, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    return {
        "unet": unet.double().eval(), "vae": vae.double().eval(), "tokenizer": tokenizer,
        "text_encoder": text.double().eval(), "scheduler": None,
        "safety_checker": None, "feature_extractor": None,
    }  # fmt: skip


SCHEDULERS: dict[str, tuple[str, dict[str, str]]] = {
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {"timestep_spacing": "leading"}),  # whole timesteps
    "dpm": ("DPMSolverMultistepScheduler", {"timestep_spacing": "leading"}),
}


def build(parts: dict[str, Any], scheduler: str = "ddim", kind: str = "") -> Any:
    """A pipeline of these parts; they are the same objects in every pipeline."""
    import diffusers

    name, more = SCHEDULERS[scheduler]
    chosen = {"scheduler": getattr(diffusers, name)(**BETAS, **more)}
    made = getattr(diffusers, f"StableDiffusion{kind}Pipeline")(
        **parts | chosen, requires_safety_checker=False
    )
    made.set_progress_bar_config(disable=True)
    return made


def masks(height: int, width: int) -> dict[str, Tensor]:
    """An apple in the upper left, grass below, with an edge that is not sharp; they overlap."""
    apple, grass = torch.zeros(height, width), torch.zeros(height, width)
    apple[: 5 * height // 8, width // 4 : width // 2] = 1
    grass[height // 2 :] = 0.75
    return {"red apple": apple, "grass": grass}


SQUARE = masks(64, 64)


def draw(pipe: Any, steps: int = 1, **more: Any) -> Tensor:
    """Latents of one seed, by default of 8x8."""
    how: dict[str, Any] = {"output_type": "latent", "num_inference_steps": steps}
    how |= {"generator": torch.Generator().manual_seed(3), "height": 64, "width": 64}
    return pipe(**{"prompt": PROMPT} | how | more).images


def attentions(unet: Any, which: str = "attn2") -> dict[str, Any]:
    """The layers of cross-attention."""
    return {n: m for n, m in unet.named_modules() if n.endswith(which)}


@dataclass
class Record:
    """What went into the layers of cross-attention and came out, call by call of the network."""

    steps: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)
    calls: list[tuple[int, Any, Tensor, Tensor, Tensor | None, Tensor]] = field(
        default_factory=list
    )
    outputs: list[Tensor] = field(default_factory=list)


@contextmanager
def recorded(unet: Any) -> Iterator[Record]:
    """What the network is asked while it is entered."""
    seen, hooks = Record(), []

    def before(_: Any, args: Any) -> None:
        seen.steps.append((float(args[1]), tuple(args[0].shape)))

    def after(_: Any, __: Any, out: Any) -> None:
        seen.outputs.append(out[0])

    def layer(attn: Any, args: Any, kwargs: dict[str, Any], out: Tensor) -> None:
        said, mask = kwargs["encoder_hidden_states"], kwargs["attention_mask"]
        seen.calls.append((len(seen.steps) - 1, attn, args[0], said, mask, out))

    hooks += [unet.register_forward_pre_hook(before), unet.register_forward_hook(after)]
    for attn in attentions(unet).values():
        hooks.append(attn.register_forward_hook(layer, with_kwargs=True))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def resized(mask: Tensor, h: int, w: int) -> Tensor:
    """The mean over the pixels that each of h x w pixels covers at least in part."""
    rows, columns = mask.shape
    made = torch.zeros(h, w, dtype=torch.float64)
    for i in range(h):
        for j in range(w):
            y = slice(i * rows // h, math.ceil((i + 1) * rows / h))
            x = slice(j * columns // w, math.ceil((j + 1) * columns / w))
            made[i, j] = mask[y, x].double().mean()
    return made


def formula(attn: Any, x: Tensor, said: Tensor, wa: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax((Q K' + w A max(Q K'))/√d) V of one sample, head by head, in float64."""
    q, k, v = (
        (z.double() @ layer.weight.double().T).chunk(attn.heads, 1)
        for z, layer in ((x, attn.to_q), (said, attn.to_k), (said, attn.to_v))
    )
    there = torch.ones(len(said), dtype=torch.bool) if mask is None else mask[0] == 0
    products = [a @ b.T for a, b in zip(q, k)]
    greatest = max(float(p[:, there].detach().max()) for p in products)
    made = []
    for p, values in zip(products, v):
        logits = (p + wa * greatest) / q[0].shape[1] ** 0.5
        made.append(logits.masked_fill(~there, -torch.inf).softmax(1) @ values)
    out = attn.to_out[0]
    return torch.cat(made, 1) @ out.weight.double().T + out.bias.double()


def check(
    seen: Record,
    alphas: Tensor,
    strength: float,
    drawn: dict[str, Tensor],
    first: int,
    atol: float = 1e-9,
) -> set[tuple[int, int]]:
    """Every call of every layer against the formula; the sizes at which there was attention."""
    sizes = set()
    for step, attn, x, said, mask, out in seen.calls:
        t, (_, _, h, w) = seen.steps[step]
        while h * w != x.shape[1]:
            h, w = math.ceil(h / 2), math.ceil(w / 2)
        sizes.add((h, w))
        alpha = float(alphas[int(t)])
        assert t == int(t)
        weight = strength * math.log(1 + math.sqrt((1 - alpha) / alpha))
        a = torch.zeros(h * w, said.shape[1], dtype=torch.float64)
        for phrase, where in drawn.items():
            for token in TOKENS[phrase]:
                a[:, token] = resized(where, h, w).flatten()
        for b in range(len(x)):
            m = None if mask is None else mask[b]
            want = formula(attn, x[b], said[b], weight * a if b >= first else 0 * a, m)
            torch.testing.assert_close(out[b].double(), want, atol=atol, rtol=atol)
    return sizes


def state(pipe: Any) -> list[Any]:
    """All that painting changes for a while."""
    hooks = [list(m._forward_pre_hooks.values()) for m in (pipe.unet, pipe.text_encoder)]
    return [*pipe.unet.attn_processors.values(), *hooks]

"""A toy cascade: a small CLIP of squares, and a network of random weights that listens to it."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image

from sfumato.files.store import write_folder
from sfumato.nn import ContextConfig, UNetConfig
from sfumato.studio.limits import Limits
from sfumato.studio.serve import application, listening
from sfumato.studio.tab import Tab
from sfumato.systems.ediffi.model import PromptedModel
from sfumato.systems.ediffi.pipeline import Cascade
from sfumato.systems.ediffi.prompt_encoder import encoder_config
from sfumato.systems.ediffi.studio.tab import ImagineTab
from sfumato.systems.ediffi.text.dual import DualConfig, save_dual
from sfumato.systems.ediffi.text.dual_training import train_dual
from sfumato.train.checkpoint import pack_json, pack_tensors
from toy_captioned import squares

CLIP: Final = DualConfig(
    side=16, patch=8, width=32, heads=2, picture_layers=1, text_layers=1, shared=16,
    vocabulary=300, length=24, steps=2, batch=8, rate=3e-3,
)  # fmt: skip


def write_toy(root: Path, side: int = 16, pictures: bool = True) -> Path:
    """The folder of a model of squares of that side; it hears sentences, and sees pictures."""
    clip = root / "clip"
    if not clip.is_dir():
        clip.mkdir(parents=True)
        save_dual(*train_dual(squares(8), CLIP), clip)
    heard = [encoder_config(f"sentence:{clip}")]
    heard += [encoder_config(f"picture:{clip}")] if pictures else []
    network = UNetConfig(
        3, 3, channels=8, multipliers=(1, 2), blocks=1, attention=(side // 2,), head_channels=0,
        resolution=side, context=ContextConfig(tuple(one.widths for one in heard), 16),
    )  # fmt: skip
    model = PromptedModel("squares", network, tuple(heard), 0.5)
    denoiser = model.build()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=random))
    files = {
        "model.safetensors": pack_tensors(denoiser.state_dict()),
        "model.json": pack_json({"model": model.to_json()}),
    }
    return write_folder(root / "model", files)


def served(
    cascade: Cascade, limits: Limits, name: str = "toy"
) -> contextlib.AbstractContextManager[str]:
    """The address of the page with the tab of a cascade, served from a thread."""
    return served_tabs([ImagineTab(cascade, name)], limits)


@contextlib.contextmanager
def served_tabs(tabs: Sequence[Tab], limits: Limits) -> Iterator[str]:
    """The address of a page with these tabs, served from a thread."""
    import uvicorn

    with listening("127.0.0.1", 0) as place:
        app = application(tabs, limits, "127.0.0.1")
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        server.config.timeout_graceful_shutdown = 1
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def url(data: bytes, kind: str = "image/png") -> str:
    """A file as it travels."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def painting(*spots: tuple[slice, slice, tuple[int, int, int]], side: int = 64) -> bytes:
    """A PNG file of rectangles of colours on nothing."""
    pixels = np.zeros((side, side, 4), np.uint8)
    for rows, columns, rgb in spots:
        pixels[rows, columns] = (*rgb, 255)
    return png(pixels)


def png(pixels: np.ndarray, form: str = "PNG") -> bytes:
    """A file of pixels (H, W, 3 or 4)."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()

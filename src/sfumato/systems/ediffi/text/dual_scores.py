"""How often a dual encoder is right: of sentences, of pictures, and of whose style one has."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from sfumato.errors import UsageError
from sfumato.seeds import generator
from sfumato.systems.ediffi.data import Captioned
from sfumato.systems.ediffi.text.dual import picture_vectors, vectors


@torch.no_grad()
def retrieval(
    model: Any, tokenizer: Any, data: Captioned, n: int, among: int, seed: int = 0
) -> tuple[float, float]:
    """How often the nearest of ``among`` is the right one: sentence of a picture, and picture.

    Sentences that are word for word the same count as one.

    Args:
        n: pictures in all; they are compared in groups of ``among``, of which there are n // among.

    Raises:
        UsageError: not two pictures to choose among, or fewer pictures than that.
    """
    if not 2 <= among <= min(n, len(data)):
        raise UsageError(f"expected 2 to {min(n, len(data))} pictures to choose among, got {among}")
    index = torch.randperm(len(data), generator=generator(seed, "asked"))[:n].numpy()
    right = torch.zeros(2)
    counted = 0
    device = str(next(model.parameters()).device)
    for start in range(0, len(index) - among + 1, among):
        here = index[start : start + among]
        said = data.draw_captions(here, seed)
        u, v = vectors(model, tokenizer, data.batch(here)[0], said, device)
        likeness = u @ v.T
        for axis in (1, 0):
            best = likeness.argmax(axis).tolist()
            right[1 - axis] += sum(said[a] == said[b] for a, b in enumerate(best))
        counted += among
    shares = right / counted
    return float(shares[0]), float(shares[1])


@torch.no_grad()
def styles_read(model: Any, known: Captioned, asked: Captioned, n: int, seed: int = 0) -> float:
    """How often a linear reading of pictures' vectors, fitted to known ones, tells the style.

    With rows x_i = (√D u_i, 1) of n known pictures and y_i the unit vector of the style of i, it is
    the W of least sum |x_i W - y_i|^2 + n |W|^2 / 100, and says the largest value of x W.

    Args:
        known, asked: pictures whose styles are known, n of each of which are taken (or all).

    Raises:
        UsageError: styles that are not known.
    """
    if known.styles is None or asked.styles is None:
        raise UsageError("expected pictures whose styles are known")
    names = sorted({*known.styles, *asked.styles})
    device = str(next(model.parameters()).device)
    rows, right = [], []
    for data in (known, asked):
        index = torch.randperm(len(data), generator=generator(seed, "styles"))[:n].numpy()
        starts = range(0, len(index), 100)
        parts = [picture_vectors(model, data.batch(index[i : i + 100])[0], device) for i in starts]
        u = torch.cat(parts).double().cpu()
        rows.append(F.pad(u * u.shape[1] ** 0.5, (0, 1), value=1.0))
        right.append(torch.tensor([names.index((data.styles or ())[i]) for i in index.tolist()]))
    x, y = rows[0], F.one_hot(right[0], len(names)).double()
    gram = x.T @ x + len(x) / 100 * torch.eye(x.shape[1], dtype=x.dtype)
    said = (rows[1] @ torch.linalg.solve(gram, x.T @ y)).argmax(1)
    return float((said == right[1]).double().mean())

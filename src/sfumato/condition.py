"""What a model is told besides the state: labels, an embedding or a prompt, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from sfumato.nn import Prompt


@final
@dataclass(frozen=True, eq=False)
class Condition:
    """What B samples are conditioned on; nothing by default.

    Args:
        labels: int64 (B, axes) or (B,).
        embedding: floating (B, D).
        prompt: what text encoders say, for networks that attend to it.
        image: (B, C', ...) on the grid of the state, or (1, C', ...) for all samples alike; the
            network sees it beside the state, on further channels.

    Raises:
        ValueError: more than one of labels, embedding and prompt, or labels that are not integers.
    """

    labels: Tensor | None = None
    embedding: Tensor | None = None
    prompt: Prompt | None = None
    image: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "embedding", "image"):
            object.__setattr__(self, name, _tensor(getattr(self, name)))
        told = [x for x in (self.labels, self.embedding, self.prompt) if x is not None]
        if len(told) > 1:
            raise ValueError(f"expected labels, an embedding or a prompt, got {len(told)} of them")
        if self.labels is not None and self.labels.is_floating_point():
            raise ValueError(f"expected labels of integers, got {self.labels.dtype}")

    @staticmethod
    def of(given: Given) -> Condition:
        """The condition that numbers (integers are labels, others an embedding) or a prompt mean.

        Raises:
            ValueError: something else.
        """
        if isinstance(given, Condition):
            return given
        return NOTHING.telling(given)

    @property
    def told(self) -> Tensor | Prompt | None:
        """What a network is called with beside its input: labels, the embedding or the prompt."""
        return next((x for x in (self.labels, self.embedding, self.prompt) if x is not None), None)

    def telling(self, told: Tensor | np.ndarray | Sequence[Any] | Prompt | None) -> Condition:
        """With other labels (another embedding, another prompt), and the picture as it was.

        Raises:
            ValueError: neither numbers nor a prompt.
        """
        match told := _tensor(told):
            case None:
                return Condition(image=self.image)
            case Prompt():
                return Condition(prompt=told, image=self.image)
            case Tensor() if told.is_floating_point():
                return Condition(embedding=told, image=self.image)
            case Tensor():
                return Condition(labels=told, image=self.image)
        raise ValueError(
            "expected a condition, labels or an embedding (a tensor), or a prompt, got "
            f"{type(told).__name__}"
        )

    def unlabelled(self) -> Condition:
        """The picture alone: what classifier-free guidance goes away from."""
        return self.telling(None)

    def rows(self, numbers: Tensor) -> Condition:
        """The condition of some samples, int64 numbers; one for all is that of each."""
        image = self.image
        if image is not None and len(image) > 1:
            image = image[numbers.to(image.device)]
        told = self.told
        if told is not None:
            first = told if isinstance(told, Tensor) else told.encoded[0].mask
            told = told[torch.zeros_like(numbers) if len(told) == 1 else numbers.to(first.device)]
        return replace(self.telling(told), image=image)

    def to(self, device: torch.device | str) -> Condition:
        """On a device."""
        told = self.told
        image = None if self.image is None else self.image.to(device)
        return replace(self.telling(None if told is None else told.to(device)), image=image)

    def beside(self, x: Tensor) -> Tensor:
        """The state with the picture's channels joined on; without a picture the state.

        Raises:
            ValueError: a picture of another size, or for another number of samples.
        """
        image = self.image
        if image is None:
            return x
        fits = image.ndim == x.ndim and image.shape[2:] == x.shape[2:]
        if not fits or image.shape[0] not in (1, len(x)):
            raise ValueError(
                f"expected a picture beside of shape ({len(x)}, C, "
                f"{str(tuple(x.shape[2:]))[1:-1]}), like the state, got {tuple(image.shape)}"
            )
        return torch.cat([x, image.expand(len(x), *image.shape[1:]).to(x)], dim=1)


def _tensor(value: Any) -> Any:
    """Lists and arrays of numbers as tensors; anything else as it is."""
    if isinstance(value, list | tuple | np.ndarray | np.generic):
        try:
            return torch.as_tensor(np.asarray(value))
        except TypeError as error:
            raise ValueError(
                f"expected numbers as a condition, got {type(value).__name__} of "
                f"{np.asarray(value).dtype}"
            ) from error
    return value


NOTHING = Condition()
"""No condition at all."""

Given = Condition | Tensor | np.ndarray | Sequence[Any] | Prompt | None
"""What verbs and denoisers accept as a condition: see `Condition.of`."""


def ImageCondition(image: Tensor, labels: Tensor | Prompt | None = None) -> Condition:
    """A picture that the network sees beside the state; and labels, an embedding or a prompt."""
    return Condition(image=image).telling(labels)

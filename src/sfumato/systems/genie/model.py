"""The kind of a model with a derivative head, which is shipped without its backbone's weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import cast, final

from torch import Tensor

from sfumato.data import LabelAxis
from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.cards import find
from sfumato.model.description import ModelConfig, ModelDescription, Sampling, initial
from sfumato.nn import MLP, UNet
from sfumato.systems.genie.derivative import LearnedDerivative
from sfumato.systems.genie.head import DerivativeHead
from sfumato.train import checkpoint as ck

HEAD = "head."
"""What the names of the head's weights begin with in a `LearnedDerivative`."""


@final
@dataclass(frozen=True)
class Base:
    """Where a model's other weights are.

    Args:
        name: of a shipped model, or the folder of a model or run.
        sha256: checksum of its file of weights.
    """

    name: str
    sha256: str

    def read(self) -> bytes:
        """Its file of weights, found by name and checked.

        Raises:
            SfumatoError: no such model, or other weights than these.
        """
        try:
            found = ck.find_checkpoint(find(self.name))
        except UsageError as error:
            raise SfumatoError(f"the backbone {self.name!r} is not here: {error}") from error
        data = found.files.get(ck.EMA, found.files.get(ck.MODEL, b""))
        if (got := hashlib.sha256(data).hexdigest()) != self.sha256:
            raise SfumatoError(
                f"the head was distilled from other weights of {self.name!r} than those in "
                f"{found.folder}: expected sha256 {self.sha256[:12]}…, got {got[:12]}…; train it "
                f"again with: sfumato train genie --model {self.name}"
            )
        return data

    @staticmethod
    def of(name: str) -> Base:
        """The model of that name with the checksum that it has now."""
        files = ck.find_checkpoint(find(name)).files
        return Base(name, hashlib.sha256(files.get(ck.EMA, files[ck.MODEL])).hexdigest())


@final
@dataclass(frozen=True)
class DerivativeModel(ModelDescription):
    """A preconditioned network with a derivative head (GENIE).

    Args:
        data: name of the data set.
        backbone: the model that the head belongs to.
        base: where the backbone's weights came from.
        axes: those of the backbone.
        width: channels of the head.
        whole: whether the file of weights holds the backbone as well, as a run's checkpoints do.

    Raises:
        UsageError: axes that are not the backbone's.
    """

    data: str
    backbone: ModelConfig
    base: Base
    axes: tuple[LabelAxis, ...] = ()
    width: int = 24
    whole: bool = True

    def __post_init__(self) -> None:
        if self.axes != self.backbone.axes or self.data != self.backbone.data:
            raise UsageError("data and axes of a derivative model must be its backbone's")

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) or (d,), as of the backbone."""
        return self.backbone.shape

    @property
    def sampling(self) -> Sampling:
        """Second-order Taylor steps with the learned derivative."""
        return Sampling("genie", "auto", 10)

    def build(self, seed: int = 0) -> LearnedDerivative:
        """Backbone and head; the head predicts 0 at first."""
        with ExitStack() as stack:
            if not self.whole:  # the file of the head says nothing about the backbone's size
                count = ck.numbers_in(self.base.read(), self.base.name)
                stack.enter_context(ck.described_size(count, self.base.name))
            backbone = self.backbone.build(seed)
        with initial(seed):
            head = DerivativeHead(cast(UNet | MLP, backbone.network), self.width)
        return LearnedDerivative(backbone, head)

    def load(self, denoiser: Denoiser, weights: bytes, where: str) -> None:
        """Everything, or the head, and the backbone from its base.

        Raises:
            SfumatoError: weights of another model; a base that is missing or has changed.
        """
        if self.whole:
            ck.load_weights(denoiser, weights, where)
            return
        denoiser = cast(LearnedDerivative, denoiser)
        ck.load_weights(denoiser.head, weights, where)
        ck.load_weights(denoiser.backbone, self.base.read(), self.base.name)

    def shipped(self, weights: Mapping[str, Tensor]) -> tuple[ModelDescription, dict[str, Tensor]]:
        """The description and weights of the head, without its backbone (shipped apart)."""
        head = {k.removeprefix(HEAD): w for k, w in weights.items() if k.startswith(HEAD)}
        return replace(self, whole=False), head

"""The kind of a model that draws what a prompt says (eDiff-I), as data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar, final

from sfumato.data import LabelAxis
from sfumato.denoise import Denoiser, Preconditioned, Prediction
from sfumato.errors import UsageError
from sfumato.loss import LogNormal
from sfumato.model.description import ModelDescription, Sampling, initial
from sfumato.nn import EncoderWidths, UNet, UNetConfig
from sfumato.process import Process, Scheduled
from sfumato.schedule import EDM
from sfumato.systems.ediffi.experts import Experts, Node, Split


class Modality(Enum):
    """What an encoder encodes."""

    SENTENCE = "sentence"
    PICTURE = "picture"


@final
@dataclass(frozen=True)
class EncoderConfig:
    """A prompt encoder of a model.

    Args:
        modality: sentences, or a picture as an example of style.
        source: "minilm" (fetched by ``sfumato data fetch minilm``), the name of a shipped CLIP, a
            folder, or a name on the Hugging Face hub.
        widths: of its tokens and of its pooled vector.
        weights: digest of the weights that the model was trained with; "" if that is not known.
    """

    modality: Modality
    source: str
    widths: EncoderWidths
    weights: str = ""

    @property
    def name(self) -> str:
        """As options name it: "sentence:minilm"."""
        return f"{self.modality.value}:{self.source}"


def sized(network: UNetConfig, side: int, low: int) -> UNetConfig:
    """A network for pictures of this side, which sees smaller ones of side ``low`` if not 0.

    Raises:
        UsageError: its levels do not go with that side.
    """
    try:
        return replace(network, in_channels=6 if low else 3, out_channels=3, resolution=side)
    except ValueError as error:
        raise UsageError(
            f"--resolution {side} does not go with --network: {error}. For 64 there is "
            "--network.multipliers 1 2 2 --network.blocks 1 --network.attention 8"
        ) from error


@final
@dataclass(frozen=True)
class PromptedModel(ModelDescription):
    """A U-Net that attends to a prompt, or one for each of several parts of the noise levels.

    Args:
        data: name of the data set.
        network: sizes; its context has one encoder for each of ``encoders``.
        encoders: the encoders of its prompts, in order.
        sigma_data: root mean square of the data.
        law: of the noise levels in training, whose quantiles the split is made of.
        low: side of the picture that it enlarges and sees beside the state; 0 for a model that
            begins with nothing.
        split: the nodes that have experts, the complement being one more; () is one network.
        process: how data becomes noise.

    Raises:
        UsageError: the parts do not fit.
    """

    command: ClassVar[str] = "imagine"
    opens: ClassVar[str] = "sfumato.systems.ediffi.text_to_image:TextToImage"

    data: str
    network: UNetConfig
    encoders: tuple[EncoderConfig, ...]
    sigma_data: float = 0.5
    law: LogNormal = LogNormal()
    low: int = 0
    split: tuple[Node, ...] = ()
    process: Process = field(default_factory=lambda: Scheduled(EDM()))

    def __post_init__(self) -> None:
        context = self.network.context
        widths = tuple(one.widths for one in self.encoders)
        if context is None or context.encoders != widths:
            have = "none" if context is None else context.encoders
            raise UsageError(f"the network was made for {have}, but the encoders have {widths}")
        channels = self.network.out_channels
        want = channels * (2 if self.low else 1)
        if self.network.in_channels != want:
            raise UsageError(
                f"expected a network from {want} to {channels} channels, got one from "
                f"{self.network.in_channels}"
            )
        if self.low and not 0 < self.low < self.network.resolution:
            raise UsageError(
                f"expected to enlarge pictures of less than {self.network.resolution} pixels, got "
                f"{self.low}"
            )
        if self.split:
            try:
                Split(self.split)
            except ValueError as error:
                raise UsageError(str(error)) from error

    @property
    def axes(self) -> tuple[LabelAxis, ...]:  # type: ignore[override]
        """No labels."""
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return (self.network.out_channels, *[self.network.resolution] * 2)

    @property
    def sampling(self) -> Sampling:
        """DEIS: 25 steps, 10 where a picture is enlarged."""
        return Sampling("deis", "auto", 10 if self.low else 25)

    def build(self, seed: int = 0) -> Denoiser:
        """The network, preconditioned; or all experts, which begin alike."""
        if not self.split:
            return self.one(seed)
        split = Split(self.split)
        experts = [self.one(seed) for _ in range(split.experts)]
        return Experts(experts, split.route(self.law), self.process)

    def one(self, seed: int = 0) -> Preconditioned:
        """One network, preconditioned."""
        with initial(seed):
            made = UNet(self.network)
        return Preconditioned(made, self.process, Prediction.EDM, self.sigma_data)

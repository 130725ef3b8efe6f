"""Networks in plain PyTorch: U-Net, perceptron, classifier, and what reads a prompt."""

from sfumato.nn.classifier import Classifier, ClassifierConfig
from sfumato.nn.config import UNetConfig
from sfumato.nn.context import ContextConfig, Encoded, EncoderWidths, Prompt
from sfumato.nn.dispatch import best_dtype
from sfumato.nn.mapping import Mapping
from sfumato.nn.mlp import MLP, MLPConfig
from sfumato.nn.unet import UNet

__all__ = [
    "MLP", "Classifier", "ClassifierConfig", "ContextConfig", "Encoded", "EncoderWidths",
    "MLPConfig", "Mapping", "Prompt", "UNet", "UNetConfig", "best_dtype",
]  # fmt: skip

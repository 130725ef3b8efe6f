"""Networks in plain PyTorch: a U-Net, a perceptron for points, discriminators, a classifier."""

from .classifier import Classifier, ClassifierConfig
from .config import UNetConfig
from .critic import Critic, CriticConfig
from .discriminator import Discriminator
from .dispatch import best_dtype
from .head import DerivativeHead
from .mapping import Mapping
from .mlp import MLP, MLPConfig
from .temporal import TemporalConvolution, TemporalUNet
from .unet import UNet

__all__ = [
    "MLP",
    "Classifier",
    "ClassifierConfig",
    "Critic",
    "CriticConfig",
    "Discriminator",
    "DerivativeHead",
    "MLPConfig",
    "Mapping",
    "TemporalConvolution",
    "TemporalUNet",
    "UNet",
    "UNetConfig",
    "best_dtype",
]

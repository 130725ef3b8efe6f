"""Networks in plain PyTorch: a U-Net, a perceptron for points, a small classifier."""

from .classifier import Classifier, ClassifierConfig
from .config import UNetConfig
from .dispatch import best_dtype
from .mlp import MLP, MLPConfig
from .unet import UNet

__all__ = [
    "MLP",
    "Classifier",
    "ClassifierConfig",
    "MLPConfig",
    "UNet",
    "UNetConfig",
    "best_dtype",
]

"""Networks in plain PyTorch: U-Net, perceptron, operators, discriminators, classifier, reader."""

from .classifier import Classifier, ClassifierConfig
from .config import UNetConfig
from .context import ContextConfig, Encoded, EncoderWidths, Prompt
from .critic import Critic, CriticConfig
from .discriminator import Discriminator
from .dispatch import best_dtype
from .harmonic import Domain
from .head import DerivativeHead
from .mapping import Mapping
from .mlp import MLP, MLPConfig
from .operator import FNO, UNO, FNOConfig, UNOConfig
from .segmenter import Segmented, Segmenter, SegmenterConfig
from .spectral import SpectralConvolution
from .temporal import TemporalConvolution, TemporalUNet
from .unet import UNet

__all__ = [
    "FNO",
    "MLP",
    "UNO",
    "Classifier",
    "ClassifierConfig",
    "ContextConfig",
    "Critic",
    "CriticConfig",
    "Discriminator",
    "DerivativeHead",
    "Domain",
    "Encoded",
    "EncoderWidths",
    "FNOConfig",
    "MLPConfig",
    "Mapping",
    "Prompt",
    "Segmented",
    "Segmenter",
    "SegmenterConfig",
    "SpectralConvolution",
    "TemporalConvolution",
    "TemporalUNet",
    "UNet",
    "UNOConfig",
    "UNetConfig",
    "best_dtype",
]

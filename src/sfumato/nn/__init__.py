"""Networks in plain PyTorch: U-Net, perceptron, classifier, and what reads a prompt."""

from sfumato.lazy import lazy

__getattr__, __dir__, __all__ = lazy(__name__)

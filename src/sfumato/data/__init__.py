"""Data sets, each with a card that says where it comes from and under which licence."""

from sfumato.lazy import lazy

__getattr__, __dir__, __all__ = lazy(__name__)

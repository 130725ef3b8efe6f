"""Training of any module: players and their tasks, the loop, checkpoints, the log."""

from sfumato.lazy import lazy

__getattr__, __dir__, __all__ = lazy(__name__)

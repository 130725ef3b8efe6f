"""sfumato: one small, exact core for generative models.

A *process* turns data into noise, a *denoiser* estimates the data from a noisy state, a
*solver* walks from noise to data by asking the denoiser. `sample` and `denoising_loss` are the
two verbs; `encode` and `log_likelihood` follow the probability flow the other way. `load` gives a
trained model: ``sfumato.load("fashion").sample(16)``.

The names are listed in ``__init__.pyi`` and imported when they are first used, so that
``sfumato --help`` need not wait for torch.
"""

import importlib
import re
from pathlib import Path

__version__ = "0.1.0"

_STUB = Path(__file__).with_suffix(".pyi").read_text("utf-8")
_HOME = {name: home for home, name in re.findall(r"^from (\S+) import (\w+) as", _STUB, re.M)}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'sfumato' has no attribute {name!r}")
    home = _HOME[name]
    if home == "sfumato":
        value: object = importlib.import_module(f"sfumato.{name}")
    else:
        value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

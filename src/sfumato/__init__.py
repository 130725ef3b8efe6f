"""sfumato: one small, exact core for generative models.

A *process* turns data into noise, a *denoiser* estimates the data from a noisy state, a
*solver* walks from noise to data by asking the denoiser. `sample` and `denoising_loss` are the
two verbs; `encode` and `log_likelihood` follow the probability flow the other way. `load` gives a
trained model: ``sfumato.load("fashion").sample(16)``.

The names are listed in ``__init__.pyi`` and imported when they are first used, so that
``sfumato --help`` need not wait for torch.
"""

from sfumato.lazy import lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy(__name__)

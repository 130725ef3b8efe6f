"""What makes a bad picture of a good one: tested operators, each with a card."""

from sfumato.data.degrade.base import Degradation, DegradationCard, Degraded
from sfumato.data.degrade.blur import Blur, BlurKernel, PublishedBlur
from sfumato.data.degrade.jpeg import Jpeg, JpegFile, Rounding
from sfumato.data.degrade.masks import CentreMask, FreeForm, with_hole
from sfumato.data.degrade.resolution import Bicubic, Pooled
from sfumato.data.degrade.simple import Chain, FromFunction, Given, Grey, Noisy
from sfumato.data.degrade.task import TASKS, Problem, Task, begin, pose, posed, tasks_named

KINDS = (
    Bicubic, Blur, CentreMask, Chain, FreeForm, Given, Grey, Jpeg, JpegFile, Noisy, Pooled,
    PublishedBlur,
)  # fmt: skip
"""Every degradation that can be written into a file and read back."""

__all__ = [
    "KINDS", "TASKS", "Bicubic", "Blur", "CentreMask", "Chain", "Degradation", "DegradationCard",
    "Degraded", "FreeForm", "FromFunction", "Given", "Grey", "Jpeg", "JpegFile", "BlurKernel",
    "Noisy", "Pooled", "Problem", "PublishedBlur", "Rounding", "Task", "begin", "pose", "posed",
    "tasks_named", "with_hole",
]  # fmt: skip

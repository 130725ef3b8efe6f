"""A trained model of restoration, ready for pictures of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.data.degrade import (
    CentreMask,
    FreeForm,
    Grey,
    Jpeg,
    Noisy,
    Problem,
    Task,
    begin,
    with_hole,
)
from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.guide import Tiled
from sfumato.model.model import Model
from sfumato.seeds import fold, generators
from sfumato.systems.i2sb.model import Method, RestorationModel
from sfumato.systems.i2sb.painting import SINCE, pyramid, refined
from sfumato.systems.i2sb.picture import read_mask, read_picture
from sfumato.systems.i2sb.restoring import restore
from sfumato.systems.i2sb.work import restored

GRID = 16
"""Tiles begin at multiples of this: the blocks of a JPEG file lie then as they did in training."""

BLIND = "blind"
"""The task of a picture of which nobody said what is wrong with it."""


@final
class Restorer(Model):
    """Undoes degradations of pictures of any size, tile by tile, each by its own seed.

    `restore` takes pictures as people have them; calling it takes tensors as the network does.

    Attributes:
        precision: what the network computes in; the state stays float32.
        overlap: pixels that neighbouring tiles share, a multiple of 16.
        batch: most tiles computed together.
        shift: moves the tiles, for a test of seams; multiples of 16.
    """

    called = "a model that restores pictures"
    description: RestorationModel
    precision: torch.dtype = torch.float32
    overlap: int = GRID
    batch: int = 16
    shift: tuple[int, int] = (0, 0)

    def tiled(
        self,
        overlap: int = GRID,
        batch: int = 16,
        shift: tuple[int, int] = (0, 0),
        precision: torch.dtype = torch.float32,
    ) -> Restorer:
        """Choose how large pictures are cut, and what networks compute in; returns the restorer.

        Raises:
            UsageError: an overlap that does not fit.
        """
        side = self.description.shape[-1]
        if overlap % GRID or not 0 <= overlap <= side // 2 or any(s % GRID for s in shift):
            raise UsageError(
                f"expected an overlap of 0 to {side // 2} in steps of {GRID}, got {overlap}"
            )
        self.overlap, self.batch, self.shift, self.precision = overlap, batch, shift, precision
        return self

    def restore(
        self,
        picture: Tensor | Path | str,
        task: str = "",
        n: int = 1,
        *,
        mask: Tensor | Path | str | None = None,
        seed: int = 0,
        steps: int | None = None,
        crisp: bool = False,
        device: torch.device | str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Draw n samples of what a picture was: float32 (n, C, scale H, scale W) in [-1, 1].

        Args:
            picture: a file, or a tensor (C, H, W) in [-1, 1], C 1 or 3; of any size.
            task: one of `tasks`; by default `BLIND` where the model can do without being told,
                or its only one.
            n: number of samples; sample i depends on the seed and on i alone.
            mask: for inpainting, a picture that is white, or (1, H, W) that is 1, where to paint.
            seed: of all randomness.
            steps: of the walk; None: see `usual_steps`.
            crisp: where ``steps`` is None, draw a sample even of a task whose usual answer is the
                mean.
            device: to move the model to first.
            progress: told (steps done, of how many).

        Raises:
            UsageError: an unknown task, or a mask too few or too many.
            SfumatoError: a file that cannot be read, or a result that is not finite.
        """
        if device is not None:
            self.to(device)
        if not isinstance(picture, Tensor):
            picture = read_picture(Path(picture)).pixels
        elif picture.ndim != 3 or picture.shape[0] not in (1, 3):
            raise ValueError(f"expected a picture (1 or 3, H, W), got {tuple(picture.shape)}")
        if not (mask is None or isinstance(mask, Tensor)):
            mask = read_mask(Path(mask), (picture.shape[1], picture.shape[2]))
        if not task and (BLIND in self.tasks or len(self.tasks) == 1):
            task = self.tasks[-1]
        seeds = [fold(seed, "restore", i) for i in range(n)]
        if steps is None:
            steps = self.usual_steps(task, crisp or n > 1)
        return restored(self, picture, task, mask, seeds, steps, progress)[1]

    @property
    def tasks(self) -> tuple[str, ...]:
        """What can be asked for; `BLIND` where the model can do without being told."""
        return (*self.description.names, *([BLIND] if self.description.told else []))

    @property
    def steps(self) -> int:
        """Steps of the walk unless told otherwise."""
        return self.description.sampling.steps

    def task(self, name: str) -> Task:
        """The model's task of that name.

        Raises:
            UsageError: it has none; with the nearest names.
        """
        if name == BLIND and self.description.told:
            return Task(BLIND, Noisy())  # lifted by nothing
        for task in self.description.tasks:
            if task.name == name:
                return task
        raise unknown("task of this model", name, self.tasks)

    def scale(self, task: str) -> int:
        """How many times larger the result is along each side."""
        return self.task(task).degradation.scale

    def channels(self, task: str) -> int:
        """Channels of the result."""
        self.task(task)
        return self.description.shape[0]

    def masks(self, task: str) -> bool:
        """Whether a mask has to be given."""
        return isinstance(self.task(task).degradation, CentreMask | FreeForm)

    def __call__(
        self,
        picture: Tensor,
        task: str,
        *,
        mask: Tensor | None = None,
        seeds: Sequence[int] = (0,),
        steps: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """One restored picture for each seed, (n, C, scale H, scale W) in [-1, 1] on the CPU.

        Args:
            picture: (C, H, W) in [-1, 1], C that of the model.
            task: one of `tasks`.
            mask: for inpainting, (1, H, W), 1 where the picture is lost.
            seeds: each result depends on its seed alone.
            steps: of the walk; None: see `usual_steps`.
            progress: told (steps done, of how many), over all seeds.

        Raises:
            UsageError: a mask is missing or superfluous.
            ValueError: another shape.
            SfumatoError: the result is not finite.
        """
        found = self.task(task)
        channels = self.description.shape[0]
        if picture.ndim != 3 or picture.shape[0] != channels:
            raise ValueError(f"expected a picture ({channels}, H, W), got {tuple(picture.shape)}")
        if (mask is not None) != self.masks(task):
            raise UsageError(
                f"the task {task!r} " + ("needs a mask" if mask is None else "takes no mask")
            )
        height, width = (n * found.degradation.scale for n in picture.shape[1:])
        count = self.usual_steps(task, len(seeds) > 1) if steps is None else steps
        made = []
        for i, seed in enumerate(seeds):

            def tell(done: int, of: int, i: int = i) -> None:
                if progress is not None:
                    progress(i * of + done, len(seeds) * of)

            g = generators(seed, [0])
            problem = self._problem(found, picture[None].to(self.device), mask, g)
            x = self._walk(problem, count, g, task != BLIND, tell)
            made.append(x[..., :height, :width].float().clamp(-1, 1).cpu())
        out = torch.cat(made)
        if not bool(out.isfinite().all()):
            raise SfumatoError("the restored picture is not finite; try more --steps or float32")
        return out

    def _walk(
        self,
        problem: Problem,
        steps: int,
        g: list[torch.Generator],
        told: bool,
        tell: Callable[[int, int], None],
    ) -> Tensor:
        """x_0; where too much of a tile is lost, from small to large (see `painting`)."""
        side, levels = self.description.shape[-1], [problem]
        if self.description.masked and self.description.method is Method.BRIDGE:
            levels = pyramid(problem, side, GRID, g)
        done, total = 0, steps * len(levels)

        def advance(*_: object) -> None:
            nonlocal done
            done += 1
            tell(done, total)

        low = self.precision is not torch.float32
        x: Tensor | None = None
        with torch.autocast(self.device.type, self.precision, enabled=low):
            for level in reversed(levels):  # coarse to fine
                guess = None
                if x is not None:
                    level, large = refined(x.float(), level, g)
                    guess = (large, SINCE)
                x = restore(
                    self.denoiser, self.description, level, steps, g,
                    told=told, wrap=self._tiled, callback=advance, guess=guess,
                ).x  # fmt: skip
        assert x is not None  # noqa: S101  (there is at least one level)
        return x

    def _tiled(self, denoiser: Denoiser) -> Denoiser:
        return Tiled(denoiser, self.description.shape[-1], self.overlap, self.batch, self.shift)

    def _problem(
        self, task: Task, y: Tensor, mask: Tensor | None, g: list[torch.Generator]
    ) -> Problem:
        """A picture as a problem, continued by its edge to multiples of `GRID`."""
        kind = task.degradation
        if isinstance(kind, Grey):
            y = kind.observe(y)
        x1, known = kind.lift(y), None
        down, right = -x1.shape[2] % GRID, -x1.shape[3] % GRID
        x1 = F.pad(x1, (0, right, 0, down), mode="replicate")
        if mask is not None:
            if tuple(mask.shape) != (1, *y.shape[2:]):
                raise ValueError(
                    f"expected a mask (1, {y.shape[2]}, {y.shape[3]}), got {tuple(mask.shape)}"
                )
            hole = F.pad(mask[None].to(x1), (0, right, 0, down), mode="replicate")
            x1, known = with_hole(x1, hole, g)
        number = 0 if task.name == BLIND else self.description.names.index(task.name)
        return begin(task, x1, known, g, number)

    @property
    def best_quality(self) -> int:
        """The greatest quality of JPEG files that the model learned to restore; 100 for none."""
        learned = (task.degradation for task in self.description.tasks)
        return max((kind.quality[1] for kind in learned if isinstance(kind, Jpeg)), default=100)

    def usual_steps(self, task: str, crisp: bool = False) -> int:
        """Steps of the walk unless told otherwise; a large hole takes several walks.

        The first evaluation of a bridge is E[x_0 | x_1], the mean of what the picture may have
        been: nearest to the truth, and smooth. It is the answer unless a ``crisp`` sample is
        wanted, or the mean is none: of colours it is grey, of a hole a blur.
        """
        kind = self.task(task).degradation
        sampled = crisp or isinstance(kind, Grey) or self.masks(task)
        return self.steps if sampled or self.description.method is not Method.BRIDGE else 1

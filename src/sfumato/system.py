"""What a system declares, and the tables made of it; nothing here imports torch.

A `System` says what one paper's room brings; `sfumato.library` says in the same way what belongs
to no paper. Code is named by a string "module:attribute" and imported when it is used. What is
declared once is known to the command line, the comparison, the tour, the pages and the tests.
An installed package adds a system by an entry point in `GROUP`; see docs/add-your-own.md.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from glob import glob
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, final

from sfumato.errors import SfumatoError, UsageError, unknown

GROUP = "sfumato.systems"
"""The group of entry points through which installed packages add systems."""

AUTO = "auto"


def resolve(ref: str) -> Any:
    """The object that "module:attribute" names, imported now.

    Raises:
        SfumatoError: there is no such module or attribute.
    """
    module, _, name = ref.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as error:
        raise SfumatoError(f"{module} has no {name!r}, which {ref!r} names") from error
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports
        raise SfumatoError(f"there is no module {error.name!r}, which {ref!r} names") from error


@final
class SolverEntry(NamedTuple):
    """A solver by its name.

    Args:
        name: on the command line and in ``model.sample(solver=...)``.
        make: reference to its class, or to a function that makes it.
        title: in tables and on pages.
        summary: one line for the documentation.
        arguments: always passed to ``make``.
        options: the sampling options (`OPTIONS`), or "steps", that ``make`` takes by name.
        evaluations: (a, b): a walk of n steps evaluates the network a n + b times.
        noisy: it draws noise on the way, so it does not follow the probability flow.
        level: it needs a process with a noise level σ/α (`Scheduled`).
        compared: the values of ``process.k`` at which ``evaluate --compare`` gives it a row.
        wraps: reference to what wraps the denoiser before the walk, or "".
        guides: reference to what guides a denoiser for it, instead of `ClassifierFree`, or "".
        head: reference to the class of denoisers that it needs, or "": of a plain model NAME it
            takes the one that is shipped as ``NAME-`` and the solver's name.
        advice: what to say, of a model {name}, where there is none.
    """

    name: str
    make: str
    title: str
    summary: str = ""
    arguments: Mapping[str, Any] = MappingProxyType({})
    options: tuple[str, ...] = ()
    evaluations: tuple[int, int] = (1, 0)
    noisy: bool = False
    level: bool = False
    compared: tuple[int, ...] = (1, 2)
    wraps: str = ""
    guides: str = ""
    head: str = ""
    advice: str = ""

    def build(self, steps: int, **options: float) -> Any:
        """The solver for a walk of so many steps.

        Raises:
            UsageError: an option that it does not take is set.
        """
        for name, value in options.items():
            if name not in self.options and value != OPTIONS[name]:
                raise UsageError(f"the solver {self.name!r} takes no {name}, got {name}={value}")
        known = {**OPTIONS, **options, "steps": steps}
        return resolve(self.make)(**self.arguments, **{k: known[k] for k in self.options})

    def steps_within(self, evaluations: int) -> int:
        """The most steps that so many network evaluations allow, at least one."""
        each, more = self.evaluations
        return max(1, (evaluations - more) // each)


OPTIONS: Mapping[str, float] = {"eta": 0.0, "churn": 0.0, "churn_min": 0.0, "churn_max": 1e9}
"""Options of solvers, with the values that leave them out."""


@final
class GridEntry(NamedTuple):
    """A grid of times by its name.

    ``make`` refers to a function of the number of steps; where ``level`` says that it needs a
    process with a noise level σ/α, of (process, steps).
    """

    name: str
    make: str
    summary: str
    level: bool = False


@final
class ProcessEntry(NamedTuple):
    """A process by its name, with what suits it when a network is trained on it.

    Args:
        name: on the command line (``sfumato train points --kind NAME``).
        make: reference to the function or class that makes it.
        summary: one line for the documentation.
        prediction: name of the `sfumato.Prediction` that the network learns.
        law: reference to a function of σ_d that gives the `sfumato.TimeLaw` of training; "" is
            `sfumato.Uniform` from ``start``.
        start: the earliest time in training, where the law is uniform.
        mixed: in phase space, the network corrects the score of a normal velocity.
    """

    name: str
    make: str
    summary: str
    prediction: str = "X0"
    law: str = ""
    start: float = 1e-5
    mixed: bool = False

    def times(self, sigma_data: float) -> Any:
        """The `TimeLaw` of training for data of that root mean square."""
        if self.law:
            return resolve(self.law)(sigma_data)
        return resolve("sfumato.loss:Uniform")(self.start)


@final
class DataRequest(NamedTuple):
    """What part of a data set is wanted.

    Args:
        split: "train" or "test".
        n: at most so many examples; 0 for all.
        resolution: for data sets that are drawn at any; 0 for the usual one.
        seed: of point sets, which are drawn afresh.
        channels: of the images in a folder, 1 (grey) or 3.
        skip_broken: leave out images of a folder that cannot be read.
        progress: show a bar where loading takes long.
        root: folder of the data set's files; None for the usual places.
        workers: processes that draw pictures the first time.
        folder: further arguments of `sfumato.data.folder`.
    """

    split: str = "train"
    n: int = 0
    resolution: int = 0
    seed: int = 0
    channels: int = 3
    skip_broken: bool = False
    progress: bool = True
    root: Path | None = None
    workers: int = 1
    folder: Mapping[str, Any] = MappingProxyType({})


@final
class DataEntry(NamedTuple):
    """A data set by its name.

    Args:
        name: on the command line, and in the descriptions of models.
        summary: one line for lists.
        make: reference to a function of a `DataRequest`.
        arguments: always passed to ``make``, by name.
        packages: keys of the packages its files are fetched from; () if nothing is fetched.
        trained: examples that models are trained on; 0 for all.
    """

    name: str
    summary: str
    make: str
    arguments: Mapping[str, Any] = MappingProxyType({})
    packages: tuple[str, ...] = ()
    trained: int = 0

    def load(self, wish: DataRequest) -> Any:
        """The `ImageSet` or `PointSet`. Raises SfumatoError when its files are not there."""
        return resolve(self.make)(wish, **self.arguments)


@final
class RecipeEntry(NamedTuple):
    """A recipe by its name.

    Args:
        name: after ``sfumato train``, and in the ``config.json`` of a run.
        module: has ``run(config)``, which trains.
        summary: one line for lists; "" leaves it out of ``sfumato train``, because another
            command trains by it.
        options: reference to the frozen dataclass of its options, "module:Config" if not given;
            in a module that does not import torch the help is quick.
    """

    name: str
    module: str
    summary: str = ""
    options: str = ""

    @property
    def config(self) -> Any:
        """The dataclass of its options."""
        return resolve(self.options or f"{self.module}:Config")

    @property
    def run(self) -> Callable[[Any], Path]:
        """What trains by a configuration and returns the run folder."""
        return resolve(f"{self.module}:run")


@final
class CommandEntry(NamedTuple):
    """A command of ``sfumato``: the module with its ``main(argv)``, and its line of help."""

    name: str
    module: str
    summary: str


@final
class KindEntry(NamedTuple):
    """A kind of model.

    Args:
        make: reference to its description, a `sfumato.model.description.Model`.
        card: what the cards of shipped models call it.
        called: what messages call it.
    """

    make: str
    card: str = "denoiser"
    called: str = "a generative model"


@final
class Paper(NamedTuple):
    """Where a system was published; as text, its citation."""

    title: str
    authors: str
    year: int
    arxiv: str

    def __str__(self) -> str:
        return f"{self.authors.partition(',')[0]} et al. {self.year}, arXiv {self.arxiv}"


@final
class System(NamedTuple):
    """What one paper's room brings.

    Args:
        name: of its folder.
        title: what people call it.
        paper: where it was published.
        page: its page in the documentation.
        solvers, grids, processes, data, recipes, commands, kinds: its nouns.
        parts: references to the dataclasses that a ``model.json`` or a ``config.json`` may be
            made of besides the kinds; "module:*NAME" is a tuple of them.
        tab: reference to a `sfumato.studio.tab.OpenTab`, its tab in the studio, or "".
        beside: reference to a function of a `sfumato.model.load.SavedModel` that gives the files,
            by name, that its weights must not be passed on without, or "".
    """

    name: str
    title: str = ""
    paper: Paper | None = None
    page: str = ""
    solvers: tuple[SolverEntry, ...] = ()
    grids: tuple[GridEntry, ...] = ()
    processes: tuple[ProcessEntry, ...] = ()
    data: tuple[DataEntry, ...] = ()
    recipes: tuple[RecipeEntry, ...] = ()
    commands: tuple[CommandEntry, ...] = ()
    kinds: tuple[KindEntry, ...] = ()
    parts: tuple[str, ...] = ()
    tab: str = ""
    beside: str = ""


@cache
def systems() -> tuple[System, ...]:
    """The library's own nouns, the systems of `sfumato.systems`, then those of other packages.

    What another package declares and cannot be read is warned of and left out.
    """
    found = [resolve("sfumato.library:LIBRARY")]
    found += [resolve(f"sfumato.systems.{name}:SYSTEM") for name in resolve(f"{GROUP}:SYSTEMS")]
    for point in _entry_points():
        try:
            system = resolve(point.value)
            if not isinstance(system, System):
                raise SfumatoError(f"{point.value} is no System: {system!r}")
            found.append(system)
        except Exception as error:
            warnings.warn(f"the system {point.name!r} is left out: {error}", stacklevel=2)
    return tuple(found)


def _entry_points() -> Iterable[Any]:
    """Those of our group; `importlib.metadata`, slow to import, is asked only if there are any."""
    for folder in sys.path:
        for file in glob(os.path.join(folder, "*.*-info", "entry_points.txt")):
            with open(file, encoding="utf-8") as text:
                if f"[{GROUP}]" in text.read():
                    return importlib.import_module("importlib.metadata").entry_points(group=GROUP)
    return ()


Entry = TypeVar("Entry")


def _table(noun: str, of: Callable[[System], tuple[Entry, ...]]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for system in systems():
        for entry in of(system):
            name: str = entry.name  # type: ignore[attr-defined]
            if name in found:
                raise SfumatoError(f"two systems declare the {noun} {name!r}; {system.name} does")
            found[name] = entry
    return found


@cache
def solvers() -> dict[str, SolverEntry]:
    """Every solver by name."""
    return _table("solver", lambda s: s.solvers)


@cache
def grids() -> dict[str, GridEntry]:
    """Every grid of times by name."""
    return _table("grid", lambda s: s.grids)


@cache
def processes() -> dict[str, ProcessEntry]:
    """Every process by name."""
    return _table("process", lambda s: s.processes)


@cache
def data_sets() -> dict[str, DataEntry]:
    """Every data set by name."""
    return _table("data set", lambda s: s.data)


@cache
def recipes() -> dict[str, RecipeEntry]:
    """Every recipe by name."""
    return _table("recipe", lambda s: s.recipes)


@cache
def commands() -> dict[str, CommandEntry]:
    """Every command by name."""
    return _table("command", lambda s: s.commands)


def kinds() -> tuple[KindEntry, ...]:
    """Every kind of model."""
    return tuple(kind for system in systems() for kind in system.kinds)


def training_set(name: str, **wish: Any) -> Any:
    """The training part of a data set by its name; ``wish`` as in `DataRequest`.

    Raises UsageError for an unknown name, SfumatoError when its files are not there.
    """
    return find("data set", name, data_sets()).load(DataRequest(**wish))


def find(noun: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """The entry of that name. Raises UsageError with the nearest names."""
    if name not in table:
        raise unknown(noun, name, table)
    return table[name]

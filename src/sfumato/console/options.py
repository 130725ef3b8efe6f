"""What the commands' options have in common: name tables, and how tyro is called.

Nothing here imports torch, so that ``sfumato COMMAND --help`` is quick.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from sfumato.errors import UsageError
from sfumato.files.atomic import probe
from sfumato.files.words import number
from sfumato.system import AUTO, find, grids, solvers

Config = TypeVar("Config")


class DeviceName(enum.Enum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class DTypeName(enum.Enum):
    """The floating-point type of the network."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def choice(kind: type[enum.Enum] | Iterable[str], noun: str) -> Any:
    """How tyro reads one of some names, or an enum by its values.

    A wrong name is answered with the nearest ones.
    """
    table: dict[str, Any] = (
        {str(e.value): e for e in kind} if isinstance(kind, type) else {name: name for name in kind}
    )

    def read(words: list[str]) -> Any:
        return find(noun, words[0], table)

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="{" + ",".join(table) + "}",
        instance_from_str=read,
        is_instance=lambda value: value in table.values(),
        str_from_instance=lambda value: [str(getattr(value, "value", value))],
    )


def _integers(words: list[str]) -> tuple[int, ...]:
    try:
        return tuple(int(w) for w in words[0].split(","))
    except ValueError:
        raise UsageError(
            f"expected whole numbers with commas between them, such as 10,18,50; got {words[0]!r}"
        ) from None


Name = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
Source = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
Solver = Annotated[str, choice((AUTO, *solvers()), "solver")]
Grid = Annotated[str, choice((AUTO, *grids()), "grid")]
Device = Annotated[DeviceName, choice(DeviceName, "device")]
DType = Annotated[DTypeName, choice(DTypeName, "dtype")]
Integers = Annotated[
    tuple[int, ...],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="N,N,...",
        instance_from_str=_integers,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value))],
    ),
]


def parse(
    config: type[Config],
    command: str,
    argv: Sequence[str],
    about: str,
    outputs: Sequence[str] = ("out", "picture"),
) -> Config:
    """Read ``argv`` into the frozen dataclass ``config``; ``about`` is the text of the help.

    That the places in its ``outputs`` can be written is found out here, before any work. tyro
    prints what is wrong on stderr and leaves with SystemExit(2).

    Raises:
        SfumatoError: a place cannot be written.
    """
    read = tyro.cli(
        config,
        prog=f"sfumato {command}",
        args=list(argv),
        description=about,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
    )
    for name in outputs:
        if isinstance(place := getattr(read, name, None), Path):
            probe(place)
    return read


def parse_recipe(
    options: type[Config],
    command: str,
    argv: Sequence[str],
    default: Config | None = None,
    about: str | None = None,
) -> Config:
    """Read ``argv`` into the options of a recipe: ``--train.lr`` for ``lr`` of its ``train``.

    What a network's dataclass names in its FOLLOWS comes from the data and is no option.

    Args:
        options: the frozen dataclass.
        command: the words after ``sfumato``.
        argv: the words after those.
        default: the values of options that are not given; those of the dataclass if None.
        about: text of the help; the docstring of the dataclass if None.
    """
    registry = ConstructorRegistry()
    registry.struct_rule(_chosen)
    given: dict[str, Any] = {} if default is None else {"default": default}
    with registry:
        return tyro.cli(
            options,
            prog=f"sfumato {command}",
            args=list(argv),
            description=about,
            **given,
        )


def _chosen(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Of a network, the settings that are the user's to choose."""
    follows: tuple[str, ...] = getattr(info.type, "FOLLOWS", ())
    if not follows or not dataclasses.is_dataclass(info.default):
        return None
    made: Callable[..., Any] = info.type
    hints, default = get_type_hints(made, include_extras=True), info.default
    names = [f.name for f in dataclasses.fields(default)]
    rest = {name: getattr(default, name) for name in names if name in follows}
    return StructConstructorSpec(
        functools.partial(made, **rest),
        tuple(
            StructFieldSpec(name, hints[name], getattr(default, name))
            for name in names
            if name not in rest
        ),
    )


MOST = {"n": 10_000_000, "steps": 100_000, "batch": 1_000_000, "samples": 10_000, "threads": 1024,
        "columns": 10_000, "real": 10_000_000, "keep": 10_000}  # fmt: skip
"""The most that an option may ask for: more would fill the memory before it would be of use."""


def at_least(name: str, value: float, least: float) -> None:
    """Refuse ``value`` below ``least``, or above what `MOST` says, naming the option it came from.

    Raises UsageError.
    """
    if not value >= least:
        raise UsageError(f"--{name} must be at least {number(least)}, got {number(value)}")
    if value > MOST.get(name, math.inf):
        raise UsageError(f"--{name} must be at most {MOST[name]:,}, got {number(value)}")


def model_folder(out: Path, *, force: bool) -> None:
    """Refuse to write a model where something is, unless it is a model and ``force`` is given.

    A checkpoint, which a run needs to go on, is none.

    Raises UsageError.
    """
    a_model = (out / "model.json").is_file() and not (out / "state.json").exists()
    if not out.exists() or (force and a_model):
        return
    hint = "which is not a model folder" if force else "--force writes over a model folder"
    raise UsageError(f"{out} exists already ({hint}); choose another --out")


def torch_device(name: DeviceName) -> Any:
    """The torch.device for an option; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises UsageError when this machine does not have the device asked for.
    """
    import torch

    have = {
        DeviceName.CUDA: torch.cuda.is_available(),
        DeviceName.MPS: torch.backends.mps.is_available(),
        DeviceName.CPU: True,
    }
    if name is DeviceName.AUTO:
        name = next(d for d, there in have.items() if there)
    if not have[name]:
        there = ", ".join(d.value for d, here in have.items() if here)
        raise UsageError(f"device {name.value!r} is not available here; there are: {there}")
    return torch.device(name.value)


def torch_dtype(name: DTypeName) -> Any:
    """The torch.dtype for an option."""
    import torch

    return {
        DTypeName.FLOAT32: torch.float32,
        DTypeName.BFLOAT16: torch.bfloat16,
        DTypeName.FLOAT16: torch.float16,
    }[name]

"""Which files are restored and where the results go; one that is broken stops no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar, final

from sfumato.data.listing import SUFFIXES, FolderSource
from sfumato.data.listing import pictures as only_pictures
from sfumato.errors import SfumatoError, UsageError, noting, reason
from sfumato.files import pictures as contact
from sfumato.files.atomic import absent, full, unmake
from sfumato.files.words import many
from sfumato.systems.i2sb.write import kind_of

SPREAD: Final = ".spread.png"
COMPARE: Final = ".compare.png"
MASK: Final = ".mask.png"

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Item:
    """One picture, and where what is made of it goes."""

    name: str
    """Relative to the folder, "/" between folders; or the file as it was named."""
    source: Path
    target: Path

    @property
    def spread(self) -> Path:
        """The uncertainty map, beside the result."""
        return self.target.with_name(self.target.name + SPREAD)

    @property
    def mask(self) -> Path:
        """Where pixels were hidden, beside the result."""
        return self.target.with_name(self.target.stem + MASK)

    @property
    def compare(self) -> Path:
        """Before and after, beside the result."""
        return self.target.with_name(self.target.name + COMPARE)

    @property
    def results(self) -> tuple[Path, ...]:
        """Every file that may be written of it."""
        return self.target, self.spread, self.mask, self.compare


@final
@dataclass(frozen=True)
class FolderPlan:
    """What is to be done, and how many results there are already."""

    items: Sequence[Item]
    skipped: int = 0


@final
@dataclass(frozen=True)
class FolderOutcome(Generic[T]):
    """Results of the pictures that were done, and the reasons of those that were not."""

    done: Sequence[tuple[Item, T]]
    failed: Sequence[tuple[Item, str]]
    """What could not be done, and why."""

    @property
    def status(self) -> int:
        """Exit status: 1 if any failed."""
        return 1 if self.failed else 0


def plan(
    source: Path,
    out: Path,
    *,
    force: bool = False,
    in_place: bool = False,
    skip_existing: bool = False,
    spread: bool = False,
    compare: bool = False,
    mask: bool = False,
) -> FolderPlan:
    """The pictures of a file or a folder and all below it, and where each result goes.

    A file goes to the file ``out``, or under its own name into it if it is a folder or has no
    ending. A folder's structure is kept. Results are of the same kind as the originals, but GIF
    becomes PNG. Left out of a folder are hidden files, results (if ``out`` lies in it) and the maps
    and comparisons that this command made.

    Args:
        source: a file or a folder.
        out: a file or a folder.
        force: overwrite results that exist; never an original that is still to be read.
        in_place: the results replace the originals; ``out`` must be the source.
        skip_existing: leave out what has a result already.
        spread: an uncertainty map is written beside each result.
        compare: a comparison is written beside each result.
        mask: so is a mask.

    Raises:
        UsageError: nothing there, no pictures, or a result that exists or would be written twice.
    """
    if not source.exists():
        raise UsageError(f"{source} does not exist; expected a picture or a folder of pictures")
    one = source.is_file()
    if one and (out.is_dir() or not out.suffix):
        out /= _result(source.name)
    if not one and out.exists() and not out.is_dir():
        raise UsageError(f"{source} is a folder, so OUT must be one; {out} is a file")
    same = out.exists() and out.samefile(source)
    if same and not in_place:
        raise UsageError(
            f"the result would overwrite {source}; choose another OUT, or say --in-place"
        )
    if in_place and not same:
        raise UsageError(f"--in-place overwrites the originals, so OUT must be IN, got {out}")
    items = [Item(str(source), source, out)] if one else _below(source, out)
    if not items:
        raise UsageError(f"{source} holds no pictures (files ending in {' '.join(SUFFIXES)})")
    for item in items:
        kind_of(item.target)
    _check_apart(items, in_place, mask)
    wanted = [i for i in items if not (skip_existing and i.target.exists())]
    if not force:
        _check_new(wanted, in_place, spread, compare, mask)
    return FolderPlan(wanted, len(items) - len(wanted))


def _result(name: str) -> str:
    head, ending = os.path.splitext(name)
    return f"{head}.png" if ending.lower() == ".gif" else name


def _below(source: Path, out: Path) -> list[Item]:
    inner = out.resolve()
    within = inner != source.resolve()
    items = []
    for entry in only_pictures(FolderSource(source).entries(), endings=SUFFIXES):
        path = source / entry.name
        if within and inner in path.resolve().parents:
            continue
        if entry.name.endswith((SPREAD, COMPARE)) and _is_ours(path):
            continue
        items.append(Item(entry.name, path, out / _result(entry.name)))
    return items


def _is_ours(path: Path) -> bool:
    return contact.described(path).startswith('{"sfumato"')


def _check_apart(items: Sequence[Item], in_place: bool, mask: bool) -> None:
    sources = {item.source.resolve(): item for item in items}
    taken: dict[Path, Item] = {}
    for item in items:
        place = item.target.resolve()
        if place in taken:
            raise UsageError(
                f"{taken[place].name} and {item.name} would both become {item.target}; rename one"
            )
        taken[place] = item
        if mask:
            if (hidden := item.mask.resolve()) in {**taken, **sources}:
                raise UsageError(
                    f"the mask of {item.name} would become {item.mask}, like another file; rename "
                    "one"
                )
            taken[hidden] = item
        original = sources.get(place)
        if original is not None and not (in_place and original is item):
            raise UsageError(
                f"the result of {item.name} would overwrite {original.name}; choose another OUT"
            )


def _check_new(
    items: Sequence[Item], in_place: bool, spread: bool, compare: bool, mask: bool
) -> None:
    there = []
    for item in items:
        own = in_place and item.target.exists() and item.target.samefile(item.source)
        places = [item.target] * (not own) + [item.spread] * spread + [item.compare] * compare
        places += [item.mask] * mask
        there += [p for p in places if p.exists() or p.is_symlink()]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UsageError(
            f"{there[0]}{more} exist{'' if more else 's'} already; --force overwrites, "
            "--skip-existing leaves out what has a result"
        )


def mask_for(mask: Path | None, item: Item) -> Path | None:
    """The mask of one picture: the file itself, or in a folder the one of the same name.

    Any ending of a picture will do.

    Raises:
        UsageError: there is none.
    """
    if mask is None or not mask.is_dir():
        return mask
    name = item.source.name if item.name == str(item.source) else item.name
    stem = (mask / name).with_suffix("")
    for path in (mask / name, *(stem.with_name(stem.name + ending) for ending in SUFFIXES)):
        if path.is_file():
            return path
    raise UsageError(f"there is no mask for it, such as {stem.with_name(stem.name + '.png')}")


def run(items: Sequence[Item], do: Callable[[Item], T], rest: str = "") -> FolderOutcome[T]:
    """Do all; what fails is noted and leaves no file behind, and the rest is done.

    What is noted are errors of the picture, of the files and of memory. Whatever else is raised
    is a bug, and goes on up; so do an interruption and a disk that takes nothing more, which say
    how many are done.

    Args:
        items: what is to be done.
        do: does one of them.
        rest: how to do the rest, if it is stopped.
    """
    done: list[tuple[Item, T]] = []
    failed: list[tuple[Item, str]] = []

    def kept() -> str:
        said = f"{len(done)} of {many(len(items), 'picture')} done and kept"
        said += f", {len(failed)} failed" if failed else ""
        return "; ".join([said, *([rest] if rest else [])]) if len(items) > 1 else ""

    with noting(kept):
        for item in items:
            new = [path for path in item.results if not os.path.lexists(path)]
            missing = absent(item.target)
            try:
                done.append((item, do(item)))
            except BaseException as error:
                for path in new:
                    path.unlink(missing_ok=True)
                unmake(missing)
                if not isinstance(error, _NOTED) or full(error):
                    raise
                failed.append((item, _why(error)))
    return FolderOutcome(done, failed)


def rest(force: bool = False, in_place: bool = False) -> str:
    """How to do the rest of a folder, in a phrase."""
    if in_place:
        return "the same command would do those once more"
    instead = " in place of --force" if force else ""
    return f"the same command with --skip-existing{instead} does the rest"


_NOTED = (SfumatoError, ValueError, OSError, RuntimeError, MemoryError)


def _why(error: BaseException) -> str:
    if isinstance(error, OSError):
        return reason(error)
    if isinstance(error, MemoryError):
        return "not enough memory"
    return str(error) or type(error).__name__

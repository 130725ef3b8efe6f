"""Frozen dataclasses to JSON and back, by their type hints.

A dataclass becomes an object with a key "type"; reading takes only the types that it is given
or that the hints name, so nothing in a file can choose what code runs.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sfumato.errors import UsageError, unknown
from sfumato.system import resolve, systems

T = TypeVar("T")

ALIASES = {
    "Listener": "EncoderConfig",
    "Drift": "PowerCorrection",
    "ScheduledConfig": "Scheduled",
    "CriticallyDampedConfig": "CriticallyDamped",
}
"""Types by the names that older files have for them."""

FIELDS = {("EncoderConfig", "ear"): "modality", ("PromptedModel", "listeners"): "encoders"}
"""Fields of types by the names that older files have for them."""

_FIRST = {now: first for first, now in ALIASES.items()}
_FIRST_FIELDS = {(kind, now): first for (kind, first), now in FIELDS.items()}

NESTED = {"PinnedConfig": ("Bridge", "inner", "Scheduled", ("schedule",))}
"""Older types some of whose fields are now those of a part: (type, field, type of it, fields)."""


def digest(value: Any) -> str:
    """SHA-256 of a description from `encode`; names that are changed later do not change it."""

    def first(value: Any) -> Any:
        if isinstance(value, list):
            return [first(v) for v in value]
        if not isinstance(value, dict):
            return value
        name = str(value.get("type"))
        made = {_FIRST_FIELDS.get((name, k), k): first(v) for k, v in value.items()}
        return made if name not in _FIRST else {**made, "type": _FIRST[name]}

    return hashlib.sha256(json.dumps(first(value), sort_keys=True).encode()).hexdigest()


def renewed(value: Any) -> Any:
    """Parsed JSON of an older version with the types and fields as they are called now."""
    if isinstance(value, list):
        return [renewed(v) for v in value]
    if not isinstance(value, dict):
        return value
    made = {k: renewed(v) for k, v in value.items()}
    name = str(made.get("type"))
    if name in NESTED:
        made["type"], field, kind, moved = NESTED[name]
        if part := {k: made.pop(k) for k in moved if k in made}:
            made[field] = {"type": kind, **part}
    elif name in ALIASES:
        made["type"] = name = ALIASES[name]
    return {FIELDS.get((name, k), k): v for k, v in made.items()}


def encode(value: Any) -> Any:
    """A value made of dataclasses, tuples, enums, paths and plain scalars, as JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        later = getattr(type(value), "LATER", ())  # left out where they have their default
        pairs = {
            f.name: encode(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.name not in later or getattr(value, f.name) != f.default
        }
        return {"type": type(value).__name__, **pairs}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def decode(value: Any, hint: type[T], allowed: tuple[type, ...] = (), where: str = "") -> T:
    """A value of the type ``hint`` from what `encode` made.

    Args:
        value: parsed JSON.
        hint: the type expected.
        allowed: dataclasses that may stand where a hint names an abstract class.
        where: what the error messages call the value.

    Raises:
        UsageError: a key, type or value that does not fit; the message says where.
    """
    where = where or getattr(hint, "__name__", "")
    return typing.cast(T, _decode(renewed(value), hint, allowed, where))


def allowed_types(value: Any) -> tuple[type, ...]:
    """The kinds, processes and parts that parsed JSON names by its keys "type", imported now.

    Where a name is not known all of them are imported, so that an error can list them.
    """
    wanted = set(_names(renewed(value)))
    refs: list[str] = []
    for system in systems():
        refs += [kind.make for kind in system.kinds] + [p.make for p in system.processes]
        refs += system.parts
    groups = [ref.replace("*", "") for ref in refs if "*" in ref]
    by_name = {ref.rpartition(":")[2]: ref for ref in refs if "*" not in ref}
    found = [resolve(by_name[name]) for name in sorted(wanted & by_name.keys())]
    missing = wanted - by_name.keys()
    if missing:
        found += [part for ref in groups for part in resolve(ref)]
    if missing - {part.__name__ for part in found}:
        found = [resolve(ref) for ref in by_name.values()]
        found += [part for ref in groups for part in resolve(ref)]
    return tuple(found)


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(name := value.get("type"), str):
            yield name
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _names(part)


def _decode(value: Any, hint: Any, allowed: tuple[type, ...], where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union(value, args, allowed, where)
    if origin is typing.Literal:
        if value not in args:
            raise unknown(where, str(value), [str(a) for a in args])
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{where}: expected a list, got {value!r}")
        if len(args) == 2 and args[1] is Ellipsis:
            args = (args[0],) * len(value)
        if len(args) != len(value):
            raise UsageError(f"{where}: expected {len(args)} values, got {len(value)}")
        pairs = enumerate(zip(value, args, strict=True))
        return tuple(_decode(v, a, allowed, f"{where}[{i}]") for i, (v, a) in pairs)
    if hint is type(None):
        if value is not None:
            raise UsageError(f"{where}: expected nothing, got {value!r}")
        return None
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value not in hint.__members__:
            raise unknown(where, str(value), hint.__members__)
        return hint[value]
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    if isinstance(hint, type) and isinstance(value, dict):
        return _dataclass(value, hint, allowed, where)
    raise UsageError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {value!r}")


def _union(value: Any, args: tuple[Any, ...], allowed: tuple[type, ...], where: str) -> Any:
    if isinstance(value, dict):
        options = {a.__name__: a for a in args if isinstance(a, type)}
        name = str(value.get("type"))
        if name in options:
            return _decode(value, options[name], allowed, where)
    tries = []
    for option in args:
        try:
            return _decode(value, option, allowed, where)
        except UsageError as error:
            tries.append(str(error))
    raise UsageError("; or ".join(tries))


def _dataclass(value: dict[str, Any], hint: type, allowed: tuple[type, ...], where: str) -> Any:
    options = {c.__name__: c for c in (hint, *allowed) if dataclasses.is_dataclass(c)}
    options = {n: c for n, c in options.items() if issubclass(c, hint)}
    name = value.get("type")
    if name not in options:
        raise unknown(f"type in {where}", str(name), options)
    cls = options[name]
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    given = {k: v for k, v in value.items() if k != "type"}
    if extra := sorted(given.keys() - fields.keys()):
        raise UsageError(f"{where}: {name} has no {', '.join(extra)}")
    absent = [
        n
        for n, f in fields.items()
        if n not in given
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if absent:
        raise UsageError(f"{where}: {name} needs {', '.join(absent)}")
    made = {k: _decode(v, hints[k], allowed, f"{where}.{k}") for k, v in given.items()}
    return cls(**made)

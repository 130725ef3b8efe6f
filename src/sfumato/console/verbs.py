"""Commands that are made of verbs, such as ``sfumato private train``: find the verb, run it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from enum import Enum

from sfumato.errors import UsageError, unknown


def overview(command: str, verbs: type[Enum], about: Sequence[str], examples: Sequence[str]) -> str:
    """The text of ``sfumato COMMAND --help``: each verb's value is its line."""
    width = max(len(v.name) for v in verbs) + 2
    return "\n".join(
        [
            f"usage: sfumato {command} VERB [options]",
            "",
            *about,
            "",
            "verbs:",
            *(f"  {v.name.lower():<{width}}{v.value}" for v in verbs),
            "",
            "examples:",
            *(f"  sfumato {command} {example}" for example in examples),
            "",
        ]
    )


def run(package: str, verbs: type[Enum], text: str, argv: list[str]) -> int:
    """Run the verb that ``argv`` begins with, the module of its name in ``package``.

    Raises UsageError for an unknown verb, and whatever the verb raises.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(text, end="")
        return 0 if argv else 2
    names = [v.name.lower() for v in verbs]
    if argv[0] not in names:
        if argv[0].startswith("-"):
            raise UsageError(f"expected one of {', '.join(names)} before {argv[0]!r}")
        raise unknown("verb", argv[0], names)
    verb = importlib.import_module(f"{package}.{argv[0]}")
    return int(verb.main(argv[1:]) or 0)

"""Commands that choose by their first word: a verb (``sfumato private train``) or a recipe."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar, final

from sfumato.errors import UsageError
from sfumato.system import find

Entry = TypeVar("Entry")


def listing(usage: str, about: str, noun: str, rows: Mapping[str, str], more: str) -> str:
    """The text of the help of such a command: each name with its line, then ``more``."""
    width = max(map(len, rows)) + 2
    lines = [f"  {name:<{width}}{line}" for name, line in rows.items()]
    return "\n".join([f"usage: sfumato {usage}", "", about, "", f"{noun}s:", *lines, "", more])


def chosen(argv: Sequence[str], noun: str, table: Mapping[str, Entry]) -> Entry:
    """What the first word names. Raises UsageError, with the nearest names, if it names nothing."""
    names = ", ".join(table)
    if not argv:
        raise UsageError(f"which {noun}? there are: {names}")
    if argv[0].startswith("-"):
        raise UsageError(f"expected one of {names} before {argv[0]!r}")
    return find(noun, argv[0], table)


@final
class Verbs(NamedTuple):
    """A command made of verbs, to be its module's ``main``.

    Args:
        command: its name.
        package: that holds a module with ``main(argv)`` for each verb.
        about: what it is for.
        verbs: each with its line in the overview.
        examples: the words after the command.
    """

    command: str
    package: str
    about: str
    verbs: Mapping[str, str]
    examples: Sequence[str]

    def __call__(self, argv: list[str]) -> int:
        """Run the verb that ``argv`` begins with.

        Raises UsageError for an unknown verb, and whatever the verb raises.
        """
        if not argv or argv[0] in ("-h", "--help"):
            examples = "".join(f"  sfumato {self.command} {example}\n" for example in self.examples)
            usage, more = f"{self.command} VERB [options]", f"examples:\n{examples}"
            print(listing(usage, self.about, "verb", self.verbs, more), end="")
            return 0 if argv else 2
        chosen(argv, "verb", self.verbs)
        verb = importlib.import_module(f"{self.package}.{argv[0]}")
        return int(verb.main(argv[1:]) or 0)

"""The command line: ``sfumato train | sample | evaluate | encode | data | models | tour``.

One command a module; each has a frozen dataclass (what tyro parses) and ``run(config)``. The
modules can be imported without torch: a command imports what it needs when it runs.
"""

from sfumato.cli.dispatch import main

__all__ = ["main"]

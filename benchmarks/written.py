"""Result files: what was found, and how to find it again."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sfumato.console.report import commit, machine
from sfumato.files import atomic


def origin(seed: int) -> dict[str, Any]:
    """Command, date, commit, seed and machine of the script that is running.

    Absolute paths are cut to their last name.
    """
    script = f"benchmarks/{Path(sys.argv[0]).name}"
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return {
        "command": shlex.join(["python", script, *words]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(Path(__file__).parent),
        "seed": seed,
        "machine": machine(),
    }


def write(path: Path, seed: int, results: Any, **more: Any) -> None:
    """Write ``results``, and more under its own names, below what `origin` says."""
    record = {**origin(seed), **more, "results": results}
    atomic.write(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")

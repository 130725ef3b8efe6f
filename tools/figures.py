"""Writes measured figures into the documentation, from the files they were measured into.

No figure in the documentation is typed by hand. A page marks where a table or a number goes:

    <!-- table FILE ROWS | Title = key | Title = key :.2f -->
    ...rewritten...
    <!-- end -->

    <!-- value FILE key :.1% -->81.2%<!-- end -->

FILE is a JSON file, relative to the root of the repository; with a `*` in it, one row comes from
each file that matches. ROWS is the dotted path of a list (or of an object, whose entries become
rows and whose names are the key `name`) inside the file, `.` for the file itself. Every row also
has the key `file`, the file's name (the folder's, for `card.json`). FILE may also be a table of
nouns such as `sfumato.system:solvers`; ROWS is then a key that the rows have. A key is a dotted
path inside a row; what follows a colon is a Python format, and `first/second` takes the first
that is there. A missing key shows as an empty cell in a table, a missing file as a line that says
so; for a value both are errors.

    python tools/figures.py            rewrite the pages
    python tools/figures.py --check    exit 1 and name the pages that would change
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from pathlib import Path
from typing import Any

from sfumato.system import resolve

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"(<!-- table (?P<what>[^>]*?) -->\n).*?(\n?<!-- end -->)", re.S)
VALUE = re.compile(r"(<!-- value (?P<what>[^>]*?) -->)[^\n]*?(<!-- end -->)")


def pages() -> list[Path]:
    """The pages that may hold figures."""
    return [ROOT / "README.md", ROOT / "NOTICE", *sorted((ROOT / "docs").glob("*.md"))]


def look(data: Any, path: str) -> Any:
    """The value at a dotted path, or None; numbers index lists, `.` is the whole."""
    for part in [p for p in path.split(".") if p]:
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and part.lstrip("-").isdigit():
            index = int(part)
            data = data[index] if -len(data) <= index < len(data) else None
        else:
            return None
    return data


def show(data: Any, key: str) -> str | None:
    """The value under `key` as text; `key` may end in `:format` and hold alternatives `a/b`."""
    name, _, form = (part.strip() for part in key.partition(":"))
    found = (look(data, option.strip()) for option in name.split("/"))
    value = next((v for v in found if v is not None), None)
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(v) for v in value)
    return format(value, form) if form and not isinstance(value, str) else str(value)


def load(pattern: str) -> list[tuple[str, Any]]:
    """(name, contents) of the JSON files that match, in order.

    Raises FileNotFoundError when there is none.
    """
    files = sorted(ROOT.glob(pattern))
    if not files:
        raise FileNotFoundError(f"{pattern}: no such file; run what writes it first")
    names = [f.parent.name if f.stem == "card" else f.stem for f in files]
    return [(n, json.loads(f.read_text(encoding="utf-8"))) for n, f in zip(names, files)]


def rows(pattern: str, path: str) -> list[Any]:
    """The rows of a table: one a file, or the entries at `path` in each."""
    if ":" in pattern:
        table: Any = resolve(pattern)()
        told = [entry._asdict() for entry in table.values()]
        return [row for row in json.loads(json.dumps(told, default=str)) if look(row, path)]
    found: list[Any] = []
    for name, data in load(pattern):
        part = look(data, path)
        if isinstance(part, list):
            more = part
        elif path != "." and isinstance(part, dict):
            more = [
                {"name": key, **(value if isinstance(value, dict) else {"value": value})}
                for key, value in part.items()
            ]
        else:
            more = [] if part is None else [{"name": name, **part}]
        found += [{"file": name, **row} for row in more]
    return found


def table(what: str) -> str:
    """Markdown for `FILE ROWS | Title = key | ...`."""
    head, *columns = (part.strip() for part in what.split("|"))
    pattern, path = head.split(maxsplit=1)
    if ":" not in pattern and not list(ROOT.glob(pattern)):
        return f"Not measured yet: there is no `{pattern}`."
    titles, keys = zip(*(re.split(r"\s*=\s*", c, maxsplit=1) for c in columns))
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    for row in rows(pattern, path):
        cells = (show(row, key) or "" for key in keys)
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)


def value(what: str) -> str:
    """The text for `FILE key`.

    Raises KeyError when the file has no such key.
    """
    pattern, key = what.split(maxsplit=1)
    ((_, data),) = load(pattern)
    text = show(data, key)
    if text is None:
        raise KeyError(f"{pattern} has no {key}")
    return text


def render(text: str) -> str:
    """A page with all its figures renewed."""
    text = TABLE.sub(lambda m: m[1] + table(m["what"]) + "\n<!-- end -->", text)
    return VALUE.sub(lambda m: m[1] + value(m["what"]) + m[3], text)


def main() -> int:
    """Rewrites the pages, or with --check says which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if stale")
    check = parser.parse_args().check
    stale = 0
    for page in pages():
        old = page.read_text(encoding="utf-8")
        new = render(old)
        if old == new:
            continue
        stale += 1
        if check:
            name = str(page.relative_to(ROOT))
            diff = difflib.unified_diff(old.splitlines(), new.splitlines(), name, name, lineterm="")
            print(*diff, sep="\n")
        else:
            page.write_text(new, encoding="utf-8")
            print(f"renewed {page.relative_to(ROOT)}")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())

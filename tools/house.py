"""Measures the house: lines, files, rooms, import arrows, and in how many places a noun is told.

    python tools/house.py OLD_CHECKOUT NEW_CHECKOUT     writes benchmarks/results/house.json

A room is a file or folder directly below `src/sfumato`; all systems together are one. An arrow is
a pair of rooms of which the first imports the second. A system that imports another is counted
apart. A place to touch is a source file other than the noun's own that names it; each noun is
represented by one that needs nothing special.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

OUT = Path(__file__).parents[1] / "benchmarks" / "results" / "house.json"

# noun: (what names it, the files or folders that are its own: before, after)
NOUNS = {
    "solver (DEIS)": (r"\bDEIS\b|\bdeis\b", ("solve/deis.py",)),
    "process (critically damped)": (r"\bCriticallyDamped", ("damped.py",)),
    "data set (stamps)": (r"\bstamps\b", ("data/stamps.py",)),
    "recipe (genie)": (
        r"recipes\.genie|recipes import .*genie|\bgenie\.Config|^\s+genie,$|GENIE = Recipe"
        r"|systems\.genie\.recipe|genie\.recipe",
        ("recipes/genie.py", "systems/genie"),
    ),
    "model kind (trajectory operator)": (
        r"\bOperatorModel\b",
        ("recipes/dsno_model.py", "systems/dsno"),
    ),
    "system (DSNO)": (
        r"\bTrajectory(Operator|Set|UNet)?\b|\bOperatorModel\b|\bdsno\b|TemporalConvolution",
        ("systems/dsno",),
    ),
}


def room(parts: tuple[str, ...]) -> str:
    """The room of a path below `src/sfumato`."""
    return parts[0].removesuffix(".py")


def imports(path: Path, source: Path) -> set[tuple[str, ...]]:
    """What a file imports of ours, as dotted names below `sfumato`, cut after the second."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.add(path.relative_to(source).parts[:1])
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sfumato":
            base = (node.module or "").split(".")[1:]
            found |= {tuple([*base, alias.name][:2]) for alias in node.names}
    here = {f.stem for f in source.iterdir()}
    return {name for name in found if name[0].removesuffix(".py") in here}


def sideways(path: Path, source: Path) -> bool:
    """Whether a module of one system imports another system."""
    here = path.relative_to(source).parts
    if here[0] != "systems" or len(here) < 3:
        return False
    systems = {f.name for f in (source / "systems").iterdir() if f.is_dir()} - {here[1]}
    return any(n[0] == "systems" and n[-1] in systems for n in imports(path, source))


def measured(checkout: Path) -> dict[str, object]:
    """The figures of one checkout."""
    source = checkout / "src" / "sfumato"
    files = sorted(source.rglob("*.py"))
    texts = {f.relative_to(source).as_posix(): f.read_text(encoding="utf-8") for f in files}
    rooms = {room(f.relative_to(source).parts) for f in files}
    arrows = {
        (room(f.relative_to(source).parts), room(name))
        for f in files
        for name in imports(f, source)
    }
    names: dict[str, int] = {}
    for text in texts.values():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                names[node.name] = names.get(node.name, 0) + 1
    places = {}
    for noun, (pattern, own) in NOUNS.items():
        named = re.compile(pattern, re.M)
        others = [n for n in texts if not n.startswith(own) and named.search(texts[n])]
        places[noun] = {"count": len(others), "files": others}
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True
    )
    return {
        "commit": revision.stdout.strip(),
        "lines": sum(t.count("\n") for t in texts.values()),
        "files": len(files),
        "rooms": len(rooms),
        "arrows": sum(a != b for a, b in arrows),
        "files of a system that import another": sum(sideways(f, source) for f in files),
        "class names in more than one file": sum(n > 1 for k, n in names.items() if k != "Config"),
        "places to touch": places,
    }


def main(old: str, new: str) -> None:
    """Measure both and write the result."""
    result = {
        "command": "python tools/house.py OLD_CHECKOUT NEW_CHECKOUT",
        "before": measured(Path(old)),
        "after": measured(Path(new)),
    }
    OUT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for key in [k for k, v in result["after"].items() if isinstance(v, int)]:
        print(f"{key:<40}{result['before'][key]:>8}{result['after'][key]:>8}")
    for noun in NOUNS:
        was, now = (result[k]["places to touch"][noun]["count"] for k in ("before", "after"))
        print(f"{noun:<40}{was:>8}{now:>8}")


if __name__ == "__main__":
    main(*sys.argv[1:])

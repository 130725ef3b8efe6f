"""What the README, the documentation and the examples tell a reader to run, is run.

Every ```python block is executed, the blocks of one page in one namespace, as a reader would paste
them. Every line of a ```sh block that starts with `sfumato ` is run, unless a comment
`<!-- not run: why -->` stands before the block: of those, the options are still checked.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]*?) -->\s*)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    kind: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.start("text")), m["kind"], m["text"], m["why"])
        for m in BLOCK.finditer(text)
    ]


ALL = [block for page in PAGES for block in blocks(page)]
# A line that goes on with a backslash is one command; a comment after it is none of it.
COMMANDS = [
    (block, line)
    for block in ALL
    if block.kind == "sh"
    for line in block.text.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]


def environment() -> dict[str, str]:
    """The command `sfumato` of the environment the tests run in, found before any other."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": beside, "COLUMNS": "200"}


def call(words: list[str], cwd: Path, timeout: int = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all commands, because a later one may use what an earlier one made."""
    return tmp_path_factory.mktemp("desk")


def test_the_pages_hold_something_to_check() -> None:
    assert any(block.kind == "python" for block in blocks(ROOT / "README.md"))
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.kind == "python" for b in blocks(p))], ids=lambda p: p.name
)
def test_python_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.kind == "python" and block.not_run is None:
            # Line numbers of a failure are those of the page.
            code = "\n" * block.line + block.text
            exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize(
    ("block", "command"),
    [(b, c) for b, c in COMMANDS if c.startswith("sfumato ") and b.not_run is None],
    ids=str,
)
def test_commands_run(block: Block, command: str, desk: Path) -> None:
    done = call(shlex.split(command, comments=True), desk)
    assert done.returncode == 0, f"{block}: {command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(
    ("block", "command"),
    [(b, c) for b, c in COMMANDS if c.startswith("sfumato ") and b.not_run is not None],
    ids=str,
)
def test_options_of_commands_not_run_exist(block: Block, command: str, desk: Path) -> None:
    words = shlex.split(command, comments=True)
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    verbs = [words[0]]
    for word in words[1:]:  # the sub-command and its own sub-command, up to the first value
        if word.startswith("-") or not re.fullmatch(r"[a-z][a-z0-9]*", word):
            break
        verbs.append(word)
    while True:
        done = call([*verbs, "--help"], desk)
        if done.returncode == 0 or len(verbs) == 2:
            break
        verbs.pop()
    assert done.returncode == 0, f"{block}: {' '.join(verbs)} --help\n{done.stderr}"
    missing = [o for o in options if o not in done.stdout]
    assert not missing, f"{block}: {' '.join(verbs)} has no {missing}"


def test_other_commands_are_targets_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    for block, command in COMMANDS:
        if command.startswith("make "):
            assert shlex.split(command, comments=True)[1] in targets, f"{block}: {command}"


def test_the_readme_names_exactly_two_make_commands() -> None:
    named = {c for b, c in COMMANDS if b.page.name == "README.md" and c.startswith("make ")}
    assert {shlex.split(c, comments=True)[1] for c in named} == {"tour", "test"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    done = call([sys.executable, str(example)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example ends by saying what it found or where it put it"


LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)|<img[^>]* src=\"([^\"]+)\"")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        target = match[1] or match[2]
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"

"""Facts that are stated in more than one file agree."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def name(requirement: str) -> str:
    """`resvg-py>=0.3` -> `resvg-py`, written in the one form that packages are compared in."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=\[; ]", requirement)[0]).lower()


CONSTRAINTS = {
    name(line): line.split("==")[1]
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
}


def test_versions_agree() -> None:
    version = PROJECT["version"]
    assert importlib.metadata.version("sfumato") == version
    citation = re.search(r"^version: \"?([\d.]+)", (ROOT / "CITATION.cff").read_text(), re.M)
    assert citation is not None and citation[1] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_has_a_tested_version() -> None:
    listed = [*PROJECT["dependencies"], *(r for k, v in EXTRAS.items() if k != "all" for r in v)]
    assert not {name(r) for r in listed} - set(CONSTRAINTS)


def test_constraints_fit_any_build_of_torch() -> None:
    """No `+cpu`, which only one index serves, and no CUDA packages, which only one build needs."""
    assert not [v for v in CONSTRAINTS.values() if "+" in v]
    assert not [n for n in CONSTRAINTS if n.startswith(("nvidia", "triton", "cuda"))]


@pytest.mark.parametrize("package", sorted(name(r) for r in PROJECT["dependencies"]))
def test_the_tested_versions_are_the_installed_ones(package: str) -> None:
    assert importlib.metadata.version(package).split("+")[0] == CONSTRAINTS[package]


def test_all_means_all() -> None:
    (everything,) = EXTRAS["all"]
    named = set(re.findall(r"\[(.*)\]", everything)[0].split(","))
    assert named == set(EXTRAS) - {"all"}


def test_the_typing_marker_and_the_licence_are_there() -> None:
    assert (ROOT / "src/sfumato/py.typed").is_file()
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
    assert PROJECT["license"] == "Apache-2.0"


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / p for p in done.stdout.decode().split("\0") if p and (ROOT / p).is_file()]


def test_source_files_are_short() -> None:
    """One idea a file: none in src has 400 lines or more."""
    long = {
        str(p.relative_to(ROOT)): n
        for p in (ROOT / "src").rglob("*.py")
        if (n := len(p.read_text(encoding="utf-8").splitlines())) >= 400
    }
    assert not long


def test_no_path_of_one_machine_is_in_the_repository() -> None:
    personal = re.compile(r"(?<![\w.])/(home|root|Users|work)/\w")
    found = []
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".cff", ".sh", ".yml"}:
            for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if personal.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{n}")
    assert not found


def test_nothing_large_is_tracked() -> None:
    """Weights stay under 10 MB for each network; nothing else comes near."""
    large = [p for p in tracked() if p.stat().st_size > 10 * 2**20]
    ensembles = [ROOT / "src" / "sfumato" / "zoo" / "scenes" / "model.safetensors"]
    assert all(p in ensembles and p.stat().st_size < 20 * 2**20 for p in large), large

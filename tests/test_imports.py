"""The order of the layers, read from the source; and what `import sfumato` costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "sfumato"

CORE = {
    "schedule", "noise", "process", "damped", "bridge", "condition", "denoise", "loss", "times",
    "seeds", "sampling", "likelihood", "integrate",
}  # fmt: skip
# From below to above: what each layer may import of ours is itself and all that stands before it.
LAYERS: tuple[set[str], ...] = (
    {"errors", "lazy", "system", "library"},
    {"nn"},
    CORE,
    {"solve", "guide"},
    {"files"},
    {"data"},
    {"train"},
    {"metrics"},
    {"model"},
    {"zoo"},
    {"console"},
    {"studio"},
    {"systems"},
    {"cli"},
    {"__main__"},
)
LOWEST = LAYERS[0] | LAYERS[1]
ACTING = CORE | {"solve", "guide"}
ALLOWED: dict[str, set[str]] = {
    name: set().union(*LAYERS[: i + 1]) for i, row in enumerate(LAYERS) for name in row
}
ALLOWED["files"] = {"errors", "files"}
ALLOWED["__init__"] = set(ALLOWED)  # looked up when they are used, see the package's text

# Upward imports that the move to one room a system has left, to be mended.
PENDING: set[str] = set()

ABOVE = {"model", "zoo", "console", "studio", "systems", "cli"}

# The mathematics depends on nothing but torch and numpy.
BARE = LOWEST | ACTING | {"__init__"}
THIRD_PARTY = {"torch", "numpy"}
# What is never imported as a module is imported, because it is an extra or is slow to import.
LATE = {
    "dicebear_core", "dicebear_styles", "dicebear", "resvg_py", "tensorboard", "diffusers",
    "scipy", "matplotlib", "png", "tifffile", "xarray", "h5py", "h5netcdf", "zarr",
    "transformers", "tokenizers", "huggingface_hub", "gradio", "fastapi", "uvicorn",
}  # fmt: skip


def layer(path: Path) -> str:
    """`solve/heun.py` belongs to layer `solve`, `loss.py` to layer `loss`."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def package(path: Path) -> list[str]:
    """The package a file's relative imports start from, as a list of names."""
    return ["sfumato", *path.relative_to(SOURCE).parts[:-1]]


def targets(path: Path, node: ast.AST) -> list[str]:
    """The absolute dotted names that an import statement may bind modules from."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module.split(".") if node.module else []
        if node.level:
            here = package(path)
            base = here[: len(here) - node.level + 1] + base
        # `from sfumato import cli` names a module after the `import`.
        return [".".join([*base, alias.name]) for alias in node.names]
    return []


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of every import, those inside functions and annotations included."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return [(node.lineno, name) for node in found for name in targets(path, node)]


def ours(name: str) -> str | None:
    """The layer that `sfumato.<layer>...` names, or None for other packages."""
    head, *rest = name.split(".")
    if head != "sfumato":
        return None
    if not rest or not ((SOURCE / rest[0]).is_dir() or (SOURCE / f"{rest[0]}.py").is_file()):
        return "__init__"  # `import sfumato`, or `from sfumato import Heun`
    return rest[0]


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def other_system(path: Path, name: str) -> bool:
    """Whether a module of one system imports another; what two share belongs below them."""
    here, there = path.relative_to(SOURCE).parts, name.split(".")
    if len(here) < 3 or len(there) < 3:
        return False
    return (SOURCE / "systems" / there[2]).is_dir() and there[2] != here[1]


MODULES = sorted(SOURCE.rglob("*.py"))


def test_every_module_has_a_layer() -> None:
    assert len(MODULES) > 10
    unplaced = {layer(path) for path in MODULES} - set(ALLOWED)
    assert not unplaced, f"place {sorted(unplaced)} in ALLOWED of {Path(__file__).name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    mine = layer(path)
    allowed = ALLOWED[mine] | {mine}
    wrong = []
    for line, name in imports(path):
        theirs = ours(name)
        # Importing the package itself is for those above it; it would be a circle further down.
        if theirs == "__init__" and mine in ABOVE:
            continue
        if theirs is None:
            continue
        sideways = mine == theirs == "systems" and other_system(path, name)
        if (theirs not in allowed or sideways) and relative(path) not in PENDING:
            wrong.append(f"{path.name}:{line} imports {name}")
    assert not wrong, f"{mine} may import only {sorted(allowed)}: " + "; ".join(wrong)


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if layer(p) in BARE],
    ids=lambda p: str(p.relative_to(SOURCE)),
)
def test_the_core_needs_only_torch_and_numpy(path: Path) -> None:
    known = THIRD_PARTY | {"sfumato"} | set(sys.stdlib_module_names)
    others = {name for _, name in imports(path) if name.split(".")[0] not in known}
    assert not others


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_extras_are_imported_where_they_are_used(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = [name for node in tree.body for name in targets(path, node)]
    early = {name for name in top if name.split(".")[0] in LATE}
    assert not early, f"import {sorted(early)} inside the function that needs it"


def test_the_checks_notice_a_wrong_import() -> None:
    """The checks above read these three forms; a rule that reads none would pass for ever."""
    file = SOURCE / "solve" / "imaginary.py"
    text = "from ..train.loop import train\nfrom sfumato import cli\nimport sfumato.zoo\n"
    names = [name for node in ast.walk(ast.parse(text)) for name in targets(file, node)]
    assert [ours(name) for name in names] == ["train", "cli", "zoo"]
    assert not {"train", "cli", "zoo"} & ALLOWED["solve"]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )
    return done.stdout.strip()


# Every name of the core and of the systems is touched, so that imports put off until first use are
# counted as well; the rooms for data and training, and trained models, may need more.
TOUCH = """import sfumato
from sfumato.lazy import homes
models = {"FieldSampler", "Restorer", "TextToImage"}
rooms = {"guide", "nn", "solve", "times"}
for name, home in homes("sfumato").items():
    room = home.split(".")[1:2]
    if name in rooms or room and room[0] not in ("model", "files") and name not in models:
        getattr(sfumato, name)
"""


def test_importing_sfumato_brings_in_only_torch() -> None:
    heavy = ["accelerate", "tyro", "rich", "matplotlib", "PIL", "safetensors", "scipy", "diffusers"]
    code = f"import torch, sys; before = set(sys.modules)\n{TOUCH}"
    code += f"print(*[m for m in {heavy} if m in sys.modules and m not in before])"
    assert run(code) == ""


def test_importing_sfumato_costs_under_300_ms_beyond_torch() -> None:
    # Processor time of the best of three: what else the machine does is not our cost.
    code = f"import torch, time; start = time.process_time()\n{TOUCH}"
    code += "print(time.process_time() - start)"
    assert min(float(run(code)) for _ in range(3)) < 0.3


def test_the_lazy_names_are_those_that_type_checkers_see() -> None:
    import sfumato

    tree = ast.parse((SOURCE / "__init__.pyi").read_text(encoding="utf-8"))
    names = [a for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names]
    assert {a.name for a in names} == set(sfumato.__all__) and len(names) == len(sfumato.__all__)
    assert all(a.asname == a.name for a in names)  # else a stub does not export it
    assert all(getattr(sfumato, name) is not None for name in sfumato.__all__)
    with pytest.raises(AttributeError, match="absent"):
        _ = sfumato.absent


def test_sample_is_the_verb_however_it_is_imported() -> None:
    code = "import sfumato.sampling, sfumato.solve; import sfumato; from sfumato import sample\n"
    code += "print(callable(sfumato.sample), callable(sample))"
    assert run(code) == "True True"


def helps() -> list[str]:
    """Every command line that prints a help."""
    from sfumato.system import commands, recipes
    from sfumato.systems.dpdm.options import presets

    verbs = {"fields": "train sample evaluate calibrate data", "private": "plan export check train"}
    verbs |= {"experts": "plan join", "data": ""}
    lines = ["", *commands()]
    lines += [f"train {name}" for name, recipe in recipes().items() if recipe.summary]
    lines += [f"private train {name}" for name in presets()]
    return lines + [f"{c} {v}" for c, given in verbs.items() for v in given.split()]


def test_no_help_imports_torch() -> None:
    code = f"""
import contextlib, io, sys
from sfumato.cli import main
for line in {helps()!r}:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = main([*line.split(), "--help"])
    print([line, status, "usage" in said.getvalue().lower(), "torch" in sys.modules])
"""
    for line, said in zip(helps(), run(code).splitlines(), strict=True):
        assert said == str([line, 0, True, False])


@pytest.mark.parametrize("name", ["data", "nn", "train"])
def test_lazy_packages_have_the_names_of_their_stubs(name: str) -> None:
    import importlib

    from sfumato.lazy import homes

    package = importlib.import_module(f"sfumato.{name}")
    modules = {path.stem for path in (SOURCE / name).glob("*.py")}
    home = homes(f"sfumato.{name}")
    assert home and not modules & set(home), "a module's name would hide the attribute"
    for one, at in home.items():
        assert getattr(package, one) is getattr(importlib.import_module(at), one)
    assert set(home) <= set(dir(package)) and package.__all__ == sorted(home)
    with pytest.raises(AttributeError, match="absent"):
        _ = package.absent

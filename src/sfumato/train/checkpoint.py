"""Checkpoints: a checksummed folder that holds all a run needs to go on bit for bit.

``<run>/checkpoints/step-00001000/`` has

* ``model.safetensors`` the weights, ``ema.safetensors`` their average,
* ``optimizer.safetensors`` the optimizer's moments, by parameter name,
* ``NAME.safetensors``, ``NAME-optimizer.safetensors`` the same of every further player,
* ``state.json`` step, data position, seed, configuration, sums of the log, loss scale, digests of
  frozen modules, which are not kept themselves,
* ``model.json`` what the weights belong to, ``SHA256SUMS`` the checksums.

No random state is stored: all randomness is a function of (seed, step), see `draws`. A folder
appears in one rename, complete, and disappears in one rename, so whatever a kill leaves
behind is either a whole checkpoint or a hidden folder that the next run sweeps away.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from sfumato.errors import SfumatoError
from sfumato.files.atomic import remove, sweep
from sfumato.files.store import read_folder, write_folder
from sfumato.train import shard

FORMAT = 1
MODEL, EMA, OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.safetensors"
STATE, DESCRIPTION = "state.json", "model.json"
META = "__metadata__"
_STEP = re.compile(r"step-(\d{8,})")


class Checkpoint(NamedTuple):
    """A checkpoint that was read and checked: its folder and the bytes of its files."""

    folder: Path
    files: Mapping[str, bytes]


def pack_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a safetensors file."""
    found = {}
    for name in sorted(tensors):  # the same order in every process, which put slices together
        found[name] = shard.whole(tensors[name].detach()).cpu().contiguous().clone()
    return save_tensors(found)


def digest(module: nn.Module) -> str:
    """SHA-256 of a module's weights and buffers with their names."""
    made = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().cpu().contiguous().flatten()
        made.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        made.update(flat.view(torch.uint8).numpy().tobytes())
    return made.hexdigest()


def pack_json(value: Mapping[str, Any]) -> bytes:
    """JSON with the format's version in front; floats survive bit for bit."""
    return (json.dumps({"format_version": FORMAT, **value}, indent=1) + "\n").encode()


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """The optimizer's tensors as ``parameter/moment``; names in the order of the parameters."""
    state = optimizer.state_dict()["state"]
    return {
        f"{names[i]}/{key}": torch.as_tensor(value)
        for i, moments in state.items()
        for key, value in moments.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], data: bytes
) -> None:
    """Put back what `optimizer_tensors` took, laid out in memory as the parameters are."""
    order = {name: i for i, name in enumerate(parameters)}
    state: dict[int, dict[str, Tensor]] = {}
    for full, tensor in load_tensors(data).items():
        name, _, key = full.rpartition("/")
        if name not in order:
            raise SfumatoError(f"moments of {name!r} were saved, which the model has not")
        like = parameters[name]
        if tensor.shape == like.shape:
            cut = shard.like(tensor, like)
            tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(cut)
        state.setdefault(order[name], {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def numbers_in(data: bytes, where: str) -> int:
    """How many numbers a safetensors file holds, by its header alone.

    Raises:
        SfumatoError: no such header.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        return sum(math.prod(item["shape"]) for key, item in header.items() if key != META)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SfumatoError(f"{where} is not a safetensors file: {error}") from error


@contextmanager
def at_most(count: int, refusal: str) -> Iterator[None]:
    """Refuse to build modules with more parameters than ``count`` in the block.

    A description that was damaged or made up can ask for a network that fills the memory; this ends
    as soon as more is built than the file with the weights holds. A block within the block counts
    for itself.

    Raises:
        SfumatoError: with the text ``refusal``; there are more, or one does not fit the memory.
    """
    built = 0

    def count_it(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal built
        if _LIMITS[-1] is mine and parameter is not None:
            built += parameter.numel()
            if built > count:
                raise SfumatoError(refusal)

    mine = object()
    hook = register_module_parameter_registration_hook(count_it)
    _LIMITS.append(mine)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error):
            raise
        raise SfumatoError(refusal) from error
    finally:
        _LIMITS.pop()
        hook.remove()


_LIMITS: list[object] = []
"""The blocks of `at_most` that are open, the innermost last."""


def described_size(count: int, where: str) -> AbstractContextManager[None]:
    """`at_most` as many parameters as the file holds whose description ``where`` is."""
    return at_most(
        count, f"{where} describes a network with more weights than its file holds ({count:,})"
    )


def load_weights(module: nn.Module, data: bytes, where: str) -> None:
    """Copy the weights of a safetensors file into a module.

    Raises:
        SfumatoError: names or shapes differ; the message lists the first few.
    """
    try:
        have = load_tensors(data)
    except SafetensorError as error:
        raise SfumatoError(f"{where} is not a safetensors file: {error}") from error
    load_tensors_into(module, have, where)


def load_tensors_into(module: nn.Module, have: Mapping[str, Tensor], where: str) -> None:
    """Copy weights into a module; raises SfumatoError as `load_weights`."""
    want = module.state_dict()
    wrong = [f"{k} is missing" for k in want if k not in have]
    wrong += [f"{k} is not known" for k in have if k not in want]
    wrong += [
        f"{k} has shape {tuple(have[k].shape)}, expected {tuple(v.shape)}"
        for k, v in want.items()
        if k in have and have[k].shape != v.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise SfumatoError(
            f"{where} holds the weights of another model: " + "; ".join(wrong[:4]) + more
        )
    module.load_state_dict({k: shard.like(have[k], v) for k, v in want.items()})


def parse_json(files: Mapping[str, bytes], name: str, folder: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint, without its format version, which is checked.

    Raises:
        SfumatoError: missing, not JSON, or written by a newer version of sfumato.
    """
    if name not in files:
        raise SfumatoError(f"{folder} has no {name}, so it is not a checkpoint or model folder")
    try:
        value = json.loads(files[name])
        version = value.pop("format_version")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise SfumatoError(f"{folder / name} is not one of sfumato's files") from error
    if not isinstance(version, int) or version > FORMAT:
        raise SfumatoError(
            f"{folder / name} was written by a newer sfumato (format {version}, this one reads "
            f"up to {FORMAT}); upgrade with: pip install -U sfumato"
        )
    return value


def read_about(path: Path) -> dict[str, Any]:
    """What a ``config.json`` says; {} if it is not there or cannot be read."""
    try:
        about = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """The keys, dotted, at which two JSON values differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        out = []
        for key in sorted({*old, *new}):
            at = f"{path}.{key}" if path else key
            out += differences(old.get(key), new.get(key), at)
        return out
    old, new = json.loads(json.dumps(old)), json.loads(json.dumps(new))
    return [] if old == new else [f"{path}: {old} there, {new} here"]


def checkpoint_folders(run: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    parent = run / "checkpoints"
    if not parent.is_dir():
        return []
    return sorted(p for p in parent.iterdir() if _STEP.fullmatch(p.name))


def step_folder(run: Path, step: int) -> Path:
    """Where the checkpoint after a step lies."""
    return run / "checkpoints" / f"step-{step:08d}"


def write_checkpoint(run: Path, step: int, files: Mapping[str, bytes], keep: int) -> Path:
    """Write a checkpoint atomically, then delete all but the ``keep`` newest.

    Raises:
        SfumatoError: the disk refuses; every earlier checkpoint still stands.
    """
    target = step_folder(run, step)
    if target.exists():
        try:
            read_folder(target)
            return target  # the same step of the same run: the same bytes
        except SfumatoError:
            remove(target)
    write_folder(target, files)
    for old in checkpoint_folders(run)[:-keep]:
        if old != target:
            remove(old)
    return target


def clean(run: Path) -> None:
    """Sweep away what killed writers left; for the one process that will write."""
    if (run / "checkpoints").is_dir():
        sweep(run / "checkpoints")


def newest_checkpoint(run: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that can be read, and why newer ones, if any, could not.

    Raises:
        SfumatoError: there are checkpoints, but none is readable.
    """
    refused: list[str] = []
    for folder in reversed(checkpoint_folders(run)):
        try:
            return Checkpoint(folder, read_folder(folder)), refused
        except SfumatoError as error:
            refused.append(str(error))
    if refused:
        raise SfumatoError(f"no checkpoint in {run} can be read: " + "; ".join(refused))
    return None, []


def find_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder, a model folder, or a run folder's newest checkpoint.

    Raises:
        SfumatoError: there is none, or it is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SfumatoError(f"there is no folder {folder}")
    if (folder / "checkpoints").is_dir():
        found, _ = newest_checkpoint(folder)
        if found is None:
            raise SfumatoError(f"{folder} has no checkpoint yet")
        return found
    return Checkpoint(folder, read_folder(folder))

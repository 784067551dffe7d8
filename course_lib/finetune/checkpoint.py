"""Verified checkpoints: a manifest written last, and resuming only from what verifies.

A checkpoint is a folder ``step-00000120`` of safetensors and JSON files with a
``manifest.json`` holding the size and SHA-256 of each. It is built under another
name and renamed, so a killed process leaves either a whole checkpoint or none.
No pickle is written or read.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from course_lib import files
from course_lib.errors import CheckpointError

MANIFEST = "manifest.json"


def write_manifest(folder: Path, **facts: Any) -> None:
    """Write ``manifest.json``: size and SHA-256 of every file of ``folder``, and ``facts``."""
    listing = {
        p.relative_to(folder).as_posix(): {
            "bytes": p.stat().st_size,
            "sha256": files.sha256_file(p),
        }
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != MANIFEST
    }
    files.write_json(folder / MANIFEST, {"schema": 1, **facts, "files": listing})


def verify(folder: Path) -> dict[str, Any]:
    """Check a folder against its manifest and give the manifest.

    Raises:
        CheckpointError: when the manifest or a file is missing, or a file differs.
    """
    if not (folder / MANIFEST).is_file():
        raise CheckpointError("no manifest: the save was not finished", where=str(folder))
    manifest: dict[str, Any] = files.read_json(folder / MANIFEST)
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError("a file is missing", where=str(path))
        size = path.stat().st_size
        if size != entry["bytes"] or files.sha256_file(path) != entry["sha256"]:
            raise CheckpointError(
                "the file is not the one that was saved",
                where=str(path),
                got=f"{size:,} bytes",
                expected=f"{entry['bytes']:,} bytes with SHA-256 {entry['sha256'][:12]}...",
                next_step="delete this folder; an older checkpoint or a fresh run takes over",
            )
    return manifest


def save_checkpoint(
    parent: Path,
    step: int,
    *,
    model: Mapping[str, torch.Tensor],
    optimizers: Mapping[str, torch.optim.Optimizer],
    facts: Mapping[str, Any],
    world_size: int = 1,
    keep: int = 2,
) -> Path:
    """Save weights, optimizer states and JSON ``facts`` as ``parent/step-NNNNNNNN``.

    Older checkpoints are pruned only after the new one verifies.

    Raises:
        StorageError: when the disk is full; older checkpoints are untouched.
    """
    target = parent / f"step-{step:08d}"
    with files.new_folder(target) as folder:
        (folder / "model.safetensors").write_bytes(save(_plain(model)))
        for name, optimizer in optimizers.items():
            tensors, rest = _flatten(optimizer.state_dict())
            (folder / f"{name}.safetensors").write_bytes(save(_plain(tensors)))
            files.write_json(folder / f"{name}.json", rest)
        rng = {"torch": torch.get_rng_state()}
        (folder / "rng.safetensors").write_bytes(save(rng))
        files.write_json(folder / "facts.json", {"step": step, **facts})
        write_manifest(folder, step=step, world_size=world_size)
    verify(target)
    for old in sorted(parent.glob("step-*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def newest(parent: Path, *, world_size: int = 1) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint that verifies.

    Returns:
        Its folder (None when there is none) and one sentence for each newer
        folder that was passed over.

    Raises:
        CheckpointError: when it was saved by another number of processes.
    """
    passed_over: list[str] = []
    for folder in sorted(parent.glob("step-*"), reverse=True):
        try:
            manifest = verify(folder)
        except CheckpointError as error:
            passed_over.append(str(error))
            continue
        if manifest["world_size"] != world_size:
            raise CheckpointError(
                "this checkpoint was saved by another number of processes",
                where=str(folder),
                got=f"{world_size} now",
                expected=str(manifest["world_size"]),
                next_step=f"resume with 'torchrun --nproc-per-node {manifest['world_size']}', "
                "or start a new run",
            )
        return folder, passed_over
    return None, passed_over


def load_checkpoint(
    folder: Path,
    *,
    model: torch.nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, Any]:
    """Load a verified checkpoint into ``model`` and ``optimizers``; give its facts.

    Raises:
        CheckpointError: when a file is damaged or does not fit the model.
    """
    verify(folder)
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        for name, optimizer in optimizers.items():
            tensors = load_file(folder / f"{name}.safetensors")
            state = _unflatten(tensors, files.read_json(folder / f"{name}.json"))
            optimizer.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            "the checkpoint is of another model or optimizer",
            where=str(folder),
            got=str(error).splitlines()[0],
            next_step="resume with the settings of the run that saved it",
        ) from error
    torch.set_rng_state(load_file(folder / "rng.safetensors")["torch"])
    facts: dict[str, Any] = files.read_json(folder / "facts.json")
    return facts


def load_training(
    folder: Path, model: torch.nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Load a checkpoint of a fine-tune; give its facts and the best weights kept beside.

    Raises:
        CheckpointError: as :func:`load_checkpoint`.
    """
    facts = load_checkpoint(folder, model=model, optimizers=optimizers)
    kept = load_file(folder / "model.safetensors")
    prefix = "best."
    best = {k.removeprefix(prefix): v for k, v in kept.items() if k.startswith(prefix)}
    return facts, {**model.state_dict(), **best} if best else {}


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give contiguous CPU copies; of tensors that share memory only the first is kept."""
    seen: set[int] = set()
    plain: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.numel() and tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        plain[name] = tensor.detach().to("cpu").contiguous()
    return plain


def _flatten(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                numbers.setdefault(str(index), {})[key] = value
    return tensors, {"numbers": numbers, "param_groups": state["param_groups"]}


def _unflatten(tensors: Mapping[str, torch.Tensor], rest: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in rest["numbers"].items()}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    return {"state": state, "param_groups": rest["param_groups"]}

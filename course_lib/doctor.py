"""What this machine has, and whether the course can run on it. Needs no network."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import EnvironmentProblem

NEEDED_PYTHON = (3, 11)
NEEDED_DISK_BYTES = 2 * 2**30  # run folders and checkpoints of a few lessons
NEEDED_MEMORY_BYTES = 4 * 2**30
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "jupyterlab", "course-lib")


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found. Sizes are bytes; ``problems`` stop the course, ``notes`` do not.

    Attributes:
        python, system: versions.
        packages: name -> version, ``""`` when it is not installed.
        device: ``cuda``, ``mps``, ``cpu``, or ``""`` without torch; device_name says which.
        cores: logical CPUs this process may use.
        memory, memory_free, disk_free: bytes; the disk is that of the course folder.
        course: the course folder; base: folder of the embedded base model, ``""`` if absent.
    """

    python: str
    system: str
    packages: dict[str, str]
    device: str
    device_name: str
    cores: int
    memory: int
    memory_free: int
    disk_free: int
    course: str
    base: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Give the record as plain values for JSON."""
        return asdict(self)


def installed(names: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Give the version of each package, ``""`` for one that is not installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def embedded_base() -> Path | None:
    """Give the folder of the embedded base model, or None when it is not there."""
    for config in sorted(files.assets_dir().glob("*/config.json")):
        if any(config.parent.glob("*.safetensors")):
            return config.parent
    return None


def _device() -> tuple[str, str]:
    """Give the device training would use and its name; empty when torch does not load."""
    try:
        import torch
    except (ImportError, OSError):
        return "", ""
    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "mps", platform.processor()
    return "cpu", platform.processor() or platform.machine()


def cores() -> int:
    """Give the number of logical CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _judge(found: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the problems and the notes for what was found."""
    problems, notes = [], []
    if sys.version_info[:2] < NEEDED_PYTHON:
        problems.append(f"Python {found['python']} is too old: 3.11 or later is needed")
    for name, version in found["packages"].items():
        if not version:
            problems.append(f"the package {name} is not installed: run 'make setup'")
    if found["packages"]["torch"] and not found["device"]:
        problems.append("torch is installed but does not load: reinstall it")
    if not found["course"]:
        problems.append("the course folder is not found: set COURSE_ROOT to the clone")
    if not found["base"]:
        problems.append("the embedded base model is missing: 'git checkout course_lib/assets'")
    if found["disk_free"] < NEEDED_DISK_BYTES:
        notes.append(f"little disk space: {found['disk_free'] / 2**30:.1f} GiB free")
    if found["memory"] < NEEDED_MEMORY_BYTES:
        notes.append(f"little memory: {found['memory'] / 2**30:.1f} GiB; use the quick profile")
    if found["device"] == "cpu":
        notes.append("no GPU: lessons run in the cpu profile, which is made for this")
    return tuple(problems), tuple(notes)


def examine() -> Machine:
    """Look at this machine: versions, device, memory, cores, disk, course files."""
    import psutil

    try:
        root: Path | None = files.course_root()
    except EnvironmentProblem:
        root = None
    memory = psutil.virtual_memory()
    base = embedded_base()
    device, device_name = _device()
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": installed(),
        "device": device,
        "device_name": device_name,
        "cores": cores(),
        "memory": int(memory.total),
        "memory_free": int(memory.available),
        "disk_free": shutil.disk_usage(root or Path.cwd()).free,
        "course": str(root) if root else "",
        "base": str(base) if base else "",
    }
    problems, notes = _judge(found)
    return Machine(**found, problems=problems, notes=notes)

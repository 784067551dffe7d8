"""The learner's commands: doctor, lab."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.cli.show import Command, say, show_json


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands to the parser."""
    command("doctor", run_doctor, "say what this machine has and whether the course can run on it")
    lab = command("lab", run_lab, "open your own copy of the lessons in JupyterLab")
    lab.add_argument("--no-browser", action="store_true", help="print the address only")
    lab.add_argument("--port", type=int, default=0, help="default: the first free from 8888")
    lab.add_argument("--work", metavar="DIR", help="default: COURSE_WORK or work")
    lab.add_argument("--copy-only", action="store_true", help="bring the copy up to date and end")


def run_doctor(args: argparse.Namespace) -> int:
    """Print what the machine has; 3 when something the course needs is missing."""
    from course_lib import doctor

    found = doctor.examine()
    if args.json:
        show_json(found.as_dict())
        return 3 if found.problems else 0
    gib = 2**30
    packages = ", ".join(f"{k} {v or 'missing'}" for k, v in found.packages.items())
    for name, value in (
        ("Python", found.python), ("system", found.system), ("packages", packages),
        ("device", f"{found.device or 'none'} {found.device_name}"), ("cores", found.cores),
        ("memory", f"{found.memory / gib:.1f} GiB, {found.memory_free / gib:.1f} free"),
        ("disk", f"{found.disk_free / gib:.1f} GiB free"),
        ("course", found.course or "not found"), ("base model", found.base or "missing"),
    ):  # fmt: skip
        print(f"{name:<11}{value}")
    for line in found.notes:
        print(f"note       {line}")
    for line in found.problems:
        print(f"PROBLEM    {line}")
    if not found.problems:
        print("ready")
    return 3 if found.problems else 0


def run_lab(args: argparse.Namespace) -> int:
    """Bring the working copy up to date and open it in JupyterLab."""
    import signal
    import webbrowser

    from course_lib import files, workspace

    root = files.course_root()
    work = Path(args.work or os.environ.get("COURSE_WORK") or root / "work")
    copied = workspace.copy_lessons(root / "notebooks", work.resolve())
    counts = ("new", "updated", "kept", "same", "kept_older")
    say("lessons: " + ", ".join(f"{len(getattr(copied, c))} {c}" for c in counts[:3]))
    for name in copied.kept_older:
        say(f"{name}: you changed it, so it stays; the newer version is notebooks/{name}")
    result: dict[str, Any] = {name: list(getattr(copied, name)) for name in counts}
    result["work"] = str(copied.folder)
    if args.copy_only:
        if args.json:
            show_json(result)
        return 0
    first = sorted(p.name for p in work.glob("*.ipynb"))[0]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends JupyterLab too
    lab = workspace.Lab(copied.folder, port=args.port, first=first)
    try:
        lab.wait_until_ready()
        if args.json:
            show_json(result | {"address": lab.address})
        else:
            print(f"Your lessons are at {lab.address}\nCtrl-C stops JupyterLab.")
        sys.stdout.flush()
        if not args.no_browser and workspace.has_browser():
            webbrowser.open(lab.address)
        return lab.wait()
    finally:
        lab.stop()

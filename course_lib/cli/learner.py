"""The learner's commands: doctor, lab, enroll, progress, submit, certificate."""

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
    enroll = command("enroll", run_enroll, "say who you are: the token your instructor gave you")
    enroll.add_argument("token", metavar="TOKEN")
    enroll.add_argument("--replace", action="store_true", help="also in another student's folder")
    shown = command("progress", run_progress, "show how far you are and what comes next")
    hand_in = command("submit", run_submit, "pack answers and runs into one verified file")
    hand_in.add_argument("--out", metavar="DIR", help="default: the folder of your lessons")
    hand_in.add_argument("--exchange", metavar="DIR",
                         help="hand it in there too; default: COURSE_EXCHANGE")  # fmt: skip
    paper = command("certificate", run_certificate,
                    "write your record of completion, or verify a signed one")  # fmt: skip
    paper.add_argument("--name", help="as it shall stand on the page; default: as enrolled")
    paper.add_argument("--out", metavar="DIR", help="default: the folder of your lessons")
    paper.add_argument("--verify", metavar="JSON", help="a completion.json to be verified")
    paper.add_argument("--key", metavar="PEM", help="the course's public key, for --verify")
    for one in (enroll, shown, hand_in, paper):
        one.add_argument("--work", metavar="DIR", help="default: COURSE_WORK or work")


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


def working_copy(args: argparse.Namespace) -> Path:
    """Give the folder of the learner's lessons."""
    from course_lib import files

    return Path(args.work or os.environ.get("COURSE_WORK") or files.course_root() / "work")


def run_lab(args: argparse.Namespace) -> int:
    """Bring the working copy up to date and open it in JupyterLab."""
    import signal
    import webbrowser

    from course_lib import files, workspace

    root = files.course_root()
    work = working_copy(args)
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


def run_enroll(args: argparse.Namespace) -> int:
    """Keep who learns here; answers are never touched."""
    from course_lib.quiz import identity

    work = working_copy(args)
    found = identity.enroll(work, args.token, replace=args.replace)
    if args.json:
        show_json({"student": found.student, "name": found.name, "course": found.course})
    else:
        print(f"{found.name or found.student}, enrolled in {found.course} ({work})")
    return 0


def run_progress(args: argparse.Namespace) -> int:
    """Print the dashboard."""
    from dataclasses import asdict

    from course_lib.quiz import progress

    found = progress.dashboard(working_copy(args))
    if args.json:
        show_json(asdict(found.progress))
    else:
        print(found)
    return 0


def run_submit(args: argparse.Namespace) -> int:
    """Write and verify the file to hand in; damage found in the answers is told."""
    from dataclasses import asdict

    from course_lib.quiz import exchange, identity, submission

    work = working_copy(args)
    out = Path(args.out) if args.out else None
    made = submission.submit(work, out, identity=identity.current(work))
    to = args.exchange or os.environ.get("COURSE_EXCHANGE")
    given = exchange.hand_over(made.path, Path(to)) if to else None
    if args.json:
        show_json(asdict(made) | ({"exchange": asdict(given)} if given else {}))
        return 0
    print(f"{made.path}: {made.attempts} answers in {len(made.lessons)} lessons, "
          f"{len(made.runs)} runs; verified")  # fmt: skip
    if given:
        print(f"handed in as {given.path}\nsha256 {given.sha256}")
    for line in made.left_out:
        say(f"left out: {line}")
    for line in made.damage:
        say(f"damage: {line}")
    return 0


def run_certificate(args: argparse.Namespace) -> int:
    """Write the record of completion, or verify a signed one."""
    from datetime import date

    from course_lib import files
    from course_lib.errors import UsageError
    from course_lib.quiz import certificate, identity, progress

    if args.verify:
        if not args.key:
            raise UsageError("--verify needs the course's public key", expected="--key FILE.pem")
        known = files.read_json(Path(args.verify))
        certificate.verify(known, files.read_text(args.key).encode())
        print(f"{known['name']}: signed by the holder of this key, and unchanged")
        return 0
    work = working_copy(args)
    who = identity.current(work)
    name = args.name or who.name
    if not name:
        raise UsageError("whose record is it?", expected="--name 'Your Name', or an enrolment")
    far = progress.learner_progress(work, who.seed)
    more = {"student": who.student, "course": who.course}
    made = certificate.record(far, name, date.today(), **more)
    pages = certificate.write(made, Path(args.out) if args.out else work)
    if args.json:
        show_json(made)
    else:
        print("\n".join(map(str, pages)))
    return 0

"""The instructor's commands for handing out: release, roster."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from course_lib.cli.show import Command, say, show_json


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands to the parser."""
    release = command("release", run_release, "write the students' bundle: a zip without keys")
    release.add_argument("--out", metavar="ZIP", default="student-bundle.zip")
    release.add_argument("--keys", metavar="DIR", help="default: quizzes/assessment/keys")
    roster = command("roster", run_roster, "give each student of a CSV file a token")
    roster.add_argument("csv", metavar="CSV", help="with the columns student and name")
    roster.add_argument("--course", metavar="NAME", default="", help="which class")
    roster.add_argument("--secret", metavar="FILE", default="course-secret.txt",
                        help="the course's secret; made when there is none")  # fmt: skip
    roster.add_argument("--out", metavar="CSV", default="roster-tokens.csv")


def run_release(args: argparse.Namespace) -> int:
    """Write the student bundle and say what it holds."""
    from course_lib.teach.release import bundle

    made = bundle.release(Path(args.out), keys=Path(args.keys) if args.keys else None)
    if args.json:
        show_json({"path": str(made.path), "sha256": made.sha256, "files": made.files,
                   "bytes": made.size})  # fmt: skip
    else:
        print(f"{made.path}: {made.files} files, {made.size / 1e6:.1f} MB\nsha256 {made.sha256}")
    return 0


def run_roster(args: argparse.Namespace) -> int:
    """Read a roster, make tokens, write them as CSV readable by its owner alone."""
    from course_lib import files
    from course_lib.teach.release import roster

    students = roster.read_roster(Path(args.csv))
    fresh = not Path(args.secret).exists()
    key = roster.secret(Path(args.secret), create=True)
    out = Path(args.out)
    files.write_text(out, roster.to_csv(roster.give_tokens(students, key, args.course)))
    out.chmod(0o600)
    if fresh:
        say(f"made the course's secret {args.secret}: keep it, and keep it to yourself")
    if args.json:
        show_json({"path": str(out), "students": len(students), "secret": args.secret})
    else:
        print(f"{out}: {len(students)} students; send each their token for 'course enroll TOKEN'")
    return 0

"""The instructor's commands for marking: grade."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from course_lib.cli.show import Command, say, show_json


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands to the parser."""
    grade = command("grade", run_grade, "mark submissions into a gradebook")
    grade.add_argument("submission", nargs="+", help="zip files, notebooks, folders of them")
    grade.add_argument("--gradebook", metavar="FILE", default="gradebook.sqlite")
    grade.add_argument("--keys", metavar="DIR", help="default: quizzes/assessment/keys")
    grade.add_argument("--secret", metavar="FILE", help="the secret of 'course roster'; without "
                       "it everybody is marked on the practice variant")  # fmt: skip
    grade.add_argument("--roster", metavar="CSV", help="who is in the class")
    grade.add_argument("--policy", metavar="YAML", help="deadlines, attempts, lateness")
    grade.add_argument("--no-code", action="store_true", help="leave code exercises queued")
    grade.add_argument("--csv", metavar="FILE", help="write the marks as CSV too")
    grade.add_argument("--feedback", metavar="DIR", help="write a page for each student")


def run_grade(args: argparse.Namespace) -> int:
    """Mark every submission; 1 when something could not be marked and is listed."""
    from course_lib.teach.grading import keys, marking, policy, sandbox, tables
    from course_lib.teach.grading.gradebook import Gradebook
    from course_lib.teach.grading.marker import Marker
    from course_lib.teach.release import roster

    key = keys.load_keys(keys=Path(args.keys) if args.keys else None)
    rules = policy.read_policy(Path(args.policy) if args.policy else None)
    secret = roster.secret(Path(args.secret)) if args.secret else None
    listed = None
    if args.roster:
        listed = {s.student: s.name for s in roster.read_roster(Path(args.roster))}
    if (why := sandbox.available()) and not args.no_code:
        say(f"code exercises wait: {why}")
    marker = Marker(key, rules, secret=secret, run_code=not args.no_code)
    with Gradebook(Path(args.gradebook)) as book:
        report = marking.grade_all(
            [Path(p) for p in args.submission], marker, book, roster=listed, say=say
        )
        if args.csv:
            tables.write_csv(book, Path(args.csv))
        if args.feedback:
            from course_lib.teach.grading import feedback_page

            feedback_page.write_pages(book, key, marker, Path(args.feedback))
    told = {
        "graded": report.graded, "known": report.known, "students": len(report.students),
        "changed": report.changed, "outcomes": dict(report.outcomes),
        "faults": [dataclasses.asdict(f) for f in report.faults],
    }  # fmt: skip
    if args.json:
        show_json(told)
    else:
        for f in report.faults:
            say(f"{f.file}: {f.field or f.code}: {f.message}" +
                (f" -> {f.next_step}" if f.next_step else ""))  # fmt: skip
        outcomes = ", ".join(f"{n:,} {o}" for o, n in sorted(report.outcomes.items()))
        print(f"{report.graded:,} submissions of {len(report.students):,} students marked, "
              f"{report.known:,} were known, {len(report.faults):,} faults")  # fmt: skip
        print(f"{outcomes or 'no marks'}\n{args.gradebook}")
    return 1 if report.faults else 0

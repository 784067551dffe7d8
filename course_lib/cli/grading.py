"""The instructor's commands for marking: grade, regrade, analyze."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.cli.show import Command, say, show_json


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands to the parser."""
    grade = command("grade", run_grade, "mark submissions into a gradebook")
    again = command("regrade", run_regrade, "replay kept answers with corrected keys")
    again.add_argument("--why", required=True, metavar="TEXT", help="the reason, for the history")
    again.add_argument("--void", action="append", default=[], metavar="ITEM",
                       help="earns everybody its points; may be given several times")  # fmt: skip
    again.add_argument("--allow-lower", action="store_true", help="also write marks that fall")
    again.add_argument("--dry-run", action="store_true", help="say what would change")
    look = command("analyze", run_analyze, "say what the marks tell about the questions")
    look.add_argument("--gradebook", metavar="FILE", default="gradebook.sqlite")
    look.add_argument("--keys", metavar="DIR", help="default: quizzes/assessment/keys")
    look.add_argument("--out", metavar="HTML", default="analysis.html")
    for one in (grade, again):
        _shared(one)
    grade.add_argument("submission", nargs="*", help="zip files, notebooks, folders of them")
    grade.add_argument("--queued", action="store_true",
                       help="run the code that waits; needs no submission")  # fmt: skip
    grade.add_argument("--jobs", type=int, default=1, metavar="N",
                       help="code exercises run at a time")  # fmt: skip
    grade.add_argument("--scheduler", default="", metavar="tcp://HOST:PORT",
                       help="run code on the workers of a Dask scheduler")  # fmt: skip
    grade.add_argument("--roster", metavar="CSV", help="who is in the class")
    grade.add_argument("--csv", metavar="FILE", help="write the marks as CSV too")
    grade.add_argument("--feedback", metavar="DIR", help="write a page for each student")
    grade.add_argument("--summary", metavar="FILE", help="write a summary; a page if .html")


def _shared(one: argparse.ArgumentParser) -> None:
    one.add_argument("--gradebook", metavar="FILE", default="gradebook.sqlite")
    one.add_argument("--keys", metavar="DIR", help="default: quizzes/assessment/keys")
    one.add_argument("--secret", metavar="FILE", help="the secret of 'course roster'; without "
                     "it everybody is marked on the practice variant")  # fmt: skip
    one.add_argument("--policy", metavar="YAML", help="deadlines, attempts, lateness")
    one.add_argument("--no-code", action="store_true", help="leave code exercises queued")


def _marker(args: argparse.Namespace) -> Any:
    """Read keys, rules and secret; say so where code cannot be run."""
    from course_lib.teach.grading import keys, policy, sandbox
    from course_lib.teach.grading.marker import Marker
    from course_lib.teach.release import roster

    key = keys.load_keys(keys=Path(args.keys) if args.keys else None)
    rules = policy.read_policy(Path(args.policy) if args.policy else None)
    secret = roster.secret(Path(args.secret)) if args.secret else None
    if not args.no_code and (why := sandbox.available()):
        say(f"code exercises wait: {why}")
    return Marker(key, rules, secret=secret, run_code=not args.no_code)


def _existing(path: str) -> Path:
    from course_lib.errors import UsageError

    if not Path(path).is_file():
        raise UsageError("there is no gradebook", where=path, next_step="'course grade' makes one")
    return Path(path)


def run_analyze(args: argparse.Namespace) -> int:
    """Write the analysis as a page and print the items to look at."""
    from course_lib import files
    from course_lib.teach.grading import analysis, keys, report
    from course_lib.teach.grading.gradebook import Gradebook

    key = keys.load_keys(keys=Path(args.keys) if args.keys else None)
    with Gradebook(_existing(args.gradebook)) as book:
        found = analysis.analyze(book, key)
    files.write_text(Path(args.out), report.page(found))
    if args.json:
        show_json(dataclasses.asdict(found))
        return 0
    for quiz in found.quizzes:
        print(f"quiz {quiz.quiz}: {quiz.students:,} students, mean {100 * quiz.mean:.0f}%, "
              f"alpha {quiz.alpha:.2f}")  # fmt: skip
        for item in (i for i in quiz.items if i.flags):
            print(f"  {item.item:<10}{'; '.join(item.flags)}")
    print(args.out)
    return 0


def run_regrade(args: argparse.Namespace) -> int:
    """Mark kept answers again where the key changed, and say who changes, by how much and why."""
    from course_lib.teach.grading.gradebook import Gradebook
    from course_lib.teach.grading.regrade import regrade

    with Gradebook(_existing(args.gradebook), actor="course regrade") as book:
        found = regrade(book, _marker(args), why=args.why, void=args.void,
                        allow_lower=args.allow_lower, dry_run=args.dry_run)  # fmt: skip
    if args.json:
        show_json(dataclasses.asdict(found))
        return 0
    for c in [*found.changes, *found.kept]:
        kept = "" if c in found.changes else "  (kept: it would fall; --allow-lower)"
        print(f"{c.student:<20} {c.item:<10} {c.before:g} -> {c.after:g} {c.outcome}{kept}")
    verb = "would change" if args.dry_run else "changed"
    print(f"{len(found.items)} items, {found.looked_at:,} marks looked at, "
          f"{len(found.changes):,} {verb}, {len(found.kept):,} kept")  # fmt: skip
    for item in found.left:
        say(f"{item}: depends on files the gradebook does not keep; run 'course grade' again")
    return 0


def run_grade(args: argparse.Namespace) -> int:
    """Mark every submission; 1 when something could not be marked and is listed."""
    from course_lib.errors import UsageError
    from course_lib.teach.grading import marking
    from course_lib.teach.grading.gradebook import Gradebook
    from course_lib.teach.release import roster

    if not args.submission and not args.queued:
        raise UsageError("there is nothing to mark", next_step="name files or folders, or --queued")
    if args.jobs < 1:
        raise UsageError("--jobs needs a number from 1", got=str(args.jobs))
    path = Path(args.gradebook) if args.submission else _existing(args.gradebook)
    listed = None
    if args.roster:
        listed = {s.student: s.name for s in roster.read_roster(Path(args.roster))}
    marker = _marker(args)
    with Gradebook(path) as book:
        report = marking.grade_all(
            [Path(p) for p in args.submission], marker, book, roster=listed, jobs=args.jobs,
            scheduler=args.scheduler, say=say,
        )  # fmt: skip
        _write(args, book, marker)
        _show(args, book, report)
    return 1 if report.faults else 0


def _write(args: argparse.Namespace, book: Any, marker: Any) -> None:
    from course_lib.teach.grading import feedback_page, summary, tables

    if args.csv:
        tables.write_csv(book, Path(args.csv))
    if args.feedback:
        feedback_page.write_pages(book, marker, Path(args.feedback))
    if args.summary:
        summary.write(book, Path(args.summary))


def _show(args: argparse.Namespace, book: Any, report: Any) -> None:
    from course_lib.teach.grading import summary

    if args.json:
        show_json({
            "graded": report.graded, "known": report.known, "students": report.students,
            "changed": report.changed, "ran": report.ran, "outcomes": dict(report.outcomes),
            "flags": [{"kind": k, "students": s, "evidence": e} for k, s, e in summary.flags(book)],
            "faults": [dataclasses.asdict(f) for f in report.faults],
        })  # fmt: skip
        return
    for f in report.faults:
        place = f" {f.field}:" if f.field else ""
        step = f" -> {f.next_step}" if f.next_step else ""
        say(f"{f.file}:{place} {f.code}: {f.message}{step}")
    flags = summary.flags(book)
    for kind, students, evidence in flags[:20]:
        say(f"{kind}: {students} ({evidence})")
    if len(flags) > 20:
        say(f"and {len(flags) - 20:,} more flags; --summary FILE lists them")
    outcomes = ", ".join(f"{n:,} {o}" for o, n in sorted(report.outcomes.items()))
    print(
        f"{report.graded:,} submissions of {report.students:,} students marked, "
        f"{report.known:,} were known, {len(report.faults):,} faults, {len(flags):,} flags"
    )
    print(f"{outcomes or 'no marks'}\n{args.gradebook}")

"""The instructor's and author's commands: check, build."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from course_lib.cli.show import PROFILES, Command, say, show_json
from course_lib.errors import UsageError


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands to the parser."""
    check = command(
        "check", run_check, "check lessons and questions: coverage, form, references, terms, habits"
    )
    check.add_argument("--schema", choices=("quiz", "exercises"),
                       help="print the JSON Schema of a quiz file or an exercise file")  # fmt: skip
    build = command("build", run_build, "build lessons from notebooks/source")
    build.add_argument("lesson", nargs="*", help="a number or name; default: all")
    build.add_argument("--profile", choices=PROFILES, action="append",
                       help="may be given several times; default: cpu")  # fmt: skip
    build.add_argument("--seed", type=int, action="append", metavar="N",
                       help="may be given several times")  # fmt: skip
    build.add_argument("-p", "--parameter", action="append", metavar="NAME=VALUE", default=[],
                       help="a papermill parameter of the lesson")  # fmt: skip
    build.add_argument("--jobs", type=int, default=1, metavar="N", help="lessons side by side")
    build.add_argument("--scheduler", default="", metavar="ADDRESS",
                       help="of a Dask cluster, such as tcp://127.0.0.1:8786")  # fmt: skip
    build.add_argument("--out", metavar="DIR", help="default: notebooks for cpu alone, else build; "
                       "build/pages or build/slides with --to")  # fmt: skip
    build.add_argument("--force", action="store_true", help="also what has not changed")
    build.add_argument("--check", action="store_true",
                       help="build elsewhere and report what differs; replace nothing")  # fmt: skip
    build.add_argument("--words", action="store_true",
                       help="renew words and questions, keep all other outputs")  # fmt: skip
    build.add_argument("--to", choices=("notebooks", "pages", "slides"), default="notebooks",
                       help="publish the built lessons as web pages or slides")  # fmt: skip
    build.add_argument("--cell-seconds", type=int, default=900, metavar="S")


def run_check(args: argparse.Namespace) -> int:
    """Print what is wrong with lessons and questions; 1 when anything is."""
    from course_lib.quiz import exercise, lint, schema
    from course_lib.teach import lint as lessons

    if args.schema:
        quiz = args.schema == "quiz"
        show_json((schema.Quiz if quiz else exercise.ExerciseFile).model_json_schema())
        return 0
    keyed, stale = lint.load_assessment()
    bank = lint.load_bank() | keyed
    problems = lint.lint(bank, lint.lesson_sources()) + stale + lessons.check()
    if args.json:
        show_json({"quizzes": sorted(bank), "problems": problems})
    else:
        count = sum(len(quiz.questions) for quiz in bank.values())
        print("\n".join([*problems, f"{len(bank)} quizzes, {count} questions, "
                         f"{len(problems)} problems"]))  # fmt: skip
    return 1 if problems else 0


def run_build(args: argparse.Namespace) -> int:
    """Build lessons from their sources; 1 when one of them failed."""
    from pathlib import Path

    from course_lib.cli.author import run_publish
    from course_lib.teach.building import matrix

    if args.to != "notebooks":
        return run_publish(args)
    built = matrix.build(
        args.lesson, profiles=args.profile or ["cpu"], seeds=args.seed or (),
        parameters=dict(map(_parameter, args.parameter)), jobs=args.jobs,
        scheduler=args.scheduler, out=Path(args.out) if args.out else None, force=args.force,
        check=args.check, words=args.words, cell_seconds=args.cell_seconds, say=say,
    )  # fmt: skip
    if args.json:
        show_json([
            {"lesson": b.lesson, "file": str(b.path), "state": b.state, "seconds": b.seconds,
             "error": b.error, "drift": b.drift} for b in built
        ])  # fmt: skip
    else:
        for b in built:
            print("\n".join([f"{b.state:<10}{b.path}", *(f"  {d}" for d in b.drift)]))
    return 1 if any(b.state in ("failed", "drifted") for b in built) else 0


def _parameter(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE; the value as JSON where it is some, else as text."""
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise UsageError("a parameter is NAME=VALUE", got=text, next_step="such as -p seed=3")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value

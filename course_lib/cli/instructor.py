"""The instructor's and author's commands: check, build."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from course_lib.cli.show import PROFILES, Command, say, show_json


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands to the parser."""
    check = command(
        "check", run_check, "check the question bank: files, habits, objectives, sections"
    )
    check.add_argument("--schema", action="store_true", help="print the JSON Schema of a quiz")
    build = command("build", run_build, "build lessons from notebooks/source")
    build.add_argument("lesson", nargs="*", help="a number or name; default: all")
    build.add_argument("--profile", choices=PROFILES, default="cpu")


def run_check(args: argparse.Namespace) -> int:
    """Print what is wrong with the question bank; 1 when anything is."""
    from course_lib.quiz import lint, schema

    if args.schema:
        show_json(schema.Quiz.model_json_schema())
        return 0
    bank = lint.load_bank()
    problems = lint.lint(bank, lint.lesson_sources())
    if args.json:
        show_json({"quizzes": sorted(bank), "problems": problems})
    else:
        count = sum(len(quiz.questions) for quiz in bank.values())
        print("\n".join([*problems, f"{len(bank)} quizzes, {count} questions, "
                         f"{len(problems)} problems"]))  # fmt: skip
    return 1 if problems else 0


def run_build(args: argparse.Namespace) -> int:
    """Build lessons from their sources; 1 when one of them failed."""
    from course_lib.teach import regenerate

    built = regenerate.build(args.lesson, profile=args.profile, say=say)
    if args.json:
        show_json([{"lesson": b.lesson, "seconds": b.seconds, "error": b.error} for b in built])
    return 1 if any(b.error for b in built) else 0

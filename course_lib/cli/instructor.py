"""The instructor's and author's commands: check, build."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from course_lib.cli.show import PROFILES, Command, say, show_json


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands to the parser."""
    check = command(
        "check", run_check, "check lessons and questions: coverage, form, references, terms, habits"
    )
    check.add_argument("--schema", choices=("quiz", "exercises"),
                       help="print the JSON Schema of a quiz file or an exercise file")  # fmt: skip
    show = command("preview", run_preview, "show a quiz file as a page, with its key")
    show.add_argument("file", metavar="FILE", help="such as quizzes/03_text_classification.yaml")
    show.add_argument("--out", metavar="HTML", help="default: FILE's name with .html, here")
    show.add_argument("--no-browser", action="store_true", help="write the page only")
    build = command("build", run_build, "build lessons from notebooks/source")
    build.add_argument("lesson", nargs="*", help="a number or name; default: all")
    build.add_argument("--profile", choices=PROFILES, default="cpu")


def run_check(args: argparse.Namespace) -> int:
    """Print what is wrong with lessons and questions; 1 when anything is."""
    from course_lib.quiz import exercise, lint, schema
    from course_lib.teach import lint as lessons

    if args.schema:
        quiz = args.schema == "quiz"
        show_json((schema.Quiz if quiz else exercise.ExerciseFile).model_json_schema())
        return 0
    bank = lint.load_bank()
    problems = lint.lint(bank, lint.lesson_sources()) + lessons.check()
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


def run_preview(args: argparse.Namespace) -> int:
    """Write a quiz file as a page and open it where there is a browser."""
    import webbrowser
    from pathlib import Path

    from course_lib import files, workspace
    from course_lib.quiz.preview import preview

    source = Path(args.file)
    out = Path(args.out or source.with_suffix(".html").name)
    files.write_text(out, preview(source))
    if args.json:
        show_json({"page": str(out)})
    else:
        print(f"the page, with the key: {out}")
    if not (args.no_browser or args.json) and workspace.has_browser():
        webbrowser.open(out.resolve().as_uri())
    return 0

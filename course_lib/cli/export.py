"""The instructor's command for other systems: export."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from course_lib.cli.show import Command, say, show_json
from course_lib.errors import UsageError

FORMATS = ("qti12", "qti21", "qti", "moodle", "gift", "canvas-csv")
WAYS = ("sis-login", "sis-user", "id")


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's command to the parser."""
    export = command(
        "export", run_export, "write quizzes, or a gradebook's marks, for a learning platform"
    )
    export.add_argument("quiz", nargs="*", metavar="QUIZ",
                        help="an id such as 03, 'assessment', or a quiz file")  # fmt: skip
    export.add_argument("--to", required=True, choices=FORMATS, help="qti means qti21")
    export.add_argument("--out", metavar="PATH",
                        help="a folder, or for one quiz a file; default: export")  # fmt: skip
    export.add_argument("--keys", metavar="DIR", help="default: quizzes/assessment/keys")
    export.add_argument("--variant", type=int, default=0, metavar="N",
                        help="which draw of numbers, where a format has room for one")  # fmt: skip
    export.add_argument("--lossy", action="store_true",
                        help="also questions whose partial credit or points would be lost; "
                        "each loss is named")  # fmt: skip
    export.add_argument("--strict", action="store_true",
                        help="write nothing when a question cannot be carried")  # fmt: skip
    export.add_argument("--gradebook", metavar="FILE", default="gradebook.sqlite",
                        help="for canvas-csv")  # fmt: skip
    export.add_argument("--student-is", choices=WAYS, default="sis-login",
                        help="for canvas-csv: which of Canvas's ids the students have")  # fmt: skip


def run_export(args: argparse.Namespace) -> int:
    """Write the export; 1 when a question could not go along and is listed."""
    if args.to == "canvas-csv":
        return _grades(args)
    if not args.quiz:
        raise UsageError("which quiz is to be exported?", expected="an id such as 03, or a file",
                         next_step="such as 'course export 03 --to moodle'")  # fmt: skip
    from course_lib.teach.export import export

    to = "qti21" if args.to == "qti" else args.to
    report = export.export(
        args.quiz, to, Path(args.out or "export"), keys=Path(args.keys) if args.keys else None,
        variant=args.variant, lossy=args.lossy, strict=args.strict,
    )  # fmt: skip
    if args.json:
        show_json({"files": report.files, "carried": report.carried,
                   "refused": [dataclasses.asdict(r) for r in report.refused],
                   "notes": report.notes})  # fmt: skip
        return 1 if report.refused else 0
    told: dict[str, list[str]] = {}
    for question, note in report.notes:
        told.setdefault(note, []).append(question)
    for note, questions in told.items():
        say(f"{', '.join(questions)}: note: {note}")
    for r in report.refused:
        say(f"{r.question}: not in {r.format}: {r.why} -> {r.next_step}")
    print("\n".join([*map(str, report.files), f"{report.carried} questions exported, "
                     f"{len(report.refused)} refused"]))  # fmt: skip
    return 1 if report.refused else 0


def _grades(args: argparse.Namespace) -> int:
    from course_lib import files
    from course_lib.teach.export import canvas

    if args.quiz:
        raise UsageError("canvas-csv takes marks, not quizzes", got=", ".join(args.quiz),
                         next_step="name the gradebook with --gradebook FILE")  # fmt: skip
    text, students = canvas.grades(Path(args.gradebook), student_is=args.student_is)
    out = Path(args.out or "canvas-grades.csv")
    if out.is_dir():
        out = out / "canvas-grades.csv"
    files.write_text(out, text)
    if args.json:
        show_json({"files": [out], "students": students})
    else:
        print(f"{out}\n{students} students")
    return 0

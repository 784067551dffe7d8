"""The author's commands: preview, new; and publishing, which `course build --to` calls."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from course_lib.cli.show import Command, say, show_json
from course_lib.errors import UsageError

ONLY_FOR_NOTEBOOKS = ("profile", "seed", "parameter", "scheduler", "force", "check", "words")


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands to the parser."""
    show = command("preview", run_preview, "show a quiz file as a page, with its key")
    show.add_argument("file", metavar="FILE", help="such as quizzes/03_text_classification.yaml")
    show.add_argument("--out", metavar="HTML", help="default: FILE's name with .html, here")
    show.add_argument("--live", action="store_true",
                      help="serve the page here; it follows each saved change")  # fmt: skip
    show.add_argument("--port", type=int, default=0, metavar="N", help="for --live; default: free")
    show.add_argument("--no-browser", action="store_true", help="open nothing")
    new = command("new", run_new, "write a lesson to be filled in, with quiz and exercises")
    new.add_argument("what", choices=("lesson",))
    new.add_argument("number", metavar="NN", help="two digits, such as 11")
    new.add_argument("title", metavar="TITLE")


def run_preview(args: argparse.Namespace) -> int:
    """Write a quiz file as a page and open it where there is a browser; or serve it live."""
    import webbrowser

    from course_lib import files, workspace
    from course_lib.quiz.preview import preview

    if args.live:
        return _live(args)
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


def _live(args: argparse.Namespace) -> int:
    import threading
    import webbrowser

    from course_lib import files, workspace
    from course_lib.teach.live_preview import LiveServer, Preview

    if args.out:
        raise UsageError("--out and --live do not go together", next_step="leave one of them out")
    source = Path(args.file)
    files.read_text(source)  # a file that is not there is no fault of its content
    server = LiveServer(Preview(source), workspace.free_port(args.port) if args.port else 0)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    if args.json:
        show_json({"address": server.address})
    else:
        print(f"the preview, with the key: {server.address}  (Ctrl-C ends it)", flush=True)
    if not (args.no_browser or args.json) and workspace.has_browser():
        webbrowser.open(server.address)
    try:
        serving.join()
    except KeyboardInterrupt:
        say("preview ended")
    finally:
        server.shutdown()
        server.server_close()
    return 0


def run_new(args: argparse.Namespace) -> int:
    """Write a new lesson's files and say what comes next."""
    from course_lib.teach.new_lesson import new_lesson

    made = new_lesson(args.number, args.title)
    if args.json:
        show_json({"files": [str(p) for p in made.paths], "todo": made.todo})
        return 0
    print("\n".join(map(str, made.paths)))
    print(f"{made.todo} places say TODO. When none is left: course build {args.number}, "
          "then course check")  # fmt: skip
    return 0


def run_publish(args: argparse.Namespace) -> int:
    """Publish the built lessons (`course build --to`); 1 when one is left out."""
    given = [name for name in ONLY_FOR_NOTEBOOKS if getattr(args, name, None)]
    if given or args.jobs != 1:
        raise UsageError(
            f"--{(given or ['jobs'])[0]} does not go with --to {args.to}",
            expected="the notebooks are published as they were built",
            next_step=f"run 'course build' first, then 'course build --to {args.to}'",
        )
    out = Path(args.out or f"build/{args.to}")
    if args.to == "pages":
        from course_lib.teach.publishing.pages import build_pages as publish
    else:
        from course_lib.teach.publishing.slides import build_slides as publish
    done = publish(args.lesson, out, say=say)
    for line in done.warnings:
        say(line)
    if args.json:
        show_json({"kind": done.kind, "out": str(done.out), "lessons": done.lessons,
                   "failed": done.failed, "warnings": done.warnings})  # fmt: skip
    else:
        left_out = (f"left out: {name}: {why}" for name, why in done.failed.items())
        print("\n".join([f"{len(done.lessons)} lessons: {done.out / 'index.html'}", *left_out]))
    return 1 if done.failed else 0

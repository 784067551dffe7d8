"""The command ``course``: arguments, printing and exit codes; the work is done elsewhere.

Results go to standard output, progress and errors to standard error. With
``--json`` the output is one JSON value. Exit codes: 0 done, 1 some inputs
failed, 2 wrong usage, 3 environment, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence

from course_lib import __version__
from course_lib.cli import (
    author,
    classroom,
    exchange,
    export,
    grading,
    instructor,
    learner,
    model,
    operate,
    toolbox,
)
from course_lib.cli.show import say, show_json
from course_lib.errors import CourseError, Stopped, StorageError

MODULES = (
    learner,
    model,
    toolbox,
    operate,
    instructor,
    author,
    classroom,
    grading,
    exchange,
    export,
)


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Give the parser for ``argv``, the arguments to come."""
    parser = argparse.ArgumentParser(
        prog="course", allow_abbrev=False,
        description="Fine-Tuning GPT, Hands-On: open the lessons, or fine-tune on your own data.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"course {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int], help: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        made.add_argument("--json", action="store_true", help="print the result as JSON")
        made.set_defaults(action_function=run)
        return made

    for module in MODULES:
        module.add(command, argv)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code. ``None`` takes the process's own arguments."""
    if argv is None:
        from course_lib.launch import restart_with_memory_settings

        restart_with_memory_settings()
        argv = sys.argv[1:]
    args = build_parser(argv).parse_args(argv)
    try:
        return int(args.action_function(args))
    except CourseError as error:
        return fail(error, args)
    except KeyboardInterrupt:
        return fail(Stopped("stopped by Ctrl-C"), args)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        return fail(
            StorageError(f"could not write: {error.strerror}", where=str(error.filename or "")),
            args,
        )


def fail(error: CourseError, args: argparse.Namespace) -> int:
    """Print an error to standard error (and as JSON when asked); give its exit code."""
    say(f"course {args.command}: {error}")
    if args.json:
        show_json({"error": str(error), "kind": type(error).__name__, "exit": error.exit_code})
    return error.exit_code

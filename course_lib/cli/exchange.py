"""The instructor's command for the exchange folder of a hub: exchange."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from course_lib.cli.show import Command, say, show_json


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's command to the parser."""
    one = command("exchange", run_exchange,
                  "make the folder a class hands in to, or collect from it")  # fmt: skip
    one.add_argument("action", choices=("make", "collect"))
    one.add_argument("folder", metavar="DIR")
    one.add_argument("--group", help="make: whose members may read what is handed in")
    one.add_argument("--out", metavar="DIR", default="collected", help="collect: where to")
    one.add_argument("--one-owner", action="store_true",
                     help="collect: one user owns all files, as with containers")  # fmt: skip


def run_exchange(args: argparse.Namespace) -> int:
    """Make the folder, or copy out what is new; 1 when a file was left and is listed."""
    from course_lib.teach.release import exchange

    folder = Path(args.folder)
    if args.action == "make":
        made = exchange.make(folder, args.group)
        told = {"path": str(made), "mode": f"{exchange.MODE:o}"}
        if args.json:
            show_json(told)
        else:
            print(f"{made}: mode {told['mode']}; students: COURSE_EXCHANGE={made.resolve()}")
        return 0
    owner = None if args.one_owner else exchange.owner
    found = exchange.collect(folder, Path(args.out), owner_of=owner)
    if args.json:
        show_json(dataclasses.asdict(found))
        return 1 if found.left else 0
    for name, student, remark in found.told:
        say(f"look at {name} of {student}: {remark}")
    for name, student, why in found.left:
        say(f"left {name} of {student or 'an unknown user'}: {why}")
    print(f"{len(found.new):,} collected into {args.out}, {found.known:,} were known, "
          f"{len(found.left):,} left")  # fmt: skip
    return 1 if found.left else 0

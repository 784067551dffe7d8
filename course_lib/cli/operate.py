"""Models in use: serve, registry."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from course_lib.cli.show import Command, number, say, show_json


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands to the parser."""
    serve = command("serve", run_serve, "answer chat requests with a run or a champion")
    serve.add_argument("target", metavar="RUN", help="a run folder, or a registry's folder")
    serve.add_argument("--name", default="", help="in a registry: which model")
    serve.add_argument("--version", default="", help="in a registry; default: the champion")
    serve.add_argument("--port", type=int, default=0, help="default: a free one")
    serve.add_argument("--log", metavar="FILE", help="one line a request: time, tokens, latency")
    serve.add_argument("--log-text", action="store_true", help="with the texts")
    keep = command("registry", run_registry, "keep versions of models, and which one is in use")
    keep.add_argument("--registry", default="models", metavar="DIR", help="default: models")
    actions = keep.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, help, words in (
        ("add", "keep a run as a new version", ("run", "name")),
        ("list", "versions and the champion", ()),
        ("verify", "check a version's files", ("name", "version")),
        ("promote", "make a version the champion if it is not worse", ("name", "version")),
        ("rollback", "go back to the champion before", ("name",)),
        ("history", "what was promoted, when and why", ("name",)),
    ):
        made = actions.add_parser(name, help=help, description=help, allow_abbrev=False)
        for word in words:
            made.add_argument(word, metavar=word.upper())
        if name in ("promote", "rollback"):
            made.add_argument("--reason", default="", help="kept in the history")
        if name == "promote":
            made.add_argument("--test", metavar="DATA", help="measure both anew on this data")
            made.add_argument("--margin", type=float, default=0.02, help="worse by at most this")
            made.add_argument("--force", action="store_true", help="without a test; needs a reason")


def run_serve(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from course_lib.finetune.deploy.serve import Served

    with Served(args.target, name=args.name, version=args.version, port=args.port, log=args.log,
                log_text=args.log_text, say=say) as served:  # fmt: skip
        if args.json:
            show_json({"url": served.url, "model": served.model})
        else:
            print(f"{served.model} answers at {served.url}\nCtrl-C ends it.", flush=True)
        served.wait()
    return 0


def run_registry(args: argparse.Namespace) -> int:
    """Carry out one action on a registry and print what there is now."""
    from course_lib.finetune.deploy.registry import Registry

    registry = Registry(args.registry)
    found = _ACTIONS[args.action](registry, args)
    if args.json:
        show_json(found)
        return 0
    for one in found if isinstance(found, list) else [found]:
        print("  ".join(f"{k} {number(v)}" for k, v in one.items() if v not in ("", None)))
    return 0


def _version(one: Any) -> dict[str, Any]:
    return {"name": one.name, "version": one.version, "folder": str(one.folder),
            "sha256": one.sha256[:12]}  # fmt: skip


def _list(registry: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for name in registry.names():
        champion = registry.champion(name)
        for one in registry.versions(name):
            used = champion is not None and one.version == champion.version
            rows.append(_version(one) | {"champion": "yes" if used else ""})
    return rows


_ACTIONS: dict[str, Any] = {
    "add": lambda r, a: _version(r.add(a.run, a.name)),
    "list": _list,
    "verify": lambda r, a: _version(r.verify(a.name, a.version)),
    "promote": lambda r, a: r.promote(a.name, a.version, test=a.test, margin=a.margin,
                                      force=a.force, reason=a.reason),
    "rollback": lambda r, a: r.rollback(a.name, reason=a.reason),
    "history": lambda r, a: r.history(a.name),
}  # fmt: skip

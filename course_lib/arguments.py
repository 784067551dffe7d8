"""The arguments of the command ``course``: its parser, ``--set`` pairs, texts to predict."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, UsageError

TASK_NAMES = (
    "classification, language-modeling, question-answering, completion or token-classification"
)


def build_parser(
    argv: Sequence[str], *, version: str, profiles: Sequence[str]
) -> argparse.ArgumentParser:
    """Give the parser for ``argv``.

    Args:
        argv: the arguments to come; ``pretrain`` loads its settings only when called.
        version: what ``--version`` prints.
        profiles: the names ``--profile`` takes.
    """
    parser = argparse.ArgumentParser(
        prog="course", allow_abbrev=False,
        description="Fine-Tuning GPT, Hands-On: open the lessons, or fine-tune on your own data.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"course {version}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        made.add_argument("--json", action="store_true", help="print the result as JSON")
        return made

    command("doctor", "say what this machine has and whether the course can run on it")
    lab = command("lab", "open your own copy of the lessons in JupyterLab")
    lab.add_argument("--no-browser", action="store_true", help="print the address only")
    lab.add_argument("--port", type=int, default=0, help="default: the first free from 8888")
    lab.add_argument("--work", metavar="DIR", help="default: COURSE_WORK or work")
    lab.add_argument("--copy-only", action="store_true", help="bring the copy up to date and end")
    pretrain = command("pretrain", "pre-train a base model on a folder of text or a Hub data set")
    if "pretrain" in argv[:2]:
        _pretrain_options(pretrain)
    _run_commands(command, profiles)
    compare = command("experiment", "run what is missing of a comparison over seeds")
    compare.add_argument("name", metavar="NAME", help="as in notebooks/experiments/NAME.yaml")
    compare.add_argument("--data", help="your copy of a data set that is not shipped")
    compare.add_argument("--base", default="embedded", help="embedded, a model folder or a Hub id")
    compare.add_argument("--jobs", type=int, default=1, metavar="N",
                         help="runs side by side, one thread each")  # fmt: skip
    check = command("check", "check the question bank: files, habits, objectives, sections")
    check.add_argument("--schema", action="store_true", help="print the JSON Schema of a quiz")
    build = command("build", "build lessons from notebooks/source")
    build.add_argument("lesson", nargs="*", help="a number or name; default: all")
    build.add_argument("--profile", choices=profiles, default="cpu")
    return parser


def _run_commands(command: Any, profiles: Sequence[str]) -> None:
    """Add finetune, evaluate and predict."""
    tune = command("finetune", "fine-tune a base model on a data set")
    tune.add_argument("task", metavar="TASK", help=TASK_NAMES)
    tune.add_argument(
        "--data", required=True, help="a file, a folder, a course data set's name or a Hub id"
    )
    tune.add_argument("--base", default="embedded", help="embedded, a model folder or a Hub id")
    tune.add_argument("--profile", choices=profiles, default="cpu")
    tune.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                      help="a training setting; may be repeated")  # fmt: skip
    tune.add_argument("--out", metavar="DIR", help="the run folder (default: under runs/)")
    tune.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    tune.add_argument("--text-column", metavar="NAME", help="default: guessed, and said")
    tune.add_argument("--label-column", metavar="NAME",
                      help="of the label or target; default: guessed, and said")  # fmt: skip
    tune.add_argument("--head", choices=("auto", "generate", "span"), default="auto",
                      help="question answering: write the answer, or point at it")  # fmt: skip
    tune.add_argument("--from-scratch", action="store_true",
                      help="random weights in the base's architecture, to compare")  # fmt: skip
    tune.add_argument("--seed", type=int, default=0)
    measure = command("evaluate", "measure a fine-tuned model on a data set")
    measure.add_argument("run", metavar="RUN", help="the run folder")
    measure.add_argument("--data", required=True, help="as for finetune")
    predict = command("predict", "predict with a fine-tuned model")
    predict.add_argument("run", metavar="RUN", help="the run folder")
    predict.add_argument("text", metavar="TEXT", nargs="*", help="default: standard input")
    predict.add_argument("--file", metavar="FILE", help="one text a line, or .jsonl with 'text'")


def _pretrain_options(parser: argparse.ArgumentParser) -> None:
    """Add one option for each field of ``PretrainConfig``."""
    import dataclasses

    from course_lib.finetune.decoder import PretrainConfig

    kinds: dict[str, Any] = {"int": int, "float": float, "str": str}
    for field in dataclasses.fields(PretrainConfig):
        option = "--" + field.name.replace("_", "-")
        kind = field.type if isinstance(field.type, str) else field.type.__name__
        if field.default is dataclasses.MISSING:
            parser.add_argument(option, required=True, metavar="PATH")
        elif kind == "bool":
            parser.add_argument(option, action=argparse.BooleanOptionalAction,
                                default=field.default)  # fmt: skip
        else:
            parser.add_argument(option, type=kinds[kind], default=field.default,
                                metavar=kind.upper(), help="default: %(default)s")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Turn ``["epochs=3", "schedule=cosine"]`` into ``{"epochs": 3, "schedule": "cosine"}``.

    A value that is JSON becomes that value; anything else stays text.

    Raises:
        UsageError: for an item without ``=`` or a key given twice.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise UsageError(
                "a setting needs a key and a value",
                where="--set",
                got=repr(pair),
                expected="key=value, such as epochs=3",
            )
        if key in settings:
            raise UsageError(f"the setting {key!r} is given twice", where="--set")
        try:
            settings[key] = files.parse_json(text, where="--set")
        except DataError:
            settings[key] = text
    return settings


def texts_to_predict(texts: Sequence[str], file: str | None) -> list[str]:
    """Give the texts from the arguments, a file or standard input (one a line, or JSONL).

    Raises:
        UsageError: when there is none, or both arguments and a file are given.
        DataError: when the file cannot be read or a JSONL row has no ``text``.
    """
    if texts and file:
        raise UsageError("give texts or --file, not both")
    if texts:
        return list(texts)
    if file and file.endswith(".jsonl") and Path(file).is_file():
        found = [_text_of(row, f"{file}:{n}") for n, row in files.read_jsonl(file)]
    elif file and file != "-":
        found = [t for t in files.read_text(file).splitlines() if t.strip()]
    elif file == "-" or not sys.stdin.isatty():
        data = sys.stdin.buffer.read()
        found = [t for t in files.decode_utf8(data, where="<stdin>").splitlines() if t.strip()]
    else:
        found = []
    if not found:
        raise UsageError(
            "there is no text to predict",
            where=file or "",
            next_step="give texts as arguments, --file FILE, or pipe one text a line in",
        )
    return found


def _text_of(row: Mapping[str, Any], where: str) -> str:
    if not isinstance(row.get("text"), str):
        raise DataError("no text in this row", where=f"{where}, field 'text'", expected="a string")
    return str(row["text"])

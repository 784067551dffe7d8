"""Programs of others that read our exports: where they lie, and what they read.

Each is installed outside the course's environment, by .ci/run or by the command a failure names.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
TOOLS = Path(os.environ.get("COURSE_TEST_READERS", Path.home() / ".cache" / "course-tests"))


def tool(name: str, setup: str) -> Path:
    """Give a program's place; where it is missing the test fails and says how to set it up."""
    path = TOOLS / name
    if not path.exists():
        pytest.fail(f"{path} is missing; set it up with: {setup}")
    return path


def python_of(name: str, package: str) -> Path:
    """Give the interpreter of an environment that holds one package."""
    place = TOOLS / name
    setup = f"python3 -m venv {place} && {place}/bin/pip install {package}"
    return tool(f"{name}/bin/python", setup)


def _said(*words: Any, put: str = "") -> Any:
    done = subprocess.run(words, input=put, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read_gift(*paths: Path) -> list[list[dict[str, Any]]]:
    """Give what gift-pegjs reads, file by file."""
    folder = tool("gift-pegjs", f"npm install --prefix {TOOLS}/gift-pegjs gift-pegjs@1.0.2")
    found: list[list[dict[str, Any]]] = _said("node", HERE / "gift.cjs", folder, *paths)
    return found


def read_qti(version: str, paths: list[Path], answers: dict[str, Any]) -> dict[str, Any]:
    """Give what pyslet reads of packages; for 2.1 it scores the answers, by package and item."""
    python = python_of("qti", "pyslet==0.7.20170805")
    found: dict[str, Any] = _said(python, HERE / "qti.py", version, *paths, put=json.dumps(answers))
    return found


def read_moodle(*paths: Path) -> list[dict[str, Any]]:
    """Give what amc2moodle reads of Moodle XML, file by file: see moodle.py."""
    python = python_of("moodle", "amc2moodle==2.12.1")
    found: list[dict[str, Any]] = _said(python, HERE / "moodle.py", *paths)
    return found


def old_score(item: Any, answer: Any) -> float:
    """Apply the conditions of a QTI 1.2 item, as pyslet read them, to an answer; up to 100."""
    given = answer if isinstance(answer, dict) else {"response1": answer}
    held = {
        k: set(v) if isinstance(v, list) else {v} if v is not None else set()
        for k, v in given.items()
    }
    score = 0.0
    for rule in next(c for c in item[2] if c[0] == "resprocessing")[2]:
        sets = [c for c in rule[2] if c[0] == "setvar"]
        if rule[0] != "respcondition" or not sets or not _true(rule[2][0], held):
            continue
        value = float(sets[0][2][0])
        action = sets[0][1]["action"]
        score = value if action == "Set" else score + (value if action == "Add" else -value)
        if rule[1]["continue"] != "Yes":
            break
    return min(100.0, max(0.0, score))


def _true(node: Any, held: dict[str, set[Any]]) -> bool:
    tag, named, inner = node
    said = "".join(c for c in inner if isinstance(c, str))
    inner = [c for c in inner if not isinstance(c, str)]
    values = held.get(named.get("respident", ""), set())
    if tag in ("conditionvar", "or"):
        return any(_true(c, held) for c in inner)
    if tag == "and":
        return all(_true(c, held) for c in inner)
    if tag == "not":
        return not _true(inner[0], held)
    if tag == "unanswered":
        return not values
    if tag == "varequal":
        return any(
            str(v).casefold() == said.casefold() or (isinstance(v, float) and v == float(said))
            for v in values
        )
    if tag in ("vargte", "varlte"):
        return any((v >= float(said)) if tag == "vargte" else (v <= float(said)) for v in values)
    return bool(tag == "other")

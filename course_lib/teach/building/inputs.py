"""What a built lesson depends on, as hashes: its code, the library behind it, data, base, versions.

Prose is not among them: a change to words alone reuses the saved outputs. Of the library only
the modules count that the lesson's cells reach, directly or through other modules, and of these
neither docstrings nor comments.
"""

from __future__ import annotations

import ast
import functools
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from course_lib import files

PACKAGE = Path(files.__file__).resolve().parent
NAME = PACKAGE.name
RECORDED = ("torch", "transformers", "accelerate", "datasets", "numpy", "scikit-learn", "peft",
            "trl", "optuna", "matplotlib", "ipywidgets", "papermill")  # fmt: skip


def versions() -> dict[str, str]:
    """Give the versions of Python and of the packages a lesson's figures come from."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = metadata.version(name).split("+")[0]
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def inputs_of(
    source: Path, book: Any, parameters: Mapping[str, Any], profile: str
) -> dict[str, Any]:
    """Give everything a built lesson depends on.

    Args:
        source: the lesson's source file, in ``ROOT/notebooks/source``.
        book: the notebook made from it, without outputs.
        parameters: what papermill injects.
        profile: ``quick``, ``cpu`` or ``gpu``.

    Returns:
        Plain JSON: hashes by what they are of, versions, parameters and profile.
    """
    root = source.parent.parent.parent
    code = [c.source for c in book.cells if c.cell_type == "code"]
    return {
        "code": files.sha256_bytes("\0".join(code).encode()),
        "library": _hash(sorted(reached("\n".join(code)))),
        "data": _hash([root / "datasets" / "manifest.json"]),
        "base": _hash(sorted((PACKAGE / "assets").rglob("*.safetensors"))),
        "questions": _hash(
            [root / "quizzes" / f"{source.stem}.yaml",
             root / "quizzes" / "exercises" / f"{source.stem}.yaml"]
        ),
        "experiments": _hash(sorted((source.parent.parent / "experiments").rglob("*.json"))),
        "versions": versions(),
        "profile": profile,
        "parameters": dict(parameters),
    }  # fmt: skip


def _hash(paths: Sequence[Path]) -> str:
    parts = [f"{p.name} {_hash_of(p, p.stat().st_mtime_ns)}" for p in paths if p.is_file()]
    return files.sha256_bytes("\n".join(parts).encode())


@functools.cache
def _hash_of(path: Path, changed: int) -> str:
    if path.suffix != ".py":
        return files.sha256_file(path)
    return files.sha256_bytes(_deeds(path.read_text(encoding="utf-8")).encode())


def _deeds(code: str) -> str:
    """Give what code does: its syntax tree without docstrings; comments are in no tree."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        body: list[ast.stmt] = getattr(node, "body", None) or []
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            said = body[0].value
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                del body[0]
    return ast.dump(tree)


def reached(code: str) -> set[Path]:
    """Give the library's files that code reaches through imports, lazy ones included.

    Cell magics and code that does not parse reach the whole library.
    """
    try:
        todo = list(_imports(code))
    except SyntaxError:
        return set(PACKAGE.rglob("*.py"))
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += _imports_of(path, path.stat().st_mtime_ns)
    return seen


@functools.cache
def _imports_of(path: Path, changed: int) -> list[Path]:
    return list(_imports(path.read_text(encoding="utf-8"))) if path.suffix == ".py" else []


def _imports(code: str) -> Iterator[Path]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from _files(node.module or "")
            for alias in node.names:
                yield from _files(f"{node.module}.{alias.name}")


def _files(dotted: str) -> Iterator[Path]:
    parts = dotted.split(".")
    if parts[0] != NAME:
        return
    path = PACKAGE.joinpath(*parts[1:])
    for found in (path.with_suffix(".py"), path / "__init__.py"):
        if found.is_file():
            yield found
            yield from (
                p for p in (path.with_suffix(".js"), path.with_suffix(".css")) if p.is_file()
            )

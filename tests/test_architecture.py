"""The house rules of DECISIONS.md and CONTRIBUTING.md, each checked on the source."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "course_lib"
MODULES = sorted(PACKAGE.rglob("*.py"))
TRAINING_LOOPS = {"finetune/train.py"}

# Room -> rooms it may import. A room is a top-level module or a folder of course_lib.
ARROWS: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "launch": set(),
    "files": {"errors"},
    "metrics": {"errors"},
    "doctor": {"errors", "files"},
    "workspace": {"errors", "files"},
    "finetune": {"errors", "files", "metrics", "finetune"},
    "quiz": {"errors", "files", "metrics", "quiz"},
    "teach": {"errors", "files", "metrics", "quiz", "teach", "finetune.report"},
    "show": {"errors", "files", "metrics", "show", "finetune.records", "quiz.records"},
    "cli": {"__init__", "errors", "files", "launch", "cli", "doctor", "workspace", "finetune",
            "quiz", "teach", "show.progress"},  # lazily: see the test below
    "__main__": {"cli"},
}  # fmt: skip


# The folders inside finetune/ use its modules and their own; none knows another, and the
# modules beside them know no folder.
INNER_ROOMS = {p.name for p in (PACKAGE / "finetune").iterdir() if (p / "__init__.py").is_file()}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def module_exists(dotted: str) -> bool:
    path = PACKAGE / dotted.replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


def imports_of(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Yield the course_lib modules ``path`` imports, without the ``course_lib.``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("course_lib."):
                    yield alias.name.removeprefix("course_lib.")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            base = node.module or ""
            if base == "course_lib" or base.startswith("course_lib."):
                inner = base.removeprefix("course_lib").removeprefix(".")
                for alias in node.names:
                    full = f"{inner}.{alias.name}".strip(".")
                    yield full if module_exists(full) else (inner or "__init__")


def allowed(room: str, target: str) -> bool:
    first_two = ".".join(target.split(".")[:2])
    return bool({target, target.split(".")[0], first_two} & ARROWS[room])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_follow_the_arrows(path: Path) -> None:
    room = room_of(path)
    wrong = [t for t in imports_of(path) if not allowed(room, t)]
    assert not wrong, f"{room} may not import {wrong}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_rooms_inside_finetune_do_not_know_each_other(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    if parts[0] != "finetune":
        return
    unknown = INNER_ROOMS - set(parts[1:2])
    wrong = [t for t in imports_of(path) if set(t.split(".")[1:2]) & unknown]
    assert not wrong, f"{name_of(path)} may not import {wrong}"


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        dotted = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
        graph[dotted] = set(imports_of(path))
    state: dict[str, int] = {}

    def visit(node: str, trail: list[str]) -> None:
        if state.get(node) == 2 or node not in graph:
            return
        assert state.get(node) != 1, " -> ".join([*trail, node])
        state[node] = 1
        for target in sorted(graph[node] - {node}):
            visit(target, [*trail, node])
        state[node] = 2

    for node in sorted(graph):
        visit(node, [])


def test_nobody_imports_the_cli() -> None:
    importers = {
        room_of(p)
        for p in MODULES
        if any(room == "cli" or room.startswith("cli.") for room in imports_of(p))
    }
    assert importers == {"__main__", "cli"}


def test_import_is_quick_and_loads_no_torch() -> None:
    code = (
        "import time, sys, json; t = time.perf_counter(); import course_lib;"
        "print(json.dumps([time.perf_counter() - t, 'torch' in sys.modules,"
        " 'numpy' in sys.modules, 'transformers' in sys.modules]))"
    )
    best = 9.0
    for _ in range(3):  # the first run may compile bytecode
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        seconds, *heavy = json.loads(done.stdout)
        assert heavy == [False, False, False]
        best = min(best, seconds)
    assert best < 0.1


def test_the_cli_starts_without_torch() -> None:
    code = "import sys, course_lib.cli; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300, "split this module"
    long = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            limit = 80 if name_of(path) in TRAINING_LOOPS else 40
            first = node.body[0]
            has_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            doc = (first.end_lineno or 0) - first.lineno + 1 if has_doc else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - doc
            if lines > limit:
                long.append(f"{node.name}: {lines} lines")
    assert not long


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_cli_prints(path: Path) -> None:
    if room_of(path) == "cli":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{path}:{node.lineno} prints"


def undocumented(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.startswith("_"):
                continue
            overload = any("overload" in ast.unparse(d) for d in node.decorator_list)
            inherited = prefix and node.name in ("forward", "backward", "step")
            if not ast.get_docstring(node) and not overload and not inherited:
                yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node.body, f"{node.name}.")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_names_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.stat().st_size:
        assert ast.get_docstring(tree), "the module has no docstring"
    assert not list(undocumented(tree.body))


def test_every_raises_has_a_match() -> None:
    bare = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "pytest.raises":
                continue
            if not any(k.arg == "match" for k in node.keywords):
                bare.append(f"{path.name}:{node.lineno}")
    assert not bare


def readme_tree() -> dict[str, str]:
    """Give path -> description for each line of README's file tree."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- tree -->\n```text\n(.*?)```", text, re.S)
    assert found, "README.md has no file tree between <!-- tree --> and ```"
    entries: dict[str, str] = {}
    stack: list[str] = []
    for line in found.group(1).splitlines():
        name, _, what = line.strip().partition("  ")
        depth = (len(line) - len(line.lstrip())) // 2
        stack = [*stack[:depth], name.rstrip("/")]
        entries["/".join(stack) + ("/" if name.endswith("/") else "")] = what.strip()
    return entries


def test_readme_tree_is_the_disk() -> None:
    entries = readme_tree()
    missing = [p for p in entries if not (ROOT / p).exists()]
    assert not missing, "in README.md, not on disk"
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    shown = {p.strip("/").split("/")[0] for p in entries}
    top = {p.split("/")[0] for p in listed}
    assert not top - shown, "on disk, not in README.md"
    rooms = {p.rstrip("/") for p in entries if p.startswith("course_lib/")}
    on_disk = {"/".join(p.split("/")[:2]) for p in listed if p.startswith("course_lib/")}
    assert not on_disk - rooms - {"course_lib/__init__.py", "course_lib/__main__.py"}
    assert all(entries.values()), "a line of the tree without a description"


def test_datasets_folder_never_shadows_the_package() -> None:
    assert not list((ROOT / "datasets").rglob("__init__.py"))
    code = "import datasets; print(datasets.__file__, datasets.Dataset.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "site-packages" in done.stdout
    assert str(ROOT / "datasets") + "/" not in done.stdout


def test_the_lock_is_exact_and_names_no_place() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines)
    assert pinned["torch"] == "2.13.0"
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", line)]
    assert not wrong, "a lock line is 'name==version', without a host or a path"
    assert not [name for name in pinned if name.lower().startswith(("nvidia", "course"))]


def test_the_lock_covers_every_declared_package() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[\[<>=!~; ]", w)[0].lower().replace("_", "-") for w in wanted}
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    assert not names - locked

"""The student bundle: everything a student needs in one zip, and nothing an instructor keeps.

Only what is on a list goes in. Of the assessment it is the paper: made from the keyed file
with all that tells an answer left out. Equal input gives equal bytes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from course_lib import files
from course_lib.errors import DataError, UsageError
from course_lib.quiz import paper, schema
from course_lib.teach.grading.keys import find_keys

# What goes in, as patterns below the course's folder. Whatever matches no pattern stays.
LISTED = (
    "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "pyproject.toml", "requirements.lock",
    "environment.yml", "course_lib/**/*", "datasets/**/*", "notebooks/*.ipynb",
    "notebooks/glossary.md", "notebooks/images/*", "notebooks/experiments/**/*",
    "quizzes/*.yaml", "quizzes/images/*", "quizzes/exercises/*.yaml",
)  # fmt: skip
LEFT_OUT = ("__pycache__", ".ipynb_checkpoints")
PAPER = PurePosixPath("quizzes/assessment/paper.yaml")
KEYED = "assessment.yaml"
WHEN = (1980, 1, 1, 0, 0, 0)  # the zip format's first day, for every entry


@dataclass(frozen=True, slots=True)
class Bundle:
    """The file written, its SHA-256, and how many files and bytes it holds."""

    path: Path
    sha256: str
    files: int
    size: int


def release(out: Path, *, keys: Path | None = None, root: Path | None = None) -> Bundle:
    """Write the student bundle, whole or not at all.

    Args:
        out: the zip file, or a folder for ``student-bundle.zip``.
        keys: folder of the keyed assessment; the course's own when None.
        root: the course's folder.

    Raises:
        DataError: when a notebook, quiz or the assessment is missing or cannot be read.
        UsageError: when a key would go in with what is listed.
        StorageError: when the file cannot be written.
    """
    root = root or files.course_root()
    path = out if out.suffix == ".zip" else out / "student-bundle.zip"
    content = dict(_listed(root))
    if not any(name.match("notebooks/*.ipynb") for name in content):
        raise DataError("there is no lesson to hand out", where=str(root / "notebooks"),
                        next_step="build them with 'course build'")  # fmt: skip
    asked = find_keys(root, keys)
    keyed = asked / KEYED
    content[PAPER] = paper.dump(paper.paper_of(schema.load_quiz(keyed))).encode()
    _no_key(content, asked, root)
    data = _pack(content)
    files.write_bytes(path, data)
    return Bundle(path, files.sha256_bytes(data), len(content), len(data))


def _listed(root: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    for pattern in LISTED:
        for path in sorted(root.glob(pattern)):
            name = PurePosixPath(path.relative_to(root).as_posix())
            if path.is_symlink() or not path.is_file() or set(LEFT_OUT) & set(name.parts):
                continue
            yield name, path.read_bytes()


def _no_key(content: dict[PurePosixPath, bytes], keys: Path, root: Path) -> None:
    """Refuse a bundle that holds a file of the keys, under whatever name."""
    secret = {files.sha256_file(p): p for p in keys.rglob("*") if p.is_file()}
    for name, data in content.items():
        if path := secret.get(files.sha256_bytes(data)):
            raise UsageError(
                "a key would be handed out", where=f"{root / name}", got=f"a copy of {path}",
                next_step="move the copy out of the course's folder",
            )  # fmt: skip


def _pack(content: dict[PurePosixPath, bytes]) -> bytes:
    import io

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name in sorted(content, key=str):
            entry = zipfile.ZipInfo(f"fine-tuning-gpt/{name}", WHEN)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, content[name])
    return target.getvalue()

"""Files: where things lie, hashing, strict bounded reading, atomic writing.

Reading is strict because data comes from strangers: ``NaN``, duplicate keys and
lone surrogates are refused, sizes are bounded, and every message names file and
line. Writing is atomic because laptops lose power: a temporary file in the same
folder, fsync, rename, fsync of the folder. A reader sees the old file or the
new one, never half.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from course_lib.errors import DataError, EnvironmentProblem, StorageError

MAX_JSON_BYTES, MAX_LINE_BYTES, MAX_YAML_BYTES = 64 * 2**20, 8 * 2**20, 2 * 2**20


def course_root() -> Path:
    """Give the course folder: the one holding ``datasets/`` and ``notebooks/``.

    ``COURSE_ROOT`` wins; otherwise it is the folder the package lies in.

    Raises:
        EnvironmentProblem: when neither holds a course.
    """
    named = os.environ.get("COURSE_ROOT", str(Path(__file__).resolve().parent.parent))
    root = Path(named).expanduser()
    if not (root / "datasets").is_dir():
        raise EnvironmentProblem(
            "this is not a course folder",
            where=str(root),
            expected="a folder that holds datasets/ and notebooks/",
            next_step="install the course from its clone with 'pip install -e .', "
            "or set COURSE_ROOT to the clone",
        )
    return root


def assets_dir() -> Path:
    """Give the folder of files shipped inside the package (the base model lies there)."""
    return Path(__file__).resolve().parent / "assets"


def sha256_bytes(data: bytes) -> str:
    """Give the SHA-256 of ``data`` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Give the SHA-256 of a file as 64 hexadecimal digits, reading 1 MiB at a time."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_tree(folder: Path, *, suffixes: tuple[str, ...] = ()) -> str:
    """Give one SHA-256 over a folder: names and contents, in sorted order.

    With ``suffixes`` only files that end in one of these count.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if not suffixes or path.suffix in suffixes:
            line = f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n"
            digest.update(line.encode())
    return digest.hexdigest()


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} appears twice")
    return found


_STRICT = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_duplicates)


def parse_json(text: str, *, where: str) -> Any:
    """Parse strict JSON: no NaN or Infinity, no duplicate keys, no lone surrogates.

    Raises:
        DataError: naming ``where`` and the problem.
    """
    try:
        value = _STRICT.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"not valid JSON ({error})",
            where=where,
            got=repr(text[:60]),
            next_step="repair that line; every key and text needs double quotes",
        ) from None


def decode_utf8(data: bytes, *, where: str) -> str:
    """Decode UTF-8 (a leading byte-order mark is dropped); DataError names the first bad byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8 text (byte {error.start}: 0x{data[error.start]:02x})",
            where=where,
            next_step="save the file as UTF-8, for example with "
            "'iconv -f WINDOWS-1252 -t UTF-8 in > out', and try again",
        ) from None


def read_text(path: Path | str, *, max_bytes: int = MAX_JSON_BYTES) -> str:
    """Read a whole UTF-8 text file of at most ``max_bytes``.

    Raises:
        DataError: when it is missing, larger than that, or not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("no such file", where=str(path), next_step="check the spelling")
    size = path.stat().st_size
    if size > max_bytes:
        most = f"at most {max_bytes:,}"
        raise DataError(
            "the file is too large", where=str(path), got=f"{size:,} bytes", expected=most
        )
    return decode_utf8(path.read_bytes(), where=str(path))


def read_json(path: Path | str, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read one strict JSON file (see :func:`parse_json`)."""
    return parse_json(read_text(path, max_bytes=max_bytes), where=str(path))


def read_jsonl(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line number, object)`` for each non-empty line of a JSON Lines file.

    The file is streamed; a line may hold at most 8 MiB.

    Raises:
        DataError: naming ``file:line`` for anything that is not a JSON object.
    """
    number = 0
    with open(path, "rb") as handle:
        while line := handle.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{path}:{number}"
            if len(line) > MAX_LINE_BYTES:
                most = f"at most {MAX_LINE_BYTES} bytes"
                raise DataError("the line is too long", where=where, expected=most)
            text = decode_utf8(line, where=where).strip()
            if not text:
                continue
            value = parse_json(text, where=where)
            if not isinstance(value, dict):
                raise DataError(
                    "not a JSON object",
                    where=where,
                    got=type(value).__name__,
                    expected='one object a line, like {"text": "...", "label": "..."}',
                )
            yield number, value


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases (no expansion bombs) and without duplicate keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"aliases (*{event.anchor}) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(k, deep=True) for k, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                line = node.value[position][0].start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: the key {key!r} appears twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str, *, max_bytes: int = MAX_YAML_BYTES) -> Any:
    """Read a YAML file: safe types only, no aliases, no duplicate keys, bounded size.

    Raises:
        DataError: naming the file and, where the parser knows it, the line.
    """
    text = read_text(path, max_bytes=max_bytes)
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"not valid YAML ({error})", where=str(path)) from None


def _storage_error(path: Path, error: OSError) -> StorageError:
    reason = {errno.ENOSPC: "the disk is full", errno.EACCES: "no permission to write"}
    return StorageError(
        f"could not write: {reason.get(error.errno or 0, error.strerror or str(error))}",
        where=str(path),
        next_step="free some space or choose another folder; what was saved before is untouched",
    )


def fsync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut (a no-op where folders cannot be opened)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a file atomically; a reader sees the old content or the new.

    Raises:
        StorageError: when the disk is full or not writable; the old file is untouched.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        fsync_folder(path.parent)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise _storage_error(path, error) from error


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically (see :func:`write_bytes`)."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON atomically: two-space indent, sorted as given, no NaN, final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Build a folder under a temporary name and rename it when the block succeeds.

    On any error it is removed and an older folder of that name is untouched.

    Raises:
        StorageError: when the disk is full or not writable.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        os.chmod(temporary, 0o755)
        yield temporary
        for item in temporary.rglob("*"):
            if item.is_file():
                with open(item, "rb+") as handle:
                    os.fsync(handle.fileno())
        old: Path | None = None
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            os.replace(path, old / path.name)
        os.replace(temporary, path)
        fsync_folder(path.parent)
        if old:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        if temporary and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)

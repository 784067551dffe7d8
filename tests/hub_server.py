"""A small Hub on loopback: enough of its HTTP interface for models and data sets.

Repositories are folders ``ROOT/models/OWNER/NAME/REVISION`` (or ``ROOT/datasets/...``);
a revision is any name, ``main`` the default. Every request is noted.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class Hub(ThreadingHTTPServer):
    """The server and what it noted.

    Attributes:
        requests: ``(method, path, Range header)`` in order.
        cut: file names whose first download breaks off half-way.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.requests: list[tuple[str, str, str]] = []
        self.cut: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, folder: Path) -> str:
        """Give a stable 40-digit commit for a revision's folder."""
        content = b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())
        return hashlib.sha1(content).hexdigest()

    def revision(self, kind: str, repo: str, name: str) -> Path | None:
        """Find a revision by its name or its commit."""
        parent = self.root / kind / repo
        for folder in sorted(parent.iterdir()) if parent.is_dir() else []:
            if name in (folder.name, self.commit(folder)):
                return folder
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(body)

    def answer(self, body: bytes = b"") -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path, self.headers.get("Range", "")))
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(.*))?", path)
        if api:
            return self.api(api[1], api[2], api[3] or "revision/main", body)
        file = re.fullmatch(r"(?:/(datasets))?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not file:
            return self.refuse("EntryNotFound")
        folder = self.server.revision(file[1] or "models", file[2], file[3])
        if folder is None:
            return self.refuse("RepoNotFound" if file[3] == "main" else "RevisionNotFound")
        if not (folder / file[4]).is_file():
            return self.refuse("EntryNotFound", self.server.commit(folder))
        self.send_file(folder / file[4], self.server.commit(folder))

    def refuse(self, code: str, commit: str = "") -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def api(self, kind: str, repo: str, rest: str, body: bytes) -> None:
        what, _, tail = rest.partition("/")
        name, _, inside = tail.partition("/")
        folder = self.server.revision(kind, repo, name or "main")
        if folder is None:
            return self.refuse("RepoNotFound" if name in ("", "main") else "RevisionNotFound")
        commit = self.server.commit(folder)
        files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        entries = [
            {
                "type": "file",
                "path": p.relative_to(folder).as_posix(),
                "size": p.stat().st_size,
                "oid": hashlib.sha1(p.read_bytes()).hexdigest(),
            }
            for p in files
        ]
        found: Any
        if what == "revision":
            siblings = [{"rfilename": e["path"]} for e in entries]
            found = {"id": repo, "sha": commit, "private": False, "gated": False,
                     "disabled": False, "downloads": 0, "likes": 0, "tags": [],
                     "siblings": siblings}  # fmt: skip
        elif what == "tree":
            if inside and not any(e["path"].startswith(inside + "/") for e in entries):
                return self.refuse("EntryNotFound", commit)
            found = [e for e in entries if e["path"].startswith(inside)]
        elif what == "paths-info":
            asked = json.loads(body)["paths"] if body[:1] == b"{" else re.findall(
                r"paths=([^&]*)", unquote(body.decode()))  # fmt: skip
            found = [e for e in entries if e["path"] in asked]
        else:
            return self.refuse("EntryNotFound", commit)
        data = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_file(self, path: Path, commit: str) -> None:
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = int(asked[2]) + 1 if asked and asked[2] else len(data)
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if path.name in self.server.cut:
            self.server.cut.discard(path.name)
            self.wfile.write(data[start : start + (end - start) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(data[start:end])


@contextmanager
def hub(root: Path) -> Iterator[Hub]:
    """Serve ``root`` until the block ends."""
    server = Hub(root)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

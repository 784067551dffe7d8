"""A quiz file shown in the browser while it is edited: the page follows each saved change.

A tiny server on this machine alone. It serves one page and its changes, no files. Faults are
shown in plain words with the lines they stand in, above the last version that was sound.
"""

from __future__ import annotations

import html
import json
import re
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError
from course_lib.quiz import lint, preview, schema

LOOK_SECONDS = 0.2
BEAT_SECONDS = 10.0
STYLE = """
#state { position: sticky; top: 0; background: #fff; padding: .3rem 0; color: #555; }
.faults { border: 2px solid #b3261e; border-radius: 6px; padding: .2rem 1rem; margin: 1rem 0; }
.advice { border: 2px solid #8a6100; border-radius: 6px; padding: .2rem 1rem; margin: 1rem 0; }
.faults pre b { color: #b3261e; } .advice pre b { color: #8a6100; }
.old { opacity: .55; }
"""
SCRIPT = """
const state = document.getElementById("state"), shown = document.querySelector("main");
const events = new EventSource("/events");
events.onmessage = async () => {
  const answer = await fetch("/content");
  if (answer.ok) { shown.innerHTML = (await answer.json()).html;
    state.textContent = "follows the file; last change " + new Date().toLocaleTimeString(); }
};
events.onerror = () => { state.textContent = "the preview was stopped; this page stays as it is"; };
"""
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body><p id="state" role="status">follows the file</p><main>{main}</main><script>{script}</script>
</body></html>
"""


class Preview:
    """What the page shows of one file.

    Args:
        path: of the quiz file.
        lessons: the lessons' texts by number, for advice; the course's own when None.
    """

    def __init__(self, path: Path, lessons: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._lessons = lessons
        self._good = ""
        self._lock = threading.Lock()

    def version(self) -> str:
        """Give a text that changes when the file does."""
        try:
            found = self.path.stat()
        except OSError:
            return "none"
        return f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}"

    def content(self) -> str:
        """Give the page's content: the quiz with its key, faults and advice above it."""
        with self._lock:
            try:
                page = preview.preview(self.path)
            except DataError as error:
                head = "<h2>This file cannot be used yet</h2>"
                box = f"<div class='faults'>{head}{self._told(_lines_of(error))}</div>"
                old = f"<p>The last version that was sound:</p>{self._good}" if self._good else ""
                return f"{box}<div class='old'>{old}</div>"
            found = re.search(r"<body>(.*)</body>", page, re.S)
            self._good = found[1] if found else page
            advice = self._advice()
            if not advice:
                return self._good
            head = "<h2>What <code>course check</code> says</h2>"
            return f"<div class='advice'>{head}{self._told(advice)}</div>{self._good}"

    def _advice(self) -> list[str]:
        """Give what `course check` says of this file alone; habits need the whole bank."""
        if self._lessons is None:
            self._lessons = lint.lesson_sources()
        quiz = {self.path.name: schema.load_quiz(self.path)}
        told = lint.lint(quiz, self._lessons, self.path.parent)
        return [line for line in told if not line.startswith("always ")]

    def _told(self, problems: list[str]) -> str:
        try:
            text = files.read_text(self.path).split("\n")
        except DataError:
            text = []
        parts = []
        for problem in problems:
            line = _line(problem, text)
            words = problem.replace(str(self.path), self.path.name)
            parts.append(f"<li>{html.escape(words)}{_excerpt(text, line)}</li>")
        return f"<ol>{''.join(parts)}</ol>"

    def page(self) -> str:
        """Give the whole page."""
        return PAGE.format(
            title=html.escape(self.path.name), style=preview.STYLE + STYLE,
            main=self.content(), script=SCRIPT,
        )  # fmt: skip


def _lines_of(error: DataError) -> list[str]:
    """Part an error into its faults, one an item."""
    listed = [line.strip() for line in error.problem.split("\n")[1:] if line.strip()]
    if listed and all(re.search(r":\d+, ", line) for line in listed):
        return listed
    return [str(error)]


def _line(problem: str, text: list[str]) -> int:
    """Give the line a problem is about, counted from 1; 0 where it names none."""
    if found := re.search(r":(\d+), |\bline (\d+)", problem):
        return int(found[1] or found[2])
    if named := re.search(r", ([0-9]{2}\.[qa][0-9]+): ", problem):
        for number, line in enumerate(text, 1):
            if re.search(rf"\bid:\s*[\"']?{re.escape(named[1])}\b", line):
                return number
    return 0


def _excerpt(text: list[str], line: int) -> str:
    """Give the line with its neighbours, itself in bold."""
    if not 1 <= line <= len(text):
        return ""
    rows = []
    for number in range(max(1, line - 1), min(len(text), line + 1) + 1):
        row = html.escape(f"{number:>4}  {text[number - 1]}")
        rows.append(f"<b>{row}</b>" if number == line else row)
    return "<pre>" + "\n".join(rows) + "</pre>"


class _Handler(BaseHTTPRequestHandler):
    """Answers with the page, its content, and a line for each change of the file."""

    server: LiveServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request; another machine's name in it is refused (the key is shown here)."""
        if self.headers.get("Host", "") not in self.server.names:
            return self._send(403, "text/plain", "this preview is for this machine alone")
        place = self.path.split("?")[0]
        if place == "/":
            return self._send(200, "text/html", self.server.shown.page())
        if place == "/content":
            content = json.dumps({"html": self.server.shown.content()})
            return self._send(200, "application/json", content)
        if place == "/events":
            return self._events()
        return self._send(404, "text/plain", "there is only one page here")

    def _send(self, code: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def _events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        seen, told = self.server.shown.version(), time.monotonic()
        try:
            self.wfile.write(b"data: start\n\n")
            while not self.server.ended.wait(LOOK_SECONDS):
                now = self.server.shown.version()
                if now != seen:
                    self.wfile.write(f"data: {now}\n\n".encode())
                elif time.monotonic() - told > BEAT_SECONDS:
                    self.wfile.write(b": still here\n\n")
                else:
                    continue
                seen, told = now, time.monotonic()
        except OSError:
            pass  # the page was closed
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""


class LiveServer(ThreadingHTTPServer):
    """The server of one preview, on 127.0.0.1.

    Args:
        shown: what it shows. port: 0 takes a free one.

    Attributes:
        address: where to open it.
    """

    daemon_threads = True

    def __init__(self, shown: Preview, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.shown = shown
        self.ended = threading.Event()
        at = self.server_address[1]
        self.names = (f"127.0.0.1:{at}", f"localhost:{at}")
        self.address = f"http://127.0.0.1:{at}/"

    def shutdown(self) -> None:
        """End the server and the pages' connections."""
        self.ended.set()
        super().shutdown()

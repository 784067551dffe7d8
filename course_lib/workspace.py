"""The student's own copy of the lessons, and the JupyterLab that opens it.

``work/`` holds copies of ``notebooks/*.ipynb`` and of the glossary. An update of the course brings
new lessons and newer versions of untouched ones; a copy that was changed is
never overwritten. What was handed out last is remembered by SHA-256 in
``work/.course/handed-out.json``; without that file every differing copy counts
as changed.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from dataclasses import dataclass
from pathlib import Path

from course_lib import files
from course_lib.errors import DataError, EnvironmentProblem

RECORD = ".course/handed-out.json"
READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did, as notebook names.

    Attributes:
        folder: the working copy.
        new: lessons that were not there.
        updated: untouched lessons replaced by a newer version.
        same: lessons that were already the newest.
        kept: lessons the student changed; left alone.
        kept_older: those of ``kept`` of which the course now has a newer version.
    """

    folder: Path
    new: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    kept_older: tuple[str, ...] = ()


def _handed_out(work: Path) -> dict[str, str]:
    """Read what was handed out; a missing or damaged record counts as empty."""
    try:
        record = files.read_json(work / RECORD)
    except DataError:
        return {}
    return {str(k): str(v) for k, v in record.items()} if isinstance(record, dict) else {}


def copy_lessons(source: Path, work: Path) -> Copied:
    """Copy ``source/*.ipynb`` and the glossary into ``work``; never overwrite a changed one.

    Raises:
        EnvironmentProblem: when there is no lesson to copy.
        StorageError: when a copy cannot be written; older copies are untouched.
    """
    lessons = sorted(source.glob("*.ipynb"))
    if not lessons:
        raise EnvironmentProblem(
            "there is no lesson here",
            where=str(source),
            expected="notebooks named like 03_text_classification.ipynb",
            next_step="build them with 'make lessons', or get a complete clone",
        )
    record = _handed_out(work)
    done: dict[str, list[str]] = {"new": [], "updated": [], "same": [], "kept": []}
    older: list[str] = []
    for lesson in [*lessons, *source.glob("glossary.md")]:
        data, target, name = lesson.read_bytes(), work / lesson.name, lesson.name
        digest, before = files.sha256_bytes(data), record.get(lesson.name)
        has = files.sha256_file(target) if target.is_file() else None
        if has == digest:
            done["same"].append(name)
        elif has is None or has == before:
            files.write_bytes(target, data)
            done["new" if has is None else "updated"].append(name)
        else:
            done["kept"].append(name)
            if digest != before:
                older.append(name)
            continue  # the record goes on naming the version the student began with
        record[name] = digest
    files.write_json(work / RECORD, record)
    return Copied(work, **{k: tuple(v) for k, v in done.items()}, kept_older=tuple(older))


def has_browser() -> bool:
    """Tell whether a graphical browser can be opened from here."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def free_port(wanted: int = 0) -> int:
    """Give ``wanted`` when it is free on this machine; for 0 the first free one from 8888.

    Raises:
        EnvironmentProblem: when the wanted port, or every port tried, is in use.
    """
    for port in [wanted] if wanted else range(8888, 8988):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise EnvironmentProblem(
        "the port is in use",
        got=str(wanted or "8888 to 8987"),
        next_step="choose another one with --port, or leave --port out",
    )


class Lab:
    """A JupyterLab serving a working copy on this machine only.

    Attributes:
        address: where to open it, with the token; opens ``first`` if given.
        process: the running server.
    """

    def __init__(self, work: Path, *, port: int = 0, first: str = "") -> None:
        """Start the server.

        Args:
            work: the folder to serve.
            port: 0 takes the first free port from 8888.
            first: notebook to open, relative to ``work``.

        Raises:
            EnvironmentProblem: when the port is in use.
        """
        self.port = free_port(port)
        token = secrets.token_hex(24)
        place = f"/tree/{first}" if first else ""
        self.address = f"http://127.0.0.1:{self.port}/lab{place}?token={token}"
        # The token goes by environment: a command line can be read by everyone.
        environment = {
            **os.environ,
            "JUPYTER_TOKEN": token,
            "COURSE_ROOT": str(files.course_root()),
        }
        options: tuple[str, ...] = (
            "--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0", f"--ServerApp.root_dir={work}",
            "--LabApp.news_url=None", "--ServerApp.log_level=WARN",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly", "--LabApp.expose_app_in_browser=True",
        )  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options += ("--allow-root",)
        command = [sys.executable, "-m", "jupyterlab", *options]
        # Without a terminal of its own, JupyterLab ends on Ctrl-C instead of asking.
        self.process = subprocess.Popen(
            command, cwd=work, env=environment, stdin=subprocess.DEVNULL
        )

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return when the server answers.

        Raises:
            EnvironmentProblem: when it ended or did not answer in time.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        code = self.process.poll()
        self.stop()
        raise EnvironmentProblem(
            "JupyterLab did not start",
            got=f"exit code {code}" if code is not None else f"no answer in {seconds:.0f} s",
            next_step="run 'course doctor', then 'python -m jupyterlab' to see its own messages",
        )

    def wait(self) -> int:
        """Wait until the server ends (Ctrl-C ends it); give its exit code."""
        try:
            return self.process.wait()
        except KeyboardInterrupt:
            self.stop()
            return 0

    def stop(self) -> None:
        """End the server and the kernels it started."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

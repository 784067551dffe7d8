"""The student's copy: new lessons arrive, changed ones stay; JupyterLab really opens it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from course_lib import workspace
from course_lib.errors import EnvironmentProblem


def write_lesson(folder: Path, name: str, text: str) -> bytes:
    book = {
        "cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": text}],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(book).encode()
    (folder / f"{name}.ipynb").write_bytes(data)
    return data


@pytest.fixture
def course(tmp_path: Path) -> Path:
    (tmp_path / "datasets").mkdir()
    write_lesson(tmp_path / "notebooks", "01_a", "one")
    write_lesson(tmp_path / "notebooks", "02_b", "two")
    return tmp_path


def copy(course: Path) -> workspace.Copied:
    return workspace.copy_lessons(course / "notebooks", course / "work")


def test_first_copy_then_nothing_to_do(course: Path) -> None:
    assert copy(course).new == ("01_a.ipynb", "02_b.ipynb")
    again = copy(course)
    assert (again.new, again.updated, again.kept) == ((), (), ())
    assert again.same == ("01_a.ipynb", "02_b.ipynb")


def test_an_update_brings_what_is_new_and_keeps_what_was_changed(course: Path) -> None:
    copy(course)
    mine = write_lesson(course / "work", "01_a", "one, and my answer")
    assert copy(course).kept == ("01_a.ipynb",)
    assert copy(course).kept_older == ()  # the course has nothing newer
    write_lesson(course / "notebooks", "01_a", "one, better")
    newer = write_lesson(course / "notebooks", "02_b", "two, better")
    write_lesson(course / "notebooks", "03_c", "three")
    done = copy(course)
    assert (done.new, done.updated) == (("03_c.ipynb",), ("02_b.ipynb",))
    assert done.kept == done.kept_older == ("01_a.ipynb",)
    assert (course / "work" / "01_a.ipynb").read_bytes() == mine
    assert (course / "work" / "02_b.ipynb").read_bytes() == newer
    assert copy(course).kept_older == ("01_a.ipynb",)


@pytest.mark.parametrize("record", [None, b"", b'{"01_a.ipynb": ', b"[]", b"\xff"])
def test_without_a_good_record_nothing_is_overwritten(course: Path, record: bytes | None) -> None:
    copy(course)
    path = course / "work" / workspace.RECORD
    path.unlink() if record is None else path.write_bytes(record)
    write_lesson(course / "notebooks", "01_a", "one, better")
    old = (course / "work" / "01_a.ipynb").read_bytes()
    assert copy(course).kept == ("01_a.ipynb",)
    assert (course / "work" / "01_a.ipynb").read_bytes() == old


def test_a_deleted_copy_comes_back(course: Path) -> None:
    copy(course)
    (course / "work" / "01_a.ipynb").unlink()
    assert copy(course).new == ("01_a.ipynb",)


def test_other_files_in_the_copy_stay(course: Path) -> None:
    (course / "work").mkdir()
    (course / "work" / "notes.txt").write_text("mine", encoding="utf-8")
    copy(course)
    assert (course / "work" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_no_lesson_is_said(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"no lesson here(.|\n)*make lessons"):
        workspace.copy_lessons(tmp_path, tmp_path / "work")
    assert not (tmp_path / "work").exists()


COPIER = """
import sys
from pathlib import Path
from course_lib import workspace
print("going", flush=True)
workspace.copy_lessons(Path(sys.argv[1]) / "notebooks", Path(sys.argv[1]) / "work")
"""


def test_kill_9_while_copying_loses_no_work(course: Path) -> None:
    copy(course)
    mine = write_lesson(course / "work", "01_a", "my answer")
    for number in range(10):
        for lesson in ("02_b", "03_c", "04_d"):
            write_lesson(course / "notebooks", lesson, f"version {number} " * 5000)
        child = subprocess.Popen(
            [sys.executable, "-c", COPIER, str(course)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == "going\n"
            time.sleep(0.002 * number)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        for path in (course / "work").glob("*.ipynb"):
            json.loads(path.read_bytes())
    assert (course / "work" / "01_a.ipynb").read_bytes() == mine


def test_a_port_in_use_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=rf"in use; got {port}(.|\n)*--port"):
            workspace.free_port(port)
    assert workspace.free_port(port) == port


@pytest.fixture
def lab(course: Path, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``course lab`` as a student does; give the printed address."""
    private = {f"JUPYTER_{k}_DIR": str(tmp_path / k) for k in ("CONFIG", "DATA", "RUNTIME")}
    env = {**os.environ, **private, "COURSE_ROOT": str(course), "HOME": str(tmp_path)}
    child = subprocess.Popen(
        [sys.executable, "-m", "course_lib", "lab", "--json", "--no-browser"],
        env=env, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        text = ""
        while not text.endswith("}\n"):
            line = child.stdout.readline()
            assert line, "course lab ended without an address"
            text += line
        yield json.loads(text)["address"], child
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(40)
        child.stdout.close()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_jupyterlab_opens_the_copy(
    lab: tuple[str, subprocess.Popen[str]], course: Path, end: signal.Signals
) -> None:
    address, child = lab
    parts = urllib.parse.urlsplit(address)
    assert parts.hostname == "127.0.0.1"
    assert parts.path == "/lab/tree/01_a.ipynb"
    with urllib.request.urlopen(address, timeout=60) as page:
        assert b"JupyterLab" in page.read()
    base = f"http://{parts.netloc}/api/contents"
    with urllib.request.urlopen(f"{base}?{parts.query}", timeout=60) as answer:
        names = {entry["name"] for entry in json.load(answer)["content"]}
    assert names == {"01_a.ipynb", "02_b.ipynb"}
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(base, timeout=60)
    refused.value.close()
    token = parts.query.removeprefix("token=")
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    assert any("jupyterlab" in line for line in lines)
    assert not any(token in line for line in lines), "a command line can be read by everyone"
    child.send_signal(end)
    assert child.wait(40) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", parts.port or 0)) != 0

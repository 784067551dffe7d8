"""A PostgreSQL server of a test's own, from Debian's package, and pg8000, a driver in Python."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from readers.programs import TOOLS, tool

PASSWORD = "not to be shown"


def driver() -> Path:
    """Give the folder that pg8000 was installed in, outside the course's environment."""
    place = TOOLS / "postgres"
    return tool("postgres", f"pip install --target {place} pg8000==1.31.5")


def _programs() -> Path:
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "postgres").exists():
            return place
    pytest.fail("PostgreSQL is missing; set it up with: apt-get install postgresql")


@contextmanager
def server() -> Iterator[str]:
    """Run an empty server on 127.0.0.1 and give its SQLAlchemy URL; it is gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="course-postgres-") as folder:
        place, data = Path(folder), Path(folder) / "data"
        (place / "password").write_text(PASSWORD)
        as_user: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            user = pwd.getpwnam("postgres")
            for path in (place, place / "password"):
                os.chown(path, user.pw_uid, user.pw_gid)
            as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}",
                       "--clear-groups"]  # fmt: skip
        make = [_programs() / "initdb", "-D", data, "-U", "course", "-A", "scram-sha-256",
                "--pwfile", place / "password", "-E", "UTF8", "--no-sync"]  # fmt: skip
        subprocess.run([*as_user, *make], check=True, capture_output=True, cwd=place)
        run = [_programs() / "postgres", "-D", data, "-p", str(port), "-k", "",
               "-c", "listen_addresses=127.0.0.1"]  # fmt: skip
        process = subprocess.Popen(
            [*as_user, *run], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(port, process)
            secret = PASSWORD.replace(" ", "%20")
            yield f"postgresql+pg8000://course:{secret}@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown
            process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the PostgreSQL server did not start (exit code {process.poll()})")

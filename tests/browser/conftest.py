"""A real JupyterLab and a real Chromium for the browser tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started_lab(home: Path, root: Path = ROOT, **more: str) -> Iterator[tuple[str, Path]]:
    """Start `course lab` of the course in ``root`` on a copy of its own; give address and copy."""
    settings = home / "settings"
    for name, value in SETTINGS.items():
        path = settings / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    port, work = free_port(), home / "work"
    environment = {
        **os.environ,
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "COURSE_PROFILE": "quick",
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "COURSE_WORK": str(work),
        **more,
    }
    command = [sys.executable, "-m", "course_lib", "lab", "--no-browser", "--port", str(port)]
    log = open(home / "log", "w+")  # noqa: SIM115
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield _address(process, home / "log", port), work
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
        log.close()


def _address(process: subprocess.Popen[Any], log: Path, port: int) -> str:
    for _ in range(240):
        found = re.search(
            rf"http://(?:127\.0\.0\.1|localhost):{port}/\S*token=\w+", log.read_text()
        )
        if found:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=2)
                return found.group(0)
            except OSError:
                pass
        if process.poll() is not None:
            break
        time.sleep(0.5)
    raise AssertionError(f"course lab did not come up:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with started_lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture()
def page(browser: Browser) -> Iterator[Page]:
    found = browser.new_page(viewport={"width": 1280, "height": 900})
    yield found
    found.close()


def open_notebook(page: Page, address: str, name: str) -> None:
    base, query = address.split("?", 1)
    root = base.split("/lab")[0].rstrip("/")
    page.goto(f"{root}/lab/tree/{name}?{query}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)

"""`course lab` in a real JupyterLab and a real Chromium: what a newcomer meets first."""

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
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

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


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Start `course lab` on a working copy of its own; give its address and that folder."""
    home = tmp_path_factory.mktemp("lab")
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
    }
    command = [sys.executable, "-m", "course_lib.cli", "lab", "--no-browser", "--port", str(port)]
    log = open(home / "log", "w+")  # noqa: SIM115
    process = subprocess.Popen(
        command,
        cwd=ROOT,
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
def page() -> Iterator[Page]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


def open_notebook(page: Page, address: str, name: str) -> None:
    base, query = address.split("?", 1)
    root = base.split("/lab")[0].rstrip("/")
    page.goto(f"{root}/lab/tree/{name}?{query}")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)


def test_the_lesson_opens_with_its_outputs_and_runs(
    lab: tuple[str, Path], page: Page, tmp_path: Path
) -> None:
    address, work = lab
    open_notebook(page, address, "03_text_classification.ipynb")
    # Rendering goes on after the first cell is there: wait for what must appear.
    title = page.get_by_role("heading", name=re.compile("03 · Text classification"))
    expect(title).to_be_visible(timeout=60_000)
    figures = page.locator(".jp-RenderedImage img")
    figures.nth(2).wait_for(state="attached", timeout=60_000)
    assert figures.count() >= 3, "committed figures are shown"
    page.wait_for_selector("text=/Python 3.*Idle/", timeout=90_000)
    page.evaluate("window.scrollTo(0, 0)")
    run = "async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
    page.evaluate(run)
    counts = page.locator(".jp-CodeCell .jp-InputPrompt")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
        ".every(p => /\\[\\d+\\]/.test(p.textContent))",
        timeout=240_000,
    )
    assert counts.count() >= 15
    assert page.locator(".jp-RenderedText[data-mime-type*='stderr'] .ansi-red-fg").count() == 0
    assert page.locator(".widget-vbox, .jupyter-widgets").count() >= 1, "the explorer is alive"
    page.screenshot(path=str(tmp_path / "lesson.png"), full_page=True)
    assert (work / "03_text_classification.ipynb").is_file()

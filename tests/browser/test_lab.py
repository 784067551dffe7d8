"""`course lab` in a real JupyterLab and a real Chromium: what a newcomer meets first."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from conftest import open_notebook


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

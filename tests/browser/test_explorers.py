"""Explorers in a real JupyterLab: keys go to the control that has the focus."""

from __future__ import annotations

from pathlib import Path

import nbformat
from playwright.sync_api import Page, expect

from conftest import open_notebook

CELL = """
from course_lib.show.explorers.clinic import clinic_explorer
clinic_explorer({"A": "first evidence", "B": "second evidence"}, ["frozen head"],
                lambda letter, guess: f"judged {letter}", lambda letter, guess: True)
"""


def test_keys_typed_into_an_explorer_do_not_reach_the_notebook(
    lab: tuple[str, Path], page: Page
) -> None:
    address, work = lab
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    book.cells = [nbformat.v4.new_code_cell(CELL.strip()), nbformat.v4.new_code_cell("1 + 1")]
    nbformat.write(book, work / "keys.ipynb")
    open_notebook(page, address, "keys.ipynb")
    page.wait_for_selector("text=/Python 3.*Idle/", timeout=90_000)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    case = page.locator(".widget-dropdown select").first
    expect(case).to_be_visible(timeout=60_000)
    evidence = page.locator(".widget-html pre")
    expect(evidence).to_have_text("first evidence")
    case.focus()
    page.keyboard.press("ArrowDown")
    expect(evidence).to_have_text("second evidence")
    for key in ("x", "d", "d"):
        page.keyboard.press(key)
    expect(page.locator(".jp-Notebook .jp-Cell")).to_have_count(2)
    expect(case).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(evidence).to_have_text("first evidence")

"""Bring your own table: upload or paste it, choose its columns, read what the checks found."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from course_lib.show.explorers.panel import panel

NONE = "(choose)"
KINDS = (".csv", ".tsv", ".jsonl")
Checks = Sequence[tuple[str, str, str]]
Check = Callable[[Path, str, str], tuple[Sequence[str], Checks]]


class Chosen:
    """What was chosen last: ``path``, ``text`` and ``label``, and whether it could be read.

    Attributes:
        ready: True once the table was read and checked with these columns.
        checks: what was found then.
    """

    def __init__(self) -> None:
        self.path, self.text, self.label, self.ready = Path(), "", "", False
        self.checks: Checks = ()


def columns_table(table: Any) -> str:
    """Give the columns of a table as HTML.

    Args:
        table: with ``path``, ``rows`` and ``columns`` (name, filled, distinct, words, example).
    """
    head = "".join(
        f"<th scope='col' style='text-align:left'>{h}</th>"
        for h in ("column", "filled", "different values", "words on average", "for example")
    )
    rows = "".join(
        f"<tr><th scope='row' style='text-align:left'>{html.escape(c.name)}</th>"
        f"<td style='white-space:nowrap'>{c.filled} of {table.rows}</td>"
        f"<td>{c.distinct}</td><td>{c.words:.1f}</td>"
        f"<td style='text-align:left'>{html.escape(c.example)}</td></tr>"
        for c in table.columns
    )
    caption = f"{html.escape(table.path.name)}: {table.rows} rows"
    return f"<table><caption>{caption}</caption><tr>{head}</tr>{rows}</table>"


def checks_table(notes: Sequence[str], checks: Checks) -> str:
    """Give what was found as HTML: notes, then a line for each check with what to do."""
    told = "".join(f"<p>{html.escape(n)}</p>" for n in notes)
    rows = "".join(
        f"<tr><th scope='row' style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(found)}</td>"
        f"<td style='text-align:left'>{'<b>look:</b> ' + html.escape(todo) if todo else 'ok'}</td>"
        "</tr>"
        for name, found, todo in checks
    )
    return f"{told}<table><caption>checks</caption>{rows}</table>"


def problem(error: Exception) -> str:
    """Give an error as HTML; the line with the next step stays a line of its own."""
    lines = "<br>".join(html.escape(line) for line in str(error).splitlines())
    return f"<p><b>That did not work:</b> {lines}</p>"


def run_checks(chosen: Chosen, check: Check) -> str:
    """Check the chosen table and give the page; ``chosen.ready`` says whether it went well."""
    chosen.ready = False
    if not chosen.path.name:
        return "<p>Upload a file or paste a table first.</p>"
    if NONE in (chosen.text, chosen.label) or not chosen.text or not chosen.label:
        return "<p>Choose the column with the text and the one with the label.</p>"
    if chosen.text == chosen.label:
        return "<p>Text and label are the same column. Choose two.</p>"
    try:
        notes, checks = check(chosen.path, chosen.text, chosen.label)
    except Exception as error:  # anything may be in a learner's file; the widget must go on
        return problem(error)
    chosen.ready, chosen.checks = True, checks
    return checks_table(notes, checks)


def upload_explorer(receive: Callable[[str, bytes], Any], check: Check, start: Any = None) -> Any:
    """Give a widget: upload or paste a table, choose two columns, read the checks.

    What was chosen is at ``box.chosen``. A wrong file changes nothing but the message.

    Args:
        receive: takes a file's name and bytes; gives the table as it was read, with ``path``,
            ``rows``, ``columns`` and the guesses ``text`` and ``label``.
        check: takes path, text column and label column; gives notes and checks.
        start: the table shown first, as ``receive`` gives it.

    Returns:
        An ``ipywidgets.VBox`` with the attribute ``chosen``.
    """
    box = _widgets()
    chosen = box.chosen = Chosen()
    top, paste, page, bottom, found = box.children
    (upload, kind, read), (text, label, go) = top.children, bottom.children

    def run(*_: Any) -> None:
        chosen.text, chosen.label = str(text.value), str(label.value)
        found.value = run_checks(chosen, check)

    def show(table: Any) -> None:
        chosen.path = table.path
        text.options = label.options = [NONE, *(c.name for c in table.columns)]
        text.value, label.value = table.text or NONE, table.label or NONE
        page.value = columns_table(table)
        run()

    def take(name: str, content: bytes) -> None:
        try:
            show(receive(name, content))
        except Exception as error:  # as in run_checks
            found.value = problem(error)

    def uploaded(event: Any) -> None:
        for one in event["new"]:
            take(one["name"], bytes(one["content"]))
        upload.value = ()  # so that the same file can be chosen again

    upload.observe(uploaded, "value")
    read.on_click(lambda _: take(f"pasted{kind.value}", paste.value.encode()))
    go.on_click(run)
    if start is None:
        run()
    else:
        show(start)
    return box


def _widgets() -> Any:
    """Make the controls: upload and paste, the columns, two choices, what was found."""
    import ipywidgets as widgets

    wide = widgets.Layout(width="95%")
    top = [
        widgets.FileUpload(accept=",".join(KINDS), multiple=False, description="upload"),
        widgets.Dropdown(options=KINDS, description="pasted as"),
        widgets.Button(description="read what I pasted"),
    ]
    bottom = [
        widgets.Dropdown(options=[NONE], description="text"),
        widgets.Dropdown(options=[NONE], description="label"),
        widgets.Button(description="check"),
    ]
    paste = widgets.Textarea(description="or paste", rows=3, layout=wide)
    page, found = widgets.HTML(layout=wide), widgets.HTML(layout=wide)
    return panel([widgets.HBox(top), paste, page, widgets.HBox(bottom), found])

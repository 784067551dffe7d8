"""The clinic as a game: read a case, name the fault, and only then be told."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from course_lib.show.explorers.panel import panel

UNDECIDED = "(choose a diagnosis)"


def tally(first: Mapping[str, bool], cases: Sequence[str]) -> str:
    """Say how many cases were named at the first guess.

    Args:
        first: by case, whether the first guess was right; cases not guessed yet are missing.
        cases: all cases.
    """
    right, left = sum(first.values()), len(cases) - len(first)
    rest = f", {left} still to see" if left else ""
    return f"{right} of {len(first)} right at the first guess{rest}"


def clinic_explorer(
    cases: Mapping[str, str],
    names: Sequence[str],
    judge: Callable[[str, str], str],
    is_right: Callable[[str, str], bool],
) -> Any:
    """Give a widget: choose a case, read it, choose a diagnosis; choosing is guessing.

    Args:
        cases: the evidence as text, by letter.
        names: the faults to choose from.
        judge: from letter and guess to what is said about it.
        is_right: from letter and guess to whether it is right.

    Returns:
        An ``ipywidgets.VBox``. Every case keeps the guess made for it.
    """
    import ipywidgets as widgets

    letters, guesses, first = list(cases), {}, {}  # type: list[str], dict[str, str], dict[str, bool]
    case = widgets.Dropdown(options=letters, description="case")
    guess = widgets.Dropdown(options=[UNDECIDED, *names], description="it is")
    evidence, verdict, score = widgets.HTML(), widgets.HTML(), widgets.HTML()

    def show(*_: Any) -> None:
        evidence.value = f"<pre style='line-height:1.3'>{html.escape(cases[case.value])}</pre>"
        guess.value = guesses.get(case.value, UNDECIDED)
        tell()

    def tell() -> None:
        made = guesses.get(case.value)
        verdict.value = f"<p>{html.escape(judge(case.value, made))}</p>" if made else ""
        score.value = f"<p>{tally(first, letters)}</p>"

    def decide(*_: Any) -> None:
        if guess.value != UNDECIDED:
            guesses[case.value] = guess.value
            first.setdefault(case.value, is_right(case.value, guess.value))
            tell()

    case.observe(show, "value")
    guess.observe(decide, "value")
    show()
    return panel([case, evidence, guess, verdict, score])

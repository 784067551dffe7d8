"""Play with tags and with texts: entities as you type, and scores of a text against a reference."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from course_lib import metrics
from course_lib.show.explorers.panel import panel
from course_lib.show.plots import BLUE

Tagger = Callable[[str], Sequence[tuple[str, str, float]]]  # (word, tag, probability) of each word
Writer = Callable[[str], str]
SCORES = {"rouge1": "ROUGE-1", "rougeL": "ROUGE-L", "bleu": "BLEU", "chrf": "chrF"}
LEAST_SURE = 3  # words named below the text
_WIDE = {"width": "46em"}


def entity_html(found: Sequence[tuple[str, str, float]]) -> str:
    """Give a tagged text as HTML: each entity framed, with its type and probability in words.

    An entity is as sure as its least sure word. Below the text stand the words the model was
    least sure of, whatever it tagged them.

    Args:
        found: ``(word, tag, probability)`` of each word, IOB2 tags.
    """
    spans = {start: (kind, end) for kind, start, end in metrics.entities([t for _, t, _ in found])}
    parts, place = [], 0
    while place < len(found):
        kind, end = spans.get(place, ("", place + 1))
        words = html.escape(" ".join(w for w, _, _ in found[place:end]))
        if kind:
            sure = min(p for _, _, p in found[place:end])
            words = (
                f"<span style='border:2px solid {BLUE};border-radius:4px;padding:0 3px'>{words} "
                f"<small><b>{html.escape(kind)}</b> {sure:.0%}</small></span>"
            )
        parts.append(words)
        place = end
    doubts = sorted(found, key=lambda item: item[2])[:LEAST_SURE]
    told = ", ".join(f"{html.escape(w)} ({html.escape(t)} {p:.0%})" for w, t, p in doubts)
    return (
        f"<p style='line-height:2'>{' '.join(parts)}</p><p>{len(spans)} found. "
        f"Least sure of: {told or 'nothing, the text is empty'}</p>"
    )


def scores(text: str, reference: str) -> dict[str, float]:
    """Give ROUGE-1, ROUGE-L, BLEU and chrF of one text, all from 0 to 100."""
    found = metrics.generation([text], [reference])
    return {
        name: float(found[key]) * (100 if key.startswith("rouge") else 1)
        for key, name in SCORES.items()
    }


def shared_words(text: str, reference: str) -> list[tuple[str, bool]]:
    """Give each word of a text and whether the reference has it; one there covers one here."""
    left = Counter(_bare(w) for w in reference.split())
    found = []
    for word in text.split():
        bare = _bare(word)
        found.append((word, left[bare] > 0))
        left[bare] -= 1
    return found


def _bare(word: str) -> str:
    return word.lower().strip(".,;:!?\"'()") or word


def score_table(reference: str, texts: Mapping[str, str]) -> str:
    """Give an HTML table of texts and their scores; words of the reference are underlined.

    Args:
        reference: what the texts are compared with.
        texts: whose text it is, and the text; empty ones are left out.
    """
    if not reference.strip():
        return "<p>Without a reference there is nothing to compare with.</p>"
    head = "".join(f"<th style='padding:0 .6em'>{name}</th>" for name in SCORES.values())
    rows = []
    for who, text in texts.items():
        if not text.strip():
            continue
        words = " ".join(
            f"<u><b>{html.escape(w)}</b></u>" if there else html.escape(w)
            for w, there in shared_words(text, reference)
        )
        cells = "".join(
            f"<td style='padding:0 .6em;vertical-align:top'>{value:.0f}</td>"
            for value in scores(text, reference).values()
        )
        rows.append(
            f"<tr><td style='vertical-align:top'>{html.escape(who)}</td>{cells}"
            f"<td style='text-align:left;max-width:30em;white-space:normal'>{words}</td></tr>"
        )
    return (
        f"<table><tr><th></th>{head}<th style='text-align:left'>the text; words of the reference "
        f"underlined</th></tr>{''.join(rows)}</table>"
    )


def entity_explorer(tag: Tagger, text: str) -> Any:
    """Give a widget: type a message, see its entities with the model's probabilities.

    Args:
        tag: from a text to ``(word, tag, probability)`` of each word.
        text: what stands there at first.

    Returns:
        An ``ipywidgets.VBox``.
    """
    import ipywidgets as widgets

    message = widgets.Textarea(text, description="message", rows=3, layout=_WIDE)
    shown = widgets.HTML()

    def show(*_: Any) -> None:
        try:
            shown.value = entity_html(tag(message.value))
        except Exception as error:
            shown.value = _told(error)

    message.observe(show, "value")
    show()
    return panel([message, shown])


def metric_playground(
    writers: Mapping[str, Writer], examples: Mapping[str, Sequence[tuple[str, str]]]
) -> Any:
    """Give a widget: pick a task and a text, let the model write, write yourself, compare.

    The scores move with every key. What you typed for a text is there again when you come
    back to it. A text you change yourself goes to the model when you leave its field.

    Args:
        writers: task to a function from a text to what the model writes.
        examples: task to ``(text, reference)`` pairs to begin with.

    Returns:
        An ``ipywidgets.VBox``.
    """
    import ipywidgets as widgets

    task = widgets.Dropdown(options=list(writers), description="task")
    example = widgets.Dropdown(description="example", layout=_WIDE)
    source = widgets.Textarea(description="text", rows=4, continuous_update=False, layout=_WIDE)
    reference = widgets.Textarea(description="reference", rows=2, layout=_WIDE)
    yours = widgets.Textarea(description="your text", rows=2, layout=_WIDE)
    table, state = widgets.HTML(), _State(writers, examples)

    def score(*_: Any) -> None:
        state.keep(source.value, reference.value, yours.value)
        table.value = state.table(source.value, reference.value, yours.value)

    def turn(change: Any) -> None:
        if change["owner"] is task:
            starts = (" ".join(t.split())[:60] for t, _ in examples[task.value])
            example.options = [(f"{i + 1}: {start}", i) for i, start in enumerate(starts)]
            example.index = 0  # an empty menu that is filled chooses nothing by itself
        state.place = (task.value, int(example.value or 0))
        fields = zip((source, reference, yours), state.kept(), strict=True)
        state.quiet = True
        for field, value in fields:
            field.value = value
        state.quiet = False
        score()

    for field in (source, reference, yours):
        field.observe(lambda change: None if state.quiet else score(), "value")
    for menu in (task, example):
        menu.observe(turn, "value")
    turn({"owner": task})
    return panel([task, example, source, reference, yours, table])


class _State:
    """What was typed for each text, and what the model wrote for it."""

    def __init__(
        self, writers: Mapping[str, Writer], examples: Mapping[str, Sequence[tuple[str, str]]]
    ) -> None:
        self.writers, self.examples = writers, examples
        self.place = (next(iter(writers)), 0)
        self.typed: dict[tuple[str, int], tuple[str, str, str]] = {}
        self.answers: dict[tuple[str, str], str] = {}
        self.quiet = False

    def keep(self, *fields: str) -> None:
        self.typed[self.place] = (fields[0], fields[1], fields[2])

    def kept(self) -> tuple[str, str, str]:
        name, number = self.place
        return self.typed.get(self.place, (*self.examples[name][number], ""))

    def table(self, source: str, reference: str, yours: str) -> str:
        key = (self.place[0], source)
        try:
            if key not in self.answers:
                self.answers[key] = self.writers[key[0]](source)
            return score_table(reference, {"the model": self.answers[key], "you": yours})
        except Exception as error:
            return _told(error) + score_table(reference, {"you": yours})


def _told(error: Exception) -> str:
    return f"<p>The model gave no answer: {html.escape(str(error) or type(error).__name__)}</p>"

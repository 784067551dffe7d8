"""The confusion explorer: the rows behind a cell, counted and shown as text."""

from __future__ import annotations

from course_lib.show.explorers import confusion

LABELS = ["order", "payment"]
TEXTS = {"a": "where is it", "b": "<b>charged</b> twice", "c": "paid & gone"}
ROWS = [
    {
        "id": i,
        "gold": gold,
        "prediction": "payment",
        "probabilities": {"order": 1 - p, "payment": p},
    }
    for i, gold, p in (("a", "order", 0.6), ("b", "payment", 0.7), ("c", "payment", 0.9))
]


def test_the_cell_chosen_is_counted_and_its_rows_come_surest_first() -> None:
    choice, table = confusion.confusion_explorer(ROWS, TEXTS, LABELS).children
    gold, guess = choice.children
    assert (gold.value, guess.value) == ("order", "payment"), "it opens on the commonest mistake"
    assert "<p>1 row</p>" in table.value and "0.60" in table.value
    gold.value = "payment"
    assert "<p>2 rows</p>" in table.value
    assert table.value.index("paid &amp; gone") < table.value.index("&lt;b&gt;charged")
    guess.value = "order"
    assert "<p>0 rows</p>" in table.value and "<th" not in table.value

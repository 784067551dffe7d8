"""Metrics against the rules they implement."""

from __future__ import annotations

import numpy as np
import pytest

from course_lib import metrics

# Expected values by the official SQuAD rules: lower case, no ASCII punctuation, no articles.
TRICKY = [
    ("The Cat.", "cat", 1.0, 1.0),
    ("an apple a day", "apple day", 1.0, 1.0),
    ("3.5 km", "35 km", 1.0, 1.0),
    ("co-op", "coop", 1.0, 1.0),
    ("the", "", 1.0, 1.0),
    ("", "cat", 0.0, 0.0),
    ("cat dog", "dog cat", 0.0, 1.0),
    ("cat cat dog", "cat dog", 0.0, 0.8),
    ("Theatre", "atre", 0.0, 0.0),
    ("caf\u00e9", "cafe", 0.0, 0.0),
    ("\u201cyes\u201d", "yes", 0.0, 0.0),
    ("one\ttwo\nthree", "one two three", 1.0, 1.0),
]


@pytest.mark.parametrize(("ours", "gold", "exact", "f1"), TRICKY)
def test_answers_are_compared_by_the_squad_rules(
    ours: str, gold: str, exact: float, f1: float
) -> None:
    assert metrics.exact_match(ours, gold) == exact
    assert metrics.answer_f1(ours, gold) == pytest.approx(f1)


def test_the_best_accepted_answer_counts_and_none_needs_silence() -> None:
    found = metrics.question_answering(["nine", "", "x"], [("ten", "nine"), (), ()])
    assert found["exact_match"] == pytest.approx(2 / 3)


def test_rows_of_one_group_are_resampled_together() -> None:
    rng = np.random.default_rng(1)
    passages = np.repeat(np.arange(40), 6)  # as if each question were asked six times
    right = np.repeat(rng.random(40) < 0.4, 6).astype(float).tolist()
    names = [f"p{i}" for i in passages]
    low, high = metrics.bootstrap_interval(right, groups=names)
    one_each = metrics.bootstrap_interval(right[::6])
    assert (low, high) == pytest.approx(one_each, abs=0.05)  # they tell no more than one would
    alone = metrics.bootstrap_interval(right)
    assert high - low > 2 * (alone[1] - alone[0])
    assert metrics.bootstrap_interval(right, groups=["one"] * 240) == alone
    assert metrics.bootstrap_interval(right, groups=[str(i) for i in range(240)]) == alone
    uneven = metrics.resampled_means([1, 1, 1, 0], groups=["a", "a", "a", "b"])
    assert set(uneven.tolist()) == {0.0, 0.75, 1.0}


def test_classification_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    gold, guess = list("aabbcc"), list("aabbbc")
    found = metrics.classification(gold, guess)
    assert found["accuracy"] == pytest.approx(accuracy_score(gold, guess))
    assert found["f1_macro"] == pytest.approx(f1_score(gold, guess, average="macro"))
    low, high = found["accuracy_interval"]
    assert low <= found["accuracy"] <= high


@pytest.mark.parametrize(
    ("answer", "stands"),
    [("The 21 Days.", True), ("21", True), ("1 day", False), ("days 21", False), ("", True),
     ("2", False), ("21 days it", True)],
)  # fmt: skip
def test_an_answer_stands_in_a_passage_word_for_word(answer: str, stands: bool) -> None:
    assert metrics.in_passage(answer, "A back order waits 21 days; it is cancelled then.") is stands


def test_hallucination_counts_given_answers_alone() -> None:
    passage = "Express costs £8.95 and is ordered before 1 pm."
    found = metrics.hallucination(["", "2 pm", "before 1 pm", "the."], [passage] * 4)
    assert found["hallucination"] == 0.5 and found["answered"] == 2
    low, high = found["hallucination_interval"]
    assert low <= 0.5 <= high
    silent = metrics.hallucination(["", "The"], [passage] * 2)
    assert silent == {"hallucination": None, "hallucination_interval": None, "answered": 0}


def test_generation_and_tags_come_from_their_libraries() -> None:
    import sacrebleu
    from seqeval.metrics import f1_score

    texts, gold = ["the cat sat on the mat"], ["the cat sat on a mat"]
    assert metrics.generation(texts, gold)["bleu"] == sacrebleu.corpus_bleu(texts, [gold]).score
    tags, guess = [["B-X", "I-X", "O"]], [["B-X", "O", "O"]]
    assert metrics.tagging(tags, tags)["f1"] == 1.0
    assert metrics.tagging(tags, guess)["f1"] == f1_score(tags, guess)

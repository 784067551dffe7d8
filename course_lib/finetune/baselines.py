"""What a result has to beat: majority, word counting, word overlap, and simply asking the base."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from course_lib import metrics
from course_lib.finetune.records import Example, Splits


def classification_baselines(data: Splits, rows: Sequence[Example] = ()) -> dict[str, Any]:
    """Give metrics of the majority class and of TF-IDF with logistic regression.

    Features are words 1-2 and characters 2-4, weights C=10; trained on ``data.train``,
    measured on ``rows`` (``data.test`` when empty).
    """
    test = list(rows or data.test)
    train = [(r.text, str(r.label)) for r in data.train]
    gold = [str(r.label) for r in test]
    common = Counter(label for _, label in train).most_common(1)[0][0]
    model = _tfidf()
    model.fit([t for t, _ in train], [label for _, label in train])
    guesses = [str(g) for g in model.predict([r.text for r in test])]
    return {
        "majority": metrics.classification(gold, [common] * len(gold)),
        "tfidf_logreg": metrics.classification(gold, guesses),
    }


def _tfidf() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True),
    )
    return make_pipeline(features, LogisticRegression(C=10, max_iter=1000))


def question_baselines(rows: Sequence[Example]) -> dict[str, Any]:
    """Give EM and F1 of word overlap (the sentence closest to the question) and of no answer."""
    gold = [r.answers for r in rows]
    return {
        "lexical_overlap": metrics.question_answering([overlap_answer(r) for r in rows], gold),
        "always_empty": metrics.question_answering([""] * len(rows), gold),
    }


def overlap_answer(row: Example) -> str:
    """Give the words of the best-overlapping sentence that the question does not hold.

    The sentence sharing most words with the question; of it, the longest run of words
    that are not in the question.
    """
    asked = set(re.findall(r"\w+", row.question.lower()))
    sentences = re.split(r"(?<=[.!?])\s+", row.text)
    best = max(sentences, key=lambda s: len(asked & set(re.findall(r"\w+", s.lower()))))
    runs: list[list[str]] = [[]]
    for word in best.split():
        bare = re.sub(r"\W", "", word.lower())
        if bare in asked:
            runs.append([])
        else:
            runs[-1].append(word)
    return " ".join(max(runs, key=lambda run: len(list(run))))


def label_likelihood(
    base: str, rows: Sequence[Example], data: Splits, *, shots: int = 0, seed: int = 0
) -> dict[str, Any]:
    """Ask a base for labels without training it: calibrated likelihood of the label's words.

    The score of each label after an empty message is subtracted (Zhao et al. 2021).

    Args:
        base: the base model.
        rows: what to classify.
        data: where labels and the solved examples come from.
        shots: solved training examples shown first; texts are shortened to 25 words.
        seed: of their choice.
    """
    import random

    from course_lib.finetune.generate import log_likelihood
    from course_lib.finetune.model import load_base

    model, tokenizer = load_base(base, task="language-modeling")
    rng = random.Random(seed)
    chosen = rng.sample(range(len(data.train)), min(shots, len(data.train)))
    shown = [data.train[i] for i in chosen]

    def ask(text: str) -> str:
        return f"Message: {' '.join(text.split()[:60])}\nIntent:"

    head = "".join(
        f"{ask(' '.join(r.text.split()[:25]))} {_words(str(r.label))}\n\n" for r in shown
    )
    names = [_words(label) for label in data.labels]
    prior = log_likelihood(model, tokenizer, [(head + ask(""), n) for n in names])
    guesses = []
    for row in rows:
        scores = log_likelihood(model, tokenizer, [(head + ask(row.text), n) for n in names])
        best = max(range(len(names)), key=lambda i: scores[i] - prior[i])
        guesses.append(data.labels[best])
    return metrics.classification([str(r.label) for r in rows], guesses)


def _words(label: str) -> str:
    return label.replace("_", " ").replace("-", " ")

"""What a result has to beat: majority, word counting, word overlap, and simply asking the base."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from course_lib import metrics
from course_lib.finetune.records import Evaluation, Example, Splits

NAMES = {  # what tables call the baselines of a run
    "majority": "commonest label",
    "tfidf_logreg": "TF-IDF + logistic regression",
    "lexical_overlap": "word overlap",
    "always_empty": "always empty",
}
CALIBRATION = 32  # training texts whose mean score is a label's prior
MOST_REMEMBERED = 8
_REMEMBERED: dict[int, Evaluation] = {}


def classification_baselines(data: Splits, rows: Sequence[Example] = ()) -> dict[str, Any]:
    """Give metrics of the majority class and of TF-IDF with logistic regression.

    Features are words 1-2 and characters 2-4, weights C=10; trained on ``data.train``,
    measured on ``rows`` (``data.test`` when empty).
    """
    test = list(rows or data.test)
    train = [(r.text, str(r.label)) for r in data.train]
    gold = [str(r.label) for r in test]
    common = Counter(label for _, label in train).most_common(1)[0][0]
    model = tfidf()
    model.fit([t for t, _ in train], [label for _, label in train])
    guesses = [str(g) for g in model.predict([r.text for r in test])]
    return {
        "majority": metrics.classification(gold, [common] * len(gold)),
        "tfidf_logreg": metrics.classification(gold, guesses),
    }


def tfidf() -> Any:
    """Give an unfitted pipeline: words 1-2, characters 2-4, logistic regression (C=10)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union

    from course_lib.finetune.logistic import WideLogisticRegression

    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True),
    )
    return make_pipeline(features, WideLogisticRegression(C=10, max_iter=1000))


def tfidf_evaluation(train: Sequence[Example], rows: Sequence[Example]) -> Evaluation:
    """Train the pipeline of :func:`tfidf` and measure it row by row, as a run's model is.

    Args:
        train: labelled rows. rows: what to classify and measure on.
    """
    model = tfidf().fit([r.text for r in train], [str(r.label) for r in train])
    labels = [str(c) for c in model.classes_]
    return _measured(rows, labels, model.predict_proba([r.text for r in rows]))


def question_baselines(rows: Sequence[Example]) -> dict[str, Any]:
    """Give EM and F1 of word overlap (the sentence closest to the question) and of no answer."""
    return {name: dict(found.metrics) for name, found in question_evaluations(rows).items()}


def question_evaluations(rows: Sequence[Example]) -> dict[str, Evaluation]:
    """Measure the baselines of :func:`question_baselines` row by row, as a run's model is."""
    gold, groups = [r.answers for r in rows], [r.group or r.id for r in rows]
    said = {
        "lexical_overlap": [overlap_answer(r) for r in rows],
        "always_empty": [""] * len(rows),
    }
    return {
        name: Evaluation(
            metrics.question_answering(answers, gold, groups),
            tuple(
                {"id": r.id, "gold": list(r.answers), "prediction": answer, "group": passage}
                for r, answer, passage in zip(rows, answers, groups, strict=True)
            ),
        )
        for name, answers in said.items()
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


def untrained(
    base: str, task: str, rows: Sequence[Example], model: Any = None, tokenizer: Any = None
) -> dict[str, Any]:
    """Measure a base before any training, on a task whose answers it writes.

    The last figures are remembered: another run on the same rows is told the same at once.

    Args:
        base: the base model.
        task: ``language-modeling``, ``question-answering`` or ``completion``.
        rows: what to measure on.
        model, tokenizer: the base where it is loaded already; None loads it.
    """
    import torch

    from course_lib.finetune.evaluate import EVALUATORS
    from course_lib.finetune.model import base_path, base_sha256, load_base

    weights = base_sha256(base_path(base))
    key = hash((weights, task, tuple(rows), str(getattr(model, "dtype", torch.float32))))
    if weights and key in _REMEMBERED:
        return dict(_REMEMBERED[key].metrics)
    if model is None:
        model, tokenizer = load_base(base, task=task)
    return dict(_remember(key, EVALUATORS[task](model, tokenizer, rows)).metrics)


def _remember(key: int, found: Evaluation) -> Evaluation:
    if len(_REMEMBERED) >= MOST_REMEMBERED:
        _REMEMBERED.clear()
    _REMEMBERED[key] = found
    return found


def label_likelihood(
    base: str, rows: Sequence[Example], data: Splits, *, shots: int = 0, seed: int = 0
) -> dict[str, Any]:
    """Give the metrics of :func:`asked`."""
    return dict(asked(base, rows, data, shots=shots, seed=seed).metrics)


def asked(
    base: str, rows: Sequence[Example], data: Splits, *, shots: int = 0, seed: int = 0
) -> Evaluation:
    """Ask a base for labels without training it: calibrated likelihood of the label's words.

    The probabilities are the calibrated likelihoods, divided by their sum over the labels. The
    last answers are remembered: asked again the same, they are given again.

    A label's mean score over training texts (without their labels) is subtracted, so that a
    label does not win for being a common word (batch calibration, Zhou et al. 2023).

    Args:
        base: the base model.
        rows: what to classify; texts are shortened to 60 words.
        data: where labels, calibration texts and the solved examples come from.
        shots: solved training examples shown first; their texts are shortened to 25 words.
        seed: of their choice.
    """
    import random

    from course_lib.finetune.generate import log_likelihood
    from course_lib.finetune.model import base_path, base_sha256, load_base
    from course_lib.finetune.prepare import TOPIC_PROMPT

    rng = random.Random(seed)
    order = rng.sample(range(len(data.train)), min(shots + CALIBRATION, len(data.train)))
    shown, quiet = order[:shots], order[shots:]
    weights = base_sha256(base_path(base))
    key = hash((weights, tuple(rows), tuple(data.train[i] for i in order), data.labels, shots))
    if weights and key in _REMEMBERED:
        return _REMEMBERED[key]
    model, tokenizer = load_base(base, task="language-modeling")
    names = [_words(label) for label in data.labels]

    def ask(text: str, words: int = 60) -> str:
        return " ".join(text.split()[:words]) + TOPIC_PROMPT

    solved = (data.train[i] for i in shown)
    head = "".join(f"{ask(r.text, 25)} {_words(str(r.label))}\n\n\n" for r in solved)
    texts = [data.train[i].text for i in quiet] + [r.text for r in rows]
    pairs = [(head + ask(text), name) for text in texts for name in names]
    found = np.array(log_likelihood(model, tokenizer, pairs)).reshape(len(texts), len(names))
    prior = found[: len(quiet)].mean(0) if quiet else 0.0
    scores = found[len(quiet) :] - prior
    likely = np.exp(scores - scores.max(1, keepdims=True))
    return _remember(key, _measured(rows, data.labels, likely / likely.sum(1, keepdims=True)))


def _measured(rows: Sequence[Example], labels: Sequence[str], likely: np.ndarray) -> Evaluation:
    """Give the evaluation of class probabilities ``[rows, labels]``."""
    predictions = tuple(
        {
            "id": r.id,
            "gold": str(r.label),
            "prediction": labels[int(p.argmax())],
            "probabilities": {n: round(float(v), 6) for n, v in zip(labels, p, strict=True)},
        }
        for r, p in zip(rows, likely, strict=True)
    )
    gold, guesses = ([str(p[k]) for p in predictions] for k in ("gold", "prediction"))
    return Evaluation(metrics.classification(gold, guesses), predictions)


def _words(label: str) -> str:
    return label.replace("_", " ").replace("-", " ")

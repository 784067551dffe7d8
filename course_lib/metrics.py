"""Every metric of the course, on well-kept libraries; numbers in, plain numbers out, no torch."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

RESAMPLES = 2000


def resampled_means(
    per_row: Sequence[float] | np.ndarray,
    *,
    groups: Sequence[str] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """Give means over rows drawn anew with replacement, ``[resamples]`` (Efron 1979).

    Args:
        per_row: one figure a row, ``[rows]``.
        groups: the group of each row, such as the passage of a question. Groups are drawn whole,
            for their rows are not independent (cluster bootstrap, Field and Welsh 2007). Without
            groups, or with one group alone, rows are drawn.
        seed: of the resampling.
        resamples: how many means.
    """
    values = np.asarray(per_row, dtype=float)
    sums, sizes = values, np.ones(len(values))
    if 1 < len(set(groups)) < len(values):
        place = np.unique(list(groups), return_inverse=True)[1]
        sums, sizes = np.bincount(place, values), np.bincount(place).astype(float)
    rng, means = np.random.default_rng(seed), []
    step = max(1, 2_000_000 // len(sums))  # resamples at a time, to bound the memory
    for begin in range(0, resamples, step):
        picks = rng.integers(0, len(sums), (min(step, resamples - begin), len(sums)))
        means.append(sums[picks].sum(1) / sizes[picks].sum(1))
    return np.concatenate(means)


def bootstrap_interval(
    per_row: Sequence[float], *, groups: Sequence[str] = (), seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Give the percentile bootstrap interval of a mean over rows.

    Args:
        per_row: one figure a row.
        groups, seed: as for :func:`resampled_means`.
        level: coverage.
    """
    means = resampled_means(per_row, groups=groups, seed=seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def classification(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, Any]:
    """Give accuracy with its 95% interval, and macro precision, recall and F1.

    Macro figures are plain means over the classes that occur in ``gold``.
    """
    from sklearn.metrics import precision_recall_fscore_support

    right = [float(g == p) for g, p in zip(gold, predicted, strict=True)]
    precision, recall, f1, _ = precision_recall_fscore_support(
        gold, predicted, labels=sorted(set(gold)), average="macro", zero_division=0
    )
    return {
        "accuracy": math.fsum(right) / len(right),
        "accuracy_interval": list(bootstrap_interval(right)),
        "precision_macro": float(precision),
        "recall_macro": float(recall),
        "f1_macro": float(f1),
    }


def classification_report(
    predictions: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Give precision, recall, F1 and row count of each class.

    Args:
        predictions: maps with ``gold`` and ``prediction``.
        labels: the class names.
    """
    from sklearn.metrics import precision_recall_fscore_support

    gold, predicted = [p["gold"] for p in predictions], [p["prediction"] for p in predictions]
    columns = precision_recall_fscore_support(gold, predicted, labels=list(labels), zero_division=0)
    names = ("precision", "recall", "f1", "rows")
    return {
        label: {n: float(c[i]) for n, c in zip(names, columns, strict=True)}
        for i, label in enumerate(labels)
    }


def confusion_matrix(
    predictions: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> list[list[int]]:
    """Count rows by true class (down) and predicted class (across), ``[classes, classes]``."""
    from sklearn.metrics import confusion_matrix as count

    gold, predicted = [p["gold"] for p in predictions], [p["prediction"] for p in predictions]
    table = count(gold, predicted, labels=list(labels))
    return [[int(v) for v in row] for row in table]


def language_model(nats: float, tokens: int, right: int, text_bytes: int) -> dict[str, float]:
    """Give loss (nats a token), perplexity, bits per byte and next-token accuracy.

    Args:
        nats: summed loss; tokens: how many were counted; right: how many were the
            model's first choice; text_bytes: UTF-8 bytes those tokens stand for.
    """
    loss = nats / tokens
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "bits_per_byte": nats / math.log(2) / max(1, text_bytes),
        "token_accuracy": right / tokens,
    }


def normalise_answer(text: str) -> str:
    """Normalise as the official SQuAD evaluation does (Rajpurkar et al. 2016).

    Lower case, ASCII punctuation out, the articles a, an, the out, white space single.
    """
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction: str, gold: str) -> float:
    """Give 1.0 when both normalise to the same text, else 0.0."""
    return float(normalise_answer(prediction) == normalise_answer(gold))


def answer_f1(prediction: str, gold: str) -> float:
    """Give the F1 of shared words after normalising; two empty answers agree fully."""
    ours, theirs = normalise_answer(prediction).split(), normalise_answer(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(ours), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)


def question_answering(
    predictions: Sequence[str], answers: Sequence[Sequence[str]], groups: Sequence[str] = ()
) -> dict[str, Any]:
    """Give exact match and F1, each the best over a question's accepted answers.

    A question without an accepted answer is right only for an empty prediction.

    Args:
        predictions: one a question. answers: the accepted ones of each.
        groups: the passage of each; the intervals then resample passages.
    """

    def best(score: Callable[[str, str], float]) -> list[float]:
        pairs = zip(predictions, answers, strict=True)
        return [max(score(p, a) for a in (accepted or [""])) for p, accepted in pairs]

    exact, f1 = best(exact_match), best(answer_f1)
    return {
        "exact_match": math.fsum(exact) / len(exact),
        "exact_match_interval": list(bootstrap_interval(exact, groups=groups)),
        "f1": math.fsum(f1) / len(f1),
        "f1_interval": list(bootstrap_interval(f1, groups=groups)),
    }


def in_passage(answer: str, passage: str) -> bool:
    """Tell whether an answer stands in a passage: its words in a row, after normalising.

    Whole words, so that ``1 pm`` is not found in ``11 pm``; an empty answer stands in any.
    """
    ours, theirs = normalise_answer(answer).split(), normalise_answer(passage).split()
    starts = range(len(theirs) - len(ours) + 1)
    return not ours or any(theirs[i : i + len(ours)] == ours for i in starts)


def hallucination(
    predictions: Sequence[str], passages: Sequence[str], groups: Sequence[str] = ()
) -> dict[str, Any]:
    """Give the share of given answers that stand nowhere in their passage.

    Empty predictions give no answer and are left out. A fair answer in other words counts
    too, for only the words are looked up.

    Args:
        predictions, passages: one a question.
        groups: of each question; the interval then resamples groups.

    Returns:
        ``hallucination`` with ``hallucination_interval``, None for both when nothing was
        answered, and ``answered``, how many were.
    """
    given = [i for i, said in enumerate(predictions) if normalise_answer(said)]
    made_up = [float(not in_passage(predictions[i], passages[i])) for i in given]
    rate = math.fsum(made_up) / len(made_up) if made_up else None
    kept = [groups[i] for i in given] if groups else ()
    interval = list(bootstrap_interval(made_up, groups=kept)) if made_up else None
    return {
        "hallucination": rate,
        "hallucination_interval": interval,
        "answered": len(made_up),
    }


def generation(predictions: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """Give BLEU and chrF (sacrebleu, 0 to 100), ROUGE-1 and ROUGE-L F (0 to 1), exact match."""
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    pairs = list(zip(targets, predictions, strict=True))
    rouge = [scorer.score(target, prediction) for target, prediction in pairs]
    exact = [float(t.strip() == p.strip()) for t, p in pairs]
    return {
        "bleu": float(sacrebleu.corpus_bleu(list(predictions), [list(targets)]).score),
        "chrf": float(sacrebleu.corpus_chrf(list(predictions), [list(targets)]).score),
        "rouge1": math.fsum(r["rouge1"].fmeasure for r in rouge) / len(rouge),
        "rougeL": math.fsum(r["rougeL"].fmeasure for r in rouge) / len(rouge),
        "exact_match": math.fsum(exact) / len(exact),
    }


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Give the entities of an IOB2 tag sequence as ``(type, first word, word after the last)``.

    As seqeval's strict mode reads it: an ``I-`` tag that continues nothing opens nothing.
    """
    found: list[tuple[str, int, int]] = []
    start, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        if kind and tag != f"I-{kind}":
            found.append((kind, start, place))
            kind = ""
        if tag.startswith("B-"):
            start, kind = place, tag[2:]
    return found


def tagging(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Give entity precision, recall and F1 (seqeval, strict IOB2) and word accuracy."""
    import warnings

    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
    from seqeval.scheme import IOB2

    golds, guesses = [list(g) for g in gold], [list(p) for p in predicted]
    options: dict[str, Any] = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    with warnings.catch_warnings():
        # seqeval's own code trips numpy's deprecations; nothing a learner can act on
        warnings.simplefilter("ignore")
        return {
            "precision": float(precision_score(golds, guesses, **options)),
            "recall": float(recall_score(golds, guesses, **options)),
            "f1": float(f1_score(golds, guesses, **options)),
            "accuracy": float(accuracy_score(golds, guesses)),
        }

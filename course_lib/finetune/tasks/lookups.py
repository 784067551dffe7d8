"""Cheap baselines for tagging and writing: look it up in the training rows, or copy.

Each gives an ``Evaluation``, to be set beside a fine-tuned model's on the same rows.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from course_lib import metrics
from course_lib.finetune.records import Evaluation, Example

ROUNDS = 5  # of the dictionary's learning; more hardly move a pairing
NOBODY = ""  # the empty English word, for French words that translate none


def gazetteer(train: Sequence[Example], rows: Sequence[Example]) -> Evaluation:
    """Tag every entity of the training rows wherever its words occur again, longest first.

    A run of words that was tagged less often than not in training is left out, so that an
    ordinary word which was a name once is not tagged everywhere.
    """
    named: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in train:
        for kind, start, end in metrics.entities(row.tags):
            named[_lower(row.tokens[start:end])][kind] += 1
    longest = max(map(len, named), default=0)
    seen: Counter[tuple[str, ...]] = Counter()
    for row in train:
        words = _lower(row.tokens)
        for size in range(1, longest + 1):
            seen.update(words[i : i + size] for i in range(len(words) - size + 1))
    kept = {w: k.most_common(1)[0][0] for w, k in named.items() if 2 * k.total() >= seen[w]}
    return tagged(rows, [_look_up(_lower(row.tokens), kept, longest) for row in rows])


def _look_up(words: tuple[str, ...], kept: dict[tuple[str, ...], str], longest: int) -> list[str]:
    tags, place = ["O"] * len(words), 0
    while place < len(words):
        for size in range(min(longest, len(words) - place), 0, -1):
            kind = kept.get(words[place : place + size])
            if kind:
                tags[place : place + size] = [f"B-{kind}"] + [f"I-{kind}"] * (size - 1)
                place += size
                break
        else:
            place += 1
    return tags


def _lower(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(w.lower() for w in words)


def nothing(rows: Sequence[Example]) -> Evaluation:
    """Tag every word ``O``, the commonest tag."""
    return tagged(rows, [["O"] * len(row.tokens) for row in rows])


def lead(rows: Sequence[Example], words: int) -> Evaluation:
    """Take the first words of a text for its summary, without the speaker's name before them."""
    texts = [re.sub(r"^\w+:\s*", "", row.text) for row in rows]
    return written(rows, [" ".join(text.split()[:words]).rstrip(".,;:!?") for text in texts])


def copy(rows: Sequence[Example]) -> Evaluation:
    """Hand the text back as it is, a translation that changes nothing."""
    return written(rows, [row.text for row in rows])


def nearest(train: Sequence[Example], rows: Sequence[Example]) -> Evaluation:
    """Give the target of the training row whose text is most alike, by TF-IDF of its words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = list(train)
    weigh = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+")
    table = weigh.fit_transform([row.text for row in known])
    best = np.asarray((weigh.transform([row.text for row in rows]) @ table.T).argmax(1)).ravel()
    return written(rows, [str(known[int(i)].target) for i in best])


def dictionary(train: Sequence[Example], rounds: int = ROUNDS) -> dict[str, str]:
    """Learn one translation a word from pairs of sentences (IBM Model 1, Brown et al. 1993).

    Nobody says which word of a pair belongs to which: at first every pairing counts alike,
    and each round weighs it by how well the two words got on in all pairs before.

    Args:
        train: rows whose ``text`` and ``target`` say the same.
        rounds: passes of expectation and maximisation.

    Returns:
        For each word of the texts, in lower case, its likeliest word.
    """
    pairs = [((NOBODY, *_words(r.text)), _words(str(r.target))) for r in train]
    chance: dict[tuple[str, str], float] = defaultdict(lambda: 1.0)
    for _ in range(rounds):
        count: dict[tuple[str, str], float] = defaultdict(float)
        total: dict[str, float] = defaultdict(float)
        for ours, theirs in pairs:
            for word in theirs:
                weight = {w: chance[w, word] for w in ours}
                whole = sum(weight.values())
                for w, share in weight.items():
                    count[w, word] += share / whole
                    total[w] += share / whole
        chance = defaultdict(float, {p: c / total[p[0]] for p, c in count.items()})
    best: dict[str, tuple[float, str]] = {}
    for (ours_word, word), share in chance.items():
        best[ours_word] = max(best.get(ours_word, (0.0, "")), (share, word))
    return {w: found for w, (_, found) in best.items() if w != NOBODY}


def word_by_word(train: Sequence[Example], rows: Sequence[Example]) -> Evaluation:
    """Translate each word by the learned dictionary, in the order of the text."""
    known = dictionary(train)
    lines = (" ".join(known.get(w, w) for w in _words(row.text)) for row in rows)
    closed = (re.sub(r"(?<=') | (?=[.,])", "", line) for line in lines)
    return written(rows, [line[:1].upper() + line[1:] for line in closed])


def _words(text: str) -> tuple[str, ...]:
    """Words and marks in lower case; a French *l'* or *d'* is a word of its own."""
    return tuple(
        re.findall(r"\w+'(?=\w)|\w+(?:-\w+)*|[^\w\s]", text.lower().replace("\u2019", "'"))
    )


def written(rows: Sequence[Example], texts: Sequence[str]) -> Evaluation:
    """Measure texts against the rows' targets, or against a dialogue's last turn."""
    gold = [row.turns[-1][1] if row.turns else str(row.target) for row in rows]
    predictions = tuple(
        {"id": row.id, "gold": g, "prediction": t}
        for row, g, t in zip(rows, gold, texts, strict=True)
    )
    return Evaluation(metrics.generation(texts, gold), predictions)


def tagged(rows: Sequence[Example], tags: Sequence[Sequence[str]]) -> Evaluation:
    """Measure tags against the rows' own."""
    predictions = tuple(
        {"id": row.id, "gold": list(row.tags), "prediction": list(t)}
        for row, t in zip(rows, tags, strict=True)
    )
    return Evaluation(metrics.tagging([row.tags for row in rows], tags), predictions)

"""Measures of written data: variety, near copies, and how far counting words gets."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy import sparse


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def trigrams(text: str) -> set[str]:
    found = words(text)
    return {" ".join(found[i : i + 3]) for i in range(len(found) - 2)}


def distinct_trigram_share(texts: Sequence[str]) -> float:
    """Distinct word trigrams over all word trigrams of the set."""
    every = [" ".join(w[i : i + 3]) for w in map(words, texts) for i in range(len(w) - 2)]
    return len(set(every)) / len(every)


def nearest_jaccard(texts: Sequence[str]) -> np.ndarray:
    """Largest word-trigram Jaccard similarity of each text with any other, ``[rows]``."""
    sets = [trigrams(t) for t in texts]
    vocabulary = {g: i for i, g in enumerate(sorted(set().union(*sets)))}
    row = [i for i, s in enumerate(sets) for _ in s]
    column = [vocabulary[g] for s in sets for g in s]
    shape = (len(sets), len(vocabulary))
    matrix = sparse.csr_matrix((np.ones(len(row)), (row, column)), shape=shape)
    common = (matrix @ matrix.T).toarray()
    sizes = np.array([len(s) for s in sets], dtype=float)
    union = sizes[:, None] + sizes[None, :] - common
    similar = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    np.fill_diagonal(similar, 0.0)
    return np.asarray(similar.max(axis=1))


def tfidf_accuracy(
    train: Sequence[str], labels: Sequence[str], test: Sequence[str], gold: Sequence[str]
) -> float:
    """Test accuracy of TF-IDF (words 1-2, characters 2-4) with logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True),
    )
    model = make_pipeline(features, LogisticRegression(C=10, max_iter=1000))
    model.fit(train, labels)
    return float(np.mean(model.predict(test) == np.array(gold)))


def unknown_word_share(texts: Sequence[str], names: frozenset[str] = frozenset()) -> float:
    """Share of lower-case words that an English dictionary does not hold.

    An upper bound on spelling errors: rare words and product names count too, unless in
    ``names``. Words with capitals, digits or apostrophes are left out.
    """
    from spellchecker import SpellChecker

    known = SpellChecker()
    found = [w for t in texts for w in re.findall(r"(?<![\w'\u2019@.])[a-z]{2,}(?![\w'\u2019])", t)]
    return sum(w not in known and w not in names for w in found) / max(1, len(found))


def reading_grade(texts: Sequence[str]) -> float:
    """Flesch-Kincaid grade of the whole (Kincaid et al. 1975), syllables by hyphenation."""
    import pyphen

    cut = pyphen.Pyphen(lang="en_GB")
    whole = " ".join(t if t.rstrip().endswith((".", "!", "?")) else t + "." for t in texts)
    found = re.findall(r"[A-Za-z']+", whole)
    sentences = max(1, len(re.findall(r"[.!?]+(?:\s|$)", whole)))
    syllables = sum(cut.inserted(w.lower()).count("-") + 1 for w in found)
    return 0.39 * len(found) / sentences + 11.8 * syllables / len(found) - 15.59

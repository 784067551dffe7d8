"""Texts changed word by word, and the rows and words that are left alone.

A change takes a text, the share of its words to change, a random generator and the words to
keep; it gives the new text, the same one where nothing could be changed. Untouched are label
words, negations, numbers, codes such as ``LO-20781``, addresses and placeholders such as
``[NAME]``: everything that is not letters alone.
"""

from __future__ import annotations

import functools
import math
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from course_lib.errors import DataError, UsageError
from course_lib.finetune.records import Example

NEGATIONS = frozenset(
    ("no", "not", "never", "none", "nothing", "nor", "neither", "without", "cannot", "dont", "wont")
)
KEYBOARD = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))  # rows and their shift
# a row's own id such as test-0012, or the file and line it came from; copies too
HELD_OUT = re.compile(r"(^|[/\\])(validation|valid|val|dev|test)([-_:]?\d+|\.\w+:\d+)(~.*)?$", re.I)
SIMILAR = 0.35  # least cosine of a neighbour; below it words of the base share little but rarity
NEIGHBOURS = 3  # a word is replaced by one of so many nearest

Change = Callable[[str, float, random.Random, frozenset[str]], str]


def check_training(rows: Sequence[Example], doing: str, held_out: Sequence[Example] = ()) -> None:
    """Refuse rows that cannot or must not be changed.

    Args:
        rows: labelled texts of a training split.
        doing: what is about to be done, for the message, such as ``"augmented"``.
        held_out: validation and test rows; none of them may be among ``rows``.

    Raises:
        DataError: when there are no rows, only one class, or a row without text or label.
        UsageError: for a row of a validation or test split: by its id, or found in ``held_out``.
    """
    if not len(rows):
        raise DataError(
            f"there are no rows to be {doing}", next_step="give the training rows of a data set"
        )
    kept = {r.id: r.text for r in held_out}
    for row in rows:
        if HELD_OUT.search(row.id) or kept.get(row.id) == row.text:
            raise UsageError(
                f"validation and test rows are never {doing}: they must stay what the model will "
                "meet",
                where=f"row {row.id}",
                next_step="give the training rows alone, such as data.load(...).train; a file of "
                "training rows needs another name",
            )
        if not row.text.strip() or row.label is None:
            raise DataError(
                "a row without text or label",
                where=f"row {row.id}",
                expected="classification rows",
                next_step="load the data with the task 'classification'; changing the words of "
                "rows with answers or tags would move what these point at",
            )
    if len({r.label for r in rows}) < 2:
        raise DataError(
            "only one class in the training rows",
            got=repr(rows[0].label),
            expected="at least two",
            next_step="check the label column",
        )


def label_words(labels: Iterable[str]) -> frozenset[str]:
    """Give the words of label names, lower case, each with and without a plural s."""
    found = {w for label in labels for w in re.findall(r"[^\W\d_]+", label.lower())}
    return frozenset(found | {w + "s" for w in found} | {w.removesuffix("s") for w in found})


def normal(text: str) -> str:
    """Give the text as compared for sameness: NFKC, lower case, words and figures alone."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower()))


def _pieces(text: str) -> list[str]:
    """Cut a text into words and what lies between; joined they give it back.

    A word is letters alone, with white space or plain punctuation around it.
    """
    word = r"(?<!\S)([(\"']*)([^\W\d_]+)(?=[.,;:!?)\"']*(?:\s|$))"
    return [p for p in re.split(word, text) if p]


def _open(pieces: Sequence[str], kept: frozenset[str], least: int = 2) -> list[int]:
    """Give the places of the words that may be changed."""
    words = ((i, p) for i, p in enumerate(pieces) if p.isalpha())
    return [i for i, p in words if len(p) >= least and p.lower() not in kept | NEGATIONS]


def _some(places: Sequence[int], share: float, count: int, rng: random.Random) -> list[int]:
    """Choose ``share`` of ``count`` words, at least one, from ``places``."""
    return sorted(rng.sample(list(places), min(len(places), max(1, math.ceil(share * count)))))


@functools.cache
def nearby_keys() -> dict[str, str]:
    """Give for each letter the letters beside it on a QWERTY keyboard."""
    at = {c: (x + shift, y) for y, (row, shift) in enumerate(KEYBOARD) for x, c in enumerate(row)}
    return {a: "".join(b for b in at if a != b and math.dist(at[a], at[b]) < 1.3) for a in at}


def typos(text: str, share: float, rng: random.Random, kept: frozenset[str]) -> str:
    """Misspell words of four letters or more, one slip a word.

    A slip is one of the four that make up 80% of misspellings (Damerau 1964): a letter
    replaced by its neighbour on the keyboard, one too many, one missing, two swapped.
    """
    pieces = _pieces(text)
    for place in _some(_open(pieces, kept, 4), share, _count(pieces), rng):
        word = pieces[place]
        i = rng.randrange(1, len(word) - 1)
        key = rng.choice(nearby_keys().get(word[i].lower(), word[i]))
        slips = (
            word[:i] + key + word[i + 1 :],
            word[:i] + key + word[i:],
            word[:i] + word[i + 1 :],
            word[:i] + word[i + 1] + word[i] + word[i + 2 :],
        )
        pieces[place] = rng.choice(slips)
    return "".join(pieces)


def deletion(text: str, share: float, rng: random.Random, kept: frozenset[str]) -> str:
    """Leave words out (random deletion, Wei and Zou 2019); at least two words remain."""
    pieces = _pieces(text)
    if _count(pieces) < 3:
        return text
    for place in _some(_open(pieces, kept), share, _count(pieces), rng)[: _count(pieces) - 2]:
        pieces[place] = ""
    return re.sub(r" +(?=[ .,;:!?]|$)|^ +", "", "".join(pieces))


def word_order(text: str, share: float, rng: random.Random, kept: frozenset[str]) -> str:
    """Swap words with the next one, where only a space lies between them."""
    pieces = _pieces(text)
    allowed = set(_open(pieces, kept, 1))
    pairs = [i for i in allowed if i + 2 in allowed and pieces[i + 1] == " "]
    done: set[int] = set()
    for place in _some(sorted(pairs), share, _count(pieces), rng):
        if not {place, place + 2} & done:
            pieces[place], pieces[place + 2] = pieces[place + 2], pieces[place]
            done |= {place, place + 2}
    return "".join(pieces)


def clause_order(text: str, share: float, rng: random.Random, kept: frozenset[str]) -> str:
    """Put the sentences in another order, or the clauses of a lone sentence; no word changes."""
    parts, joint, end = re.split(r"(?<=[.!?])\s+", text.strip()), " ", ""
    if len(parts) < 2:
        body = text.strip().rstrip(".!?")
        parts, joint, end = re.split(r"[,;]\s+", body), ", ", text.strip()[len(body) :]
    if len(parts) < 2:
        return text
    order = rng.sample(parts, len(parts))
    return joint.join(order if order != parts else [*parts[1:], parts[0]]) + end


def synonyms(
    text: str, share: float, rng: random.Random, kept: frozenset[str], base: str = "embedded"
) -> str:
    """Replace words by neighbours in the base's embedding table (Wang and Yang 2015)."""
    pieces = _pieces(text)
    found = {
        i: [w for w, _ in neighbours(pieces[i].lower(), base) if w not in kept]
        for i in _open(pieces, kept, 3)
    }
    for place in _some([i for i in found if found[i]], share, _count(pieces), rng):
        word = rng.choice(found[place])
        pieces[place] = word.capitalize() if pieces[place][0].isupper() else word
    return "".join(pieces)


def _count(pieces: Sequence[str]) -> int:
    return sum(p.isalpha() for p in pieces)


@functools.cache
def neighbours(word: str, base: str = "embedded") -> tuple[tuple[str, float], ...]:
    """Give the nearest words in the embedding table of a base, with their cosines, best first.

    Only tokens that are whole words of an English word list count, the mean vector is taken off
    first (Mu and Viswanath 2018), and function words, inflections of ``word`` and cosines
    below ``SIMILAR`` are left out. Nearness is being used in the same places: opposites such
    as ``wrong`` and ``right`` are near too.

    Args:
        word: lower case; a word that is not one token of the base has no neighbours.
        base: ``embedded``, a folder or a Hub id.
    """
    names, table = _table(base)
    if word not in names:
        return ()
    listed = list(names)
    cosines = table @ table[names[word]]
    near = ((listed[i], float(cosines[i])) for i in np.argsort(-cosines)[:30].tolist())
    good = [(w, c) for w, c in near if c >= SIMILAR and not _related(w, word)]
    return tuple(good[:NEIGHBOURS])


def _related(one: str, other: str) -> bool:
    """Tell whether two words look like forms of one word."""
    shared = min(len(one), len(other)) - 1
    return one[:shared] == other[:shared]


@functools.lru_cache(maxsize=2)
def _table(base: str) -> tuple[dict[str, int], np.ndarray]:
    """Give a base's content words and their unit vectors, float32 ``[words, width]``."""
    from importlib.resources import files

    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    from course_lib.finetune.model import load_base

    path = files("symspellpy") / "frequency_dictionary_en_82_765.txt"
    known = {line.split()[0] for line in path.read_text(encoding="utf-8-sig").splitlines()}
    model, tokenizer = load_base(base, task="language-modeling")
    coded = tokenizer.get_vocab().items()
    starts = {t[1:]: i for t, i in coded if t[:1] in "Ġ▁" and len(t) > 3}
    words = sorted(w for w in starts if w in known and w not in ENGLISH_STOP_WORDS)
    if not words:
        return {}, np.zeros((0, 1), dtype=np.float32)
    table = model.get_input_embeddings().weight.detach().float().cpu().numpy()
    found = table[[starts[w] for w in words]]
    found = found - found.mean(0)
    unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    return {w: i for i, w in enumerate(words)}, unit


EDITS: dict[str, Change] = {
    "synonyms": synonyms,
    "word_order": word_order,
    "clause_order": clause_order,
    "typos": typos,
    "deletion": deletion,
}

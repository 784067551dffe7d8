"""What drift is measured by: rows become numbers, and windows of rows are compared.

PSI is the sum over bins of (p - q) ln(p / q) (Siddiqi 2006, Credit Risk Scorecards). MMD is the
unbiased squared maximum mean discrepancy of Gretton et al. 2012 (JMLR 13, eq. 3); the Gaussian
kernel's width is their median heuristic.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.errors import DataError, UsageError

BINS = 5  # of the length: about 20 rows of a window of 100 in each
ABSTAIN_SHARE = 0.2  # of the reference is less certain than a row that counts as abstaining
HASHED = 2**16  # columns that words are hashed into
WORD = r"[^\W\d_]+(?:'[^\W\d_]+)?"  # digits are no words: order numbers are always new

Row = Mapping[str, Any]


def observe(run: Path | str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Apply a finished classifier to texts and keep what a monitor needs.

    Args:
        run: a run folder, or a registry's version folder.
        texts: the messages, in order.

    Returns:
        One map a text: ``text``, ``prediction``, ``probabilities`` (by label) and
        ``embedding``, float32 ``[width]``.

    Raises:
        ModelError: when the run is not finished.
        CheckpointError: when a file of the model was changed.
        UsageError: when it is not a classifier.
    """
    from course_lib.finetune import evaluate, runs

    model, tokenizer = runs.load_run(run)
    if not hasattr(model, "score"):
        raise UsageError(
            "drift is watched on a classifier", where=str(run), got=type(model).__name__
        )
    found = evaluate.class_probabilities(model, tokenizer, texts)
    labels = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
    vectors = embed(model, tokenizer, texts)
    return [
        {
            "text": text,
            "prediction": labels[int(row.argmax())],
            "probabilities": {n: float(v) for n, v in zip(labels, row, strict=True)},
            "embedding": vector,
        }
        for text, row, vector in zip(texts, found, vectors, strict=True)
    ]


def embed(model: Any, tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """Give the mean of each text's last hidden states, float32 ``[texts, width]``."""
    import torch

    from course_lib.finetune.model import context_of

    out: dict[int, np.ndarray] = {}
    device = next(model.parameters()).device
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), 32):
        group = order[start : start + 32]
        coded = tokenizer(
            [texts[i] for i in group],
            padding=True,
            truncation=True,
            max_length=context_of(model),
            return_tensors="pt",
        ).to(device)
        ids, mask = coded["input_ids"], coded["attention_mask"]
        with torch.no_grad():
            states = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        out.update(zip(group, mean.float().cpu().numpy(), strict=True))
    return np.stack([out[i] for i in range(len(texts))])


def psi(expected: Sequence[float], found: Sequence[float]) -> float:
    """Give the population stability index of two sets of shares over the same bins.

    Args:
        expected, found: share of each bin, all above 0, each set summing to 1.

    Raises:
        UsageError: for an empty bin or unequal numbers of bins.
    """
    q, p = np.asarray(expected, float), np.asarray(found, float)
    if q.shape != p.shape or not ((q > 0).all() and (p > 0).all()):
        raise UsageError(
            "PSI needs the same bins on both sides, none of them empty",
            got=f"{q.tolist()} and {p.tolist()}",
            next_step="add a half to every count before dividing",
        )
    return float(_psi(q, p))


def _psi(q: np.ndarray, p: np.ndarray) -> Any:
    return ((p - q) * np.log(p / q)).sum(-1)


def mmd(
    counts: np.ndarray,
    drawn: np.ndarray,
    within: np.ndarray,
    across: np.ndarray,
    reference: np.ndarray,
    *,
    same: bool = False,
) -> np.ndarray:
    """Give the unbiased squared MMD of windows and a reference, ``[looks]``.

    Pairs of a row with itself are left out, however often it was drawn: they would look like
    two rows that agree.

    Args:
        counts: how often each row is in each window, ``[looks, rows]``.
        drawn: how often each reference row counts, ``[reference rows]``.
        within, across, reference: kernel of window rows ``[rows, rows]``, of window and
            reference rows, and of reference rows.
        same: window rows and reference rows are the same rows.
    """

    def mean(c: np.ndarray, gram: np.ndarray, d: np.ndarray, itself: bool) -> np.ndarray:
        total, pairs = ((c @ gram) * d).sum(-1), c.sum(-1) * d.sum(-1)
        if itself:
            total, pairs = total - (c * d) @ np.diag(gram), pairs - (c * d).sum(-1)
        return np.asarray(total / np.maximum(pairs, 1))

    a, b = mean(counts, within, counts, True), mean(counts, across, drawn, same)
    return np.asarray(a - 2 * b + mean(drawn, reference, drawn, True))


class Batch:
    """Rows' features side by side.

    Attributes:
        table: ``[rows, columns]``, whose means hold the plain signals.
        words: sparse ``[rows, hashed words]``; vectors: ``[rows, width]`` or None.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        from scipy.sparse import csr_matrix

        self.table = np.stack([r["plain"] for r in rows])
        words = [r["words"] for r in rows]
        starts = np.cumsum([0, *(len(w.indices) for w in words)])
        parts = np.concatenate([w.data for w in words]), np.concatenate([w.indices for w in words])
        self.words = csr_matrix((*parts, starts), shape=(len(rows), HASHED))
        vectors = [r["embedding"] for r in rows]
        self.vectors = None if vectors[0] is None else np.stack(vectors)


class Features:
    """Turns rows into numbers and compares windows of them; fitted on the reference alone."""

    def __init__(self, reference: Sequence[Row], vocabulary: Iterable[str]) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

        probabilities = reference[0].get("probabilities")
        self.labels = sorted(probabilities) if isinstance(probabilities, Mapping) else []
        vector = reference[0].get("embedding")
        self.width = None if vector is None else np.asarray(vector).shape
        checked = [self._checked(r, f"reference row {i + 1}") for i, r in enumerate(reference)]
        texts = [text for text, _, _ in checked]
        given = list(vocabulary)
        known = given or texts
        held = Counter(w for t in known for w in set(re.findall(WORD, t.lower())))
        self.known = set(held)
        # a reference row must not know a word by itself
        self.alone = set() if given else {w for w, n in held.items() if n == 1}
        lengths = [len(re.findall(WORD, t)) for t in texts]
        self.edges = np.unique(np.quantile(lengths, np.linspace(0, 1, BINS + 1)[1:-1]))
        self.cut = float(np.quantile([p.max() for _, p, _ in checked], ABSTAIN_SHARE))
        self.hash = HashingVectorizer(
            n_features=HASHED, token_pattern=WORD, binary=True, norm=None, alternate_sign=False
        )
        self.weigh = TfidfTransformer().fit(self.hash.transform(known))
        self.centre, self.scale, self.spread = 0.0, 1.0, 1.0  # type: Any, Any, float
        if self.width is not None:
            table = np.stack([v for _, _, v in checked])
            self.centre, self.scale = table.mean(0), np.maximum(table.std(0), 1e-9)
            apart = _squared((table - self.centre) / self.scale, (table - self.centre) / self.scale)
            self.spread = max(float(np.median(apart[np.triu_indices(len(apart), 1)])), 1e-9)

    def of(self, row: Row, where: str, *, reference: bool = False) -> dict[str, Any]:
        """Give a row's features, of a row of the reference or of the stream.

        Raises:
            DataError: naming ``where``, when something is missing or not what it should be.
        """
        text, probabilities, vector = self._checked(row, where)
        words = re.findall(WORD, text.lower())
        classes = np.eye(len(self.labels))[int(probabilities.argmax())]
        length = np.eye(len(self.edges) + 1)[int(np.searchsorted(self.edges, len(words)))]
        known = self.known - self.alone if reference else self.known
        unknown = sum(w not in known for w in words) / max(1, len(words))
        abstains = float(probabilities.max() < self.cut)
        return {
            "text": text,
            "plain": np.concatenate([classes, length, [unknown, abstains]]),
            "words": self.weigh.transform(self.hash.transform([text])),
            "embedding": None if vector is None else (vector - self.centre) / self.scale,
        }

    def plain(
        self, means: np.ndarray, reference: np.ndarray, rows: int, reference_rows: int
    ) -> dict[str, np.ndarray]:
        """Give the signals that follow from means: ``classes``, ``length``, ``unknown``,
        ``abstention``, each ``[looks]``.

        Args:
            means: feature means of each window, ``[looks, columns]``.
            reference: those of the reference, ``[columns]``.
            rows, reference_rows: rows behind each mean.
        """
        found, start = {}, 0
        for name, size in (("classes", len(self.labels)), ("length", len(self.edges) + 1)):
            part = slice(start, start + size)
            # half a row in every bin keeps the logarithm finite
            p = (means[:, part] * rows + 0.5) / (rows + 0.5 * size)
            q = (reference[part] * reference_rows + 0.5) / (reference_rows + 0.5 * size)
            found[name], start = _psi(q, p), start + size
        found["unknown"] = means[:, start] - reference[start]
        found["abstention"] = means[:, start + 1] - reference[start + 1]
        return found

    def grams(self, a: Batch, b: Batch) -> dict[str, np.ndarray]:
        """Give the kernels of two batches, ``[rows of a, rows of b]``: ``words``, ``embedding``."""
        found = {"words": np.asarray((a.words @ b.words.T).todense())}
        if a.vectors is not None and b.vectors is not None:
            found["embedding"] = np.exp(-_squared(a.vectors, b.vectors) / self.spread)
        return found

    def _checked(self, row: Row, where: str) -> tuple[str, np.ndarray, Any]:
        """Give text, probabilities in the order of the labels, and embedding, all checked."""
        text, found = row.get("text"), row.get("probabilities")
        if not isinstance(text, str):
            raise DataError("a row needs a text", where=where, got=repr(text))
        if not isinstance(found, Mapping) or not found or sorted(found) != self.labels:
            raise DataError(
                "a row needs the probabilities of the reference's labels",
                where=where,
                got=", ".join(sorted(found)) if isinstance(found, Mapping) else repr(found),
                expected=", ".join(self.labels) or "a map of label to probability",
            )
        probabilities = np.array([found[name] for name in self.labels], float)
        if not np.isfinite(probabilities).all() or abs(probabilities.sum() - 1) > 0.01:
            raise DataError("probabilities do not sum to 1", where=where, got=f"{dict(found)}")
        if self.width is None:
            return text, probabilities, None
        vector = np.asarray(row.get("embedding", np.nan), float)
        if vector.shape != self.width or not np.isfinite(vector).all():
            raise DataError(
                "a row needs an embedding like the reference's",
                where=where,
                got=f"shape {vector.shape}",
                expected=f"{self.width[0]} finite numbers",
            )
        return text, probabilities, vector


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Give squared distances ``[rows of a, rows of b]``."""
    apart = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(apart, 0))

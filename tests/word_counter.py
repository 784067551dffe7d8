"""A quick real classifier for tests: words counted, logistic regression, on support_tickets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from course_lib.finetune import data
from course_lib.finetune.examine import slices


class Counter:
    """Predictions on validation and test, joined with the data's columns."""

    def __init__(self, label: str) -> None:
        self.splits = data.load("classification", "support_tickets", label_column=label)
        self.columns = slices.columns_of("support_tickets")
        self.labels = list(self.splits.labels)
        self.model: Any = make_pipeline(
            TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=300)
        )
        self.fit()

    def fit(self, weights: np.ndarray | None = None) -> None:
        """Fit to the training rows, each counting as often as it weighs."""
        texts = [r.text for r in self.splits.train]
        gold = [str(r.label) for r in self.splits.train]
        self.model.fit(texts, gold, logisticregression__sample_weight=weights)
        self.validation = self.rows(self.splits.validation)
        self.test = self.rows(self.splits.test)

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """Give class probabilities, ``[texts, classes]``."""
        return np.asarray(self.model.predict_proba(texts))

    def rows(self, part: Sequence[Any]) -> list[dict[str, Any]]:
        """Give joined predictions."""
        made = [
            {
                "id": r.id,
                "gold": r.label,
                "prediction": self.labels[int(p.argmax())],
                "probabilities": dict(zip(self.labels, map(float, p), strict=True)),
            }
            for r, p in zip(part, self.predict([r.text for r in part]), strict=True)
        ]
        return slices.join(made, self.columns)


@cache
def intents() -> Counter:
    """Give the counter for the eight intents, fitted once."""
    return Counter("intent")

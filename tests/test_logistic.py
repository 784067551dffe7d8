"""The faster logistic regression gives what scikit-learn's own gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from course_lib.finetune import data
from course_lib.finetune.baselines import tfidf
from course_lib.finetune.logistic import MOST_ROWS, WideLogisticRegression


@pytest.fixture(scope="module")
def features() -> tuple[Any, list[str], Any]:
    """Word counts of tickets, some of them twice: fewer directions than rows."""
    known = data.load("classification", "support_tickets")
    rows = [*known.train[:150], *known.train[:20]]
    maker = tfidf()[0].fit([r.text for r in rows])
    seen, new = (maker.transform([r.text for r in part]) for part in (rows, known.test))
    return seen, [str(r.label) for r in rows], new


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("weights", [None, "balanced"])
def test_it_learns_what_scikit_learns(features: Any, two: bool, weights: str | None) -> None:
    seen, labels, new = features
    if two:
        labels = ["early" if label < "m" else "late" for label in labels]
    options: dict[str, Any] = {"C": 10, "max_iter": 1000, "class_weight": weights}
    plain = LogisticRegression(**options).fit(seen, labels)
    wide = WideLogisticRegression(**options).fit(seen, labels)
    assert np.allclose(wide.predict_proba(new), plain.predict_proba(new), atol=1e-6)
    assert np.allclose(wide.coef_, plain.coef_, atol=1e-6)
    assert (wide.classes_ == plain.classes_).all()


def test_it_takes_its_steps_on_short_vectors(
    features: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, labels, _ = features
    widths = []

    def watched(self: Any, X: Any, y: Any, sample_weight: Any = None) -> Any:
        widths.append(X.shape[1])
        return usual(self, X, y, sample_weight)

    usual = LogisticRegression.fit
    monkeypatch.setattr(LogisticRegression, "fit", watched)
    WideLogisticRegression(C=10).fit(seen, labels)
    assert widths and widths[0] <= 150 < seen.shape[1]


def test_what_cannot_be_shortened_goes_the_usual_way(features: Any) -> None:
    seen, labels, _ = features
    many = sparse.random(MOST_ROWS + 1, 4, density=0.5, format="csr", random_state=0)
    for x, y in ((seen[:, :400].toarray(), labels), (many, np.arange(MOST_ROWS + 1) % 2)):
        wide, plain = (kind().fit(x, y) for kind in (WideLogisticRegression, LogisticRegression))
        assert (wide.coef_ == plain.coef_).all()

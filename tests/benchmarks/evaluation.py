"""Evaluation beyond accuracy: calibration, abstention, slices, probes, gaps and mitigation.

    OMP_NUM_THREADS=1 python tests/benchmarks/evaluation.py --rows 400 --seed 1

Fine-tunes the embedded base on support_tickets (intent), or takes a finished run (--run).
Everything that is chosen (temperature, thresholds) is chosen on the validation split and
measured on the test split. The last table is about urgency and a word-counting classifier
(TF-IDF with logistic regression, all training rows), which reweighing can retrain in seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.finetune import baselines, data, evaluate, runs
from course_lib.finetune.examine import (
    calibrate,
    diagnose,
    fairness,
    inspect_model,
    mitigate,
    slices,
)
from course_lib.finetune.recipe import finetune

SET = "support_tickets"


def shown(found: diagnose.Estimate, by: float = 100) -> str:
    digits = 1 if by == 100 else 3
    return " [".join(f"{by * v:.{digits}f}" for v in (found.value, found.low)) + (
        f", {by * found.high:.{digits}f}]"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    print("\n| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def calibration(validation: list[Any], test: list[Any]) -> None:
    before, after, fitted = calibrate.before_and_after(validation, test)
    print(f"Temperature {fitted.value:.2f}, fitted on {fitted.rows} validation rows.")
    table(
        ["test rows", "ECE, points", "ECE if calibrated", "too sure by, points", "NLL, nats",
         "confidence", "accuracy"],
        [
            [name, f"{100 * r.ece:.1f}", shown(r.chance), shown(r.too_sure), shown(r.loss, 1),
             f"{100 * r.confidence:.1f}", f"{100 * r.accuracy:.1f}"]
            for name, r in (("as trained", before), ("with temperature", after))
        ],
    )  # fmt: skip


def abstaining(validation: list[Any], test: list[Any]) -> None:
    rows = []
    for wanted in (0.8, 0.9, 0.95):
        try:
            chosen = calibrate.threshold_for(validation, wanted)
        except calibrate.DataError as error:
            rows.append([f"{wanted:.0%}", error.got, "", "", "", ""])
            continue
        found = calibrate.answered(test, chosen.threshold)
        rows.append(
            [f"{wanted:.0%}", f"{chosen.threshold:.3f}", f"{100 * chosen.coverage:.1f}",
             shown(chosen.accuracy), f"{100 * found.coverage:.1f}", shown(found.accuracy)]
        )  # fmt: skip
    table(
        ["accuracy wanted", "threshold", "validation: answered, %", "accuracy, %",
         "test: answered, %", "accuracy, %"],
        rows,
    )  # fmt: skip


def sliced(test: list[Any]) -> None:
    rows = []
    for name, by in (
        ("channel", "channel"),
        ("customer_group", "customer_group"),
        ("length", slices.by_length((15, 30, 45))),
    ):
        for found in slices.slices(test, by):
            rest = f"{100 * found.rest:.1f}"
            rows.append([name, found.name, found.figure.rows, shown(found.figure), rest])
    table(["slice by", "group", "rows", "accuracy, %", "all others, %"], rows)


def probes(predict: fairness.Predict, labels: Sequence[str], texts: Sequence[str]) -> None:
    rows = []
    for name in fairness.PROBES:
        found = fairness.probe(predict, labels, texts, name)
        top = max(found.shift, key=lambda label: abs(found.shift[label].value))
        rows.append(
            [name, found.flips.rows, found.pairs, shown(found.flips), shown(found.change),
             f"{top} {shown(found.shift[top])}"]
        )  # fmt: skip
    table(
        ["probe", "texts", "pairs", "flips, %", "probability moved, points", "largest shift"], rows
    )


def mitigation() -> None:
    splits = data.load("classification", SET, label_column="urgency")
    columns = slices.columns_of(SET)
    groups = [columns[r.id]["customer_group"] for r in splits.train]
    labels = [str(r.label) for r in splits.train]

    def fitted(weights: Any) -> tuple[list[Any], list[Any]]:
        model = baselines.tfidf()
        options = {} if weights is None else {"logisticregression__sample_weight": weights}
        model.fit([r.text for r in splits.train], labels, **options)
        out = []
        for part in (splits.validation, splits.test):
            found = model.predict_proba([r.text for r in part])
            names = [str(c) for c in model.classes_]
            made = [
                {"id": r.id, "gold": r.label, "prediction": names[int(p.argmax())],
                 "probabilities": dict(zip(names, map(float, p), strict=True))}
                for r, p in zip(part, found, strict=True)
            ]  # fmt: skip
            out.append(slices.join(made, columns))
        return out[0], out[1]

    validation, test = fitted(None)
    chosen = mitigate.group_thresholds(validation, "customer_group", "high")
    arms = {
        "reweighed": fitted(mitigate.reweigh(groups, labels))[1],
        "threshold a group": mitigate.apply_thresholds(test, "customer_group", "high", chosen),
    }
    rates = fairness.group_rates(test, "customer_group", "high")
    table(
        ["customer_group", "accuracy, % of rows", "false positives, %", "false negatives, %"],
        [
            [g, *(f"{shown(r[k])} of {r[k].rows}" for k in
             ("accuracy", "false_positive", "false_negative"))]
            for g, r in rates.items()
        ],
    )  # fmt: skip
    rows = []
    for name, made in {"as trained": test, **arms}.items():
        found = mitigate.cost(test, made, "customer_group", "high")
        gap = found.gaps_after
        rows.append(
            [name, f"{100 * found.accuracy_after:.1f}", shown(found.difference),
             *(f"{shown(gap[r].value)}, by chance {100 * gap[r].chance:.1f}, p {gap[r].p:.2f}"
               for r in ("false_positive", "false_negative"))]
        )  # fmt: skip
    table(["urgency", "accuracy, %", "change, points", "gap of false positives",
           "gap of false negatives"], rows)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        folder = options.run or Path(work) / "run"
        if not (folder / "run.json").is_file():
            settings = {"train_rows": options.rows, "epochs": options.epochs}
            finetune("classification", SET, settings=settings, seed=options.seed, out=folder)
        model, tokenizer = runs.load_run(folder)
    splits, columns = data.load("classification", SET), slices.columns_of(SET)
    parts = {
        name: slices.join(evaluate.classification(model, tokenizer, rows).predictions, columns)
        for name, rows in (("validation", splits.validation), ("test", splits.test))
    }
    test = parts["test"]
    print("Command: python tests/benchmarks/evaluation.py", *sys.argv[1:])
    accuracy, f1 = diagnose.interval(test), diagnose.interval(test, "f1_macro")
    print(f"Test accuracy {shown(accuracy)}, macro F1 {shown(f1)}.\n\n### Calibration\n")
    calibration(parts["validation"], test)
    print("### Abstention")
    abstaining(parts["validation"], test)
    print("### Slices")
    sliced(test)
    print("### Confusions and clusters of errors\n")
    for cell in diagnose.confusions(test)[:4]:
        print(
            f"- {cell.gold} called {cell.prediction}: {cell.rows} ({cell.share:.0%} of the class)"
        )
    vectors = inspect_model.embed(model, tokenizer, [r["text"] for r in test])
    for name, features in (("TF-IDF", None), ("hidden states", vectors)):
        for cluster in diagnose.error_clusters(test, 4, features=features):
            print(f"- {name}: {len(cluster.rows)} errors: {', '.join(cluster.words[:6])}")
    print("\n### Counterfactual probes (all 200 test messages)")

    def predict(texts: Sequence[str]) -> Any:
        return evaluate.class_probabilities(model, tokenizer, texts)

    probes(predict, splits.labels, [r["text"] for r in test])
    print("### Groups and mitigation: urgency 'high', word counting")
    mitigation()
    print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
